"""Port forwarding without smux: one connection after the other, as a client meets it."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import pytest

from ssm_ssh.emulator.agent_session import CRASH_TEXT
from ssm_ssh.emulator.link import TaskStatus
from ssm_ssh.wire.payload import Flag
from tests.emulator.scripted_peer import FORWARD_ORDER, Dialogue, Ports, dialogue
from tests.emulator.virtual_time import run_virtually

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

OLD_CLIENT = "1.1.69"


@asynccontextmanager
async def forwarding(
    version: str = "3.3.987.0", client_version: str = OLD_CLIENT
) -> AsyncIterator[tuple[Dialogue, Ports]]:
    """An open session and its ports."""
    ports = Ports()
    async with dialogue(order=FORWARD_ORDER, version=version, connect=ports.connect) as talk:
        await talk.opens(client_version=client_version)
        yield talk, ports


@pytest.mark.parametrize(
    ("version", "client_version"),
    [("3.3.987.0", "1.1.69"), ("3.3.987.0", "0.0.1"), ("3.3.987.0", "dev"), ("3.0.196.0", "1.2.764.0")],
)
def test_an_old_client_or_an_old_agent_makes_it_basic(version: str, client_version: str) -> None:
    """The bytes go as they are, without frames, over a connection dialled at the start."""

    async def scenario() -> None:
        async with forwarding(version, client_version) as (talk, ports):
            assert ports.dialled == [("localhost", 80)]
            talk.says_data(b"\n", number=1)
            assert await talk.hears_acknowledge() == 1
            assert ports.opened[0].writer.written == b"\n"
            ports.opened[0].reader.feed_data(b"ok")
            assert await talk.hears_data(number=2) == b"ok"

    run_virtually(scenario())


def test_the_ports_end_is_not_told_and_the_next_output_dials_again() -> None:
    """The message that finds the connection gone is the first of the new one."""

    async def scenario() -> None:
        async with forwarding() as (talk, ports):
            ports.opened[0].reader.feed_eof()
            await talk.hears_nothing(60.0)
            assert len(ports.dialled) == 1
            talk.says_data(b"again", number=1)
            assert await talk.hears_acknowledge() == 1
            assert [bytes(port.writer.written) for port in ports.opened] == [b"", b"again"]
            ports.opened[1].reader.feed_data(b"ok")
            assert await talk.hears_data(number=2) == b"ok"

    run_virtually(scenario())


def test_disconnect_closes_the_connection_and_the_next_output_dials_again() -> None:
    """What the old connection still had to say is lost with it."""

    async def scenario() -> None:
        async with forwarding() as (talk, ports):
            talk.says_flag(Flag.DISCONNECT_TO_PORT, number=1)
            assert await talk.hears_acknowledge() == 1
            await talk.hears_nothing(1.0)
            assert ports.opened[0].writer.is_closing()
            talk.says_data(b"second", number=2)
            assert await talk.hears_acknowledge() == 2
            assert ports.opened[1].writer.written == b"second"

    run_virtually(scenario())


def test_a_broken_connection_is_dialled_again_too() -> None:
    """Any read error is like an end."""

    async def scenario() -> None:
        async with forwarding() as (talk, ports):
            ports.opened[0].reader.set_exception(ConnectionResetError())
            await asyncio.sleep(0.01)
            talk.says_data(b"x", number=1)
            assert await talk.hears_acknowledge() == 1
            assert ports.opened[1].writer.written == b"x"

    run_virtually(scenario())


def test_a_dial_that_fails_later_ends_the_session_and_leaves_its_message() -> None:
    """Failed, without words."""

    async def scenario() -> None:
        async with forwarding() as (talk, ports):
            ports.opened[0].reader.feed_eof()
            ports.refused.add("localhost")
            await asyncio.sleep(0.01)
            talk.says_data(b"lost", number=1)
            outcome = await talk.session
            assert (outcome.status, outcome.output) == (TaskStatus.FAILED, "")
            assert talk.link.from_agent.empty()
            assert talk.agent.counts.refused == 1

    run_virtually(scenario())


def test_a_dial_that_fails_at_the_start_crashes_the_worker() -> None:
    """As with the SSH document."""

    async def scenario() -> None:
        ports = Ports()
        ports.refused.add("localhost")
        async with dialogue(order=FORWARD_ORDER, connect=ports.connect) as talk:
            await talk.opens(client_version=OLD_CLIENT)
            assert (await talk.session).output == CRASH_TEXT

    run_virtually(scenario())


def test_agents_before_2_3_707_end_with_their_first_connection() -> None:
    """They do not dial again."""

    async def scenario() -> None:
        async with forwarding("2.3.672.0") as (talk, ports):
            ports.opened[0].reader.feed_eof()
            assert (await talk.session).status is TaskStatus.SUCCESS

    run_virtually(scenario())


def test_an_agent_before_2_3_714_keeps_the_connection() -> None:
    """It acknowledges DisconnectToPort and ignores it."""

    async def scenario() -> None:
        async with forwarding("2.3.707.0") as (talk, ports):
            talk.says_flag(Flag.DISCONNECT_TO_PORT, number=1)
            assert await talk.hears_acknowledge() == 1
            assert not ports.opened[0].writer.is_closing()

    run_virtually(scenario())


@pytest.mark.parametrize("is_waiting", [False, True])
def test_terminate_ends_it_with_or_without_a_connection(*, is_waiting: bool) -> None:
    """A success either way."""

    async def scenario() -> None:
        async with forwarding() as (talk, ports):
            if is_waiting:
                ports.opened[0].reader.feed_eof()
                await asyncio.sleep(0.01)
            talk.says_flag(Flag.TERMINATE_SESSION, number=1)
            assert (await talk.session).status is TaskStatus.SUCCESS
            assert ports.opened[0].writer.is_closing()

    run_virtually(scenario())


def test_power_cut_while_it_dials_again_leaves_no_connection() -> None:
    """The dial is in the receive path, the session's end elsewhere."""

    async def scenario() -> None:
        async with forwarding() as (talk, ports):
            ports.opened[0].reader.feed_eof()
            ports.delay_seconds = 5.0
            await asyncio.sleep(0.01)
            talk.says_data(b"x", number=1)
            await asyncio.sleep(1.0)
            talk.agent.cut_power()
            assert (await talk.session).status is TaskStatus.CANCELLED
            assert all(port.writer.is_closing() for port in ports.opened)

    run_virtually(scenario())
