"""Tunnels without a network, for whoever keeps tunnels up."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, cast

from ssm_ssh.forward.traffic import Traffic
from ssm_ssh.session.document import Destination

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from ssm_ssh.forward.supervised import OpenTunnel, WatchedForward


@dataclass
class FakeSession:
    """A ``ForwardSession``, as far as it is watched."""

    session_id: str
    is_streaming: bool = True
    round_trip_seconds: float | None = None


@dataclass
class FakeForward:
    """A ``WatchedForward`` and its listener, as far as they are watched."""

    destination: Destination
    addresses: list[str]
    sessions: list[FakeSession] = field(default_factory=list)
    traffic: Traffic = field(default_factory=lambda: Traffic(0, 0, 0, 0))
    resumes: int = 0
    last_end: str | None = None

    @property
    def listener(self) -> FakeForward:
        """As ``WatchedForward``."""
        return self


class FakeTunnel:
    """A ``Tunnel`` with one forward."""

    def __init__(self) -> None:
        self.node_id = "i-0123456789abcdef0"
        self.forward = FakeForward(Destination("db", 5432), ["127.0.0.1:5432"], [FakeSession("session-0")])
        self.forwards = (cast("WatchedForward", self.forward),)
        self.broken: asyncio.Future[None] = asyncio.get_running_loop().create_future()


@dataclass(eq=False)
class FakeOrder:
    """An ``Order`` whose tunnel opens in a second, or fails as it is told.

    Attributes:
        failures: What the next tries meet; an empty list lets them succeed.
        opened_at: When each try began.
        tunnel: What is open now, or None.
        is_open: Set while a tunnel is open.
        close_seconds: How long its end takes.
    """

    name: str = "db"
    target: str = "bastion"
    failures: list[Exception] = field(default_factory=list)
    opened_at: list[float] = field(default_factory=list)
    tunnel: FakeTunnel | None = None
    is_open: asyncio.Event = field(default_factory=asyncio.Event)
    close_seconds: float = 0.0

    @asynccontextmanager
    async def open(self) -> AsyncIterator[OpenTunnel]:
        """As ``TunnelOrder``."""
        self.opened_at.append(asyncio.get_running_loop().time())
        await asyncio.sleep(1.0)
        if self.failures:
            raise self.failures.pop(0)
        self.tunnel = tunnel = FakeTunnel()
        self.is_open.set()
        body = asyncio.current_task()
        assert body is not None
        breaking = asyncio.ensure_future(self._break(tunnel, body))
        try:
            yield tunnel
        except asyncio.CancelledError:
            if tunnel.broken.done():
                body.uncancel()
                tunnel.broken.result()
            raise
        finally:
            self.tunnel = None
            self.is_open.clear()
            breaking.cancel()
            await asyncio.sleep(self.close_seconds)

    async def _break(self, tunnel: FakeTunnel, body: asyncio.Task[object]) -> None:
        await asyncio.wait([tunnel.broken])
        body.cancel()
