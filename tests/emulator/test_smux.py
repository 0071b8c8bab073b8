"""The agent's smux by itself: frames, budget, scheduling, keepalive."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import pytest

from ssm_ssh.emulator.byte_pipe import BytePipe
from ssm_ssh.emulator.smux import RECEIVE_BUDGET_BYTES, Command, SmuxServer, SmuxStream, StreamClosed, frame
from tests.emulator.smux_script import FIN, NOP, PSH, SYN, spell
from tests.emulator.virtual_time import run_virtually

if TYPE_CHECKING:
    from collections.abc import AsyncIterator


class Line:
    """A server and the far ends of its pipes."""

    def __init__(self, *, has_keepalive: bool = False, sink_bytes: int = 1 << 20) -> None:
        self.source = BytePipe()
        self.sink = BytePipe(sink_bytes)
        self.server = SmuxServer(self.source, self.sink, has_keepalive=has_keepalive)
        self.running: asyncio.Task[None]

    async def stream(self, stream_id: int) -> SmuxStream:
        """A stream that the client opened."""
        await self.source.write(spell(SYN, stream_id))
        stream = await self.server.accept()
        assert stream.stream_id == stream_id
        return stream


@asynccontextmanager
async def line(*, has_keepalive: bool = False, sink_bytes: int = 1 << 20) -> AsyncIterator[Line]:
    """A server at work."""
    made = Line(has_keepalive=has_keepalive, sink_bytes=sink_bytes)
    async with asyncio.TaskGroup() as tasks:
        made.running = tasks.create_task(made.server.run())
        yield made
        made.running.cancel()


async def heard(stream: SmuxStream) -> bytes:
    """All that comes until the FIN."""
    pieces = bytearray()

    async def keep(piece: bytes) -> None:
        pieces.extend(piece)

    await stream.copy_to(keep)
    return bytes(pieces)


@pytest.mark.parametrize(
    ("command", "stream_id", "data", "vector"),
    [
        (Command.SYN, 3, b"", "0100000003000000"),
        (
            Command.PSH,
            3,
            b"GET / HTTP/1.0\r\n\r\n",
            "0102120003000000474554202f20485454502f312e300d0a0d0a",
        ),
        (Command.FIN, 3, b"", "0101000003000000"),
        (Command.NOP, 0, b"", "0103000000000000"),
    ],
)
def test_frames_are_the_published_ones(command: Command, stream_id: int, data: bytes, vector: str) -> None:
    """Protocol 7.4, byte by byte; the script spells them alike."""
    assert frame(command, stream_id, data).hex() == vector
    assert spell(command, stream_id, data).hex() == vector


def test_bytes_arrive_however_the_frames_are_cut() -> None:
    """A frame may start, end or span anywhere; the largest length is taken too."""

    async def scenario() -> None:
        async with line() as talk:
            stream = await talk.stream(3)
            raw = spell(PSH, 3, b"ab") + spell(PSH, 3, b"") + spell(NOP, 0) + spell(PSH, 3, b"x" * 65_535)
            for start in range(0, len(raw), 777):
                await talk.source.write(raw[start : start + 777])
            await talk.source.write(spell(FIN, 3))
            assert await heard(stream) == b"ab" + b"x" * 65_535

    run_virtually(scenario())


def test_long_writes_are_cut_at_32768() -> None:
    """The library's largest frame."""

    async def scenario() -> None:
        async with line() as talk:
            stream = await talk.stream(3)
            await stream.write(b"x" * 70_000)
            lengths = []
            for _ in range(3):
                header = await talk.sink.read_exactly(8)
                lengths.append(int.from_bytes(header[2:4], "little"))
                await talk.sink.read_exactly(lengths[-1])
            assert lengths == [32_768, 32_768, 4_464]

    run_virtually(scenario())


def test_what_is_for_nobody_is_dropped() -> None:
    """Unknown ids, a second SYN, and what comes after our FIN."""

    async def scenario() -> None:
        async with line() as talk:
            stream = await talk.stream(3)
            await talk.source.write(spell(PSH, 9, b"?") + spell(FIN, 9) + spell(SYN, 3) + spell(PSH, 3, b"a"))
            await stream.close()
            await stream.close()
            await talk.source.write(spell(PSH, 3, b"late") + spell(FIN, 3))
            other = await talk.stream(5)
            assert other is not stream
            assert await talk.sink.read(100) == spell(FIN, 3)
            with pytest.raises(StreamClosed):
                await stream.write(b"x")

    run_virtually(scenario())


@pytest.mark.parametrize("bad", [spell(SYN, 5, version=2), spell(4, 3, b""), spell(255, 3)])
def test_a_frame_not_understood_is_the_last_one_read(bad: bytes) -> None:
    """No word about it: the server is deaf from then on, and goes on sending."""

    async def scenario() -> None:
        async with line() as talk:
            stream = await talk.stream(3)
            await talk.source.write(bad + spell(SYN, 7))
            async with asyncio.TaskGroup() as tasks:
                accepting = tasks.create_task(talk.server.accept())
                await asyncio.sleep(1000)
                assert not accepting.done()
                accepting.cancel()
            assert not talk.running.done()
            await stream.write(b"still here")
            assert await talk.sink.read(100) == spell(PSH, 3, b"still here")

    run_virtually(scenario())


def test_one_budget_for_all_streams() -> None:
    """A stream that nobody reads takes 4 MiB; then nothing is received for anyone until it is read."""

    async def scenario() -> None:
        async with line() as talk:
            stalled = await talk.stream(3)
            lively = await talk.stream(5)
            piece = b"x" * 32_768
            for _ in range(RECEIVE_BUDGET_BYTES // len(piece)):
                await talk.source.write(spell(PSH, 3, piece))
            await talk.source.write(spell(PSH, 5, b"hello") + spell(FIN, 5))
            async with asyncio.TaskGroup() as tasks:
                hearing = tasks.create_task(heard(lively))
                await asyncio.sleep(1000)
                assert not hearing.done()
                assert len(talk.source) == 8 + 5 + 8
                await talk.source.write(spell(FIN, 3))
                assert len(await heard(stalled)) == RECEIVE_BUDGET_BYTES
                assert await hearing == b"hello"

    run_virtually(scenario())


def test_closing_a_stream_gives_its_budget_back() -> None:
    """What waited for it is thrown away."""

    async def scenario() -> None:
        async with line() as talk:
            stalled = await talk.stream(3)
            for _ in range(RECEIVE_BUDGET_BYTES // 32_768):
                await talk.source.write(spell(PSH, 3, b"x" * 32_768))
            await asyncio.sleep(1)
            await stalled.close()
            assert (await talk.stream(5)).stream_id == 5

    run_virtually(scenario())


def test_who_sent_least_sends_next() -> None:
    """A new stream overtakes one that has sent much, frame by frame."""

    async def scenario() -> None:
        async with line(sink_bytes=100) as talk:
            bulk, small = await talk.stream(3), await talk.stream(5)
            bulk.sent_frames = 50
            async with asyncio.TaskGroup() as tasks:
                for data in (b"B" * 200, b"C"):
                    tasks.create_task(bulk.write(data))
                    await asyncio.sleep(0)
                tasks.create_task(small.write(b"s"))
                await asyncio.sleep(1)
                order = await talk.sink.read_exactly(208)
                assert order == spell(PSH, 3, b"B" * 200)
                assert await talk.sink.read_exactly(18) == spell(PSH, 5, b"s") + spell(PSH, 3, b"C")

    run_virtually(scenario())


def test_a_cancelled_writer_takes_its_frame_with_it() -> None:
    """Unless it is leaving already."""

    async def scenario() -> None:
        async with line(sink_bytes=8) as talk:
            stream = await talk.stream(3)
            async with asyncio.TaskGroup() as tasks:
                leaving = tasks.create_task(stream.write(b"leaving"))
                await asyncio.sleep(1)
                waiting = tasks.create_task(stream.write(b"waiting"))
                await asyncio.sleep(1)
                leaving.cancel()
                waiting.cancel()
            assert await talk.sink.read_exactly(15) == spell(PSH, 3, b"leaving")
            await stream.close()
            assert await talk.sink.read_exactly(8) == spell(FIN, 3)

    run_virtually(scenario())


def test_keepalive_says_nop_every_ten_seconds_and_ends_in_the_second_silent_half_minute() -> None:
    """A client that says one thing and no more is dead at 60 s; one that never spoke at 30 s."""

    async def scenario() -> None:
        for first_word, end in ((b"", 30), (spell(SYN, 3), 60)):
            async with line(has_keepalive=True) as talk:
                started = asyncio.get_running_loop().time()
                await talk.source.write(first_word)
                await talk.running
                assert asyncio.get_running_loop().time() - started == pytest.approx(end)
                nops = await talk.sink.read(1000)
                assert nops.startswith(spell(NOP, 0) * (end // 10 - 1))

    run_virtually(scenario())


def test_any_frame_keeps_it_alive_and_so_does_a_reader_stopped_by_its_budget() -> None:
    """NOPs will do; with its budget spent the server hears nothing, and forgives that."""

    async def scenario() -> None:
        async with line(has_keepalive=True) as talk:
            for _ in range(10):
                await talk.source.write(spell(NOP, 0))
                await asyncio.sleep(25)
            assert not talk.running.done()
            await talk.stream(3)
            for _ in range(RECEIVE_BUDGET_BYTES // 32_768):
                await talk.source.write(spell(PSH, 3, b"x" * 32_768))
            await asyncio.sleep(1000)
            assert not talk.running.done()

    run_virtually(scenario())
