"""The contract of every byte stream: a session's port, stdin and stdout, local sockets."""

from __future__ import annotations

from typing import Final, Protocol

# Ours: what one read asks for at most; the size of a pipe on Linux.
READ_BYTES: Final = 65_536


class ByteStream(Protocol):
    """Bytes both ways, each way with an end of its own."""

    async def read(self, max_bytes: int = READ_BYTES) -> bytes:
        """The next bytes, at least one; ``b""`` if, and only if, the peer ended its side.

        One reader at a time. A cancelled call has taken nothing.

        Raises:
            SsmSshError: If the stream broke instead of ending.
        """

    async def write(self, data: bytes) -> None:
        """Accept all of ``data``; returns when more may be written.

        A cancelled call may have accepted any part of it.

        Raises:
            SsmSshError: If the stream is broken or over.
        """

    async def end(self) -> None:
        """No more from us; reading goes on. Returns when all that was written is there. Twice is fine."""

    async def close(self) -> None:
        """Both sides, at once; who reads or writes afterwards gets an error. Never raises, twice is fine."""
