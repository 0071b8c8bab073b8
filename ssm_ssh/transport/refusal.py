"""AWS's error answers → exceptions: which class, whose words, and the next thing to try.

The codes are those of protocol 1, and the unmodelled ones that every service sends.
"""

from __future__ import annotations

import re
from typing import Final

from ssm_ssh.errors import (
    AccessDenied,
    ControlPlaneError,
    CredentialsExpired,
    TargetNotConnected,
    TargetNotFound,
    Throttled,
)

_CLASSES: Final[dict[str, type[ControlPlaneError]]] = {
    "AccessDenied": AccessDenied,
    "AccessDeniedException": AccessDenied,
    "UnauthorizedOperation": AccessDenied,
    "ExpiredToken": CredentialsExpired,
    "ExpiredTokenException": CredentialsExpired,
    "TargetNotConnected": TargetNotConnected,
    "InvalidInstanceId": TargetNotFound,
    "Throttling": Throttled,
    "ThrottlingException": Throttled,
    "ThrottledException": Throttled,
    "TooManyRequestsException": Throttled,
    "RequestLimitExceeded": Throttled,
}

_UNKNOWN_KEY_HINT: Final = (
    "AWS does not know this access key: check which credentials are used (aws sts get-caller-identity), "
    "and whether the region is enabled for the account"
)
_SIGNATURE_HINT: Final = "check the secret key for missing characters, and this machine's clock"
_CLOCK_HINT: Final = "this machine's clock is wrong: set it and try again"
_REGION_HINT: Final = (
    "the endpoint belongs to another region: check --region, AWS_REGION and any endpoint override"
)
# Of a signature error, by a part of AWS's words.
_SIGNATURE_HINTS: Final = (("xpired", _CLOCK_HINT), ("valid region", _REGION_HINT))

_HINTS: Final = {
    "UnrecognizedClientException": _UNKNOWN_KEY_HINT,
    "InvalidClientTokenId": _UNKNOWN_KEY_HINT,
    "InvalidSignatureException": _SIGNATURE_HINT,
    "SignatureDoesNotMatch": _SIGNATURE_HINT,
    "IncompleteSignature": _SIGNATURE_HINT,
    "RequestExpired": _CLOCK_HINT,
    "RequestTimeTooSkewed": _CLOCK_HINT,
    "InvalidDocument": (
        "no session document of that name is in this account and region: check --document-name"
    ),
    "InternalServerError": "AWS has trouble; try again in a minute",
    "ServiceUnavailable": "AWS has trouble; try again in a minute",
}

# "… is not authorized to perform: ssm:StartSession on resource: arn:aws:ec2:… because no …"
_DENIAL: Final = re.compile(
    r"not authorized to perform: (?P<action>[\w:-]+)(?: on resource: (?P<resource>\S+))?"
)
# A signature error quotes the request as AWS read it, security token included.
_QUOTED_REQUEST: Final = re.compile(r"(?:\s*The Canonical String|\n).*", re.DOTALL)


def is_expired(code: str) -> bool:
    """Whether AWS says that the credentials were valid once."""
    return _CLASSES.get(code) is CredentialsExpired


def refusal(operation: str, code: str, message: str, *, request_id: str | None = None) -> ControlPlaneError:
    """The exception for one of AWS's error answers.

    Args:
        operation: The API operation that was refused.
        code: AWS's code; a namespace before ``#`` and a URL after ``:`` are cut off.
        message: AWS's own words.
        request_id: AWS's id of the request.
    """
    code = bare_code(code)
    message = _QUOTED_REQUEST.sub("", message) or "AWS gave no reason"
    failure = _CLASSES.get(code, ControlPlaneError)
    hint = _denial_hint(message) if failure is AccessDenied else _HINTS.get(code)
    if code.startswith(("InvalidSignature", "SignatureDoesNotMatch")):
        hint = next((other for part, other in _SIGNATURE_HINTS if part in message), hint)
    return failure(operation, code, message, request_id=request_id, hint=hint)


def bare_code(code: str) -> str:
    """An error code without what surrounds it: ``aws.x#Code`` and ``Code:http://…`` are ``Code``."""
    return code.rpartition("#")[2].partition(":")[0]


def _denial_hint(message: str) -> str | None:
    match = _DENIAL.search(message)
    if match is None:
        return None
    resource = f" on {match['resource']}" if match["resource"] else ""
    return f"ask for a policy that allows {match['action']}{resource}, or use another --profile"
