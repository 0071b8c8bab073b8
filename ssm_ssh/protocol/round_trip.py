"""Round-trip time of a data channel and what follows from it: when an unacknowledged message is overdue.

RFC 6298's estimate with Karn's rule: a message that was sent twice gives no sample, only patience.
"""

from __future__ import annotations

from typing import Final

# Ours: before the first sample. The agent starts with 0.2 s; a far region's first answer may take longer.
INITIAL_RETRANSMIT_SECONDS: Final = 0.4
# Ours: what an acknowledgement may be late on a way that never varied: the agent writes to its port before it
# acknowledges, and both sides have other things to do.
MIN_LATENESS_SECONDS: Final = 0.2
# Ours: a stalled port is asked again this often, and no more.
MAX_RETRANSMIT_SECONDS: Final = 5.0
# Ours: how many doublings new messages inherit from one that needed them, until there is a sample.
MAX_INHERITED_DOUBLINGS: Final = 3

_VARIATION_WEIGHT: Final = 1 / 4
_SAMPLE_WEIGHT: Final = 1 / 8


class RoundTrip:
    """The smoothed round-trip time and its variation, both in seconds.

    Attributes:
        smoothed_seconds: None before the first sample.
        doublings: How patient to be with new messages, see ``took_attempts``.
    """

    def __init__(self) -> None:
        self.smoothed_seconds: float | None = None
        self._variation_seconds = 0.0
        self.doublings = 0

    def sample(self, seconds: float) -> None:
        """Take in one measured round trip."""
        self.doublings = 0
        if self.smoothed_seconds is None:
            self.smoothed_seconds = seconds
            self._variation_seconds = seconds / 2
            return
        deviation = abs(self.smoothed_seconds - seconds)
        self._variation_seconds += _VARIATION_WEIGHT * (deviation - self._variation_seconds)
        self.smoothed_seconds += _SAMPLE_WEIGHT * (seconds - self.smoothed_seconds)

    def took_attempts(self, attempts: int) -> None:
        """A message was acknowledged after so many attempts: no sample, but maybe the way has become longer.

        RFC 6298, 5.5 to 5.7: the doubled time holds for new messages too, or a way longer than the time would
        never be measured.
        """
        self.doublings = min(MAX_INHERITED_DOUBLINGS, max(self.doublings, attempts - 1))

    def retransmit_seconds(self, doublings: int) -> float:
        """How long to wait for an acknowledgement, doubled so often, within the limits above."""
        if self.smoothed_seconds is None:
            once = INITIAL_RETRANSMIT_SECONDS
        else:
            once = self.smoothed_seconds + max(MIN_LATENESS_SECONDS, 4 * self._variation_seconds)
        # The exponent is bounded only to keep the number finite; the limit is reached long before.
        return min(MAX_RETRANSMIT_SECONDS, once * 2.0 ** min(doublings, 10))
