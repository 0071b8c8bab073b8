"""A session from StartSession to its end: the service's side of its life."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

from ssm_ssh.emulator.link import SessionOver, TaskStatus
from ssm_ssh.emulator.relay import Relay
from ssm_ssh.emulator.service_message import channel_closed
from ssm_ssh.emulator.session_record import SessionStatus
from ssm_ssh.emulator.session_token import SessionToken

if TYPE_CHECKING:
    from ssm_ssh.emulator.fault import FaultSwitch
    from ssm_ssh.emulator.link import Agent, AgentLink, SessionOrder, TaskComplete
    from ssm_ssh.emulator.session_record import SessionRecord
    from ssm_ssh.emulator.settings import ServiceSettings

# Ours: AWS's words are not published.
_IDLE_OUTPUT: Final = "Session timed out due to inactivity."
_LIFETIME_OUTPUT: Final = "Session reached its maximum duration."
# Ours: an agent that refuses a session at once is heard by users all the same (protocol 1.4).
_FIRST_CLIENT_SECONDS: Final = 5.0


@dataclass(frozen=True, slots=True)
class _Ending:
    status: SessionStatus
    output: str = ""


class LiveSession:
    """One session that is not over yet.

    Attributes:
        record: What the API tells of it; stays when the session is over.
        token: What opens the client's next data channel.
        relay: What carries its messages.
    """

    def __init__(
        self,
        record: SessionRecord,
        agent: Agent,
        order: SessionOrder,
        settings: ServiceSettings,
        faults: FaultSwitch,
    ) -> None:
        self.record = record
        self.token = SessionToken(settings.token_seconds)
        self.relay = Relay(record, faults, bye_seconds=settings.bye_seconds)
        self._agent = agent
        self._order = order
        self._settings = settings
        self._loop = asyncio.get_running_loop()
        self._ending: asyncio.Future[_Ending] = self._loop.create_future()

    @property
    def is_ending(self) -> bool:
        """Whether the end has begun: the token is dead and nobody may connect."""
        return self._ending.done()

    async def run(self) -> None:
        """Carry the session from order to end."""
        try:
            async with asyncio.TaskGroup() as tasks:
                relay = tasks.create_task(self.relay.run())
                expiry = tasks.create_task(self._expire())
                agent = tasks.create_task(self._run_agent())
                agent.add_done_callback(self._agent_finished)
                ending = await self._ending
                await self._end(agent, ending)
                relay.cancel()
                expiry.cancel()
                self.record.output = ending.output
                self.record.status = ending.status
        finally:
            self._ending.cancel()
            self.record.end = datetime.now(UTC)
            if not self.record.status.is_over:
                self.record.status = SessionStatus.TERMINATED

    def terminate(self) -> None:
        """End the session as TerminateSession does; the ending itself goes on in ``run``."""
        self._finish(_Ending(SessionStatus.TERMINATED))

    async def _run_agent(self) -> TaskComplete:
        """Run the agent; what it says at its end waits for a client that is still on its way."""
        complete = await self._agent.run_session(self._order, self._dial)
        if complete.output:
            with suppress(TimeoutError):
                async with asyncio.timeout(_FIRST_CLIENT_SECONDS):
                    await self.relay.wait_for_first_client()
        return complete

    async def _dial(self) -> AgentLink:
        """See ``Dial``."""
        if self.is_ending:
            raise SessionOver
        return self.relay.new_link()

    def _finish(self, ending: _Ending) -> None:
        if not self._ending.done():
            self.record.status = SessionStatus.TERMINATING
            self.relay.is_closing = True
            self._ending.set_result(ending)

    def _agent_finished(self, agent: asyncio.Task[TaskComplete]) -> None:
        if agent.cancelled() or agent.exception() is not None:
            return
        complete = agent.result()
        has_failed = complete.status is TaskStatus.FAILED
        status = SessionStatus.FAILED if has_failed else SessionStatus.TERMINATED
        self._finish(_Ending(status, complete.output))

    async def _expire(self) -> None:
        """End the session when it has been silent, or has lived, for too long."""
        settings = self._settings
        lifetime = float("inf") if settings.session_seconds is None else settings.session_seconds
        lifetime_end = self._loop.time() + lifetime
        while True:
            deadline = min(self.relay.last_input + settings.idle_seconds, lifetime_end)
            if deadline > self._loop.time():
                await asyncio.sleep(deadline - self._loop.time())
                continue
            output = _LIFETIME_OUTPUT if deadline == lifetime_end else _IDLE_OUTPUT
            self._finish(_Ending(SessionStatus.TERMINATED, output))
            return

    async def _end(self, agent: asyncio.Task[TaskComplete], ending: _Ending) -> None:
        closed = channel_closed(self.record, ending.output)
        if agent.done():
            await self.relay.flush()
        else:
            self.relay.tell_agent(closed)
        await self.relay.say_farewell(closed)
        if not agent.done():
            grace = self._settings.agent_grace_seconds if self.relay.has_agent else 0
            await asyncio.wait([agent], timeout=grace)
            agent.cancel()
