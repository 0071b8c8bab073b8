"""Checking AWS Signature Version 4, from AWS's specification and not from botocore.

"Create a signed AWS API request" in AWS's General Reference: canonical request, string to sign, derived key.
Written apart from the client's signer, so that a mistake in one is not repeated in the other.
"""

from __future__ import annotations

import hashlib
import hmac
import re
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Final
from urllib.parse import quote, unquote_plus

from ssm_ssh.emulator.api_error import ApiError

if TYPE_CHECKING:
    from collections.abc import Mapping

_ALGORITHM: Final = "AWS4-HMAC-SHA256"
_TERMINATOR: Final = "aws4_request"
# Specification: RFC 3986's unreserved characters are never escaped, everything else always is.
_UNRESERVED: Final = "-_.~"
_TIME_FORMAT: Final = "%Y%m%dT%H%M%SZ"
_TIME: Final = re.compile(r"[0-9]{8}T[0-9]{6}Z")
# Specification: the service accepts a clock that is five minutes off.
CLOCK_SKEW: Final = timedelta(minutes=5)
_FIELD = re.compile(r"(Credential|SignedHeaders|Signature)=([^,\s]+)")


@dataclass(frozen=True, slots=True)
class Credentials:
    """The one set of temporary credentials that opens the stand-in."""

    access_key_id: str
    secret_access_key: str = field(repr=False)
    session_token: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class ReceivedRequest:
    """An HTTP request as it came.

    Attributes:
        path: The raw path, still escaped.
        query: The raw query, without its question mark.
        headers: Names in lower case; the values of a repeated header joined by commas.
    """

    method: str
    path: str
    query: str
    headers: Mapping[str, str]
    body: bytes = b""


@dataclass(frozen=True, slots=True)
class _Claim:
    """What an Authorization header says."""

    access_key_id: str
    scope: tuple[str, str, str, str]
    signed_headers: tuple[str, ...]
    signature: str


def claimed_key(authorization: str) -> str:
    """The access key id that an Authorization header names; empty where it names none."""
    fields: dict[str, str] = dict(_FIELD.findall(authorization))
    return fields.get("Credential", "").partition("/")[0]


def check_signature(
    request: ReceivedRequest, credentials: Credentials, *, service: str, region: str, now: datetime
) -> None:
    """Accept the request or raise what AWS would answer.

    Raises:
        ApiError: ``MissingAuthenticationTokenException``, ``IncompleteSignatureException``,
            ``UnrecognizedClientException`` or ``InvalidSignatureException``.
    """
    claim = _read_claim(request)
    if claim.access_key_id != credentials.access_key_id or not hmac.compare_digest(
        request.headers.get("x-amz-security-token", "").encode(), credentials.session_token.encode()
    ):
        raise ApiError(
            "UnrecognizedClientException", "The security token included in the request is invalid."
        )
    moment_text = request.headers.get("x-amz-date", "")
    _check_moment(moment_text, now)
    _check_scope(claim.scope, moment_text, service=service, region=region)
    text = string_to_sign(
        moment_text, "/".join(claim.scope), canonical_request(request, claim.signed_headers)
    )
    key = _signing_key(credentials.secret_access_key, claim.scope)
    expected = hmac.new(key, text.encode(), hashlib.sha256).hexdigest()
    if not hmac.compare_digest(expected.encode(), claim.signature.encode()):
        raise _invalid(
            "The request signature we calculated does not match the signature you provided. Check your AWS "
            "Secret Access Key and signing method. Consult the service documentation for details."
        )


def canonical_request(request: ReceivedRequest, signed_headers: tuple[str, ...]) -> str:
    """The text whose digest is signed."""
    return "\n".join(
        (
            request.method,
            _canonical_path(request.path),
            canonical_query(request.query),
            *(f"{name}:{' '.join(request.headers[name].split())}" for name in signed_headers),
            "",
            ";".join(signed_headers),
            hashlib.sha256(request.body).hexdigest(),
        )
    )


def canonical_query(query: str) -> str:
    """The query decoded as a form (protocol 2.1: ``+`` is a space), escaped anew and sorted."""
    pairs = (part.partition("=") for part in query.split("&") if part)
    escaped = sorted((_escape(unquote_plus(name)), _escape(unquote_plus(value))) for name, _, value in pairs)
    return "&".join(f"{name}={value}" for name, value in escaped)


def string_to_sign(moment: str, scope: str, canonical: str) -> str:
    """What the derived key signs."""
    return "\n".join((_ALGORITHM, moment, scope, hashlib.sha256(canonical.encode()).hexdigest()))


def _canonical_path(path: str) -> str:
    """Dot segments removed, then every segment escaped once more: what is escaped already is so twice."""
    segments: list[str] = []
    for segment in path.split("/"):
        if segment == "..":
            del segments[-1:]
        elif segment not in {"", "."}:
            segments.append(quote(segment, safe=_UNRESERVED))
    trailing = "/" if segments and path.endswith("/") else ""
    return "/" + "/".join(segments) + trailing


def _escape(text: str) -> str:
    return quote(text, safe=_UNRESERVED)


def _read_claim(request: ReceivedRequest) -> _Claim:
    header = request.headers.get("authorization")
    if header is None:
        raise ApiError("MissingAuthenticationTokenException", "Missing Authentication Token")
    algorithm, _, rest = header.partition(" ")
    fields = dict(_FIELD.findall(rest))
    scope = fields.get("Credential", "").split("/")
    signed_headers = tuple(fields.get("SignedHeaders", "").split(";"))
    if algorithm != _ALGORITHM or len(fields) != 3 or len(scope) != 5:
        raise _incomplete("Authorization header requires Credential, SignedHeaders and Signature.")
    # Specification: host and every x-amz-* header that is present must be signed.
    required = {"host"} | {name for name in request.headers if name.startswith("x-amz-")}
    missing = sorted(required - set(signed_headers)) or [
        n for n in signed_headers if n not in request.headers
    ]
    if missing or list(signed_headers) != sorted(signed_headers):
        raise _invalid(f"'{', '.join(missing) or header}' must be a signed header, in order.")
    access_key_id, date, region, service, terminator = scope
    return _Claim(access_key_id, (date, region, service, terminator), signed_headers, fields["Signature"])


def _check_moment(text: str, now: datetime) -> None:
    try:
        # The pattern first: strptime takes a small t, spaces and fewer digits too.
        if _TIME.fullmatch(text) is None:
            raise ValueError(text)  # noqa: TRY301 -- one refusal for both
        moment = datetime.strptime(text, _TIME_FORMAT).replace(tzinfo=UTC)
    except ValueError:
        raise _incomplete(f"Date must be in ISO-8601 'basic format'. Got '{text}'.") from None
    today = now.strftime(_TIME_FORMAT)
    if moment < now - CLOCK_SKEW:
        limit = (now - CLOCK_SKEW).strftime(_TIME_FORMAT)
        raise _invalid(f"Signature expired: {text} is now earlier than {limit} ({today} - 5 min.)")
    if moment > now + CLOCK_SKEW:
        limit = (now + CLOCK_SKEW).strftime(_TIME_FORMAT)
        raise _invalid(f"Signature not yet current: {text} is still later than {limit} ({today} + 5 min.)")


def _check_scope(scope: tuple[str, str, str, str], moment: str, *, service: str, region: str) -> None:
    date, scope_region, scope_service, terminator = scope
    if date != moment[:8]:
        raise _invalid(f"Date in Credential scope does not match YYYYMMDD from ISO-8601: '{date}'.")
    if scope_region != region:
        raise _invalid(f"Credential should be scoped to a valid region, not '{scope_region}'.")
    if scope_service != service:
        raise _invalid(f"Credential should be scoped to correct service: '{service}'.")
    if terminator != _TERMINATOR:
        raise _invalid(f"Credential should be scoped with a valid terminator: '{_TERMINATOR}'.")


def _signing_key(secret: str, scope: tuple[str, ...]) -> bytes:
    key = b"AWS4" + secret.encode()
    for part in scope:
        key = hmac.new(key, part.encode(), hashlib.sha256).digest()
    return key


def _incomplete(message: str) -> ApiError:
    return ApiError("IncompleteSignatureException", message)


def _invalid(message: str) -> ApiError:
    return ApiError("InvalidSignatureException", message)
