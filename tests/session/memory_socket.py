"""A ``MessageSocket`` in memory, with a peer that is told what is sent."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

from ssm_ssh.errors import DataChannelLost

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

# One way; enough to tell "sent" from "arrived".
LATENCY_SECONDS: Final = 0.01
_TICK_SECONDS: Final = 1e-7


class MemorySocket:
    """One WebSocket's client end.

    Attributes:
        peer: Told every message that is sent.
        answers_pings: Whether the peer's end still lives.
        pinged_at: When pings were sent.
        writable: Cleared while the peer takes nothing.
        is_closed: Whether the client let go of it.
    """

    def __init__(self, peer: Callable[[str | bytes], None]) -> None:
        self.peer = peer
        self.answers_pings = True
        self.pinged_at: list[float] = []
        self.writable = asyncio.Event()
        self.writable.set()
        self.is_closed = False
        self._last_at = 0.0
        self._frames_heard = 0
        self._arrived: list[str | bytes] = []
        self._news = asyncio.Event()
        self._loss: Exception | None = None

    # --- as the driver sees it ---

    @property
    def frames_heard(self) -> int:
        """As ``MessageSocket`` says."""
        return self._frames_heard

    async def send(self, messages: Sequence[str | bytes]) -> None:
        """As ``MessageSocket`` says."""
        await self.writable.wait()
        self._raise_if_lost()
        for message in messages:
            self._later(self.peer, message)

    async def receive(self) -> Sequence[str | bytes]:
        """As ``MessageSocket`` says."""
        while not self._arrived:
            self._raise_if_lost()
            self._news.clear()
            await self._news.wait()
        arrived, self._arrived = self._arrived, []
        return arrived

    def ping(self) -> None:
        """As ``MessageSocket`` says."""
        self.pinged_at.append(asyncio.get_running_loop().time())
        if self.answers_pings:
            self._later(self._hear)

    async def close(self) -> None:
        """As ``MessageSocket`` says."""
        self.is_closed = True
        self.lose("it was closed here")

    # --- as the peer sees it ---

    def deliver(self, message: str | bytes) -> None:
        """A message from the peer, which arrives a little later."""
        self._later(self._arrive, message)

    def lose(self, reason: str = "cut", close_code: int | None = None) -> None:
        """The connection is gone, with whatever was on its way."""
        if self._loss is None:
            self._loss = DataChannelLost(reason, close_code=close_code)
        self._news.set()
        self.writable.set()

    def fail(self, bug: Exception) -> None:
        """What no socket may do: raise something of its own."""
        self._loss = bug
        self.lose()

    # --- inside ---

    def _later(self, call: Callable[..., None], *arguments: object) -> None:
        # Timers of one moment fire in any order, and a WebSocket keeps its own.
        loop = asyncio.get_running_loop()
        self._last_at = max(loop.time() + LATENCY_SECONDS, self._last_at + _TICK_SECONDS)
        loop.call_at(self._last_at, self._unless_lost, call, *arguments)

    def _unless_lost(self, call: Callable[..., None], *arguments: object) -> None:
        if self._loss is None:
            call(*arguments)

    def _hear(self) -> None:
        self._frames_heard += 1

    def _arrive(self, message: str | bytes) -> None:
        self._hear()
        self._arrived.append(message)
        self._news.set()

    def _raise_if_lost(self) -> None:
        if self._loss is not None:
            raise self._loss
