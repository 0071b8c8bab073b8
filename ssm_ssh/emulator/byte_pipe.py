"""A pipe inside the agent: bytes in order, so many at most, and a writer that waits for its reader."""

from __future__ import annotations

import asyncio
from typing import Final

# Specification: what Linux gives a Unix socket by default; the real agent's pipe is one.
PIPE_BYTES: Final = 212_992


class BytePipe:
    """One direction, one writer and one reader at a time; in memory, so that a virtual clock can drive it.

    Args:
        capacity: Bytes it holds before a writer waits.
    """

    def __init__(self, capacity: int = PIPE_BYTES) -> None:
        self._capacity = capacity
        self._bytes = bytearray()
        self._filled = asyncio.Event()
        self._has_room = asyncio.Event()
        self._has_room.set()

    def __len__(self) -> int:
        return len(self._bytes)

    async def write(self, data: bytes) -> None:
        """Put ``data`` in, piece by piece as room appears; cancelled, it leaves what is in already."""
        view = memoryview(data)
        while view:
            await self._has_room.wait()
            room = self._capacity - len(self._bytes)
            self._bytes += view[:room]
            view = view[room:]
            self._filled.set()
            if len(self._bytes) >= self._capacity:
                self._has_room.clear()

    async def read(self, limit: int) -> bytes:
        """The next bytes, at least one and at most ``limit``."""
        while not self._bytes:
            await self._filled.wait()
        taken = bytes(self._bytes[:limit])
        del self._bytes[:limit]
        self._has_room.set()
        if not self._bytes:
            self._filled.clear()
        return taken

    async def read_exactly(self, count: int) -> bytes:
        """The next ``count`` bytes, however long they take to come."""
        pieces = bytearray()
        while len(pieces) < count:
            pieces += await self.read(count - len(pieces))
        return bytes(pieces)
