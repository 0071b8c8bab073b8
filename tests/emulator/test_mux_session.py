"""Port forwarding over smux, as a client meets it: dialogues on a virtual clock."""

from __future__ import annotations

import asyncio

import pytest

from ssm_ssh.emulator.link import TaskStatus
from ssm_ssh.emulator.timing import REAL
from ssm_ssh.wire.payload import Flag
from tests.emulator.smux_script import FIN, NOP, PSH, SYN, FlagHeard, Frame, mux_talk, spell
from tests.emulator.virtual_time import run_virtually


def test_a_stream_is_a_connection_both_ways() -> None:
    """SYN dials the port; bytes go as they are, a lone newline too."""

    async def scenario() -> None:
        async with mux_talk() as mux:
            number = mux.says(spell(SYN, 3), spell(PSH, 3, b"\n"))
            await mux.hears_nothing(0.01)
            assert number in mux.acknowledged
            assert mux.ports.dialled == [("localhost", 80)]
            port = mux.ports.opened[0]
            assert port.writer.written == b"\n"
            port.reader.feed_data(b"\n")
            assert await mux.hears() == Frame(PSH, 3, b"\n")

    run_virtually(scenario())


def test_streams_do_not_mix() -> None:
    """Each has a connection of its own."""

    async def scenario() -> None:
        async with mux_talk() as mux:
            mux.says(spell(SYN, 3), spell(SYN, 5), spell(PSH, 5, b"five"), spell(PSH, 3, b"three"))
            await asyncio.sleep(0.01)
            assert [bytes(port.writer.written) for port in mux.ports.opened] == [b"three", b"five"]
            mux.ports.opened[1].reader.feed_data(b"5")
            assert await mux.hears() == Frame(PSH, 5, b"5")

    run_virtually(scenario())


def test_messages_are_1024_bytes_whatever_the_frames() -> None:
    """The pump reads the pipe as it would read a port."""

    async def scenario() -> None:
        async with mux_talk() as mux:
            mux.says(spell(SYN, 3))
            await asyncio.sleep(0.01)
            mux.ports.opened[0].reader.feed_data(b"x" * 40_000)
            assert await mux.hears_bytes(3, 40_000) == b"x" * 40_000
            assert max(mux.sizes) == 1024

    run_virtually(scenario())


@pytest.mark.parametrize("streams", [1, 4])
def test_a_session_has_one_pump_for_all_its_streams(streams: int) -> None:
    """With real timing 1024 bytes a millisecond, however many streams share it."""

    async def scenario() -> None:
        async with mux_talk(timing=REAL) as mux:
            mux.says(*(spell(SYN, 3 + 2 * number) for number in range(streams)))
            await asyncio.sleep(0.01)
            started = asyncio.get_running_loop().time()
            for port in mux.ports.opened:
                port.reader.feed_data(b"x" * (102_400 // streams))
            heard = 0
            while heard < 102_400:
                frame = await mux.hears()
                assert isinstance(frame, Frame)
                heard += len(frame.data)
            assert asyncio.get_running_loop().time() - started == pytest.approx(0.1, abs=0.01)

    run_virtually(scenario())


def test_a_refused_port_is_flag_3_and_then_a_fin_and_the_session_lives() -> None:
    """In this order; the next stream may have more luck."""

    async def scenario() -> None:
        async with mux_talk() as mux:
            mux.ports.refused.add("localhost")
            mux.says(spell(SYN, 3))
            assert await mux.hears() == FlagHeard(Flag.CONNECT_TO_PORT_ERROR)
            assert await mux.hears() == Frame(FIN, 3)
            mux.ports.refused.clear()
            mux.says(spell(SYN, 5), spell(PSH, 5, b"x"))
            await asyncio.sleep(0.01)
            assert mux.ports.opened[0].writer.written == b"x"

    run_virtually(scenario())


def test_a_slow_dial_holds_up_the_streams_behind_it() -> None:
    """One at a time."""

    async def scenario() -> None:
        async with mux_talk() as mux:
            mux.ports.delay_seconds = 5.0
            mux.says(spell(SYN, 3), spell(SYN, 5))
            await asyncio.sleep(4.9)
            assert len(mux.ports.dialled) == 1
            await asyncio.sleep(5.0)
            assert (len(mux.ports.dialled), len(mux.ports.opened)) == (2, 1)
            await asyncio.sleep(5.0)
            assert len(mux.ports.opened) == 2

    run_virtually(scenario())


def test_the_ports_end_is_its_last_bytes_and_a_fin() -> None:
    """Nothing is lost in this direction."""

    async def scenario() -> None:
        async with mux_talk() as mux:
            mux.says(spell(SYN, 3))
            await asyncio.sleep(0.01)
            port = mux.ports.opened[0]
            port.reader.feed_data(b"y" * 100_000)
            port.reader.feed_eof()
            assert await mux.hears_bytes(3, 100_000) == b"y" * 100_000
            assert await mux.hears() == Frame(FIN, 3)
            assert port.writer.is_closing()
            mux.says(spell(PSH, 3, b"late"), spell(FIN, 3))
            await mux.hears_nothing(1.0)
            assert not port.writer.written

    run_virtually(scenario())


def test_a_fin_closes_both_ways_and_the_late_reply_is_lost() -> None:
    """Request and FIN: the request arrives, a FIN comes back at once, the answer never."""

    async def scenario() -> None:
        async with mux_talk() as mux:
            mux.says(spell(SYN, 3), spell(PSH, 3, b"request"), spell(FIN, 3))
            assert await mux.hears() == Frame(FIN, 3)
            port = mux.ports.opened[0]
            assert port.writer.written == b"request"
            assert port.writer.is_closing()
            await mux.hears_nothing(1.0)

    run_virtually(scenario())


def test_a_broken_port_is_a_fin() -> None:
    """A reset of the port's side reaches the client as an end."""

    async def scenario() -> None:
        async with mux_talk() as mux:
            mux.says(spell(SYN, 3))
            await asyncio.sleep(0.01)
            mux.ports.opened[0].reader.set_exception(ConnectionResetError())
            assert await mux.hears() == Frame(FIN, 3)

    run_virtually(scenario())


def test_one_stalled_port_stops_everything_but_the_control_channel() -> None:
    """Protocol 7.6: no acknowledgements, other streams frozen, TerminateSession not heard, until it reads."""

    async def scenario() -> None:
        async with mux_talk() as mux:
            mux.says(spell(SYN, 3), spell(SYN, 5))
            await asyncio.sleep(0.01)
            stalled, lively = mux.ports.opened
            stalled.writer.takes.clear()
            numbers = [mux.says(spell(PSH, 3, b"x" * 32_768)) for _ in range(160)]
            last = mux.says(spell(PSH, 5, b"hello"))
            end = mux.says_flag(Flag.TERMINATE_SESSION)
            await mux.hears_nothing(600.0)
            taken = mux.acknowledged.index(max(mux.acknowledged))
            assert 4 << 20 < (taken + 1) * 32_768 < (4 << 20) + 400_000
            assert numbers[-1] not in mux.acknowledged
            assert not lively.writer.written
            assert not mux.talk.session.done()
            stalled.writer.takes.set()
            assert (await mux.talk.session).status is TaskStatus.SUCCESS
            assert lively.writer.written == b"hello"
            assert last < end

    run_virtually(scenario())


def test_a_wrong_version_wedges_the_session_silently() -> None:
    """Later frames are taken until the pipe is full, and never read."""

    async def scenario() -> None:
        async with mux_talk() as mux:
            number = mux.says(spell(SYN, 3, version=2), spell(SYN, 5))
            await mux.hears_nothing(1000.0)
            assert number in mux.acknowledged
            assert not mux.ports.dialled
            assert not mux.talk.session.done()

    run_virtually(scenario())


def test_terminate_closes_every_connection() -> None:
    """A success, and nothing left behind."""

    async def scenario() -> None:
        async with mux_talk() as mux:
            mux.says(spell(SYN, 3), spell(SYN, 5))
            await asyncio.sleep(0.01)
            mux.says_flag(Flag.TERMINATE_SESSION)
            assert (await mux.talk.session).status is TaskStatus.SUCCESS
            assert all(port.writer.is_closing() for port in mux.ports.opened)

    run_virtually(scenario())


def test_disconnect_is_acknowledged_and_ignored() -> None:
    """It belongs to basic sessions."""

    async def scenario() -> None:
        async with mux_talk() as mux:
            mux.says(spell(SYN, 3))
            number = mux.says_flag(Flag.DISCONNECT_TO_PORT)
            await mux.hears_nothing(1.0)
            assert number in mux.acknowledged
            assert not mux.ports.opened[0].writer.is_closing()

    run_virtually(scenario())


@pytest.mark.parametrize(
    ("version", "client_version", "has_keepalive"),
    [
        ("3.3.987.0", "1.2.764.0", False),
        ("3.3.987.0", "1.2.331.0", True),
        ("3.3.987.0", "1.2.0.0", True),
        ("3.1.1575.0", "1.2.332.0", False),
        ("3.1.1511.0", "1.2.764.0", True),
        ("3.1.1476.0", "1.2.764.0", True),
        ("3.1.1446.0", "1.1.70", False),
        ("3.0.222.0", "1.1.70", True),
    ],
)
def test_keepalive_by_versions(version: str, client_version: str, *, has_keepalive: bool) -> None:
    """Where it is on, NOPs every 10 s and a failed session after 30 to 60 silent seconds (protocol 7.5)."""

    async def scenario() -> None:
        async with mux_talk(version=version, client_version=client_version) as mux:
            mux.says(spell(SYN, 3))
            if not has_keepalive:
                await mux.hears_nothing(600.0)
                assert not mux.talk.session.done()
                return
            started = asyncio.get_running_loop().time()
            assert await mux.hears() == Frame(NOP, 0)
            assert asyncio.get_running_loop().time() - started == pytest.approx(10.0, abs=0.1)
            outcome = await mux.talk.session
            assert outcome.status is TaskStatus.FAILED
            assert asyncio.get_running_loop().time() - started == pytest.approx(62.0, abs=2.1)

    run_virtually(scenario())


def test_nops_of_the_client_keep_it() -> None:
    """Every 20 s are enough."""

    async def scenario() -> None:
        async with mux_talk(version="3.1.1511.0") as mux:
            for _ in range(20):
                mux.says(spell(NOP, 0))
                await asyncio.sleep(20.0)
            assert not mux.talk.session.done()

    run_virtually(scenario())


def test_what_comes_before_it_is_ready_is_refused() -> None:
    """The first message after the handshake may have to be sent again."""

    async def scenario() -> None:
        async with mux_talk(timing=REAL) as mux:
            mux.says(spell(SYN, 3))
            await mux.hears_nothing(0.1)
            assert mux.ports.dialled

    run_virtually(scenario())
