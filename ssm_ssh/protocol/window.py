"""How many bytes may be on their way: a window that follows the delay of acknowledgements.

The data channel has no window of its own; whatever is sent beyond what service and agent take at once only
waits in somebody's queue, and a keystroke typed during an upload waits behind it. So once a round trip the
window looks at the smallest delay of that round: near the smallest of late it grows, above it shrinks.
Losses say nothing about load here (TCP is underneath) and are not looked at.
"""

from __future__ import annotations

import math
from typing import Final

# Ours: what an upload may add to a keystroke's delay.
TARGET_DELAY_SECONDS: Final = 0.05
INITIAL_WINDOW_BYTES: Final = 64 * 1024
MIN_WINDOW_BYTES: Final = 32 * 1024
# Ours: bounds a session's memory, and stays well below the 8.5 MB at which an agent that waits for a stalled
# port stops reading altogether (protocol 7.6).
MAX_WINDOW_BYTES: Final = 4 * 1024 * 1024

_GROWTH: Final = 1.125
_SHRINK: Final = 0.75
# Ours: a path may change (a laptop moves); the smallest delay is that of the last one to two periods.
_BASE_PERIOD_SECONDS: Final = 10.0


class Window:
    """A number of bytes and what makes it grow and shrink.

    Attributes:
        size_bytes: How many bytes may be unacknowledged, between the limits above.
    """

    def __init__(self) -> None:
        self.size_bytes = INITIAL_WINDOW_BYTES
        self._is_searching = True
        self._was_full = False
        self._round_started_at = -math.inf
        self._round_delay = math.inf
        self._base_seconds = math.inf
        self._next_base_seconds = math.inf
        self._base_expires_at = -math.inf

    def note_full(self) -> None:
        """The sender had more to send than the window let through."""
        self._was_full = True

    def acknowledged(self, *, sent_at: float, now: float) -> None:
        """A message sent once at ``sent_at`` was acknowledged ``now``."""
        delay = now - sent_at
        self._follow_base(delay, now)
        self._round_delay = min(self._round_delay, delay)
        if sent_at >= self._round_started_at:
            self._finish_round(now)

    def timed_out(self) -> None:
        """A message was overdue although nothing hints at a loss: something is full."""
        self._is_searching = False
        self.size_bytes = max(MIN_WINDOW_BYTES, self.size_bytes // 2)

    def _follow_base(self, delay: float, now: float) -> None:
        if now >= self._base_expires_at:
            self._base_seconds, self._next_base_seconds = self._next_base_seconds, math.inf
            self._base_expires_at = now + _BASE_PERIOD_SECONDS
        self._base_seconds = min(self._base_seconds, delay)
        self._next_base_seconds = min(self._next_base_seconds, delay)

    def _finish_round(self, now: float) -> None:
        queued_seconds = self._round_delay - self._base_seconds
        if queued_seconds > TARGET_DELAY_SECONDS:
            self._is_searching = False
            self._resize(_SHRINK)
        elif self._was_full:
            # A window that was never full proves nothing about a larger one.
            self._resize(2.0 if self._is_searching else _GROWTH)
        self._was_full = False
        self._round_started_at = now
        self._round_delay = math.inf

    def _resize(self, factor: float) -> None:
        self.size_bytes = min(MAX_WINDOW_BYTES, max(MIN_WINDOW_BYTES, int(self.size_bytes * factor)))
