"""What an agent has sent and nobody has acknowledged, and when it sends some of it again.

The rules are those of protocol 4.4 and 4.5: the agent repairs slowly, one message
to a tick, always the oldest.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from random import Random

# Specification: the agent's outgoing buffer; what does not fit is sent all the same, but never again.
CAPACITY_MESSAGES: Final = 100_000
_FIRST_RTT_SECONDS: Final = 0.1
_FIRST_RTO_SECONDS: Final = 0.2
_LONGEST_RTO_SECONDS: Final = 1.0
_CLOCK_GRANULARITY_SECONDS: Final = 0.01
# Ours: the agent sends before it tracks, so that now and then an acknowledgement finds nothing to remove.
MISSED_ACKNOWLEDGEMENTS: Final = 0.001


@dataclass(slots=True)
class _Tracked:
    raw: bytes
    last_sent: float
    is_resent: bool = False


class Unacknowledged:
    """The outgoing buffer with its round-trip estimate.

    Args:
        random: Decides which acknowledgements come too early to be noticed.
        missed_acknowledgements: How often that happens, 0 to 1.
    """

    def __init__(self, random: Random, *, missed_acknowledgements: float = MISSED_ACKNOWLEDGEMENTS) -> None:
        self._random = random
        self._missed_acknowledgements = missed_acknowledgements
        # In the order of their numbers: a new message has the highest.
        self._tracked: dict[int, _Tracked] = {}
        self._rtt_seconds = _FIRST_RTT_SECONDS
        self._rtt_variation_seconds = 0.0
        self.rto_seconds = _FIRST_RTO_SECONDS

    def __len__(self) -> int:
        return len(self._tracked)

    def add(self, sequence_number: int, raw: bytes, now: float) -> None:
        """Track a message that was sent, or that is held back, at ``now``."""
        if len(self._tracked) < CAPACITY_MESSAGES:
            self._tracked[sequence_number] = _Tracked(raw, now)

    def acknowledge(self, sequence_number: int, now: float) -> None:
        """Forget exactly one message and learn from its round trip."""
        tracked = self._tracked.get(sequence_number)
        if tracked is None:
            return
        if not tracked.is_resent and self._random.random() < self._missed_acknowledgements:
            return
        del self._tracked[sequence_number]
        self._learn(now - tracked.last_sent)

    def due(self, now: float) -> bytes | None:
        """The oldest message if it has waited long enough; it counts as sent again at ``now``."""
        oldest = next(iter(self._tracked.values()), None)
        if oldest is None or now - oldest.last_sent <= self.rto_seconds:
            return None
        oldest.last_sent = now
        oldest.is_resent = True
        return oldest.raw

    def _learn(self, sample_seconds: float) -> None:
        """Protocol 4.5: no lower bound, no back-off, no Karn's rule; the variation uses the old estimate."""
        deviation = abs(self._rtt_seconds - sample_seconds)
        self._rtt_variation_seconds += (deviation - self._rtt_variation_seconds) / 4
        self._rtt_seconds += (sample_seconds - self._rtt_seconds) / 8
        self.rto_seconds = min(
            _LONGEST_RTO_SECONDS,
            self._rtt_seconds + max(_CLOCK_GRANULARITY_SECONDS, 4 * self._rtt_variation_seconds),
        )
