"""Streams over one session: in memory, on a virtual clock, beside a scripted agent."""

from __future__ import annotations

import asyncio
import random
import tracemalloc
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import asynccontextmanager, suppress
from typing import Final

import pytest

from ssm_ssh.errors import (
    DataChannelLost,
    DestinationRefused,
    LocalProtocolError,
    MalformedMessage,
    SessionLost,
    SsmSshError,
    StreamReset,
)
from ssm_ssh.protocol.mux import STREAM_QUEUE_BYTES
from ssm_ssh.session.mux_session import (
    SESSION_UNREAD_BYTES,
    STALL_SECONDS,
    STREAM_UNREAD_BYTES,
    MuxSession,
    MuxStream,
)
from ssm_ssh.transport.byte_stream import READ_BYTES, ByteStream
from tests.protocol.smux_peer import FIN, NOP, PSH, SYN, frame
from tests.session.memory_carrier import (
    MemoryCarrier,
    expect_nothing_left,
    mux_session,
    read_all,
    settle,
)
from tests.virtual_loop import run_virtually

MIB: Final = 1024 * 1024


def now() -> float:
    """The virtual clock."""
    return asyncio.get_running_loop().time()


async def open_stream(session: MuxSession) -> MuxStream:
    """A stream that the agent knows."""
    stream = session.open_stream()
    await settle()
    return stream


async def failure_of(waiting: Awaitable[object]) -> SsmSshError:
    """Why something failed."""
    with pytest.raises(SsmSshError) as caught:
        await waiting
    return caught.value


# --- one stream ------------------------------------------------------------------------------------------


def test_a_stream_is_a_byte_stream() -> None:
    """Bytes both ways, each with its end."""

    async def scenario() -> None:
        async with mux_session() as (session, carrier):
            stream: ByteStream = session.open_stream()
            await stream.write(b"ping")
            await settle()
            assert carrier.agent.heard == [(SYN, 3, 0), (PSH, 3, 4)]
            carrier.arrive(carrier.agent.send(3, b"pong"))
            assert await stream.read(3) == b"pon"
            assert await stream.read() == b"g"
            await stream.close()
            await stream.close()
            await settle()
            assert carrier.agent.heard[-1] == (FIN, 3, 0)
            expect_nothing_left(session)

    run_virtually(scenario())


def test_a_late_answer_arrives_whole() -> None:
    """Our end is kept back until the agent's; then both are over and nothing is left, without a close."""

    async def scenario() -> None:
        async with mux_session() as (session, carrier):
            stream = session.open_stream()
            await stream.write(b"request")
            await stream.end()
            await stream.end()
            await asyncio.sleep(60)
            assert carrier.agent.heard == [(SYN, 3, 0), (PSH, 3, 7)]
            carrier.agent_sends(stream, bytes(300_000))
            carrier.agent_ends(stream)
            assert await read_all(stream) == bytes(300_000)
            assert await stream.read() == b""
            await settle()
            assert carrier.agent.heard[-1] == (FIN, 3, 0)
            expect_nothing_left(session)

    run_virtually(scenario())


def test_what_was_written_before_the_end_is_sent_before_the_close() -> None:
    """A program that sends and leaves has sent."""

    async def scenario() -> None:
        async with mux_session() as (session, carrier):
            carrier.has_room.clear()
            stream = session.open_stream()
            await stream.write(bytes(50_000))
            await stream.end()
            await stream.close()
            carrier.has_room.set()
            await settle()
            assert carrier.agent.streams[3].received == bytes(50_000)
            expect_nothing_left(session)

    run_virtually(scenario())


def test_writing_waits_for_room() -> None:
    """A carrier that takes nothing stops the writer after the queue and one piece on its way; all arrives."""

    async def scenario() -> None:
        async with mux_session() as (session, carrier):
            stream = session.open_stream()
            carrier.has_room.clear()
            data = random.Random(1).randbytes(MIB)
            sent_bytes = 0

            async def write() -> None:
                nonlocal sent_bytes
                for start in range(0, MIB, 1000):
                    await stream.write(data[start : start + 1000])
                    sent_bytes = start + 1000

            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(write())
                await asyncio.sleep(60)
                assert STREAM_QUEUE_BYTES - 1000 < sent_bytes < STREAM_QUEUE_BYTES + 2 * 32 * 1024
                carrier.has_room.set()
            await settle()
            assert carrier.agent.streams[3].received == data

    run_virtually(scenario())


def test_an_end_of_the_agent_stops_the_writer_and_not_the_reader() -> None:
    """What is written after it would be discarded by the agent; what came before it can still be read."""

    async def scenario() -> None:
        async with mux_session() as (session, carrier):
            stream = await open_stream(session)
            carrier.has_room.clear()
            async with asyncio.TaskGroup() as tasks:
                writing = tasks.create_task(failure_of(stream.write(bytes(MIB))))
                await settle()
                carrier.agent_sends(stream, b"413 too large")
                carrier.agent_ends(stream)
            assert isinstance(writing.result(), StreamReset)
            assert isinstance(await failure_of(stream.write(b"more")), StreamReset)
            assert len(session) == 1
            assert await read_all(stream) == b"413 too large"
            await stream.end()
            carrier.has_room.set()
            await settle()
            assert carrier.agent.heard[-1] == (FIN, 3, 0)
            expect_nothing_left(session)

    run_virtually(scenario())


def test_nothing_can_be_written_after_our_end() -> None:
    """Not even by somebody who waits for room already: it would wait for ever."""

    async def scenario() -> None:
        async with mux_session() as (session, carrier):
            stream = await open_stream(session)
            carrier.has_room.clear()
            async with asyncio.TaskGroup() as tasks:
                writing = tasks.create_task(failure_of(stream.write(bytes(MIB))))
                await settle()
                await stream.end()
            assert isinstance(writing.result(), LocalProtocolError)
            assert isinstance(await failure_of(stream.write(b"more")), LocalProtocolError)

    run_virtually(scenario())


def test_closing_wakes_who_waits() -> None:
    """A reader and a writer learn of it; what is unread is gone, and that is no end."""

    async def scenario() -> None:
        async with mux_session() as (session, carrier):
            stream = await open_stream(session)
            carrier.has_room.clear()
            async with asyncio.TaskGroup() as tasks:
                reading = tasks.create_task(failure_of(stream.read()))
                writing = tasks.create_task(failure_of(stream.write(bytes(MIB))))
                await settle()
                await stream.close()
            assert isinstance(reading.result(), StreamReset)
            assert isinstance(writing.result(), StreamReset)
            other = session.open_stream()
            carrier.has_room.set()
            await settle()
            carrier.agent_sends(other, b"never read")
            carrier.agent_ends(other)
            await settle()
            await other.close()
            assert isinstance(await failure_of(other.read()), StreamReset)
            await settle()
            expect_nothing_left(session)

    run_virtually(scenario())


# --- refused ---------------------------------------------------------------------------------------------


def test_a_refusal_reaches_the_stream_that_is_meant() -> None:
    """Not one that was heard, nor one that ended before the flag, nor one after."""

    async def scenario() -> None:
        async with mux_session() as (session, carrier):
            streams = [session.open_stream() for _ in range(4)]
            heard, early, refused, late = streams
            await settle()
            before = carrier.agent.send(3, b"x") + carrier.agent.end(5)
            # The flag comes by another way, and its bytes are still to be read: one piece holds everything.
            session.note_refusal(after_bytes=len(before))
            carrier.arrive(before + b"".join(carrier.agent.end(number) for number in (3, 7, 9)))
            assert await read_all(early) == b""
            assert await read_all(heard) == b"x"
            assert isinstance(await failure_of(refused.read()), DestinationRefused)
            assert isinstance(await failure_of(refused.write(b"x")), DestinationRefused)
            assert await read_all(late) == b""
            await settle()
            expect_nothing_left(session)

    run_virtually(scenario())


@pytest.mark.parametrize("has_syn_left", [True, False])
def test_a_refusal_of_a_stream_that_we_left_is_nobody_elses(has_syn_left: bool) -> None:  # noqa: FBT001
    """A program that did not wait for the refusal does not pass it on to the next one."""

    async def scenario() -> None:
        async with mux_session() as (session, carrier):
            carrier.is_prompt = False
            left = session.open_stream()
            if has_syn_left:
                await settle()
            await left.close()
            other = await open_stream(session)
            if has_syn_left:
                session.note_refusal()
                carrier.agent_ends(left)
            carrier.agent_ends(other)
            assert await other.read() == b""
            await settle()
            expect_nothing_left(session)

    run_virtually(scenario())


# --- the session's ends ----------------------------------------------------------------------------------

Ending = Callable[[MemoryCarrier], None]


@pytest.mark.parametrize(
    ("end", "reason"),
    [
        (lambda carrier: carrier.finish(), StreamReset),
        (lambda carrier: carrier.finish(SessionLost("gone")), SessionLost),
        (lambda carrier: carrier.arrive(b"\x02" * 8), MalformedMessage),
    ],
    ids=["ended", "lost", "malformed"],
)
def test_every_stream_learns_why_the_session_is_over(end: Ending, reason: type[SsmSshError]) -> None:
    """After what had arrived, each with an exception of its own; no stream can be opened any more."""

    async def scenario() -> None:
        carrier = MemoryCarrier()
        session = MuxSession(carrier, keeps_alive=False)
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(session.run())
            streams = [session.open_stream() for _ in range(3)]
            await settle()
            reading = [tasks.create_task(failure_of(stream.read())) for stream in streams[:2]]
            carrier.agent_sends(streams[2], b"before")
            await settle()
            assert not session.is_over
            end(carrier)
        failures = [task.result() for task in reading]
        assert [type(failure) for failure in failures] == [reason, reason]
        assert failures[0] is not failures[1]
        assert await streams[2].read() == b"before"
        assert type(await failure_of(streams[2].read())) is reason
        assert type(await failure_of(streams[2].write(b"x"))) is reason
        assert session.is_over
        with pytest.raises(StreamReset):
            session.open_stream()
        for stream in streams:
            await stream.end()
            await stream.close()
        assert len(session) == 0

    run_virtually(scenario())


def test_a_copied_failure_keeps_its_cause() -> None:
    """``__cause__`` is the last failure, as the error's own words promise."""

    async def scenario() -> None:
        async with mux_session() as (session, carrier):
            stream = await open_stream(session)
            lost = SessionLost("gone")
            lost.__cause__ = DataChannelLost("cut")
            carrier.finish(lost)
            failure = await failure_of(stream.read())
            assert failure is not lost
            assert failure.__cause__ is lost.__cause__

    run_virtually(scenario())


def test_what_arrived_before_writing_broke_is_read() -> None:
    """Writers learn of a broken carrier at once, readers after the bytes that it still holds."""

    async def scenario() -> None:
        carrier = MemoryCarrier()
        session = MuxSession(carrier, keeps_alive=False)
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(session.run())
            stream, idle = session.open_stream(), session.open_stream()
            await settle()
            carrier.has_room.clear()
            writing = tasks.create_task(failure_of(stream.write(bytes(MIB))))
            await settle()
            carrier.break_writing(DataChannelLost("cut"))
            await settle()
            assert isinstance(writing.result(), DataChannelLost)
            assert session.is_over
            assert isinstance(await failure_of(idle.write(b"x")), DataChannelLost)
            carrier.agent_sends(stream, b"the last words")
            carrier.agent_ends(stream)
            carrier.finish()
        assert await read_all(stream) == b"the last words"
        assert isinstance(await failure_of(idle.read()), DataChannelLost)

    run_virtually(scenario())


def test_our_own_mistakes_are_not_swallowed() -> None:
    """An error that is none of the package's leaves ``run`` as itself, not in a group."""

    class Broken(MemoryCarrier):
        async def read(self, max_bytes: int = READ_BYTES) -> bytes:
            raise ZeroDivisionError(max_bytes)

    async def scenario() -> None:
        session = MuxSession(Broken(), keeps_alive=False)
        stream = session.open_stream()
        with pytest.raises(ZeroDivisionError):
            await session.run()
        assert isinstance(await failure_of(stream.read()), StreamReset)

    run_virtually(scenario())


# --- readers that do not read ----------------------------------------------------------------------------


def bulk(carrier: MemoryCarrier, *streams: MuxStream, size_bytes: int) -> None:
    """The agent sends much on each stream, in turns."""
    body = bytes(READ_BYTES - 8)
    for _ in range(0, size_bytes, len(body)):
        carrier.arrive_in(frame(PSH, stream.stream_id, body) for stream in streams)


def test_a_stalled_reader_alone_is_pure_back_pressure() -> None:
    """The session stops reading, for as long as it takes, and then nothing is missing."""

    async def scenario() -> None:
        async with mux_session() as (session, carrier):
            stream = await open_stream(session)
            bulk(carrier, stream, size_bytes=2 * STREAM_UNREAD_BYTES)
            all_bytes = carrier.unread_bytes
            await asyncio.sleep(3600)
            assert STREAM_UNREAD_BYTES < stream.unread_bytes <= STREAM_UNREAD_BYTES + READ_BYTES
            assert session._unread_bytes == stream.unread_bytes
            carrier.agent_ends(stream)
            received_bytes = len(await read_all(stream))
            assert received_bytes == all_bytes - 8 * (all_bytes // READ_BYTES)
            await settle()
            expect_nothing_left(session)

    run_virtually(scenario())


@pytest.mark.parametrize("is_opened_later", [False, True])
def test_a_stalled_reader_among_others_is_given_up(is_opened_later: bool) -> None:  # noqa: FBT001
    """The others wait for it no longer than stated, whether they were there before or came later."""

    async def scenario() -> None:
        async with mux_session() as (session, carrier):
            stalled = await open_stream(session)
            shell = None if is_opened_later else await open_stream(session)
            bulk(carrier, stalled, size_bytes=2 * STREAM_UNREAD_BYTES)
            await asyncio.sleep(1)
            shell = shell or await open_stream(session)
            began = now()
            carrier.agent_sends(shell, b"prompt")
            assert await shell.read() == b"prompt"
            assert now() - began <= STALL_SECONDS
            failure = await failure_of(stalled.read())
            assert isinstance(failure, StreamReset)
            assert "nobody read" in str(failure)
            assert isinstance(await failure_of(stalled.write(b"x")), StreamReset)
            await settle()
            assert carrier.unread_bytes == 0
            assert session._unread_bytes == 0
            assert carrier.agent.streams[3].has_client_ended
            assert len(session) == 1

    run_virtually(scenario())


def test_an_idle_reader_is_not_taken_for_a_stalled_one() -> None:
    """A program that has read nothing for an hour, because there was nothing, has its time after a burst."""

    async def scenario() -> None:
        async with mux_session() as (session, carrier):
            stream, _other = await open_stream(session), await open_stream(session)
            await asyncio.sleep(3600)
            bulk(carrier, stream, size_bytes=2 * STREAM_UNREAD_BYTES)
            carrier.agent_ends(stream)
            await asyncio.sleep(0.9 * STALL_SECONDS)
            assert len(await read_all(stream)) >= 2 * STREAM_UNREAD_BYTES

    run_virtually(scenario())


def test_a_reader_gets_its_turn_while_the_carrier_never_waits() -> None:
    """What one reads at once does not pile up, and nobody else waits for all of it."""

    async def scenario() -> None:
        async with mux_session() as (session, carrier):
            stream = await open_stream(session)
            bulk(carrier, stream, size_bytes=MIB)
            carrier.agent_ends(stream)
            while await stream.read():
                assert stream.unread_bytes <= 2 * READ_BYTES

    run_virtually(scenario())


def test_what_was_received_to_its_end_holds_nobody_up() -> None:
    """It grows no more: the limit of one stream is for those that do."""

    async def scenario() -> None:
        async with mux_session() as (session, carrier):
            ended, shell = await open_stream(session), await open_stream(session)
            size_bytes = STREAM_UNREAD_BYTES - STREAM_UNREAD_BYTES % (READ_BYTES - 8)
            bulk(carrier, ended, size_bytes=size_bytes)
            carrier.arrive(carrier.agent.send(3, bytes(50_000)) + carrier.agent.end(3))
            await asyncio.sleep(1)
            assert ended.unread_bytes == size_bytes + 50_000 > STREAM_UNREAD_BYTES
            for _ in range(2):
                began = now()
                carrier.agent_sends(shell, b"prompt")
                assert await shell.read() == b"prompt"
                assert now() == began
                assert await ended.read(1) == b"\0"
                await asyncio.sleep(3600)
            assert len(await read_all(ended)) == size_bytes + 50_000 - 2

    run_virtually(scenario())


def test_a_stream_that_has_ended_waits_for_nobody() -> None:
    """A stalled reader beside it is alone: nothing more can come for the other."""

    async def scenario() -> None:
        async with mux_session() as (session, carrier):
            stalled, ended = await open_stream(session), await open_stream(session)
            carrier.agent_sends(ended, b"bye")
            carrier.agent_ends(ended)
            bulk(carrier, stalled, size_bytes=2 * STREAM_UNREAD_BYTES)
            carrier.agent_ends(stalled)
            await asyncio.sleep(3600)
            assert len(await read_all(stalled)) >= 2 * STREAM_UNREAD_BYTES
            assert await read_all(ended) == b"bye"

    run_virtually(scenario())


def test_a_slow_reader_is_not_given_up() -> None:
    """Who reads at all is waited for: resetting it would lose what a little patience brings."""

    async def scenario() -> None:
        async with mux_session() as (session, carrier):
            slow, _other = await open_stream(session), await open_stream(session)
            bulk(carrier, slow, size_bytes=STREAM_UNREAD_BYTES + 10 * READ_BYTES)
            for _ in range(20):
                await asyncio.sleep(0.9 * STALL_SECONDS)
                assert await slow.read()

    run_virtually(scenario())


def test_memory_is_bounded_over_all_streams() -> None:
    """Streams that the agent has ended count; small ones are spared, heavy ones given up, oldest first."""

    async def scenario() -> None:
        async with mux_session() as (session, carrier):
            small = await open_stream(session)
            heavy = [await open_stream(session) for _ in range(8)]
            carrier.agent_sends(small, b"unread, and older than all")
            await settle()
            tracemalloc.start()
            for stream in heavy:
                bulk(carrier, stream, size_bytes=STREAM_UNREAD_BYTES - MIB)
                carrier.agent_ends(stream)
                await settle()
                await asyncio.sleep(0.5)
                assert session._unread_bytes <= SESSION_UNREAD_BYTES + READ_BYTES
            await asyncio.sleep(60)
            held_bytes, _ = tracemalloc.get_traced_memory()
            tracemalloc.stop()
            assert carrier.unread_bytes == 0
            assert held_bytes < 1.1 * SESSION_UNREAD_BYTES
            given_up = [isinstance(await outcome(stream), StreamReset) for stream in heavy]
            assert given_up == [True] * 4 + [False] * 4
            assert await small.read() == b"unread, and older than all"
            await small.close()
            await settle()
            expect_nothing_left(session)

    async def outcome(stream: MuxStream) -> object:
        try:
            return await read_all(stream)
        except StreamReset as reset:
            return reset

    run_virtually(scenario())


# --- many ------------------------------------------------------------------------------------------------


def test_a_keystroke_goes_before_bulk() -> None:
    """It leaves with the next piece, not after what 50 streams have queued."""

    async def scenario() -> None:
        async with mux_session() as (session, carrier):
            shell = session.open_stream()
            full = [session.open_stream() for _ in range(50)]
            async with asyncio.TaskGroup() as tasks:
                writing = [tasks.create_task(stream.write(bytes(MIB))) for stream in full]
                for _ in range(200):
                    await asyncio.sleep(0)
                carrier.has_room.clear()
                await settle()
                await shell.write(b"k")
                before = len(carrier.agent.heard)
                carrier.has_room.set()
                await settle()
                ahead = carrier.agent.heard[before:].index((PSH, shell.stream_id, 1))
                assert ahead <= 2 * 32 * 1024 // (8 * 1024)
                for task in writing:
                    task.cancel()

    run_virtually(scenario())


def test_200_streams_at_once() -> None:
    """Whatever they send and however it is cut, each gets its own bytes and all of them."""

    async def scenario() -> None:
        chance = random.Random(200)
        async with mux_session() as (session, carrier), asyncio.TaskGroup() as tasks:

            async def converse(request: bytes, answer: bytes) -> None:
                stream = session.open_stream()
                await stream.write(request)
                await stream.end()
                await asyncio.sleep(1)
                assert carrier.agent.streams[stream.stream_id].received == request
                async with asyncio.TaskGroup() as both:
                    reading = both.create_task(read_all(stream))
                    for start in range(0, len(answer), 20_000):
                        await asyncio.sleep(chance.random())
                        arrive_in_pieces(carrier.agent.send(stream.stream_id, answer[start : start + 20_000]))
                    carrier.agent_ends(stream)
                assert reading.result() == answer
                await stream.close()

            def arrive_in_pieces(data: bytes) -> None:
                cuts = sorted(chance.randrange(len(data)) for _ in range(5))
                carrier.arrive_in(data[i:j] for i, j in zip([0, *cuts], [*cuts, len(data)], strict=True))

            for _ in range(200):
                sizes = (int(2 ** chance.uniform(0, 18)) for _ in range(2))
                tasks.create_task(converse(*map(chance.randbytes, sizes)))
        expect_nothing_left(session)

    run_virtually(scenario())


def test_1000_streams_leave_nothing() -> None:
    """However they ended."""

    async def scenario() -> None:
        async with mux_session() as (session, carrier):
            for number in range(1000):
                stream = session.open_stream()
                if number % 5:
                    await stream.write(b"x")
                if number % 3:
                    await settle()
                    carrier.agent_sends(stream, b"y")
                    carrier.agent_ends(stream)
                if number % 2:
                    await settle()
                await stream.close()
            await settle()
            expect_nothing_left(session)
            assert not session._mux._turns._spent_bytes
            assert not carrier.unread_bytes

    run_virtually(scenario())


@pytest.mark.parametrize("keeps_alive", [False, True])
def test_nops_are_sent_where_they_are_wanted(keeps_alive: bool) -> None:  # noqa: FBT001
    """Every ten seconds of silence, and never unasked."""

    async def scenario() -> None:
        async with mux_session(keeps_alive=keeps_alive) as (_session, carrier):
            await asyncio.sleep(35)
            assert carrier.agent.heard == [(NOP, 0, 0)] * 3 * keeps_alive

    run_virtually(scenario())


# --- cancelled -------------------------------------------------------------------------------------------


@asynccontextmanager
async def cancelled_after(steps: int, victim: Coroutine[object, object, None]) -> AsyncIterator[None]:
    """Cancel ``victim`` after so many turns of the loop, beside the block."""
    async with asyncio.TaskGroup() as tasks:
        task = tasks.create_task(victim)
        for _ in range(steps):
            await asyncio.sleep(0)
        task.cancel()
        yield


@pytest.mark.parametrize("steps", range(0, 60, 3))
def test_a_stream_may_be_cancelled_anywhere(steps: int) -> None:
    """Its neighbour does not notice, and once it is closed nothing is left."""

    async def scenario() -> None:
        async with mux_session() as (session, carrier):
            neighbour = session.open_stream()
            stream = await open_stream(session)

            async def converse() -> None:
                try:
                    await stream.write(bytes(3 * STREAM_QUEUE_BYTES))
                    carrier.agent_sends(stream, bytes(100_000))
                    for _ in range(2):
                        await stream.read(50_000)
                    await stream.end()
                    await stream.read()
                finally:
                    await stream.close()

            async with cancelled_after(steps, converse()):
                pass
            await stream.close()
            await neighbour.write(b"ping")
            await settle()
            assert carrier.agent.streams[3].received == b"ping"
            await neighbour.close()
            await settle()
            expect_nothing_left(session)

    run_virtually(scenario())


@pytest.mark.parametrize("steps", range(1, 30, 2))
def test_a_session_may_be_cancelled_anywhere(steps: int) -> None:
    """Whoever reads or writes learns of it, and no task is left."""

    async def scenario() -> None:
        carrier = MemoryCarrier()
        session = MuxSession(carrier, keeps_alive=True)
        streams = [session.open_stream() for _ in range(3)]

        async def talk(stream: MuxStream) -> None:
            with suppress(StreamReset):
                while True:
                    await stream.write(bytes(50_000))
            assert isinstance(await failure_of(read_all(stream)), StreamReset)

        async with asyncio.TaskGroup() as tasks:
            for stream in streams:
                tasks.create_task(talk(stream))
            bulk(carrier, streams[0], size_bytes=2 * STREAM_UNREAD_BYTES)
            async with cancelled_after(steps, session.run()):
                pass
        assert session.is_over
        assert len(session) == 0

    run_virtually(scenario())
