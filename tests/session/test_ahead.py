"""The connection that is opened ahead: taken once, or dropped, and never left."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, cast

import pytest

from ssm_ssh.session.ahead import ConnectionAhead
from ssm_ssh.transport.stream_url import StreamAddress

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Coroutine

    from ssm_ssh.transport.control_plane import ControlPlane


class _Call(asyncio.Protocol):
    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._gateway.calls.append(transport)
        self._gateway.has_call.set()

    def connection_lost(self, exc: Exception | None) -> None:
        self._gateway.is_left.set()


class Gateway:
    """A listener that says when its one caller has gone."""

    def __init__(self) -> None:
        self.port = 0
        self.calls: list[asyncio.BaseTransport] = []
        self.has_call = asyncio.Event()
        self.is_left = asyncio.Event()

    @contextlib.asynccontextmanager
    async def listening(self) -> AsyncIterator[Gateway]:
        """Listen on a free port of loopback."""
        server = await asyncio.get_running_loop().create_server(lambda: _Call(self), "127.0.0.1", 0)
        async with server:
            self.port = server.sockets[0].getsockname()[1]
            yield self
        if self.calls:
            await self.is_left.wait()

    def address(self, host: str = "127.0.0.1") -> StreamAddress:
        """Where it is."""
        return StreamAddress(f"ws://{host}:{self.port}/x", host, self.port, is_tls=False, path="/x", query="")


class Expectation:
    """A control plane that knows where streams go."""

    def __init__(self, address: StreamAddress | None) -> None:
        self._address = address

    def expected_stream_address(self) -> StreamAddress | None:
        """As ``ControlPlane``."""
        return self._address

    def proxy_for(self, _address: StreamAddress) -> str | None:
        """As ``ControlPlane``."""
        return None


def run_ahead(
    body: Callable[[Gateway, ConnectionAhead], Coroutine[object, object, None]], *, is_expected: bool = True
) -> None:
    """Run ``body`` with a connection ahead; afterwards no connection and no task is left."""

    async def scenario() -> None:
        gateway = Gateway()
        async with asyncio.timeout(10), gateway.listening():
            control_plane = cast("ControlPlane", Expectation(gateway.address() if is_expected else None))
            async with (
                asyncio.TaskGroup() as tasks,
                ConnectionAhead(control_plane, tasks, timeout_seconds=5) as ahead,
            ):
                await body(gateway, ahead)

    asyncio.run(scenario(), debug=True)


async def settled(gateway: Gateway) -> None:
    """Both ends have heard that the connection is there."""
    await gateway.has_call.wait()
    for _turn_of_the_loop in range(20):
        await asyncio.sleep(0)


def test_it_is_taken_once() -> None:
    """Who takes it has it; the next one gets none."""

    async def body(gateway: Gateway, ahead: ConnectionAhead) -> None:
        connection = await ahead.take(gateway.address())
        assert connection is not None
        assert connection.fits(gateway.address())
        assert await ahead.take(gateway.address()) is None
        connection.drop()

    run_ahead(body)


def test_one_that_nobody_takes_is_dropped() -> None:
    """At the end of the block, whether it was open by then or not."""

    async def open_by_then(gateway: Gateway, _ahead: ConnectionAhead) -> None:
        await settled(gateway)

    async def at_once(_gateway: Gateway, _ahead: ConnectionAhead) -> None:
        pass

    run_ahead(open_by_then)
    run_ahead(at_once)


def test_one_that_leads_elsewhere_is_dropped_at_once() -> None:
    """Symptom: it stayed open for as long as the session."""

    async def body(gateway: Gateway, ahead: ConnectionAhead) -> None:
        await settled(gateway)
        assert await ahead.take(gateway.address("localhost")) is None
        await gateway.is_left.wait()
        assert await ahead.take(gateway.address()) is None

    run_ahead(body)


def test_without_an_expectation_nothing_is_opened() -> None:
    """Where the user moved an endpoint, nobody knows where a stream will go."""

    async def body(gateway: Gateway, ahead: ConnectionAhead) -> None:
        assert await ahead.take(gateway.address()) is None
        assert gateway.calls == []

    run_ahead(body, is_expected=False)


def test_a_connection_that_fails_is_none() -> None:
    """Its user opens its own, and tells what is wrong."""

    async def scenario() -> None:
        nowhere = StreamAddress("ws://127.0.0.1:1/", "127.0.0.1", 1, is_tls=False, path="/", query="")
        control_plane = cast("ControlPlane", Expectation(nowhere))
        async with (
            asyncio.TaskGroup() as tasks,
            ConnectionAhead(control_plane, tasks, timeout_seconds=5) as ahead,
        ):
            assert await ahead.take(nowhere) is None

    asyncio.run(scenario(), debug=True)


def test_a_cancelled_taker_leaves_it_to_the_next() -> None:
    """Symptom: a try that ran out of time took the connection with it."""

    async def body(gateway: Gateway, ahead: ConnectionAhead) -> None:
        taking = asyncio.ensure_future(ahead.take(gateway.address()))
        await asyncio.sleep(0)
        taking.cancel()
        with pytest.raises(asyncio.CancelledError):
            await taking
        connection = await ahead.take(gateway.address())
        assert connection is not None
        connection.drop()

    run_ahead(body)
