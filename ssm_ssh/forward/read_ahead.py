"""Streams of which somebody has read something already."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ssm_ssh.transport.byte_stream import READ_BYTES

if TYPE_CHECKING:
    from ssm_ssh.forward.relay import LocalConnection
    from ssm_ssh.transport.byte_stream import ByteStream


class ReadAhead:
    """A ``ByteStream`` that gives out first what was read from it before."""

    def __init__(self, stream: ByteStream, ahead: bytes) -> None:
        self._stream = stream
        self._ahead = ahead

    async def read(self, max_bytes: int = READ_BYTES) -> bytes:
        """See ``ByteStream``."""
        if self._ahead:
            data, self._ahead = self._ahead[:max_bytes], self._ahead[max_bytes:]
            return data
        return await self._stream.read(max_bytes)

    async def write(self, data: bytes) -> None:
        """See ``ByteStream``."""
        await self._stream.write(data)

    async def end(self) -> None:
        """See ``ByteStream``."""
        await self._stream.end()

    async def close(self) -> None:
        """See ``ByteStream``."""
        await self._stream.close()


class LocalReadAhead(ReadAhead):
    """The same of a local connection."""

    def __init__(self, local: LocalConnection, ahead: bytes) -> None:
        super().__init__(local, ahead)
        self._local = local

    def reset(self) -> None:
        """See ``LocalConnection``."""
        self._local.reset()
