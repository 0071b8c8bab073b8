"""Sessions to another host: resolved once, some addresses forbidden, all addresses tried."""

from __future__ import annotations

import asyncio

import pytest

from ssm_ssh.emulator.link import TaskStatus
from tests.emulator.scripted_peer import Ports, dialogue, forward_order
from tests.emulator.smux_script import FIN, SYN, FlagHeard, Frame, mux_talk, spell
from tests.emulator.virtual_time import run_virtually

NAMES = {
    "db.internal": ("10.0.3.7", "10.0.3.8"),
    "metadata.internal": ("10.0.3.9", "169.254.169.254"),
    "localhost": ("127.0.0.1",),
}


def resolve(host: str) -> tuple[str, ...]:
    """A resolver that knows three names and no addresses but those written as such."""
    return NAMES.get(host, () if host.endswith(".internal") else (host,))


def test_all_addresses_are_tried_in_order_for_every_stream() -> None:
    """The second answers where the first does not."""

    async def scenario() -> None:
        order = forward_order(host="db.internal", portNumber="5432")
        async with mux_talk(order=order, resolve=resolve) as mux:
            mux.ports.refused.add("10.0.3.7")
            mux.says(spell(SYN, 3), spell(SYN, 5))
            await asyncio.sleep(0.01)
            assert mux.ports.dialled == [("10.0.3.7", 5432), ("10.0.3.8", 5432)] * 2
            mux.ports.refused.add("10.0.3.8")
            mux.says(spell(SYN, 7))
            assert await mux.hears() == FlagHeard(3)
            assert await mux.hears() == Frame(FIN, 7)

    run_virtually(scenario())


def test_the_name_is_looked_up_once() -> None:
    """A name that moves is not followed."""
    asked: list[str] = []

    def moving(host: str) -> tuple[str, ...]:
        asked.append(host)
        return (f"10.0.3.{len(asked)}",)

    async def scenario() -> None:
        async with mux_talk(order=forward_order(host="db.internal"), resolve=moving) as mux:
            mux.says(spell(SYN, 3), spell(SYN, 5))
            await asyncio.sleep(0.01)
            assert mux.ports.dialled == [("10.0.3.1", 80)] * 2
            assert asked == ["db.internal"]

    run_virtually(scenario())


@pytest.mark.parametrize(
    ("host", "words"),
    [
        ("nowhere.internal", "lookup nowhere.internal: no such host"),
        ("metadata.internal", "Forwarding to IP address metadata.internal is forbidden."),
        *(
            (address, f"Forwarding to IP address {address} is forbidden.")
            for address in (
                *(f"169.254.169.{last}" for last in (254, 253, 123, 250, 251)),
                *(f"fd00:ec2::{last}" for last in (254, 253, 123, 240)),
                *("::ffff:169.254.169.254", "fd00:0ec2:0:0::254"),
                *("10.0.0.0", "10.0.0.1", "10.0.0.2", "10.0.0.3", "10.0.255.255"),
            )
        ),
    ],
)
def test_what_may_not_be_reached_fails_the_session(host: str, words: str) -> None:
    """With the agent's words, after the handshake, and nothing dialled."""

    async def scenario() -> None:
        ports = Ports()
        networks = ("10.0.0.0/16", "2001:db8::/56")
        order = forward_order(host=host)
        async with dialogue(
            order=order, connect=ports.connect, resolve=resolve, vpc_networks=networks
        ) as talk:
            await talk.opens()
            outcome = await talk.session
            assert outcome.status is TaskStatus.FAILED
            assert outcome.output == f"\n----------ERROR-------\n{words}"
            assert not ports.dialled

    run_virtually(scenario())


@pytest.mark.parametrize(
    ("version", "host", "dialled"),
    [
        ("3.1.1188.0", "10.0.0.2", "10.0.0.2"),
        ("3.1.1374.0", "10.0.0.4", "10.0.0.4"),
        ("3.1.1004.0", "db.internal", "localhost"),
        ("3.3.987.0", "2001:db8::1", "2001:db8::1"),
        ("3.3.987.0", "", "localhost"),
    ],
)
def test_versions_and_addresses_that_are_let_through(version: str, host: str, dialled: str) -> None:
    """The VPC's own are forbidden since 3.1.1374.0; before 3.1.1188.0 the agent knows only itself."""

    async def scenario() -> None:
        networks = ("10.0.0.0/16", "2001:db8::/56")
        order = forward_order(host=host)
        async with mux_talk(order=order, version=version, resolve=resolve, vpc_networks=networks) as mux:
            mux.says(spell(SYN, 3))
            await asyncio.sleep(0.01)
            assert mux.ports.dialled == [(dialled, 80)]

    run_virtually(scenario())
