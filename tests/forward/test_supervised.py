"""A tunnel that is kept up: opened again after growing pauses, and always able to say how it is."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from ssm_ssh.errors import InvalidForward, SsmSshError
from ssm_ssh.forward.supervised import (
    FIRST_PAUSE_SECONDS,
    LAST_PAUSE_SECONDS,
    SupervisedTunnel,
    tunnel_name,
)
from ssm_ssh.forward.traffic import Traffic
from tests.forward.fake_tunnel import FakeOrder, FakeSession
from tests.virtual_loop import run_virtually

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    import pytest

# The moment at which these tests play, by the wall clock.
START = 1_700_000_000.0


def now() -> float:
    """The virtual clock."""
    return asyncio.get_running_loop().time()


@asynccontextmanager
async def kept_up(order: FakeOrder) -> AsyncIterator[SupervisedTunnel]:
    """A tunnel that is kept up for the length of a block, with pauses of exactly their length."""
    tunnel = SupervisedTunnel(order, spread=lambda _low, _high: 1.0, wall_clock=lambda: START + now())
    async with asyncio.TaskGroup() as tasks:
        keeping = tasks.create_task(tunnel.keep_up())
        yield tunnel
        keeping.cancel()
    assert tunnel.state == "down"


def test_pauses_double_up_to_a_minute(caplog: pytest.LogCaptureFixture) -> None:
    """1, 2, 4 … 60 s behind each failure, for as long as it fails; each is told."""

    async def scenario() -> None:
        order = FakeOrder(failures=[InvalidForward("the port is busy") for _ in range(9)])
        async with kept_up(order) as tunnel:
            await asyncio.sleep(400)
            assert tunnel.state == "up"
        gaps = [
            later - earlier - 1.0
            for earlier, later in zip(order.opened_at, order.opened_at[1:], strict=False)
        ]
        assert gaps == [1, 2, 4, 8, 16, 32, 60, 60, 60]
        assert gaps[0] == FIRST_PAUSE_SECONDS
        assert gaps[-1] == LAST_PAUSE_SECONDS

    run_virtually(scenario())
    assert caplog.messages.count("the port is busy; the next try is in 60 seconds") == 3


def test_a_tunnel_that_was_up_long_is_tried_again_soon() -> None:
    """Its failure is a new one; a tunnel that breaks at once is tried less and less often."""

    async def scenario() -> None:
        order = FakeOrder()
        async with kept_up(order):
            for seconds in (1, 1, 90, 1):
                await order.is_open.wait()
                await asyncio.sleep(seconds)
                assert order.tunnel is not None
                broken_at = now()
                order.tunnel.broken.set_exception(SsmSshError("a failure"))
                await asyncio.sleep(0.5)
                await order.is_open.wait()
                pauses.append(order.opened_at[-1] - broken_at)

    pauses: list[float] = []
    run_virtually(scenario())
    assert pauses == [1, 2, 1, 2]


def test_a_bug_in_one_tunnel_is_logged_and_tried_again(caplog: pytest.LogCaptureFixture) -> None:
    """With its traceback, for whoever has to find it."""

    async def scenario() -> None:
        order = FakeOrder(failures=[KeyError("oops")])
        async with kept_up(order) as tunnel:
            await tunnel.wait_tried()
            assert str(tunnel.failure) == "KeyError: 'oops'"
            assert tunnel.state == "waiting"
            await asyncio.sleep(5)
            assert tunnel.failure is None

    run_virtually(scenario())
    (record,) = [record for record in caplog.records if record.exc_info is not None]
    assert record.getMessage() == "the tunnel failed unexpectedly"


def test_states_follow_what_happens() -> None:
    """Starting, up, resuming, idle, and back; waiting while it cannot be opened."""

    async def scenario() -> None:
        order = FakeOrder(failures=[InvalidForward("the port is busy")])
        async with kept_up(order) as tunnel:
            assert tunnel.state == "starting"
            await tunnel.wait_tried()
            assert tunnel.state == "waiting"
            await asyncio.sleep(0.25)
            assert tunnel.status()["next_try_seconds"] == 0.8
            await asyncio.sleep(3)
            assert order.tunnel is not None
            forward = order.tunnel.forward
            assert tunnel.state == "up"
            forward.sessions[0].is_streaming = False
            assert tunnel.state == "resuming"
            forward.sessions.append(FakeSession("session-1"))
            assert tunnel.state == "up"
            forward.sessions.clear()
            assert tunnel.state == "idle"

    run_virtually(scenario())


def test_the_status_says_everything() -> None:
    """Figures of what is open, and of what was open before it failed."""

    async def scenario() -> None:
        order = FakeOrder()
        async with kept_up(order) as tunnel:
            await tunnel.wait_tried()
            assert order.tunnel is not None
            forward = order.tunnel.forward
            forward.traffic = Traffic(3, 1, 100, 200)
            forward.resumes = 2
            forward.last_end = "its idle limit was reached"
            forward.sessions = [
                FakeSession("a", round_trip_seconds=0.2),
                FakeSession("b", round_trip_seconds=0.1),
            ]
            expected = {
                "name": "db",
                "state": "up",
                "target": "bastion",
                "node_id": "i-0123456789abcdef0",
                "listeners": [{"addresses": ["127.0.0.1:5432"], "destination": "db:5432"}],
                "session_ids": ["a", "b"],
                "connections": 3,
                "open_connections": 1,
                "sent_bytes": 100,
                "received_bytes": 200,
                "round_trip_seconds": 0.1,
                "resumes": 2,
                "failures": 0,
                "since": "2023-11-14T22:13:21+00:00",
                "next_try_seconds": None,
                "last_end": "its idle limit was reached",
            }
            assert tunnel.status() == expected
            order.failures = [SsmSshError("the second failure")]
            order.tunnel.broken.set_exception(SsmSshError("a failure"))
            await asyncio.sleep(1.5)
            between = tunnel.status()
            assert between["last_end"] == "a failure"
            assert (between["state"], between["listeners"], between["node_id"]) == ("waiting", [], None)
            await asyncio.sleep(5)
            after = tunnel.status()
            assert after["last_end"] == "the second failure"
            assert (after["connections"], after["open_connections"], after["resumes"]) == (3, 0, 2)
            assert (after["sent_bytes"], after["received_bytes"], after["failures"]) == (100, 200, 2)

    run_virtually(scenario())


def test_the_log_knows_whose_doings_it_tells() -> None:
    """In every task that the tunnel starts."""

    class Naming(FakeOrder):
        def open(self):  # type: ignore[no-untyped-def]  # noqa: ANN202 -- as FakeOrder's
            names.append(tunnel_name.get())
            return super().open()

    async def scenario() -> None:
        async with kept_up(Naming(name="orders")) as tunnel:
            await tunnel.wait_tried()

    names: list[str] = []
    run_virtually(scenario())
    assert names == ["orders"]
    assert tunnel_name.get() == ""
