"""Runs one data channel over one WebSocket: one reader, and one writer that is also the only timer."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from typing import TYPE_CHECKING, Protocol

from ssm_ssh.errors import DataChannelLost
from ssm_ssh.transport.heartbeat import Heartbeat

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from ssm_ssh.protocol.data_channel import DataChannel
    from ssm_ssh.protocol.event import Event

_log = logging.getLogger(__name__)


def single_cause(group: BaseExceptionGroup) -> BaseException:
    """The first failure of a task group: the one that made it cancel the others. Groups stay inside.

    Raise it from its own ``__cause__``: ``from None`` would take that away.
    """
    return group.exceptions[0]


class MessageSocket(Protocol):
    """A WebSocket as the driver needs it."""

    @property
    def frames_heard(self) -> int:
        """How many frames of any kind have arrived, pings and pongs included."""

    async def send(self, messages: Sequence[str | bytes]) -> None:
        """Send all messages; waits while the peer does not take them. Raises ``DataChannelLost``."""

    async def receive(self) -> Sequence[str | bytes]:
        """All messages that have arrived, at least one. Raises ``DataChannelLost``."""

    def ping(self) -> None:
        """Ask the peer for a sign of life."""

    async def close(self) -> None:
        """Let go of the connection; twice is fine."""


class Driver:
    """A channel's runner, over as many WebSockets as the session needs, one after the other.

    Attributes:
        messages_heard: Messages received so far, over all WebSockets.
        progress: Set whenever something happened that ``wait_for`` may wait for.
    """

    def __init__(
        self,
        channel: DataChannel,
        deliver: Callable[[Event], None],
        wait_room: Callable[[], Awaitable[None]],
    ) -> None:
        """Make a driver.

        Args:
            channel: What to run.
            deliver: Takes one event, at once: what was acknowledged must not hang on a wait that may be
                cancelled.
            wait_room: Returns when more may be delivered; nothing is received until then.
        """
        self.progress = asyncio.Event()
        self.messages_heard = 0
        self._channel = channel
        self._deliver = deliver
        self._wait_room = wait_room
        self._wake = asyncio.Event()
        self._is_listening = False

    def wake(self) -> None:
        """Something was given to the channel: see what it wants to send."""
        self._wake.set()

    async def wait_for(self, predicate: Callable[[], bool]) -> None:
        """Wait until ``predicate`` holds; it is asked whenever something happened."""
        while not predicate():
            self.progress.clear()
            await self.progress.wait()

    async def run(self, socket: MessageSocket) -> None:
        """Drive until the channel has ended.

        Raises:
            DataChannelLost: If the WebSocket ended first, or fell silent.
            RemoteProtocolError: If something arrived that breaks the protocol.
        """
        try:
            async with asyncio.TaskGroup() as tasks:
                writer = tasks.create_task(self._write(socket))
                await self._read(socket)
                writer.cancel()
        except BaseExceptionGroup as group:
            cause = single_cause(group)
            raise cause from cause.__cause__

    async def _read(self, socket: MessageSocket) -> None:
        loop = asyncio.get_running_loop()
        while not self._channel.is_ended:
            await self._wait_room()
            self._is_listening = True
            try:
                messages = await socket.receive()
            finally:
                self._is_listening = False
            self._take_in(messages, loop.time())

    def _take_in(self, messages: Sequence[str | bytes], now: float) -> None:
        self.messages_heard += len(messages)
        try:
            for raw in messages:
                self._channel.receive_message(raw, now)
        finally:
            # Also what came before a message that breaks the protocol.
            for event in self._channel.events_received():
                _log.debug("< %s", type(event).__name__)
                self._deliver(event)
            self._wake.set()
            self.progress.set()

    async def _write(self, socket: MessageSocket) -> None:
        loop = asyncio.get_running_loop()
        heartbeat = Heartbeat(loop.time())
        frames_heard = -1
        while True:
            self._wake.clear()
            now = loop.time()
            if socket.frames_heard != frames_heard or not self._is_listening:
                frames_heard = socket.frames_heard
                heartbeat.heard(now)
            if heartbeat.is_dead(now):
                raise DataChannelLost("the message gateway has fallen silent")
            if heartbeat.is_ping_due(now):
                socket.ping()
            if messages := self._channel.messages_to_send(now):
                await self._send(socket, messages, heartbeat.next_deadline())
            else:
                await self._sleep_until(heartbeat.next_deadline())

    async def _send(self, socket: MessageSocket, messages: Sequence[str | bytes], deadline: float) -> None:
        """Send, but go on at ``deadline``: a peer that takes nothing more may be dead.

        Nothing is lost by it: either side repeats what is not acknowledged.
        """
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout_at(deadline):
                await socket.send(messages)

    async def _sleep_until(self, deadline: float) -> None:
        """Wait to be woken, or for the channel's deadline, or for ``deadline``."""
        channel_deadline = self._channel.next_deadline()
        if channel_deadline is not None:
            deadline = min(deadline, channel_deadline)
        try:
            async with asyncio.timeout_at(deadline):
                await self._wake.wait()
        except TimeoutError:
            self._channel.handle_deadline(asyncio.get_running_loop().time())
            self.progress.set()
