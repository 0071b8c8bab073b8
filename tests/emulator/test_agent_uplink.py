"""The agent's way to the gateway, apart from any session."""

from __future__ import annotations

import asyncio
from random import Random

import pytest

from ssm_ssh.emulator.link import LinkCut
from ssm_ssh.emulator.timing import REAL
from ssm_ssh.emulator.uplink import Uplink
from tests.emulator.scripted_peer import NODE_ID, MemoryLink
from tests.emulator.virtual_time import run_virtually


class Gateway:
    """Gives out links, the first ones cut before they can be used."""

    def __init__(self, *, stillborn: int = 0) -> None:
        self.links: list[MemoryLink] = []
        self._stillborn = stillborn

    async def dial(self) -> MemoryLink:
        """One more link."""
        link = MemoryLink()
        self.links.append(link)
        if len(self.links) <= self._stillborn:
            link.cut()
        return link


def uplink_to(gateway: Gateway) -> Uplink:
    """An uplink that dials the gateway."""
    return Uplink(gateway.dial, node_id=NODE_ID, random=Random(1), timing=REAL)


def test_a_link_that_breaks_before_the_greeting_counts_as_a_failed_dial() -> None:
    """It is closed, and the next try comes after a pause."""

    async def scenario() -> None:
        gateway = Gateway(stillborn=2)
        uplink = uplink_to(gateway)
        await uplink.connect()
        assert [link.is_cut for link in gateway.links] == [True, True, False]
        assert 0.3 <= asyncio.get_running_loop().time() < 0.6
        await uplink.close()
        assert gateway.links[-1].is_cut

    run_virtually(scenario())


def test_the_pauses_have_a_cap() -> None:
    """Six tries, the last failure is told."""

    async def scenario() -> None:
        gateway = Gateway(stillborn=99)
        with pytest.raises(LinkCut):
            await uplink_to(gateway).connect()
        assert len(gateway.links) == 6
        assert 3.1 <= asyncio.get_running_loop().time() < 6.2

    run_virtually(scenario())


def test_down_means_nothing_is_received_and_what_is_sent_is_lost() -> None:
    """Before the first dial as after a close."""

    async def scenario() -> None:
        uplink = uplink_to(Gateway())
        await uplink.send(b"lost")
        with pytest.raises(LinkCut):
            await uplink.receive()
        await uplink.close()

    run_virtually(scenario())


def test_a_send_that_meets_a_cut_holds_up_the_next_ones() -> None:
    """Until there is a link again; a late failure of the old link does not disturb the new one."""

    async def scenario() -> None:
        gateway = Gateway()
        uplink = uplink_to(gateway)
        await uplink.connect()
        (link,) = gateway.links
        link.has_room.clear()
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(uplink.send(b"stuck"))
            await asyncio.sleep(0)
            link.cut()
            await uplink.connect()
        await asyncio.wait_for(uplink.wait_until_up(), 1)
        gateway.links[-1].is_cut = True
        await uplink.send(b"lost")
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(uplink.wait_until_up(), 1)
        await uplink.close()

    run_virtually(scenario())
