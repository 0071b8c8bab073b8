"""The byte stream of a port session that carries one connection, as SSH's does."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

from ssm_ssh.errors import SessionEnded, SsmSshError
from ssm_ssh.session.unread import Unread
from ssm_ssh.transport.byte_stream import READ_BYTES

if TYPE_CHECKING:
    from ssm_ssh.protocol.data_channel import DataChannel
    from ssm_ssh.transport.driver import Driver

# Ours: received and not read. Beyond it nothing more is received, so the agent stops reading its port.
UNREAD_BYTES: Final = 4 * 1024 * 1024


class PortStream:
    """A ``ByteStream`` over a data channel.

    Memory: ``UNREAD_BYTES``, what arrives in one go beyond it, and the channel's own limits.

    The agent has no half-close for such a session (protocol 7.3): ``end`` only waits until everything has
    arrived, and the node's server sees no end before the session is over.
    """

    def __init__(self, channel: DataChannel, driver: Driver) -> None:
        self._channel = channel
        self._driver = driver
        self._unread = Unread()
        self._readable = asyncio.Event()
        self._has_room = asyncio.Event()
        self._has_room.set()
        self._is_over = False
        self._is_closed = False
        self._failure: SsmSshError | None = None

    # --- the session's side ---

    def feed(self, data: bytes) -> None:
        """Take in what arrived, however much is unread; to be preceded by ``wait_room``."""
        if self._is_closed:
            return
        self._unread.add(data)
        self._readable.set()
        if self._unread.size_bytes >= UNREAD_BYTES:
            self._has_room.clear()

    async def wait_room(self) -> None:
        """Wait while too much is unread."""
        await self._has_room.wait()

    def finish(self, failure: SsmSshError | None) -> None:
        """Nothing more will arrive: the session ended, normally or with ``failure``."""
        self._is_over = True
        self._failure = failure
        self._readable.set()
        self._has_room.set()
        self._driver.progress.set()

    # --- the reader's and writer's side ---

    async def read(self, max_bytes: int = READ_BYTES) -> bytes:
        """The next bytes, or ``b""`` once the session has ended normally.

        Raises:
            SsmSshError: Why it ended, if that was no normal end; after everything that arrived was read.
        """
        while not self._unread.size_bytes:
            if self._is_closed:
                raise SessionEnded
            if self._is_over:
                if self._failure is not None:
                    raise self._failure
                return b""
            self._readable.clear()
            await self._readable.wait()
        data = self._unread.take(max_bytes)
        if self._unread.size_bytes < UNREAD_BYTES:
            self._has_room.set()
        return data

    async def write(self, data: bytes) -> None:
        """Accept all of ``data``; waits while the window is full.

        Raises:
            SsmSshError: Why the session is over.
        """
        view = memoryview(data)
        while view:
            await self._driver.wait_for(lambda: self._is_done or self._channel.room_bytes > 0)
            if self._is_done:
                raise self._failure or SessionEnded
            accepted = bytes(view[: self._channel.room_bytes])
            self._channel.send(accepted)
            view = view[len(accepted) :]
            self._driver.wake()

    async def end(self) -> None:
        """Wait until the agent has acknowledged all that was written, or the session is over."""
        await self._driver.wait_for(lambda: self._is_done or self._channel.is_drained)

    async def close(self) -> None:
        """Drop what is unread and what still comes; the session, which owns the channel, ends that."""
        self._is_closed = True
        self._unread.clear()
        self._readable.set()
        self._has_room.set()
        self._driver.progress.set()

    @property
    def _is_done(self) -> bool:
        return self._is_over or self._is_closed
