"""All tunnels of a user: up, down, changed, and the end with the last of them."""

from __future__ import annotations

import asyncio
import os
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from ssm_ssh.errors import InvalidForward
from ssm_ssh.forward.control_line import FIRST_TRY_SECONDS
from ssm_ssh.forward.supervisor import UNUSED_SECONDS, Supervisor
from tests.forward.fake_tunnel import FakeOrder
from tests.virtual_loop import run_virtually

if TYPE_CHECKING:
    from collections.abc import AsyncIterator


@asynccontextmanager
async def running() -> AsyncIterator[Supervisor]:
    """A supervisor for the length of a block."""
    async with asyncio.TaskGroup() as tasks:
        supervisor = Supervisor(tasks)
        yield supervisor
        supervisor.close()


def states(supervisor: Supervisor) -> dict[str, str]:
    """Each tunnel's state."""
    return {status["name"]: status["state"] for status in supervisor.tunnel_status()}


def test_tunnels_come_up_together_and_go_down_by_name() -> None:
    """Each try takes a second, all take one; what is not up is not an error here; the last one ends it."""

    async def scenario() -> None:
        orders = [FakeOrder(name) for name in ("b", "a", "c")]
        async with running() as supervisor:
            tunnels = await supervisor.up(orders)
            assert [tunnel.order.name for tunnel in tunnels] == ["b", "a", "c"]
            assert asyncio.get_running_loop().time() == 1.0
            assert states(supervisor) == {"a": "up", "b": "up", "c": "up"}
            assert await supervisor.down(["b", "x"]) == ["b"]
            assert orders[0].tunnel is None
            assert states(supervisor) == {"a": "up", "c": "up"}
            assert not supervisor.is_over
            assert await supervisor.down([]) == ["a", "c"]
            assert supervisor.is_over
            await supervisor.wait_over()
            assert await supervisor.up(orders) == []

    run_virtually(scenario())


def test_up_again_changes_only_what_has_changed() -> None:
    """The same order stays open, another one of the same name is opened anew after the old one's end."""

    async def scenario() -> None:
        same, before, after = FakeOrder("a"), FakeOrder("b", close_seconds=3.0), FakeOrder("b")
        async with running() as supervisor:
            await supervisor.up([same, before])
            await supervisor.up([same, after])
            assert same.opened_at == [0.0]
            assert before.tunnel is None
            assert after.opened_at == [4.0]
            assert states(supervisor) == {"a": "up", "b": "up"}

    run_virtually(scenario())


def test_up_tells_the_first_failure_and_goes_on() -> None:
    """Who asked hears why; the tunnel comes up by itself later."""

    async def scenario() -> None:
        order = FakeOrder(failures=[InvalidForward("the port is busy")])
        async with running() as supervisor:
            (tunnel,) = await supervisor.up([order])
            assert str(tunnel.failure) == "the port is busy"
            await asyncio.sleep(5)
            assert states(supervisor) == {"db": "up"}

    run_virtually(scenario())


def test_up_does_not_wait_for_ever() -> None:
    """A try that hangs is not awaited for more than its time; it goes on."""

    class Hanging(FakeOrder):
        def open(self):  # type: ignore[no-untyped-def]  # noqa: ANN202 -- as FakeOrder's
            return hang()

    @asynccontextmanager
    async def hang() -> AsyncIterator[None]:
        await asyncio.sleep(1000)
        yield

    async def scenario() -> None:
        async with running() as supervisor:
            (tunnel,) = await supervisor.up([Hanging()])
            assert asyncio.get_running_loop().time() == FIRST_TRY_SECONDS
            assert tunnel.state == "starting"

    run_virtually(scenario())


def test_who_waits_for_a_tunnel_that_is_taken_down_hears_of_it() -> None:
    """Two commands at once: ``down`` wins, and ``up`` does not wait for a try that will not come."""

    async def scenario() -> None:
        async with running() as supervisor, asyncio.TaskGroup() as tasks:
            bringing = tasks.create_task(supervisor.up([FakeOrder()]))
            await asyncio.sleep(0.5)
            assert await supervisor.down(["db"]) == ["db"]
            (tunnel,) = await bringing
            assert tunnel.state == "down"
            assert asyncio.get_running_loop().time() == 0.5

    run_virtually(scenario())


def test_a_supervisor_that_nobody_uses_ends() -> None:
    """Whoever started it was interrupted; one in use lives on."""

    async def unused() -> None:
        async with running() as supervisor:
            await supervisor.wait_over()
            assert supervisor.is_over
            assert asyncio.get_running_loop().time() == UNUSED_SECONDS

    async def used() -> None:
        async with running() as supervisor, asyncio.TaskGroup() as tasks:
            over = tasks.create_task(supervisor.wait_over())
            await supervisor.up([FakeOrder()])
            await asyncio.sleep(10 * UNUSED_SECONDS)
            assert not over.done()
            await supervisor.down([])
            await over

    run_virtually(unused())
    run_virtually(used())


def test_it_says_who_it_is() -> None:
    """So that people find its process and see how old it is."""

    async def scenario() -> None:
        async with running() as supervisor:
            status = supervisor.status()
            assert status["process_id"] == os.getpid()
            assert status["since"].endswith("+00:00")
            assert status["version"]

    run_virtually(scenario())
