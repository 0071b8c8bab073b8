"""What may pass, and the rhythm of trying again."""

from __future__ import annotations

import random
import ssl

import pytest

from ssm_ssh.errors import (
    AccessDenied,
    ControlPlaneError,
    CredentialsExpired,
    CredentialsMissing,
    DataChannelLost,
    DataChannelRefused,
    EndpointUnreachable,
    HandshakeError,
    InvalidOption,
    MalformedMessage,
    RemoteProtocolError,
    SessionFailed,
    SsmSshError,
    TargetNotConnected,
    Throttled,
    UntrustedStreamUrl,
)
from ssm_ssh.session.outage import Outage, is_lasting, may_pass
from ssm_ssh.transport.unreachable import ProxyRefusal

PASSING = [
    DataChannelLost("cut"),
    DataChannelLost("Bye", close_code=1000),
    DataChannelRefused("no answer"),
    DataChannelRefused("HTTP 429", status=429),
    DataChannelRefused("HTTP 500", status=500),
    DataChannelRefused("HTTP 503", status=503),
    EndpointUnreachable("ResumeSession", "", "no route"),
    Throttled("ResumeSession", "ThrottlingException", "slow"),
    CredentialsExpired("ResumeSession", "ExpiredTokenException", "old"),
    CredentialsMissing("ResumeSession", "", "none"),
    ControlPlaneError("ResumeSession", "InternalServerError", "oh"),
    ControlPlaneError("ResumeSession", "ServiceUnavailable", "oh"),
    ControlPlaneError("ResumeSession", "", "HTTP 502"),
]
FINAL = [
    DataChannelRefused("HTTP 302", status=302),
    DataChannelRefused("HTTP 400", status=400),
    DataChannelRefused("HTTP 401", status=401),
    DataChannelRefused("HTTP 403", status=403),
    DataChannelRefused("HTTP 404", status=404),
    AccessDenied("ResumeSession", "AccessDeniedException", "no"),
    AccessDenied("ResumeSession", "", "no"),
    TargetNotConnected("StartSession", "TargetNotConnected", "no"),
    ControlPlaneError("ResumeSession", "ValidationException", "no"),
    ControlPlaneError("ResumeSession", "UnrecognizedClientException", "no"),
    InvalidOption("no"),
    RemoteProtocolError("garbage"),
    MalformedMessage("garbage"),
    UntrustedStreamUrl("wss://evil", "no"),
    HandshakeError("no"),
    SessionFailed("id", "no"),
]


@pytest.mark.parametrize("failure", PASSING, ids=repr)
def test_what_may_pass(failure: SsmSshError) -> None:
    """Networks, AWS's own trouble, and credentials that somebody renews."""
    assert may_pass(failure)


@pytest.mark.parametrize("failure", FINAL, ids=repr)
def test_what_does_not_pass(failure: SsmSshError) -> None:
    """Whatever would be refused in the same way again."""
    assert not may_pass(failure)


def pauses(outage: Outage, now: float, count: int) -> list[float]:
    """So many pauses, without the time that they take."""
    return [outage.next_pause(now) for _ in range(count)]


def test_pauses_double_up_to_the_last() -> None:
    """The first is none; then a quarter of a second, doubling up to ten, each a quarter more or less."""
    random.seed(1)
    outage = Outage(0.0, 600.0)
    for pause, plain in zip(pauses(outage, 0.0, 9), (0, 0.25, 0.5, 1, 2, 4, 8, 10, 10), strict=True):
        assert plain * 0.75 <= pause <= plain * 1.25


def test_no_pause_goes_beyond_the_limit() -> None:
    """The last pause ends at the limit."""
    outage = Outage(0.0, 60.0)
    pauses(outage, 0.0, 10)
    assert outage.next_pause(59.0) == 1.0
    assert outage.next_pause(60.0) == 0.0
    assert outage.next_pause(99.0) == 0.0
    assert (outage.seconds_left(0.0), outage.seconds_left(59.0), outage.seconds_left(61.0)) == (60, 1, 0)


@pytest.mark.parametrize(
    ("lived_seconds", "has_heard", "is_renewed", "is_steady"),
    [
        (0.1, False, False, False),
        (29.0, False, False, False),
        (31.0, False, True, True),
        (0.1, True, True, False),
        (0.6, True, True, True),
    ],
)
def test_a_stream_that_worked_begins_a_new_outage(
    lived_seconds: float, *, has_heard: bool, is_renewed: bool, is_steady: bool
) -> None:
    """Worked: something was heard, or it lived long enough. Pauses start anew only if it was steady."""
    outage = Outage(0.0, 30.0)
    pauses(outage, 0.0, 10)
    outage.stream_lost(100.0, 600.0, lived_seconds=lived_seconds, has_heard=has_heard)
    assert outage.seconds_left(100.0) == (600.0 if is_renewed else 0.0)
    assert outage.seconds == (600.0 if is_renewed else 30.0)
    if is_renewed:
        assert (outage.next_pause(100.0) == 0.0) is is_steady


@pytest.mark.parametrize(
    ("cause", "expected"),
    [
        (None, False),
        (ConnectionRefusedError(), False),
        (ssl.SSLCertVerificationError(), True),
        (ProxyRefusal(407, ""), True),
        (ProxyRefusal(403, ""), True),
        (ProxyRefusal(503, ""), False),
    ],
)
def test_what_lasts_until_somebody_changes_a_setting(cause: Exception | None, *, expected: bool) -> None:
    """Trust, logins and rules do not change by waiting; a busy proxy does."""
    failure = EndpointUnreachable("OpenDataChannel", "", "it failed")
    failure.__cause__ = cause
    assert is_lasting(failure) is expected
