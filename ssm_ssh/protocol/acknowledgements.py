"""Acknowledgements on their way to the agent.

The agent repairs its losses one message in 100 ms, the oldest first, and takes a lost acknowledgement for a
lost message (protocol 4.5): a cut that swallowed sixty of them would hold up everything behind for six
seconds. So the last ones are said again on a new stream; an agent that knows them ignores them.
"""

from __future__ import annotations

from collections import deque
from typing import Final

# Ours: about 5 MB. A peer that takes nothing and sends on gets no more; it repeats, and is then acknowledged.
PENDING_ACKNOWLEDGEMENTS: Final = 16_384
# Ours: some round trips of the fastest agent (protocol 11.2), in 75 kB.
REPEATED_ACKNOWLEDGEMENTS: Final = 256


class Acknowledgements:
    """What is still to be said, and the last that was said. Holds at most the two limits above, together."""

    def __init__(self) -> None:
        self._pending: list[bytes] = []
        self._said: deque[bytes] = deque(maxlen=REPEATED_ACKNOWLEDGEMENTS)

    @property
    def has_room(self) -> bool:
        """Whether one more may be added."""
        return len(self._pending) < PENDING_ACKNOWLEDGEMENTS

    def add(self, encoded: bytes) -> None:
        """Say this with the next ``take``."""
        self._pending.append(encoded)

    def take(self) -> list[bytes]:
        """What must be said now, in order."""
        taken, self._pending = self._pending, []
        self._said.extend(taken)
        return taken

    def repeat(self) -> None:
        """The stream is new, and what was said last on the old one may be lost: say it again."""
        self._pending[:0] = self._said
        self._said.clear()
