"""How long and how often to try while the stream is away."""

from __future__ import annotations

import random
import ssl
from typing import Final

from ssm_ssh.errors import (
    ControlPlaneError,
    CredentialsExpired,
    CredentialsMissing,
    DataChannelLost,
    DataChannelRefused,
    EndpointUnreachable,
    SsmSshError,
    Throttled,
)
from ssm_ssh.transport.unreachable import ProxyRefusal

# Ours: the first try is immediate, then the pauses double up to the last.
_FIRST_PAUSE_SECONDS: Final = 0.25
_LAST_PAUSE_SECONDS: Final = 10.0
# Ours: a thousand clients that lost one gateway shall not come back at one moment.
_JITTER: Final = 0.25
# Ours: a stream that lived so long had not failed to open, even if nobody had anything to say on it: the
# heartbeat would have found it dead.
_PROVEN_SECONDS: Final = 30.0
# Ours: one that breaks sooner, again and again, is tried at growing intervals although something was heard.
# No longer: an agent whose port has closed waits two seconds, then drops what we have not acknowledged.
_STEADY_SECONDS: Final = 0.5
# AWS's own trouble, by its names for it; the empty one is an HTTP status without an answer of AWS's.
_PASSING_CODES: Final = frozenset(
    {"InternalServerError", "InternalFailure", "ServiceUnavailable", "ServiceUnavailableException", ""}
)
_PASSING_FAILURES: Final = (
    DataChannelLost,
    EndpointUnreachable,
    Throttled,
    CredentialsExpired,
    CredentialsMissing,
)


def may_pass(failure: SsmSshError) -> bool:
    """Whether trying again may help: networks come back, and people renew expired credentials meanwhile."""
    if isinstance(failure, DataChannelRefused):
        return failure.status is None or failure.status == 429 or failure.status >= 500
    if type(failure) is ControlPlaneError:
        return failure.code in _PASSING_CODES
    return isinstance(failure, _PASSING_FAILURES)


def is_lasting(failure: SsmSshError) -> bool:
    """Whether a stream that never worked will not by being tried again: somebody has to change a setting.

    A stream that did work is another matter: a laptop that wakes up in a hotel leaves the hotel.
    """
    cause = failure.__cause__
    return isinstance(cause, ssl.SSLCertVerificationError) or (
        isinstance(cause, ProxyRefusal) and 400 <= cause.status < 500
    )


class Outage:
    """The time without a stream that works: when to give up, and how long to pause between tries.

    Attributes:
        seconds: How long it may last.
    """

    def __init__(self, now: float, seconds: float) -> None:
        self.seconds = seconds
        self._gives_up_at = now + seconds
        self._pause_seconds = 0.0

    def stream_lost(self, now: float, seconds: float, *, lived_seconds: float, has_heard: bool) -> None:
        """A stream was there meanwhile; if it worked, the time without one begins now.

        Args:
            now: When it was lost.
            seconds: How long the new outage may last.
            lived_seconds: How long the stream was open.
            has_heard: Whether any message arrived on it.
        """
        if has_heard or lived_seconds >= _PROVEN_SECONDS:
            self.seconds = seconds
            self._gives_up_at = now + seconds
            if lived_seconds >= _STEADY_SECONDS:
                self._pause_seconds = 0.0

    def seconds_left(self, now: float) -> float:
        """How long it may go on; 0 if it has lasted too long."""
        return max(0.0, self._gives_up_at - now)

    def next_pause(self, now: float) -> float:
        """Seconds to wait before the next try, never beyond the limit."""
        pause = self._pause_seconds
        self._pause_seconds = min(_LAST_PAUSE_SECONDS, max(_FIRST_PAUSE_SECONDS, 2 * pause))
        jittered = pause * random.uniform(1 - _JITTER, 1 + _JITTER)  # noqa: S311 -- spreads load, guards nothing
        return min(jittered, self.seconds_left(now))
