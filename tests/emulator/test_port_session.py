"""Port sessions of the SSH document: one connection, carried as it is."""

from __future__ import annotations

import asyncio

import pytest

from ssm_ssh.emulator.link import TaskStatus
from ssm_ssh.emulator.timing import REAL
from ssm_ssh.wire.agent_message import MessageType, PayloadType
from ssm_ssh.wire.payload import Flag, TerminalSize
from tests.emulator.scripted_peer import dialogue, order_for
from tests.emulator.virtual_time import run_virtually


def test_dials_the_port_of_the_parameters_once_at_the_start() -> None:
    """On the node itself."""

    async def scenario() -> None:
        async with dialogue(order=order_for(parameters={"portNumber": "2222"})) as talk:
            await talk.opens()
            assert talk.port.connections == [("localhost", 2222)]

    run_virtually(scenario())


def test_carries_bytes_both_ways_unchanged() -> None:
    """A lone newline, all byte values, whatever the type says about terminals."""

    async def scenario() -> None:
        async with dialogue() as talk:
            await talk.opens()
            for number, payload in enumerate([b"\n", bytes(range(256)), b"\r\n"], start=1):
                talk.says_data(payload, number=number)
                assert await talk.hears_acknowledge() == number
            assert talk.port.writer.written == b"\n" + bytes(range(256)) + b"\r\n"
            talk.port.reader.feed_data(b"\n")
            assert await talk.hears_data(number=2) == b"\n"

    run_virtually(scenario())


def test_cuts_its_output_into_1024_bytes() -> None:
    """Real agents never send more."""

    async def scenario() -> None:
        async with dialogue() as talk:
            await talk.opens()
            talk.port.reader.feed_data(b"x" * 2500)
            lengths = [len(await talk.hears_data(number=number)) for number in (2, 3, 4)]
            assert lengths == [1024, 1024, 452]

    run_virtually(scenario())


def test_sleeps_a_millisecond_after_each_read_in_real_timing() -> None:
    """What makes 0.7 MB/s of any download."""

    async def scenario() -> None:
        async with dialogue(timing=REAL) as talk:
            await talk.opens()
            started = asyncio.get_running_loop().time()
            talk.port.reader.feed_data(b"x" * 1024 * 50)
            for number in range(2, 52):
                await talk.hears_data(number=number)
                talk.acknowledges(number)
            assert asyncio.get_running_loop().time() - started == pytest.approx(0.049, abs=0.002)

    run_virtually(scenario())


def test_refuses_until_the_dial_is_done() -> None:
    """The first message stays unacknowledged, later ones are buffered; repeating the first frees all."""

    async def scenario() -> None:
        async with dialogue() as talk:
            talk.port.delay_seconds = 1.0
            for _ in range(3):
                await talk.hears()
            talk.acknowledges(0)
            talk.answers_handshake()
            await talk.hears()
            await talk.hears()
            talk.acknowledges(1)
            talk.says_data(b"a", number=1)
            talk.says_data(b"b", number=2)
            assert await talk.hears_acknowledge() == 2
            await talk.hears_nothing(1.1)
            talk.says_data(b"a", number=1)
            assert await talk.hears_acknowledge() == 1
            assert talk.port.writer.written == b"ab"
            assert talk.agent.counts.refused == 1

    run_virtually(scenario())


def test_an_old_agent_loses_what_comes_before_its_dial() -> None:
    """Before 3.0.655.0: acknowledged and gone."""

    async def scenario() -> None:
        async with dialogue(version="2.3.672.0") as talk:
            talk.port.delay_seconds = 1.0
            for _ in range(3):
                await talk.hears()
            talk.acknowledges(0)
            talk.answers_handshake()
            await talk.hears()
            await talk.hears()
            talk.acknowledges(1)
            talk.says_data(b"a", number=1)
            assert await talk.hears_acknowledge() == 1
            await asyncio.sleep(1.1)
            talk.says_data(b"b", number=2)
            assert await talk.hears_acknowledge() == 2
            assert talk.port.writer.written == b"b"

    run_virtually(scenario())


def test_the_end_of_the_port_is_a_success_after_the_last_bytes() -> None:
    """Nothing is lost at the end."""

    async def scenario() -> None:
        async with dialogue() as talk:
            await talk.opens()
            talk.port.reader.feed_data(b"bye")
            talk.port.reader.feed_eof()
            assert await talk.hears_data(number=2) == b"bye"
            talk.acknowledges(2)
            outcome = await talk.session
            assert (outcome.status, outcome.output) == (TaskStatus.SUCCESS, "")

    run_virtually(scenario())


def test_a_broken_port_is_a_failure() -> None:
    """Any other error than the end."""

    async def scenario() -> None:
        async with dialogue() as talk:
            await talk.opens()
            talk.port.reader.set_exception(ConnectionResetError())
            assert (await talk.session).status is TaskStatus.FAILED

    run_virtually(scenario())


def test_terminate_ends_with_success_and_is_acknowledged() -> None:
    """The port is closed, the link too."""

    async def scenario() -> None:
        async with dialogue() as talk:
            await talk.opens()
            talk.says_flag(Flag.TERMINATE_SESSION, number=1)
            assert await talk.hears_acknowledge() == 1
            assert (await talk.session).status is TaskStatus.SUCCESS
            assert talk.port.writer.is_closing()

    run_virtually(scenario())


def test_disconnect_ends_an_ssh_session_as_failed() -> None:
    """It has no second connection to wait for."""

    async def scenario() -> None:
        async with dialogue() as talk:
            await talk.opens()
            talk.says_flag(Flag.DISCONNECT_TO_PORT, number=1)
            assert (await talk.session).status is TaskStatus.FAILED

    run_virtually(scenario())


@pytest.mark.parametrize(
    "flag", [Flag.TERMINATE_SESSION, Flag.DISCONNECT_TO_PORT, Flag.CONNECT_TO_PORT_ERROR]
)
def test_an_old_agent_acknowledges_and_ignores_flags(flag: Flag) -> None:
    """Before 2.3.714.0 and 2.3.756.0; nobody heeds the agent's own flag."""

    async def scenario() -> None:
        async with dialogue(version="2.3.707.0") as talk:
            await talk.opens()
            talk.says_flag(flag, number=1)
            assert await talk.hears_acknowledge() == 1
            await asyncio.sleep(1.0)
            assert not talk.session.done()

    run_virtually(scenario())


def test_size_is_acknowledged_and_ignored() -> None:
    """Of whatever length: the harmless probe."""

    async def scenario() -> None:
        async with dialogue() as talk:
            await talk.opens()
            probe = TerminalSize(80, 24).encode(padded_to=131_072)
            talk.says_data(probe, number=1, payload_type=PayloadType.SIZE)
            assert await talk.hears_acknowledge() == 1
            assert not talk.port.writer.written

    run_virtually(scenario())


def test_a_flag_of_the_wrong_length_is_refused() -> None:
    """An error of the plugin: no acknowledgement."""

    async def scenario() -> None:
        async with dialogue() as talk:
            await talk.opens()
            talk.says_data(b"\0\0\2", number=1, payload_type=PayloadType.FLAG)
            await talk.hears_nothing(1.0)
            assert talk.agent.counts.refused == 1

    run_virtually(scenario())


def test_a_port_that_does_not_read_stops_everything() -> None:
    """The write happens in the receive path: no acknowledgements, no flags, until the port reads."""

    async def scenario() -> None:
        async with dialogue() as talk:
            await talk.opens()
            talk.port.writer.takes.clear()
            talk.says_data(b"stuck", number=1)
            talk.says_flag(Flag.TERMINATE_SESSION, number=2)
            await talk.hears_nothing(10.0)
            assert not talk.session.done()
            talk.port.writer.takes.set()
            assert await talk.hears_acknowledge() == 1
            assert await talk.hears_acknowledge() == 2
            await talk.session

    run_virtually(scenario())


def test_a_write_that_fails_leaves_its_message_unacknowledged() -> None:
    """The client may try again; the reading side tells how the session ends."""

    async def scenario() -> None:
        async with dialogue() as talk:
            await talk.opens()
            talk.port.writer.is_broken = True
            talk.says_data(b"x", number=1)
            await talk.hears_nothing(1.0)
            talk.port.writer.is_broken = False
            talk.says_data(b"x", number=1)
            assert await talk.hears_acknowledge() == 1

    run_virtually(scenario())


def test_data_after_the_end_of_the_port_is_refused() -> None:
    """While the last acknowledgements are waited for."""

    async def scenario() -> None:
        async with dialogue() as talk:
            await talk.opens()
            talk.port.reader.feed_data(b"bye")
            await talk.hears_data(number=2)
            talk.port.reader.feed_eof()
            await asyncio.sleep(0.01)
            talk.says_data(b"too late", number=1)
            await talk.hears_nothing(0.05)
            talk.acknowledges(2)
            assert (await talk.session).status is TaskStatus.SUCCESS

    run_virtually(scenario())


def test_a_pause_holds_an_old_agents_output_but_not_its_reading() -> None:
    """Before 3.0.732.0 it reads on; what it read comes at ten messages a second."""

    async def scenario() -> None:
        async with dialogue(version="3.0.655.0") as talk:
            await talk.opens()
            talk.says_control(MessageType.PAUSE_PUBLICATION)
            await asyncio.sleep(0.01)
            for _ in range(3):
                talk.port.reader.feed_data(b"x")
                await asyncio.sleep(0.01)
            await talk.hears_nothing(2.0)
            talk.says_control(MessageType.START_PUBLICATION)
            started = asyncio.get_running_loop().time()
            for number in (2, 3, 4):
                await talk.hears_data(number=number)
                talk.acknowledges(number)
            assert asyncio.get_running_loop().time() - started > 0.2

    run_virtually(scenario())


@pytest.mark.parametrize(
    ("properties", "words"),
    [
        ({}, "Port number is empty in session properties. map[]"),
        (
            {"type": "x", "portNumber": ""},
            "Port number is empty in session properties. map[portNumber: type:x]",
        ),
    ],
)
def test_properties_that_do_not_suffice_fail_the_session(properties: dict[str, str], words: str) -> None:
    """After the handshake, with the agent's words where it has any."""

    async def scenario() -> None:
        async with dialogue(order=order_for(properties=properties)) as talk:
            await talk.opens()
            outcome = await talk.session
            assert outcome.status is TaskStatus.FAILED
            assert words in outcome.output

    run_virtually(scenario())
