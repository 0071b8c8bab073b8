"""One session on an agent, from the order to the last word: the runner around ``AgentChannel``."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from ssm_ssh.emulator.agent_channel import AgentChannel
from ssm_ssh.emulator.document import resolve
from ssm_ssh.emulator.handshake import Handshake, HandshakeFailed, ReadLoopBlocked
from ssm_ssh.emulator.incoming import ReadLoopDied, read_message
from ssm_ssh.emulator.link import LinkCut, SessionOver, TaskComplete, TaskStatus
from ssm_ssh.emulator.room import InputRefused, NotReady, WorkerCrashed
from ssm_ssh.emulator.uplink import Uplink
from ssm_ssh.errors import MalformedMessage
from ssm_ssh.wire.agent_message import PayloadType

if TYPE_CHECKING:
    from collections.abc import Sequence
    from random import Random

    from ssm_ssh.emulator.agent_channel import ChannelCounts
    from ssm_ssh.emulator.agent_version import AgentTraits
    from ssm_ssh.emulator.incoming import Incoming
    from ssm_ssh.emulator.link import Dial, SessionOrder
    from ssm_ssh.emulator.room import Connect, Resolve, Room, RoomKind
    from ssm_ssh.emulator.timing import Timing

# Specification: what the agent's master process reports of a worker that is gone (protocol 7.3).
CRASH_TEXT: Final = (
    "document process failed unexpectedly: ipc messaging received timeout signal , "
    "check [ssm-document-worker]/[ssm-session-worker] log for crash reason"
)


@dataclass(frozen=True, slots=True)
class AgentSetting:
    """What all sessions of an agent have in common.

    Attributes:
        connect: The way to the node's ports.
        resolve: The node's resolver.
        vpc_networks: The address ranges of the node's VPC.
        counts: Where the sessions count what happens to them.
    """

    node_id: str
    traits: AgentTraits
    timing: Timing
    connect: Connect
    resolve: Resolve
    vpc_networks: Sequence[str]
    counts: ChannelCounts


class AgentSession:
    """One session at work.

    Args:
        order: What the service asked for.
        kind: How sessions of its type are carried out.
        dial: The way to the message gateway.
        setting: What it shares with the agent's other sessions.
        random: Seeded; decides the orders and delays that vary in the real agent.
    """

    def __init__(
        self,
        order: SessionOrder,
        kind: RoomKind,
        dial: Dial,
        *,
        setting: AgentSetting,
        random: Random,
    ) -> None:
        self.traits = traits = setting.traits
        self.timing = timing = setting.timing
        self.connect = setting.connect
        self.resolve = setting.resolve
        self.vpc_networks = setting.vpc_networks
        self._order = order
        self._kind = kind
        self._properties = resolve(dict(order.properties), order.parameters)
        self._uplink = Uplink(dial, node_id=setting.node_id, random=random, timing=timing)
        self._channel = AgentChannel(
            traits, random=random, wall_clock_ms=lambda: time.time_ns() // 1_000_000, counts=setting.counts
        )
        self._handshake = Handshake(
            self.send,
            agent_version=traits.version,
            session_type=order.session_type,
            properties=self._properties,
            response_seconds=timing.handshake_seconds,
        )
        # Seen both ways in real agents: two goroutines race.
        self._acknowledges_response_late = random.random() < 0.5
        self._room: Room | None = None
        self._terminated = asyncio.Event()
        self._drained = asyncio.Event()
        self._active = asyncio.Event()
        self._active.set()

    async def run(self) -> TaskComplete:
        """Carry the session to its end; the link is closed when this returns, however it returns."""
        try:
            await asyncio.sleep(self.timing.start_seconds)
            try:
                await self._uplink.connect()
            except (LinkCut, SessionOver) as error:
                return failed(f"Setting up data channel with id {self._order.session_id} failed: {error}")
            try:
                return await self._live()
            except WorkerCrashed:
                # The worker's sockets die with it; its master notices when the minute is over.
                await self._uplink.close()
                await asyncio.sleep(self.timing.crash_report_seconds)
                return TaskComplete(TaskStatus.FAILED, CRASH_TEXT)
        finally:
            await self._uplink.close()

    # --- what a room may use -----------------------------------------------------------------------------

    async def send(self, payload_type: int, payload: bytes) -> None:
        """Send one sequenced message, or hold it while publication is paused."""
        raw = self._channel.data(payload_type, payload, self._now())
        if raw is not None:
            await self._uplink.send(raw)

    async def wait_until_active(self) -> None:
        """Return while output may be read from its source.

        The real agent goes on reading while it has no link, and then repairs what it read at ten messages a
        second; here a cut costs no more than what the gateway held.
        """
        await self._uplink.wait_until_up()
        if self.traits.rests_while_paused:
            await self._active.wait()

    def terminate(self) -> None:
        """End the session as one that went well."""
        self._terminated.set()

    # --- inside ------------------------------------------------------------------------------------------

    async def _live(self) -> TaskComplete:
        try:
            async with asyncio.TaskGroup() as tasks:
                side_tasks = [tasks.create_task(self._read()), tasks.create_task(self._resend())]
                try:
                    outcome = await self._until_terminated(tasks)
                    if self.traits.drains:
                        await self._drain()
                finally:
                    for task in side_tasks:
                        task.cancel()
        except BaseExceptionGroup as group:
            # Only the work itself raises; what failed is told by its own exception.
            raise group.exceptions[0] from None
        return outcome

    async def _until_terminated(self, tasks: asyncio.TaskGroup) -> TaskComplete:
        """The work's own outcome, or success when somebody ends the session from outside."""
        work = tasks.create_task(self._work())
        end = tasks.create_task(self._terminated.wait())
        try:
            await asyncio.wait((work, end), return_when=asyncio.FIRST_COMPLETED)
            if work.done():
                return work.result()
            work.cancel()
            await asyncio.wait((work,))
            return TaskComplete(TaskStatus.SUCCESS)
        finally:
            end.cancel()
            work.cancel()

    async def _work(self) -> TaskComplete:
        await self._uplink.send(self._channel.session_state(self._order.session_id, "Connected"))
        client_version = ""
        if self._kind.has_handshake:
            try:
                client_version = await self._handshake.perform(self._handshake_done)
            except HandshakeFailed as reason:
                return failed(f"Encountered error while initiating handshake. {reason}")
        else:
            self._handshake_done()
        try:
            room = self._kind.open(self._properties, client_version, self)
        except ValueError as error:
            return failed(str(error))
        self._room = room
        return await room.run()

    def _handshake_done(self) -> None:
        self._channel.is_handshake_done = True

    async def _read(self) -> None:
        """The read loop: one message at a time, processed wholly before the next is looked at."""
        try:
            while True:
                try:
                    raw = await self._uplink.receive()
                except LinkCut:
                    await self._uplink.connect()
                    self._channel.reconnected()
                    self._note_changes()
                    continue
                await self._process(raw)
        except SessionOver:
            self.terminate()
        except (LinkCut, ReadLoopDied, ReadLoopBlocked):
            # The real agent logs this and goes on without reading; only the control channel ends it.
            return

    async def _process(self, raw: str | bytes) -> None:
        message = read_message(raw)
        if message is None:
            return
        self._channel.receive(message, self._now())
        self._note_changes()
        while (due := self._channel.next_input()) is not None:
            await self._take(due)
            await self._reply()
        await self._reply()

    async def _take(self, message: Incoming) -> None:
        try:
            await self._hand_over(message)
        except NotReady:
            if self.traits.refuses_when_not_ready:
                self._channel.refuse(message)
            else:
                self._channel.discard(message)
        except (InputRefused, MalformedMessage):
            self._channel.refuse(message)
        else:
            self._channel.accept(message)

    async def _hand_over(self, message: Incoming) -> None:
        if message.payload_type == PayloadType.HANDSHAKE_RESPONSE:
            self._handshake.take_response(message.payload)
            if self._acknowledges_response_late:
                await self._handshake.is_over.wait()
        elif self._room is None:
            raise NotReady
        else:
            await self._room.take(message.payload_type, message.payload)

    async def _reply(self) -> None:
        for raw in self._channel.messages_to_send():
            await self._uplink.send(raw)

    async def _resend(self) -> None:
        while True:
            await asyncio.sleep(self.timing.resend_tick_seconds)
            await self._uplink.wait_until_up()
            raw = self._channel.tick(self._now())
            if raw is not None:
                await self._uplink.send(raw)

    def _note_changes(self) -> None:
        """Wake whoever waits for what the channel just learned."""
        channel = self._channel
        if channel.is_paused:
            self._active.clear()
        else:
            self._active.set()
        if channel.is_closed:
            self.terminate()
        if not channel.unacknowledged:
            self._drained.set()

    async def _drain(self) -> None:
        """Wait for the last acknowledgements, but not for long."""
        self._drained.clear()
        if not self._channel.unacknowledged:
            return
        try:
            async with asyncio.timeout(self.timing.drain_seconds):
                await self._drained.wait()
        except TimeoutError:
            return

    @staticmethod
    def _now() -> float:
        return asyncio.get_running_loop().time()


def failed(text: str) -> TaskComplete:
    """A failure in the form in which the agent's own words reach the user (protocol 12.4)."""
    return TaskComplete(TaskStatus.FAILED, f"\n----------ERROR-------\n{text}")
