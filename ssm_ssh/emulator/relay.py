"""The relay of one session: the client's WebSocket on one side, the agent's link on the other.

Either may vanish and come back; messages wait meanwhile, as many as the bounded queues hold, and then their
sender waits.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import TYPE_CHECKING, Final

from ssm_ssh.emulator.client_socket import ClientGone
from ssm_ssh.emulator.fault import Direction, Side
from ssm_ssh.emulator.impairment import ImpairedLine
from ssm_ssh.emulator.memory_link import MemoryLink
from ssm_ssh.emulator.message_queue import QueueClosed
from ssm_ssh.emulator.service_message import is_client_message, is_for_service, is_input, publication
from ssm_ssh.emulator.session_record import SessionStatus
from ssm_ssh.errors import MalformedMessage
from ssm_ssh.wire.agent_message import MessageType
from ssm_ssh.wire.payload import OpenDataChannel

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from ssm_ssh.emulator.client_socket import ClientSocket
    from ssm_ssh.emulator.fault import FaultSwitch
    from ssm_ssh.emulator.session_record import SessionRecord

# Ours: how long the agent's last words may take to a slow client before channel_closed overtakes them.
_FLUSH_SECONDS: Final = 5.0
# Ours: how long a client may take to hear channel_closed.
_FAREWELL_SECONDS: Final = 1.0
# Ours: an agent that takes nothing for so long loses messages, which its client repeats; otherwise pings
# would wait behind them and a slow node would look like a dead service.
_STUCK_SECONDS: Final = 5.0


class Relay:
    """Both sides of one session's data channel, and what is under way between them.

    Attributes:
        last_input: When the client last sent sequenced data or came back, on the loop's clock.
        is_closing: Set by the session when its end begins: losses are not worth a word any more.
    """

    def __init__(self, record: SessionRecord, faults: FaultSwitch, *, bye_seconds: float) -> None:
        self._record = record
        self._counts = record.counts
        self._faults = faults
        self._bye_seconds = bye_seconds
        self._now = asyncio.get_running_loop().time
        self._tasks: asyncio.TaskGroup | None = None
        self._client: ClientSocket | None = None
        self._client_arrived = asyncio.Event()
        self._link: MemoryLink | None = None
        self._link_dialed = asyncio.Event()
        self._link_open = asyncio.Event()
        self._link_drained = asyncio.Event()
        self._is_agent_paused = False
        self._is_client_paused = False
        self._is_agent_stuck = False
        self._patience: asyncio.Timeout | None = None
        self._bye_timers: dict[Side, asyncio.TimerHandle] = {}
        self._second_started = 0.0
        self._messages_this_second = 0
        self._to_client = self._line(Direction.TO_CLIENT, self._deliver_to_client)
        self._to_agent = self._line(Direction.TO_AGENT, self._deliver_to_agent)
        self.last_input = self._now()
        self.is_closing = False

    @property
    def has_agent(self) -> bool:
        """Whether the agent's link is there."""
        return self._link is not None

    async def run(self) -> None:
        """Relay until cancelled, and leave no connection behind."""
        try:
            async with asyncio.TaskGroup() as tasks:
                self._tasks = tasks
                tasks.create_task(self._to_client.run())
                tasks.create_task(self._to_agent.run())
                await self._relay_from_agent()
        finally:
            self._drop()

    def cut(self, side: Side) -> None:
        """Break connections abruptly; what the gateway holds for them is lost."""
        if side in {Side.CLIENT, Side.BOTH} and self._client is not None:
            self._counts.cuts += 1
            self._to_client.discard()
            client = self._client
            self.detach(client)
            client.cut()
        if side in {Side.AGENT, Side.BOTH} and self._link is not None:
            self._counts.cuts += 1
            self._to_agent.discard()
            self._counts.lost += self._link.cut()

    async def publish(self, message_type: MessageType) -> None:
        """Say pause or start of publication to both sides, whatever the truth is."""
        self.tell_agent(publication(message_type))
        await self._send_to_client(publication(message_type))

    async def wait_for_first_client(self) -> None:
        """Return once any client has opened its data channel."""
        if not self._counts.client_channels:
            await self._client_arrived.wait()

    async def flush(self) -> None:
        """Let an agent's last words reach the client, within reason; its link is shut."""
        if self._link is not None:
            self._link.shut()
        if self._client is None:
            return
        with suppress(TimeoutError):
            async with asyncio.timeout(_FLUSH_SECONDS):
                if self._link is not None:
                    await self._link_drained.wait()
                await self._to_client.drain()

    async def say_farewell(self, closed: bytes) -> None:
        """Tell the client that the session is over, and close its WebSocket."""
        client = self._client
        if client is None:
            return
        try:
            async with asyncio.timeout(_FAREWELL_SECONDS):
                await self._send_to_client(closed)
        except TimeoutError:
            client.cut()
        self.detach(client)
        await client.close(1000)

    def _drop(self) -> None:
        for timer in self._bye_timers.values():
            timer.cancel()
        if self._patience is not None and not self._patience.expired():
            # Whoever still waits for the agent waits for nothing.
            self._patience.reschedule(self._now())
        if self._client is not None:
            self._client.cut()
        if self._link is not None:
            self._link.cut()

    # --- the client's side -------------------------------------------------------------------------------

    def attach(self, client: ClientSocket) -> None:
        """Take a client's open data channel; one that was there before is dropped."""
        if self._client is not None:
            self._client.cut()
        self._client = client
        self._client_arrived.set()
        self.last_input = self._now()
        self._record.status = SessionStatus.CONNECTED
        self._counts.client_channels += 1
        self._is_client_paused = False
        self._say_bye_later(Side.CLIENT, lambda: self._say_bye(client))
        if self._is_agent_paused:
            self._is_agent_paused = False
            self.tell_agent(publication(MessageType.START_PUBLICATION))

    def detach(self, client: ClientSocket) -> None:
        """The client's WebSocket is gone: unless a newer one came, the session waits to be resumed."""
        if self._client is not client:
            return
        self._client = None
        self._client_arrived.clear()
        if not self.is_closing:
            self._record.status = SessionStatus.DISCONNECTED
            self._is_agent_paused = True
            self.tell_agent(publication(MessageType.PAUSE_PUBLICATION))

    async def from_client(self, client: ClientSocket, raw: bytes) -> None:
        """Relay one message; waits while the agent is slow."""
        counts = self._counts
        counts.from_client += 1
        faults = self._faults.now
        if faults.is_silent or self._client is not client:
            return
        if faults.message_limit_per_second is not None and self._is_flood(faults.message_limit_per_second):
            self.cut(Side.CLIENT)
            return
        if not is_client_message(raw):
            counts.refused += 1
            return
        if is_input(raw):
            self.last_input = self._now()
        # The usual case first: nothing in the way, nothing to wait for.
        if self._to_agent.is_clear and self._link_open.is_set() and self._hand_over(raw):
            self._is_agent_stuck = False
            return
        if self._is_agent_stuck:
            counts.lost += 1
            return
        try:
            async with asyncio.timeout(_STUCK_SECONDS) as self._patience:
                await self._to_agent.carry(raw)
        except TimeoutError:
            self._is_agent_stuck = True
            counts.lost += 1
        finally:
            self._patience = None

    def _is_flood(self, limit: int) -> bool:
        now = self._now()
        if now - self._second_started >= 1.0:
            self._second_started = now
            self._messages_this_second = 0
        self._messages_this_second += 1
        return self._messages_this_second > limit

    async def _deliver_to_client(self, raw: bytes) -> None:
        while True:
            await self._client_arrived.wait()
            if await self._send_to_client(raw) or self._faults.now.is_silent:
                return

    async def _send_to_client(self, raw: bytes) -> bool:
        """Whether there is a client and its WebSocket took the message."""
        client = self._client
        if client is None or self._faults.now.is_silent:
            return False
        try:
            await client.send(raw)
        except ClientGone:
            self.detach(client)
            return False
        self._counts.to_client += 1
        return True

    # --- the agent's side --------------------------------------------------------------------------------

    def new_link(self) -> MemoryLink:
        """A fresh link for the agent; one that was there before is cut."""
        if self._link is not None:
            self._link.cut()
        self._link = MemoryLink()
        self._link_open.clear()
        self._link_drained.clear()
        self._link_dialed.set()
        return self._link

    def tell_agent(self, raw: bytes) -> None:
        """Say something of the service's own to the agent, if it is there."""
        if self._link is not None:
            with suppress(QueueClosed):
                self._link.to_agent.put_at_once(raw)

    async def _relay_from_agent(self) -> None:
        while True:
            await self._link_dialed.wait()
            self._link_dialed.clear()
            link = self._link
            if link is None:
                continue
            with suppress(QueueClosed):
                await self._read_link(link)
            await self._link_gone(link)

    async def _read_link(self, link: MemoryLink) -> None:
        """Relay until the link is closed. Raises ``QueueClosed`` then."""
        await self._open_link(link)
        counts = self._counts
        while True:
            message = await link.from_agent.get()
            # Everything after the first message is binary (protocol 2.2).
            if isinstance(message, str) or is_for_service(message):
                continue
            counts.from_agent += 1
            await self._to_client.carry(message)

    async def _open_link(self, link: MemoryLink) -> None:
        first = await link.from_agent.get()
        try:
            OpenDataChannel.decode(first if isinstance(first, str) else "")
        except MalformedMessage:
            link.cut()
            raise QueueClosed from None
        self._counts.agent_channels += 1
        # A reconnect ends the agent's own pause (protocol 4.6), not the client's absence.
        if self._is_agent_paused:
            link.to_agent.put_at_once(publication(MessageType.PAUSE_PUBLICATION))
        self._say_bye_later(Side.AGENT, link.shut)
        self._link_open.set()
        if self._is_client_paused:
            self._is_client_paused = False
            await self._send_to_client(publication(MessageType.START_PUBLICATION))

    async def _link_gone(self, link: MemoryLink) -> None:
        link.shut()
        if self._link is not link:
            return
        self._link = None
        self._link_open.clear()
        self._link_drained.set()
        if not self.is_closing and self._client is not None:
            self._is_client_paused = True
            await self._send_to_client(publication(MessageType.PAUSE_PUBLICATION))

    def _hand_over(self, raw: bytes) -> bool:
        """Whether the open link had room for the message and took it."""
        link = self._link
        if link is None or not link.to_agent.has_room:
            return False
        link.to_agent.put_at_once(raw)
        self._counts.to_agent += 1
        return True

    async def _deliver_to_agent(self, raw: bytes) -> None:
        while True:
            await self._link_open.wait()
            link = self._link
            assert link is not None, "an open link is there"
            try:
                await link.to_agent.put(raw)
            except QueueClosed:
                if self._link is link:
                    self._link_open.clear()
                continue
            self._counts.to_agent += 1
            return

    # --- small print -------------------------------------------------------------------------------------

    def _line(self, direction: Direction, deliver: Callable[[bytes], Awaitable[None]]) -> ImpairedLine:
        chance = self._faults.random(self._record.number, direction)
        return ImpairedLine(self._faults, direction, chance, deliver, self._counts)

    def _say_bye_later(self, side: Side, say: Callable[[], None]) -> None:
        previous = self._bye_timers.pop(side, None)
        if previous is not None:
            previous.cancel()
        self._bye_timers[side] = asyncio.get_running_loop().call_later(self._bye_seconds, say)

    def _say_bye(self, client: ClientSocket) -> None:
        """Protocol 2.4: close code 1000 with reason "Bye" means that the client should resume."""
        if self._client is client and self._tasks is not None:
            self._tasks.create_task(client.close(1000, b"Bye"))
