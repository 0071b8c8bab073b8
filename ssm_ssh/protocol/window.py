"""How many bytes may be on their way: a window that follows the delay of acknowledgements.

The data channel has no window of its own; whatever is sent beyond what service and agent take at once only
waits in somebody's queue, and a keystroke typed during an upload waits behind it. So once a round trip the
window compares the smallest delay of that round with the way's own: near it the window grows, above it
shrinks. The way's own delay cannot be seen past a queue of our making, so every few seconds of a long upload
the queue is let run dry for one round. Losses say nothing about load here (TCP is underneath) and are not
looked at.
"""

from __future__ import annotations

import math
from typing import Final

# Ours: what an upload may add to a keystroke's delay.
TARGET_DELAY_SECONDS: Final = 0.05
INITIAL_WINDOW_BYTES: Final = 64 * 1024
# Ours: even an uplink of 1 Mbit/s carries this within little more than the target.
MIN_WINDOW_BYTES: Final = 8 * 1024
# Ours: bounds a session's memory, and stays well below the 8.5 MB at which an agent that waits for a stalled
# port stops reading altogether (protocol 7.6).
MAX_WINDOW_BYTES: Final = 4 * 1024 * 1024
# Ours: so long the way's own delay is believed without being seen again. A dry round costs about two round
# trips in this time.
BASE_PERIOD_SECONDS: Final = 10.0

# Ours: while the window still doubles, so many acknowledgements in a row, each so late, end the search.
LATE_ACKNOWLEDGEMENTS: Final = 8
LATE_SECONDS: Final = 2 * TARGET_DELAY_SECONDS

_SEARCH: Final = 2.0
_GROWTH: Final = 1.125
# A round may just have met a port that took a break: alone it does not shrink the window to nothing.
_LEAST_SHRINK: Final = 0.9
_MOST_SHRINK: Final = 0.25


class Window:
    """A number of bytes and what makes it grow and shrink."""

    def __init__(self) -> None:
        self._bytes = INITIAL_WINDOW_BYTES
        self._is_searching = True
        self._is_dry_round = False
        self._was_full = False
        self._round_started_at = -math.inf
        self._round_delay = math.inf
        self._late_in_a_row = 0
        self._base_seconds = math.inf
        self._base_seen_at = -math.inf

    @property
    def size_bytes(self) -> int:
        """How many bytes may be unacknowledged, between the limits above."""
        return MIN_WINDOW_BYTES if self._is_dry_round else self._bytes

    def note_full(self) -> None:
        """The sender had more to send than the window let through."""
        self._was_full = True

    def acknowledged(self, *, sent_at: float, now: float) -> None:
        """A message sent once at ``sent_at`` was acknowledged ``now``."""
        delay = now - sent_at
        if delay <= self._base_seconds:
            self._base_seconds = delay
            self._base_seen_at = now
        self._round_delay = min(self._round_delay, delay)
        self._late_in_a_row = self._late_in_a_row + 1 if delay - self._base_seconds > LATE_SECONDS else 0
        if sent_at >= self._round_started_at:
            self._finish_round(now)
        elif self._is_searching and self._was_full and self._late_in_a_row >= LATE_ACKNOWLEDGEMENTS:
            self._round_delay = delay
            self._finish_round(now)

    def timed_out(self) -> None:
        """A message was overdue although nothing hints at a loss: something is full."""
        self._is_searching = False
        self._resize(0.5)

    def start_anew(self, now: float) -> None:
        """What was measured no longer holds: the way is another, or stood still."""
        self._is_dry_round = False
        self._was_full = False
        self._round_started_at = now
        self._round_delay = math.inf
        self._base_seconds = math.inf
        self._base_seen_at = now

    def _finish_round(self, now: float) -> None:
        is_base_old = now - self._base_seen_at > BASE_PERIOD_SECONDS
        if self._is_dry_round or (is_base_old and not self._was_full):
            # Nothing of ours stood in the way.
            self._is_dry_round = False
            self._base_seconds = self._round_delay
            self._base_seen_at = now
        elif self._was_full:
            # A window that was never full proves nothing about a larger or smaller one.
            self._follow_delay()
            self._is_dry_round = is_base_old
        self._was_full = False
        self._round_started_at = now
        self._round_delay = math.inf

    def _follow_delay(self) -> None:
        aim = self._base_seconds + TARGET_DELAY_SECONDS
        if self._round_delay > aim:
            self._is_searching = False
            # A full window's delay is its size by the way's speed, so this is the size that meets the aim.
            self._resize(min(_LEAST_SHRINK, max(_MOST_SHRINK, aim / self._round_delay)))
        else:
            self._resize(_SEARCH if self._is_searching else _GROWTH)

    def _resize(self, factor: float) -> None:
        self._bytes = min(MAX_WINDOW_BYTES, max(MIN_WINDOW_BYTES, int(self._bytes * factor)))
