"""A connection to the message gateway, opened while AWS still works on StartSession."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Self

from ssm_ssh.errors import SsmSshError
from ssm_ssh.transport.connection import Connection, Route, open_connection

if TYPE_CHECKING:
    from types import TracebackType

    from ssm_ssh.transport.control_plane import ControlPlane
    from ssm_ssh.transport.stream_url import StreamAddress


async def find_route(control_plane: ControlPlane, address: StreamAddress) -> Route:
    """How to reach ``address``; loading the trusted authorities takes its time, outside the loop."""
    context = await asyncio.to_thread(control_plane.ssl_context) if address.is_tls else None
    return Route(ssl_context=context, proxy=control_plane.proxy_for(address))


class ConnectionAhead:
    """At most one connection, opened inside ``async with`` and dropped at its end if nobody took it."""

    def __init__(
        self, control_plane: ControlPlane, tasks: asyncio.TaskGroup, *, timeout_seconds: float
    ) -> None:
        self._control_plane = control_plane
        self._tasks = tasks
        self._timeout_seconds = timeout_seconds
        self._expected = control_plane.expected_stream_address()
        self._opening: asyncio.Task[Connection | None] | None = None

    async def __aenter__(self) -> Self:
        if self._expected is not None:
            self._opening = self._tasks.create_task(self._open(self._expected))
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._drop()

    async def take(self, address: StreamAddress) -> Connection | None:
        """The connection, once, if it leads to ``address``'s host; its user sees whether it still lives.

        One that leads elsewhere is dropped.
        """
        if self._opening is None or self._expected is None:
            return None
        if address.host != self._expected.host:
            self._drop()
            return None
        await asyncio.wait([self._opening])
        opening, self._opening = self._opening, None
        return opening.result()

    def _drop(self) -> None:
        opening, self._opening = self._opening, None
        if opening is None:
            return
        if opening.done():
            _drop_connection(opening)
        else:
            # The task group waits for it.
            opening.add_done_callback(_drop_connection)
            opening.cancel()

    async def _open(self, address: StreamAddress) -> Connection | None:
        try:
            return await open_connection(
                address,
                await find_route(self._control_plane, address),
                timeout_seconds=self._timeout_seconds,
            )
        except SsmSshError:
            # Whoever needs it will try again, and tell.
            return None


def _drop_connection(opening: asyncio.Task[Connection | None]) -> None:
    if opening.cancelled() or opening.exception() is not None:
        return
    connection = opening.result()
    if connection is not None:
        connection.drop()
