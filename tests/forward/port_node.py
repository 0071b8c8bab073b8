"""A node with a real agent's manners and a few servers, for whoever forwards ports to it."""

from __future__ import annotations

import asyncio
import contextlib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from ssm_ssh.emulator.agent import SsmAgent
from ssm_ssh.emulator.agent_version import DEFAULT_AGENT_VERSION
from ssm_ssh.emulator.placement import DEFAULT_PLACEMENT, Placement

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ssm_ssh.emulator.windows_launch import WindowsLaunch

NAME: Final = "web-1"
# A name that the node knows, another spelling of itself.
KNOWN_HOST: Final = "db.internal"
LATE_BYTES: Final = 300_000
DEAF: Final = b"be deaf\n"
# Nothing ever listens there: it is reserved.
CLOSED_PORT: Final = 1


async def _echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while data := await reader.read(65_536):
        writer.write(data)
        await writer.drain()


async def _answer_late(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.readline()
    await asyncio.sleep(0.2)
    writer.write(bytes(LATE_BYTES))
    await writer.drain()


async def _stop_reading(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """As the echo server, but who says DEAF first is not heard any more."""
    if await reader.readline() == DEAF:
        await asyncio.Event().wait()
    await _echo(reader, writer)


SERVERS: Final = {"echo": _echo, "late": _answer_late, "picky": _stop_reading}


@dataclass
class PortNode:
    """See ``EmulatedNode``.

    Attributes:
        ports: The servers' ports by name, once it is up.
        open_connections: How many connections its servers have now.
    """

    agent_version: str = DEFAULT_AGENT_VERSION
    name: str = NAME
    node_id: str = "i-0123456789abcdef0"
    tags: Mapping[str, str] = field(default_factory=dict)
    platform: str = "Linux"
    ip_address: str = "10.0.1.2"
    placement: Placement = DEFAULT_PLACEMENT
    windows_launch: WindowsLaunch | None = None
    is_online: bool = True
    ports: dict[str, int] = field(default_factory=dict)
    open_connections: int = 0

    def __post_init__(self) -> None:
        self.agent = SsmAgent(self.node_id, self._connect, resolve=_resolve, version=self.agent_version)
        self._servers: list[asyncio.Server] = []
        self._tasks: set[asyncio.Task[None]] = set()

    async def start(self) -> None:
        """See ``EmulatedNode``."""
        for name in SERVERS:
            server = await asyncio.start_server(self._serve(name), "127.0.0.1", 0)
            self._servers.append(server)
            self.ports[name] = server.sockets[0].getsockname()[1]

    async def stop(self) -> None:
        """See ``EmulatedNode``."""
        for server in self._servers:
            server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def authorize_key(self, os_user: str, public_key: str, *, seconds: float = 60.0) -> None:
        """See ``EmulatedNode``."""
        raise NotImplementedError

    def _serve(self, name: str):  # type: ignore[no-untyped-def]  # noqa: ANN202 -- asyncio's callback
        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            task = asyncio.current_task()
            assert task is not None
            self._tasks.add(task)
            self.open_connections += 1
            try:
                # Cancelled at the node's end: asyncio would report that as if nobody had meant it.
                with contextlib.suppress(OSError, asyncio.CancelledError):
                    await SERVERS[name](reader, writer)
            finally:
                self.open_connections -= 1
                self._tasks.discard(task)
                writer.close()
                with contextlib.suppress(OSError):
                    await writer.wait_closed()

        return serve

    async def _connect(self, host: str, port: int) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        assert host in {"localhost", "127.0.0.1"}, host
        return await asyncio.open_connection("127.0.0.1", port)


def _resolve(host: str) -> tuple[str, ...]:
    if host == KNOWN_HOST:
        return ("127.0.0.1",)
    return () if host.endswith(".internal") else (host,)
