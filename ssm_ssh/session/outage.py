"""How long and how often to try while the stream is away."""

from __future__ import annotations

import random
from typing import Final

from ssm_ssh.errors import (
    CredentialsExpired,
    CredentialsMissing,
    DataChannelLost,
    DataChannelRefused,
    EndpointUnreachable,
    SsmSshError,
    Throttled,
)

# Ours: the first try is immediate, then the pauses double up to the last.
_FIRST_PAUSE_SECONDS: Final = 0.25
_LAST_PAUSE_SECONDS: Final = 10.0
# Ours: a thousand clients that lost one gateway shall not come back at one moment.
_JITTER: Final = 0.25


def may_pass(failure: SsmSshError) -> bool:
    """Whether trying again may help: networks come back, and people renew expired credentials meanwhile."""
    if isinstance(failure, DataChannelRefused):
        return failure.status is None or failure.status == 429 or failure.status >= 500
    return isinstance(
        failure,
        DataChannelLost | EndpointUnreachable | Throttled | CredentialsExpired | CredentialsMissing,
    )


class Outage:
    """One stretch of time without a stream."""

    def __init__(self, now: float, seconds: float) -> None:
        self.seconds = seconds
        self._gives_up_at = now + seconds
        self._pause_seconds = 0.0

    def is_over_limit(self, now: float) -> bool:
        """Whether it has lasted too long to go on."""
        return now >= self._gives_up_at

    def next_pause(self, now: float) -> float:
        """Seconds to wait before the next try, never beyond the limit."""
        pause = self._pause_seconds
        self._pause_seconds = min(_LAST_PAUSE_SECONDS, max(_FIRST_PAUSE_SECONDS, 2 * pause))
        jittered = pause * random.uniform(1 - _JITTER, 1 + _JITTER)  # noqa: S311 -- spreads load, guards nothing
        return max(0.0, min(jittered, self._gives_up_at - now))
