"""What has arrived and nobody has read yet."""

from __future__ import annotations

from collections import deque
from typing import Final

# Ours: smaller pieces are joined as they arrive, or single bytes would take fifty times their size.
_PIECE_BYTES: Final = 4 * 1024


class Unread:
    """The bytes between one that receives and one that reads. Without a bound: who adds must see to that.

    Attributes:
        size_bytes: How much there is.
    """

    def __init__(self) -> None:
        self.size_bytes = 0
        self._pieces: deque[bytes] = deque()

    def add(self, data: bytes) -> None:
        """Put data, at least one byte, behind the rest."""
        self.size_bytes += len(data)
        if self._pieces and len(self._pieces[-1]) + len(data) <= _PIECE_BYTES:
            self._pieces[-1] += data
        else:
            self._pieces.append(data)

    def take(self, max_bytes: int) -> bytes:
        """Up to ``max_bytes``, joined from as many pieces as fit whole: one write is cheaper than sixty."""
        pieces = [self._pieces.popleft()]
        size = len(pieces[0])
        while self._pieces and size + len(self._pieces[0]) <= max_bytes:
            pieces.append(self._pieces.popleft())
            size += len(pieces[-1])
        data = b"".join(pieces)
        if size > max_bytes:
            self._pieces.appendleft(data[max_bytes:])
            data = data[:max_bytes]
        self.size_bytes -= len(data)
        return data

    def clear(self) -> None:
        """Drop everything."""
        self._pieces.clear()
        self.size_bytes = 0
