"""Signature Version 4: AWS's own example, botocore as an independent signer, and every way to be wrong."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials as BotocoreCredentials

from ssm_ssh.emulator.api_error import ApiError
from ssm_ssh.emulator.signature import (
    Credentials,
    ReceivedRequest,
    canonical_query,
    canonical_request,
    check_signature,
)

KEYS = Credentials("ASIAEXAMPLE", "secret/with+signs", "token+/=")
BODY = b'{"Target":"i-0123456789abcdef0"}'


def signed(
    *,
    method: str = "POST",
    path: str = "/",
    query: dict[str, str] | None = None,
    wire_query: str = "",
    body: bytes = BODY,
    service: str = "ssm",
    keys: Credentials = KEYS,
) -> ReceivedRequest:
    """A request signed now by botocore."""
    request = AWSRequest(
        method,
        f"http://127.0.0.1:4566{path}",
        params=query or {},
        data=body,
        headers={"Content-Type": "application/x-amz-json-1.1", "Host": "127.0.0.1:4566"},
    )
    credentials = BotocoreCredentials(keys.access_key_id, keys.secret_access_key, keys.session_token)
    SigV4Auth(credentials, service, "eu-central-1").add_auth(request)
    headers = {name.lower(): value for name, value in request.headers.items()}
    return ReceivedRequest(method, path, wire_query, headers, body)


def check(request: ReceivedRequest, *, service: str = "ssm", seconds: float = 0.0) -> None:
    """Check a request with the clock ``seconds`` ahead."""
    now = datetime.now(UTC) + timedelta(seconds=seconds)
    check_signature(request, KEYS, service=service, region="eu-central-1", now=now)


def test_awss_published_example() -> None:
    """The ListUsers example of the Signature Version 4 documentation, to the letter."""
    request = ReceivedRequest(
        "GET",
        "/",
        "Action=ListUsers&Version=2010-05-08",
        {
            "content-type": "application/x-www-form-urlencoded; charset=utf-8",
            "host": "iam.amazonaws.com",
            "x-amz-date": "20150830T123600Z",
            "authorization": "AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/20150830/us-east-1/iam/aws4_request, "
            "SignedHeaders=content-type;host;x-amz-date, "
            "Signature=5d672d79c15b13162d9279b0855cfba6789a8edb4c82c400e06b5924a6f2b5d7",
        },
    )
    keys = Credentials("AKIDEXAMPLE", "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY", "")
    now = datetime(2015, 8, 30, 12, 36, tzinfo=UTC)
    check_signature(request, keys, service="iam", region="us-east-1", now=now)


def test_the_streams_query_is_decoded_as_a_form() -> None:
    """Protocol 2.1: a literal plus in cell-number is a space for the signature, not %2B."""
    assert canonical_query("role=publish_subscribe&cell-number=AB+/cd==") == (
        "cell-number=AB%20%2Fcd%3D%3D&role=publish_subscribe"
    )
    assert canonical_query("b=2&a=~1&a=%7E0&c") == "a=~0&a=~1&b=2&c="
    assert canonical_query("") == ""


def test_the_streams_canonical_request() -> None:
    """Every line of it, for a URL with the signs that trip signers."""
    request = ReceivedRequest(
        "GET",
        "/v1/data-channel/alice-0123",
        "role=publish_subscribe&cell-number=A+/=",
        {"host": "ssmmessages.eu-central-1.amazonaws.com", "x-amz-date": "20261121T000000Z"},
    )
    assert canonical_request(request, ("host", "x-amz-date")).split("\n") == [
        "GET",
        "/v1/data-channel/alice-0123",
        "cell-number=A%20%2F%3D&role=publish_subscribe",
        "host:ssmmessages.eu-central-1.amazonaws.com",
        "x-amz-date:20261121T000000Z",
        "",
        "host;x-amz-date",
        "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
    ]


@pytest.mark.parametrize("path", ["/", "/v1/data-channel/alice@example.com-01%20x", "/a//b/./c/../d/"])
def test_botocores_signatures_are_accepted(path: str) -> None:
    """An independent signer agrees, escaped and untidy paths included."""
    check(signed(path=path))


def test_a_signed_upgrade_is_accepted() -> None:
    """The decoded query given to botocore's signer, the verbatim one on the wire."""
    request = signed(
        method="GET",
        path="/v1/data-channel/alice-01",
        query={"role": "publish_subscribe", "cell-number": "AB /cd=="},
        wire_query="role=publish_subscribe&cell-number=AB+/cd==",
        body=b"",
        service="ssmmessages",
    )
    check(request, service="ssmmessages")
    escaped_plus = signed(
        method="GET",
        path="/v1/data-channel/alice-01",
        query={"role": "publish_subscribe", "cell-number": "AB+/cd=="},
        wire_query="role=publish_subscribe&cell-number=AB+/cd==",
        body=b"",
        service="ssmmessages",
    )
    with pytest.raises(ApiError, match="does not match"):
        check(escaped_plus, service="ssmmessages")


CHANGED = [
    (replace(signed(), body=BODY + b" "), "InvalidSignatureException"),
    (replace(signed(), path="/other"), "InvalidSignatureException"),
    (replace(signed(), query="a=b"), "InvalidSignatureException"),
    (replace(signed(), method="GET"), "InvalidSignatureException"),
    (replace(signed(), headers={}), "MissingAuthenticationTokenException"),
]


@pytest.mark.parametrize(("request_", "code"), CHANGED)
def test_changed_requests_are_refused(request_: ReceivedRequest, code: str) -> None:
    """Whatever is changed after signing shows."""
    with pytest.raises(ApiError) as caught:
        check(request_)
    assert caught.value.code == code


@pytest.mark.parametrize(
    ("name", "old", "new", "code"),
    [
        ("host", "127", "128", "InvalidSignatureException"),
        ("x-amz-date", "T", "t", "IncompleteSignatureException"),
        ("x-amz-security-token", "+", "-", "UnrecognizedClientException"),
        ("authorization", "ASIAEXAMPLE", "ASIAOTHER", "UnrecognizedClientException"),
        ("authorization", "HMAC-SHA256", "HMAC-SHA1", "IncompleteSignatureException"),
        ("authorization", "Signature=", "Sign=", "IncompleteSignatureException"),
        ("authorization", "/aws4_request", "/aws5_request", "InvalidSignatureException"),
        ("authorization", "eu-central-1", "eu-west-1", "InvalidSignatureException"),
        ("authorization", "/ssm/", "/sts/", "InvalidSignatureException"),
        ("authorization", "host;x-amz-date", "x-amz-date;host", "InvalidSignatureException"),
        ("authorization", ";x-amz-security-token", "", "InvalidSignatureException"),
        ("authorization", "SignedHeaders=", "SignedHeaders=absent;", "InvalidSignatureException"),
        ("authorization", "ASIAEXAMPLE/2", "ASIAEXAMPLE/1", "InvalidSignatureException"),
    ],
)
def test_changed_headers_are_refused(name: str, old: str, new: str, code: str) -> None:
    """Each part of the claim is checked."""
    request = signed()
    assert old in request.headers[name]
    headers = {**request.headers, name: request.headers[name].replace(old, new, 1)}
    with pytest.raises(ApiError) as caught:
        check(replace(request, headers=headers))
    assert caught.value.code == code


def test_an_unsigned_amz_header_is_refused() -> None:
    """Every x-amz header that is present must be signed."""
    request = signed()
    with pytest.raises(ApiError, match="must be a signed header"):
        check(replace(request, headers={**request.headers, "x-amz-target": "AmazonSSM.StartSession"}))


@pytest.mark.parametrize(("seconds", "words"), [(302, "Signature expired"), (-302, "not yet current")])
def test_clocks_may_differ_by_five_minutes(seconds: float, words: str) -> None:
    """Skew beyond that is named."""
    check(signed(), seconds=seconds * 0.98)
    with pytest.raises(ApiError, match=words):
        check(signed(), seconds=seconds)


def test_secrets_do_not_show() -> None:
    """Neither secret nor token is in a repr."""
    assert "secret" not in repr(KEYS).replace("secret_access_key", "")
    assert "token" not in repr(KEYS).replace("session_token", "")
