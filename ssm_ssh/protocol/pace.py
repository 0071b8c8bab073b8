"""How many messages a second may be sent, once a rate has proved to be too much.

Users report that the service cuts fast senders. A rate at which the stream was torn down is taken as too
fast: from then on the channel stays below it, and the caller may remember the limit for the next session.
Only sequenced messages count: acknowledgements cannot wait, and follow the agent's own slow rate.
"""

from __future__ import annotations

import math
from collections import deque
from typing import Final

# Specification: the official plugin sends 674 messages a second (protocol 11.2); no cut is blamed on that.
BLAMELESS_MESSAGES_PER_SECOND: Final = 800.0
# Ours: the limit after a tear-down, as a part of the rate that led to it.
CAUTION: Final = 0.8
# Ours: how long the rate is measured, and how much of the limit may be used up in one go.
MEASURED_SECONDS: Final = 1.0
BURST_SECONDS: Final = 0.02
# Ours: after a pause at least so much goes in one go: waking up for every message alone would cost too much.
_QUANTUM_SECONDS: Final = 0.005
# Ours: what rounding may take from a credit between two moments.
_ROUNDING: Final = 1e-6


class Pace:
    """Counts what is sent and, where there is a limit, says when more may be sent.

    Attributes:
        limit: Messages a second, or None while no rate has proved too fast.
    """

    def __init__(self, limit: float | None = None) -> None:
        """Start with an earlier session's limit; one that is no sensible number is not believed."""
        self.limit = None if limit is None or not math.isfinite(limit) else _at_least_blameless(limit)
        self._sent: deque[tuple[float, int]] = deque()
        self._sent_messages = 0
        self._credit = 1.0
        self._credited_at = -math.inf

    def allowance(self, now: float) -> float:
        """How many messages may be sent now, a whole number; infinite without a limit."""
        if self.limit is None:
            return math.inf
        earned = self.limit * (now - self._credited_at)
        self._credit = min(self.limit * BURST_SECONDS, self._credit + earned)
        self._credited_at = now
        return max(0, math.floor(self._credit + _ROUNDING))

    def next_allowance_at(self) -> float | None:
        """When more messages may be sent, or None if some may already; as of the last ``allowance``."""
        if self.limit is None or self._credit + _ROUNDING >= 1:
            return None
        return self._credited_at + (self.limit * _QUANTUM_SECONDS - self._credit) / self.limit

    def sent(self, messages: int, now: float) -> None:
        """So many messages were sent."""
        self._credit -= messages
        self._sent.append((now, messages))
        self._sent_messages += messages
        self._forget(now)

    def torn_down(self, now: float) -> None:
        """The stream broke while sending: stay below the rate of the last second, if that was fast."""
        self._forget(now)
        rate = self._sent_messages / MEASURED_SECONDS
        if rate > BLAMELESS_MESSAGES_PER_SECOND:
            # Never above a limit that was kept and proved too high as well.
            self.limit = _at_least_blameless(CAUTION * min(rate, self.limit or math.inf))

    def _forget(self, now: float) -> None:
        while self._sent and self._sent[0][0] < now - MEASURED_SECONDS:
            self._sent_messages -= self._sent.popleft()[1]


def _at_least_blameless(rate: float) -> float:
    return max(BLAMELESS_MESSAGES_PER_SECOND, rate)
