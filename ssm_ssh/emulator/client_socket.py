"""The WebSocket of one client at the message gateway."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

from aiohttp import web

if TYPE_CHECKING:
    from aiohttp import WSMessage

# Ours: above the 4 MiB that the agent was seen to accept (protocol 2.5).
LARGEST_MESSAGE_BYTES: Final = 16 * 1024 * 1024
# Ours: what may wait in this process for a slow client; a cut loses it.
_WRITE_BUFFER_BYTES: Final = 16 * 1024
# Ours: how long the other side may take to answer our close frame.
_CLOSE_SECONDS: Final = 0.5


class ClientGone(Exception):
    """The client's WebSocket is closed or broken."""


class ClientSocket:
    """One accepted WebSocket. Pings are the reader's to answer, so that they can be counted and withheld."""

    def __init__(self) -> None:
        self._response = web.WebSocketResponse(
            timeout=_CLOSE_SECONDS,
            autoping=False,
            compress=False,
            max_msg_size=LARGEST_MESSAGE_BYTES,
            # Ask after every message whether the transport is full: the transport is the only buffer.
            writer_limit=0,
        )
        self._transport: asyncio.Transport | None = None

    async def accept(self, request: web.Request) -> web.WebSocketResponse:
        """Answer the upgrade. Raises ``web.HTTPException`` for a request that is none."""
        await self._response.prepare(request)
        self._transport = request.transport
        if self._transport is not None:
            self._transport.set_write_buffer_limits(high=_WRITE_BUFFER_BYTES)
        return self._response

    async def receive(self) -> WSMessage:
        """The next message of any type, control messages included; a close type ends the stream."""
        return await self._response.receive()

    async def send(self, message: bytes) -> None:
        """Send one binary message; waits while the client is slow.

        Raises:
            ClientGone: If the WebSocket is closed or broken.
        """
        try:
            await self._response.send_bytes(message)
        except ConnectionError as error:
            raise ClientGone from error

    async def pong(self, payload: bytes) -> None:
        """Answer a ping. Raises ``ClientGone`` like ``send``."""
        try:
            await self._response.pong(payload)
        except ConnectionError as error:
            raise ClientGone from error

    def cut(self) -> None:
        """Break the TCP connection at once, without a close frame. Never raises."""
        if self._transport is not None:
            self._transport.abort()

    def cut_if_open(self) -> None:
        """Make sure that the connection does not outlive its reader. Never raises."""
        if not self._response.closed:
            self.cut()

    async def close(self, code: int, reason: bytes = b"") -> None:
        """Close with a close frame; waits shortly for the client's. Never raises."""
        try:
            async with asyncio.timeout(2 * _CLOSE_SECONDS):
                await self._response.close(code=code, message=reason)
        except (TimeoutError, ConnectionError):
            self.cut()
