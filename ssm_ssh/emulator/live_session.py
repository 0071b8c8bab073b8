"""A session from StartSession to its end: the service's side of it.

It owns the agent's run of the session and the relay between the client's WebSocket and the agent's link.
Either may vanish and come back; messages wait meanwhile, as many as the bounded queues hold, and then their
sender waits.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

from ssm_ssh.emulator.client_socket import ClientGone
from ssm_ssh.emulator.fault import Direction, Side
from ssm_ssh.emulator.impairment import ImpairedLine
from ssm_ssh.emulator.link import SessionOver, TaskStatus
from ssm_ssh.emulator.memory_link import MemoryLink
from ssm_ssh.emulator.message_queue import QueueClosed
from ssm_ssh.emulator.service_message import (
    channel_closed,
    is_client_message,
    is_data,
    is_for_service,
    publication,
)
from ssm_ssh.emulator.session_record import SessionStatus
from ssm_ssh.emulator.session_token import SessionToken
from ssm_ssh.errors import MalformedMessage
from ssm_ssh.wire.agent_message import MessageType
from ssm_ssh.wire.payload import OpenDataChannel

if TYPE_CHECKING:
    from collections.abc import Callable

    from ssm_ssh.emulator.client_socket import ClientSocket
    from ssm_ssh.emulator.fault import FaultSwitch
    from ssm_ssh.emulator.link import Agent, AgentLink, SessionOrder, TaskComplete
    from ssm_ssh.emulator.session_record import SessionRecord
    from ssm_ssh.emulator.settings import ServiceSettings

# Ours: how long the agent's last words may take to a slow client before channel_closed overtakes them.
_FLUSH_SECONDS: Final = 5.0
# Ours: how long a client may take to hear channel_closed.
_FAREWELL_SECONDS: Final = 1.0
# Ours: an agent that takes nothing for so long loses messages, which its client repeats; otherwise pings
# would wait behind them and a slow node would look like a dead service.
_STUCK_SECONDS: Final = 5.0
# Ours: AWS's words are not published.
_IDLE_OUTPUT: Final = "Session timed out due to inactivity."
_LIFETIME_OUTPUT: Final = "Session reached its maximum duration."


@dataclass(frozen=True, slots=True)
class _Ending:
    status: SessionStatus
    output: str = ""


class LiveSession:
    """One session that is not over yet.

    Attributes:
        record: What the API tells of it; stays when the session is over.
        token: What opens the client's next data channel.
    """

    def __init__(
        self,
        record: SessionRecord,
        agent: Agent,
        order: SessionOrder,
        settings: ServiceSettings,
        faults: FaultSwitch,
    ) -> None:
        loop = asyncio.get_running_loop()
        self.record = record
        self.token = SessionToken(settings.token_seconds)
        self._agent = agent
        self._order = order
        self._settings = settings
        self._faults = faults
        self._ending: asyncio.Future[_Ending] = loop.create_future()
        self._now = loop.time
        self._last_data = loop.time()
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
        self._bye_timers: dict[Side, asyncio.TimerHandle] = {}
        self._second_started = 0.0
        self._messages_this_second = 0
        self._to_client = self._line(Direction.TO_CLIENT)
        self._to_agent = self._line(Direction.TO_AGENT)

    # --- its life ----------------------------------------------------------------------------------------

    async def run(self) -> None:
        """Carry the session from order to end."""
        try:
            async with asyncio.TaskGroup() as tasks:
                self._tasks = tasks
                agent = tasks.create_task(self._agent.run_session(self._order, self.dial))
                agent.add_done_callback(self._agent_finished)
                background = [
                    tasks.create_task(work)
                    for work in (
                        self._relay_from_agent(),
                        self._to_client.run(),
                        self._to_agent.run(),
                        self._expire(),
                    )
                ]
                ending = await self._ending
                await self._end(agent, ending)
                for task in background:
                    task.cancel()
                self.record.status = ending.status
                self.record.output = ending.output
        finally:
            self._vanish()

    def terminate(self) -> None:
        """End the session as TerminateSession does; the ending itself goes on in ``run``."""
        self._finish(_Ending(SessionStatus.TERMINATED))

    @property
    def is_ending(self) -> bool:
        """Whether the end has begun: the token is dead and nobody may connect."""
        return self._ending.done()

    def cut(self, side: Side) -> None:
        """Break connections abruptly; what the gateway holds for the way down is lost."""
        if side in {Side.CLIENT, Side.BOTH} and self._client is not None:
            self.record.counts.cuts += 1
            self._to_client.discard()
            client = self._client
            self.detach(client)
            client.cut()
        if side in {Side.AGENT, Side.BOTH} and self._link is not None:
            self.record.counts.cuts += 1
            self._to_agent.discard()
            self.record.counts.lost += self._link.cut()

    async def publish(self, message_type: MessageType) -> None:
        """Say pause or start of publication to both sides, whatever the truth is."""
        self._tell_agent(publication(message_type))
        if self._client is not None:
            await self._send_to_client(publication(message_type))

    def _finish(self, ending: _Ending) -> None:
        if not self._ending.done():
            self.record.status = SessionStatus.TERMINATING
            self._ending.set_result(ending)

    def _agent_finished(self, agent: asyncio.Task[TaskComplete]) -> None:
        if agent.cancelled() or agent.exception() is not None:
            return
        complete = agent.result()
        is_failure = complete.status is TaskStatus.FAILED
        status = SessionStatus.FAILED if is_failure else SessionStatus.TERMINATED
        self._finish(_Ending(status, complete.output))

    async def _expire(self) -> None:
        """End the session when it has been silent, or has lived, for too long."""
        settings = self._settings
        lifetime_end = self._now() + (settings.session_seconds or float("inf"))
        while True:
            deadline = min(self._last_data + settings.idle_seconds, lifetime_end)
            if deadline > self._now():
                await asyncio.sleep(deadline - self._now())
                continue
            output = _LIFETIME_OUTPUT if deadline == lifetime_end else _IDLE_OUTPUT
            self._finish(_Ending(SessionStatus.TERMINATED, output))
            return

    async def _end(self, agent: asyncio.Task[TaskComplete], ending: _Ending) -> None:
        closed = channel_closed(self.record, ending.output)
        if agent.done():
            await self._flush()
        else:
            self._tell_agent(closed)
        await self._say_farewell(closed)
        if not agent.done():
            await asyncio.wait([agent], timeout=self._settings.agent_grace_seconds if self._link else 0)
            agent.cancel()

    async def _flush(self) -> None:
        """Let the agent's last words reach the client."""
        if self._link is not None:
            self._link.shut()
        if self._client is None:
            return
        try:
            async with asyncio.timeout(_FLUSH_SECONDS):
                if self._link is not None:
                    await self._link_drained.wait()
                await self._to_client.drain()
        except TimeoutError:
            pass

    async def _say_farewell(self, closed: bytes) -> None:
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

    def _vanish(self) -> None:
        """Leave nothing behind, also when cancelled."""
        if not self._ending.done():
            self._ending.cancel()
        if not self.record.status.is_over:
            self.record.status = SessionStatus.TERMINATED
        self.record.end = datetime.now(UTC)
        for timer in self._bye_timers.values():
            timer.cancel()
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
        self.record.status = SessionStatus.CONNECTED
        self.record.counts.client_channels += 1
        self._is_client_paused = False
        self._say_bye_later(Side.CLIENT, lambda: self._say_bye(client))
        if self._is_agent_paused:
            self._is_agent_paused = False
            self._tell_agent(publication(MessageType.START_PUBLICATION))

    def detach(self, client: ClientSocket) -> None:
        """The client's WebSocket is gone: unless a newer one came, the session waits to be resumed."""
        if self._client is not client:
            return
        self._client = None
        self._client_arrived.clear()
        if not self.is_ending:
            self.record.status = SessionStatus.DISCONNECTED
            self._is_agent_paused = True
            self._tell_agent(publication(MessageType.PAUSE_PUBLICATION))

    async def from_client(self, client: ClientSocket, raw: bytes) -> None:
        """Relay one message; waits while the agent is slow."""
        counts = self.record.counts
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
        if is_data(raw):
            self._last_data = self._now()
        if self._is_agent_stuck and (self._link is None or len(self._link.to_agent) > 0):
            counts.lost += 1
            return
        self._is_agent_stuck = False
        try:
            async with asyncio.timeout(_STUCK_SECONDS):
                await self._to_agent.carry(raw)
        except TimeoutError:
            self._is_agent_stuck = True
            counts.lost += 1

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
            if self._faults.now.is_silent or await self._send_to_client(raw):
                return

    async def _send_to_client(self, raw: bytes) -> bool:
        """Whether the client's WebSocket took the message."""
        client = self._client
        if client is None or self._faults.now.is_silent:
            return False
        try:
            await client.send(raw)
        except ClientGone:
            self.detach(client)
            return False
        self.record.counts.to_client += 1
        return True

    # --- the agent's side --------------------------------------------------------------------------------

    async def dial(self) -> AgentLink:
        """See ``Dial``."""
        if self.is_ending:
            raise SessionOver
        if self._link is not None:
            self._link.cut()
        self._link = link = MemoryLink()
        self._link_open.clear()
        self._link_drained.clear()
        self._link_dialed.set()
        return link

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
        counts = self.record.counts
        while True:
            message = await link.from_agent.get()
            # Everything after the first message is binary on both sides (protocol 2.2).
            if isinstance(message, str) or is_for_service(message):
                continue
            counts.from_agent += 1
            if is_data(message):
                self._last_data = self._now()
            await self._to_client.carry(message)

    async def _open_link(self, link: MemoryLink) -> None:
        first = await link.from_agent.get()
        try:
            OpenDataChannel.decode(first if isinstance(first, str) else "")
        except MalformedMessage:
            link.cut()
            raise QueueClosed from None
        self.record.counts.agent_channels += 1
        # The agent's own pause ends with a reconnect (protocol 4.6), the client's absence does not.
        if self._client is None and self.record.counts.client_channels:
            self._is_agent_paused = True
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
        if not self.is_ending and self._client is not None:
            self._is_client_paused = True
            await self._send_to_client(publication(MessageType.PAUSE_PUBLICATION))

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
            self.record.counts.to_agent += 1
            return

    def _tell_agent(self, raw: bytes) -> None:
        if self._link is None:
            return
        with suppress(QueueClosed):
            self._link.to_agent.put_at_once(raw)

    # --- small print -------------------------------------------------------------------------------------

    def _line(self, direction: Direction) -> ImpairedLine:
        deliver = {
            Direction.TO_CLIENT: self._deliver_to_client,
            Direction.TO_AGENT: self._deliver_to_agent,
        }
        chance = self._faults.random(self.record.number, direction)
        return ImpairedLine(self._faults, direction, chance, deliver[direction], self.record.counts)

    def _say_bye_later(self, side: Side, say: Callable[[], None]) -> None:
        previous = self._bye_timers.pop(side, None)
        if previous is not None:
            previous.cancel()
        loop = asyncio.get_running_loop()
        self._bye_timers[side] = loop.call_later(self._settings.bye_seconds, say)

    def _say_bye(self, client: ClientSocket) -> None:
        """Protocol 2.4: close code 1000 with reason "Bye" means that the client should resume."""
        if self._client is client and self._tasks is not None:
            self._tasks.create_task(client.close(1000, b"Bye"))
