"""AWS's error answers become the exception whose hint helps."""

from __future__ import annotations

import pytest

from ssm_ssh.errors import (
    AccessDenied,
    ControlPlaneError,
    CredentialsExpired,
    TargetNotConnected,
    TargetNotFound,
    Throttled,
)
from ssm_ssh.transport.refusal import bare_code, is_expired, refusal


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        ("AccessDeniedException", AccessDenied),
        ("ExpiredTokenException", CredentialsExpired),
        ("ExpiredToken", CredentialsExpired),
        ("TargetNotConnected", TargetNotConnected),
        ("InvalidInstanceId", TargetNotFound),
        ("ThrottlingException", Throttled),
        ("com.amazonaws.ssm#TargetNotConnected", TargetNotConnected),
        ("ThrottlingException:http://internal.amazon.com/", Throttled),
        ("Unheard", ControlPlaneError),
    ],
)
def test_classes(code: str, expected: type[ControlPlaneError]) -> None:
    """A code, with or without what services put around it, has its class."""
    error = refusal("StartSession", code, "words", request_id="r-1")
    assert type(error) is expected
    assert error.code == bare_code(code)
    assert "words" in str(error)
    assert "r-1" in str(error)


def test_a_denial_names_action_and_resource() -> None:
    """The hint says exactly what to ask for."""
    error = refusal(
        "StartSession",
        "AccessDeniedException",
        "User: arn:aws:sts::111122223333:assumed-role/dev/jane is not authorized to perform: "
        "ssm:StartSession on resource: arn:aws:ec2:eu-central-1:111122223333:instance/i-0abc because no …",
    )
    assert error.hint is not None
    assert "ssm:StartSession on arn:aws:ec2:eu-central-1:111122223333:instance/i-0abc," in error.hint


def test_a_denial_in_other_words_keeps_the_general_hint() -> None:
    """Not every denial says what it denies."""
    assert refusal("StartSession", "AccessDeniedException", "no").hint == AccessDenied.hint
    error = refusal("X", "AccessDeniedException", "not authorized to perform: ssm:Y because")
    assert error.hint is not None
    assert "allows ssm:Y, or" in error.hint


@pytest.mark.parametrize("code", ["UnrecognizedClientException", "InvalidClientTokenId"])
def test_unknown_keys(code: str) -> None:
    """Keys AWS never issued are not called expired."""
    error = refusal("StartSession", code, "The security token included in the request is invalid.")
    assert "access key" in str(error.hint)


def test_a_signature_error_does_not_repeat_the_request() -> None:
    """AWS quotes the request it read, security token included."""
    error = refusal(
        "StartSession",
        "InvalidSignatureException",
        "The signature we calculated does not match. The Canonical String for this request should have been\n"
        "'POST\n/\n\nx-amz-security-token:SECRET'",
    )
    assert "SECRET" not in str(error)
    assert "SECRET" not in repr(error)
    assert "secret key" in str(error.hint)


def test_a_wrong_clock_is_told_as_such() -> None:
    """An expired signature is a wrong clock, not a wrong key."""
    expired = "Signature expired: 20240101T000000Z is now earlier than …"
    assert "clock" in str(refusal("X", "InvalidSignatureException", expired).hint)


def test_expiry() -> None:
    """Only codes that say so mean that credentials were valid once."""
    assert is_expired("ExpiredTokenException")
    assert not is_expired("AccessDeniedException")
    assert not is_expired("")


def test_a_signature_for_another_region_is_told() -> None:
    """The key is right and the clock too: the endpoint is another region's."""
    words = "Credential should be scoped to a valid region, not 'us-west-2'."
    assert "region" in str(refusal("X", "InvalidSignatureException", words).hint)
