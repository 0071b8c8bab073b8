"""Whether the other end of a WebSocket still lives. Knows no clock: time is an argument."""

from __future__ import annotations

from typing import Final

# Ours: an idle stream is asked this often.
PING_SECONDS: Final = 10.0
# Ours: what was heard is noticed up to PING_SECONDS late, so a dead peer is given up in under 30 seconds, and
# a slow one has nine for its answer.
SILENCE_SECONDS: Final = 19.0


class Heartbeat:
    """Says when to ping and when to give up."""

    def __init__(self, now: float) -> None:
        self._heard_at = now
        self._pinged_at = now

    def heard(self, now: float) -> None:
        """Anything at all arrived since the last call, or could not have because nobody listened."""
        self._heard_at = now

    def is_ping_due(self, now: float) -> bool:
        """Whether to ping now; counts as done."""
        if now < self._ping_at:
            return False
        self._pinged_at = now
        return True

    def is_dead(self, now: float) -> bool:
        """Whether the silence has lasted too long."""
        return now >= self._heard_at + SILENCE_SECONDS

    def next_deadline(self) -> float:
        """When to ask again."""
        return min(self._ping_at, self._heard_at + SILENCE_SECONDS)

    @property
    def _ping_at(self) -> float:
        return max(self._heard_at, self._pinged_at) + PING_SECONDS
