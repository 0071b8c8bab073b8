"""One TCP connection from the node to a port."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Awaitable, Callable


class PortConnection:
    """A connection whose writes wait for the kernel: a slow reader is felt at once."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer
        writer.transport.set_write_buffer_limits(high=0)

    async def read(self, limit: int) -> bytes:
        """The port's next bytes; ``b""`` at their end and after ``close``. Raises ``OSError``."""
        data = await self._reader.read(limit)
        return b"" if self._writer.is_closing() else data

    async def write(self, data: bytes) -> None:
        """Write, and wait until the kernel has it all. Raises ``OSError``."""
        if self._writer.is_closing():
            raise ConnectionAbortedError("the port's connection is closed")
        self._writer.write(data)
        await self._writer.drain()

    def close(self) -> None:
        """Close both directions; whoever reads sees the end."""
        self._writer.close()

    def drop(self) -> None:
        """Close both directions; bytes that the port would not read are given up."""
        if self._writer.transport.get_write_buffer_size():
            self._writer.transport.abort()
        self._writer.close()

    async def hang_up(self) -> None:
        """Drop it and wait until it is gone."""
        self.drop()
        with suppress(OSError):
            await self._writer.wait_closed()


async def copy(
    read: Callable[[int], Awaitable[bytes]], write: Callable[[bytes], Awaitable[None]], piece_bytes: int
) -> None:
    """Copy until ``read`` gives ``b""``."""
    while data := await read(piece_bytes):
        await write(data)
