"""The driver over a socket in memory: one writer that is the only timer, and no byte lost by either."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from ssm_ssh.errors import DataChannelLost, MalformedMessage
from ssm_ssh.protocol.data_channel import DataChannel
from ssm_ssh.protocol.event import DataReceived, Event, SessionReady
from ssm_ssh.transport.driver import Driver, single_cause
from tests.session.memory_socket import MemorySocket
from tests.session.scripted_agent import ScriptedAgent
from tests.virtual_loop import run_virtually, virtual_loop

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Coroutine


class Talk:
    """A driven channel and its agent.

    Attributes:
        room: Cleared while the consumer holds the reader up.
        events: What was delivered.
    """

    def __init__(self) -> None:
        self.agent = ScriptedAgent()
        self.socket = MemorySocket(self.agent.receive)
        self.agent.attach(self.socket)
        self.channel = DataChannel(client_id="client", wall_clock_ms=lambda: 1_700_000_000_000)
        self.room = asyncio.Event()
        self.room.set()
        self.events: list[Event] = []
        self.driver = Driver(self.channel, self.events.append, self._wait_room)
        self.channel.open("token")

    async def _wait_room(self) -> None:
        await self.room.wait()

    def is_ready(self) -> bool:
        """Whether the handshake is over."""
        return any(isinstance(event, SessionReady) for event in self.events)

    @property
    def data(self) -> bytes:
        """The bytes delivered."""
        return b"".join(event.data for event in self.events if isinstance(event, DataReceived))


async def while_driven(talk: Talk, body: Callable[[asyncio.Task[None]], Awaitable[None]]) -> None:
    """Run ``body`` beside the driver, after the handshake; then stop."""
    driving = virtual_loop().create_task(talk.driver.run(talk.socket))
    await talk.driver.wait_for(talk.is_ready)
    # The acknowledgement of the handshake's response comes last.
    await asyncio.sleep(0.1)
    await body(driving)
    driving.cancel()
    await asyncio.wait([driving])


def drive(body: Callable[[Talk, asyncio.Task[None]], Coroutine[object, object, None]]) -> None:
    """Run ``body`` on a virtual clock beside a driver whose handshake is over."""

    async def scenario() -> None:
        talk = Talk()
        await while_driven(talk, lambda driving: body(talk, driving))

    run_virtually(scenario())


async def moment_of_death(driving: asyncio.Task[None]) -> float:
    """When the driver gave the peer up."""
    with pytest.raises(DataChannelLost, match="silent"):
        await driving
    return virtual_loop().time()


def test_it_runs_until_the_channel_ends() -> None:
    """A normal end is a return, with the writer gone too."""

    async def body(talk: Talk, driving: asyncio.Task[None]) -> None:
        talk.agent.say(b"bye")
        talk.agent.end()
        await driving
        assert talk.data == b"bye"
        assert talk.driver.messages_heard == 5

    drive(body)


def test_an_idle_peer_is_asked_every_ten_seconds() -> None:
    """Pings keep a silent stream alive, for hours, one about every ten seconds."""

    async def body(talk: Talk, driving: asyncio.Task[None]) -> None:
        await asyncio.sleep(3600)
        assert not driving.done()
        assert 170 <= len(talk.socket.pinged_at) <= 360
        assert all(at >= 9.9 for at in talk.socket.pinged_at)

    drive(body)


def test_a_speaking_peer_is_not_asked() -> None:
    """Data is a sign of life."""

    async def body(talk: Talk, _driving: asyncio.Task[None]) -> None:
        for _ in range(100):
            talk.agent.say(b".")
            await asyncio.sleep(3)
        assert talk.socket.pinged_at == []

    drive(body)


@pytest.mark.parametrize("tenths", range(0, 450, 17))
def test_a_dead_peer_is_found_in_under_30_seconds(tenths: int) -> None:
    """Symptom: a peer that died just after it had answered a ping was found dead after 35 seconds.

    Whenever it dies in the rhythm of pings.
    """

    async def body(talk: Talk, driving: asyncio.Task[None]) -> None:
        await asyncio.sleep(tenths / 10)
        talk.socket.answers_pings = False
        died_at = virtual_loop().time()
        assert 9 < await moment_of_death(driving) - died_at < 30

    drive(body)


def test_a_peer_that_takes_nothing_more_is_found_dead_too() -> None:
    """Symptom: while an upload filled the connection, the writer waited and nobody looked at the clock."""

    async def body(talk: Talk, driving: asyncio.Task[None]) -> None:
        talk.socket.answers_pings = False
        talk.socket.writable.clear()
        stalled_at = virtual_loop().time()
        talk.channel.send(bytes(talk.channel.room_bytes))
        talk.driver.wake()
        assert await moment_of_death(driving) - stalled_at < 30

    drive(body)


def test_a_peer_that_takes_nothing_for_a_while_loses_nothing() -> None:
    """One that lives on, answering, is waited for; what was not sent meanwhile is sent again."""

    async def body(talk: Talk, driving: asyncio.Task[None]) -> None:
        talk.socket.writable.clear()
        data = bytes(range(256)) * (talk.channel.room_bytes // 256)
        talk.channel.send(data)
        talk.driver.wake()
        await asyncio.sleep(120)
        assert not driving.done()
        talk.socket.writable.set()
        await talk.driver.wait_for(lambda: talk.channel.is_drained)
        assert talk.agent.received == data

    drive(body)


def test_a_consumer_that_holds_the_reader_up_does_not_make_the_peer_dead() -> None:
    """Nobody listened, so nothing can be said; once somebody listens, a dead peer is found again."""

    async def body(talk: Talk, driving: asyncio.Task[None]) -> None:
        talk.room.clear()
        talk.agent.say(b"x")
        await asyncio.sleep(1)
        talk.socket.answers_pings = False
        await asyncio.sleep(3600)
        assert not driving.done()
        talk.room.set()
        released_at = virtual_loop().time()
        assert await moment_of_death(driving) - released_at < 30

    drive(body)


def test_nothing_is_received_while_there_is_no_room() -> None:
    """One batch is delivered whole, then the reader waits."""

    async def body(talk: Talk, _driving: asyncio.Task[None]) -> None:
        talk.room.clear()
        talk.agent.say(b"first")
        await asyncio.sleep(1)
        talk.agent.say(b"second")
        await asyncio.sleep(1)
        assert talk.data == b"first"
        talk.room.set()
        await talk.driver.wait_for(lambda: talk.data == b"firstsecond")

    drive(body)


def test_a_broken_socket_is_told_without_a_group() -> None:
    """Whether reader or writer meets it first, it is the one exception, close code and cause included."""

    async def body(talk: Talk, driving: asyncio.Task[None]) -> None:
        talk.socket.lose("Bye", 1000)
        with pytest.raises(DataChannelLost) as loss:
            await driving
        assert loss.value.close_code == 1000

    drive(body)

    async def writer_first(talk: Talk, driving: asyncio.Task[None]) -> None:
        talk.room.clear()
        talk.agent.say(b"x")
        await asyncio.sleep(1)
        loss = DataChannelLost("broken")
        loss.__cause__ = OSError("why")
        talk.socket.fail(loss)
        talk.channel.send(b"x")
        talk.driver.wake()
        with pytest.raises(DataChannelLost) as raised:
            await driving
        assert raised.value is loss
        assert isinstance(raised.value.__cause__, OSError)

    drive(writer_first)


def test_what_came_before_garbage_is_delivered() -> None:
    """Good messages of the same batch count, and the garbage is an error."""

    async def body(talk: Talk, driving: asyncio.Task[None]) -> None:
        talk.agent.say(b"good")
        talk.socket.deliver(b"garbage")
        with pytest.raises(MalformedMessage):
            await driving
        assert talk.data == b"good"

    drive(body)


@pytest.mark.parametrize("moment", [0.0, 0.005, 0.015, 0.025, 0.035, 5.0, 15.0])
def test_cancellation_leaves_no_task(moment: float) -> None:
    """At whatever moment: the cancellation comes out, and nothing runs on."""

    async def scenario() -> None:
        talk = Talk()
        driving = virtual_loop().create_task(talk.driver.run(talk.socket))
        virtual_loop().call_at(moment, driving.cancel)
        with pytest.raises(asyncio.CancelledError):
            await driving
        assert asyncio.all_tasks() == {asyncio.current_task()}

    run_virtually(scenario())


def test_what_is_delivered_survives_cancellation() -> None:
    """Symptom: events behind the one that waited for room were lost with the stream, though acknowledged."""

    async def body(talk: Talk, driving: asyncio.Task[None]) -> None:
        talk.room.clear()
        talk.agent.say(b"x")
        await asyncio.sleep(1)
        talk.agent.say(bytes(10_000))
        await asyncio.sleep(1)
        # Room for one batch, and it is a large one.
        talk.room.set()
        talk.room.clear()
        await asyncio.sleep(1)
        driving.cancel()
        await asyncio.wait([driving])
        assert len(talk.data) == 10_001
        assert talk.agent._unacknowledged == {}

    drive(body)


def test_several_wait_for_several_things() -> None:
    """Each waiter wakes for its own condition, although all share one event."""

    async def body(talk: Talk, _driving: asyncio.Task[None]) -> None:
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(talk.driver.wait_for(lambda: b"one" in talk.data))
            tasks.create_task(talk.driver.wait_for(lambda: b"two" in talk.data))
            tasks.create_task(talk.driver.wait_for(lambda: bool(talk.data)))
            talk.agent.say(b"one")
            await asyncio.sleep(1)
            talk.agent.say(b"two")

    drive(body)


def test_the_single_cause_is_the_first_and_stays_what_it_is() -> None:
    """Only the task group's own group is taken off, not one that somebody raised on purpose."""
    inner = ExceptionGroup("on purpose", [KeyError("x")])
    assert single_cause(ExceptionGroup("tasks", [inner, ValueError("later")])) is inner
