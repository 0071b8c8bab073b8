"""A local TCP or Unix connection as a byte stream."""

from __future__ import annotations

import contextlib
import socket
import struct
from typing import TYPE_CHECKING, Final

from ssm_ssh.errors import StreamReset
from ssm_ssh.transport.byte_stream import READ_BYTES

if TYPE_CHECKING:
    from asyncio import StreamReader, StreamWriter
    from asyncio.trsock import TransportSocket

    Connection = socket.socket | TransportSocket

# SO_LINGER on, for no time: closing sends a reset instead of an end.
_RESET: Final = struct.pack("ii", 1, 0)


class SocketStream:
    """A ``ByteStream`` over one accepted connection. Memory: asyncio's own limits."""

    def __init__(self, reader: StreamReader, writer: StreamWriter) -> None:
        self._reader = reader
        self._writer = writer
        self._has_ended = False

    async def read(self, max_bytes: int = READ_BYTES) -> bytes:
        """The next bytes, or ``b""`` once the local program has ended its side.

        Raises:
            StreamReset: If it broke the connection.
        """
        try:
            return await self._reader.read(max_bytes)
        except OSError as error:
            raise StreamReset(f"the local program broke the connection: {error.strerror}") from error

    async def write(self, data: bytes) -> None:
        """Accept all of ``data``; waits while the local program does not read.

        Raises:
            StreamReset: If it broke the connection.
        """
        self._writer.write(data)
        try:
            await self._writer.drain()
        except OSError as error:
            raise StreamReset(f"the local program broke the connection: {error.strerror}") from error

    async def end(self) -> None:
        """No more from us; the local program sees the end behind the last byte."""
        if not self._has_ended:
            self._has_ended = True
            with contextlib.suppress(OSError):
                self._writer.write_eof()

    async def close(self) -> None:
        """Both sides; what was written still leaves."""
        self._writer.close()
        with contextlib.suppress(OSError):
            await self._writer.wait_closed()

    def reset(self) -> None:
        """Break the connection, as a refused one looks; what was not sent is dropped."""
        connection = self._writer.get_extra_info("socket")
        if connection is not None:
            _let_close_reset(connection)
        self._writer.transport.abort()


def reset_socket(connection: socket.socket) -> None:
    """Break an accepted connection that has no stream yet."""
    _let_close_reset(connection)
    connection.close()


def _let_close_reset(connection: Connection) -> None:
    if connection.family in {socket.AF_INET, socket.AF_INET6}:
        with contextlib.suppress(OSError):
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
