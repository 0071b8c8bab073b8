"""A node without SSH, and a server for its ports: enough to see a session carry bytes."""

from __future__ import annotations

import asyncio
import hashlib
import random
import socket
import struct
import threading
import time
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from ssm_ssh.emulator.agent import SsmAgent
from ssm_ssh.emulator.agent_version import DEFAULT_AGENT_VERSION
from ssm_ssh.emulator.placement import DEFAULT_PLACEMENT, Placement
from ssm_ssh.emulator.timing import FAST

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from types import TracebackType
    from typing import Self

    from ssm_ssh.emulator.timing import Timing
    from ssm_ssh.emulator.windows_launch import WindowsLaunch

NODE_ID: Final = "i-0123456789abcdef0"
_READ_BYTES: Final = 256 * 1024
# A frame of ``stamp``: when it was written, in nanoseconds of the monotonic clock, and padding.
STAMP: Final = struct.Struct("!Q1016x")


def seeded_bytes(count: int, seed: int = 1) -> bytes:
    """Bytes that nothing on the way could make up."""
    return random.Random(seed).randbytes(count)


@dataclass
class PortNode:
    """See ``EmulatedNode``: the stand-in's own agent on a machine whose ports are this machine's."""

    name: str = "web-1"
    node_id: str = NODE_ID
    agent_version: str = DEFAULT_AGENT_VERSION
    timing: Timing = FAST
    is_online: bool = True
    tags: Mapping[str, str] = field(default_factory=dict)
    platform: str = "Linux"
    ip_address: str = "10.0.0.7"
    placement: Placement = DEFAULT_PLACEMENT
    windows_launch: WindowsLaunch | None = None
    agent: SsmAgent = field(init=False)

    def __post_init__(self) -> None:
        self.agent = SsmAgent(self.node_id, _connect, version=self.agent_version, timing=self.timing)

    async def start(self) -> None:
        """See ``EmulatedNode``."""

    async def stop(self) -> None:
        """See ``EmulatedNode``."""

    def authorize_key(self, os_user: str, public_key: str, *, seconds: float = 60.0) -> None:
        """See ``EmulatedNode``."""
        raise AssertionError("nobody pushes keys here")


async def _connect(_host: str, port: int) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    return await asyncio.open_connection("127.0.0.1", port)


class Depot:
    """A TCP server that does what a connection's first line says; a context manager.

    - ``echo``: says everything back;
    - ``give COUNT SEED``: sends ``seeded_bytes(COUNT, SEED)`` and closes;
    - ``hold COUNT SEED``: the same, but leaves the closing to the other side;
    - ``take COUNT SECONDS``: after a pause reads so many bytes, says their SHA-256 and closes;
    - ``stamp COUNT``: reads so many frames of ``STAMP`` and keeps how long each was under way.

    Attributes:
        port: Where it listens on loopback.
        delays: What ``stamp`` measured, in seconds.
    """

    def __init__(self) -> None:
        self.delays: list[float] = []
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self._connections: list[socket.socket] = []
        self._threads: list[threading.Thread] = []
        self._is_closing = threading.Event()

    def __enter__(self) -> Self:
        self._start(self._accept)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._is_closing.set()
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for connection in self._connections:
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join()

    def _start(self, work: Callable[[], None]) -> None:
        thread = threading.Thread(target=work, name="depot")
        self._threads.append(thread)
        thread.start()

    def _accept(self) -> None:
        with suppress(OSError):
            while not self._is_closing.is_set():
                connection, _ = self._listener.accept()
                self._connections.append(connection)
                self._start(lambda connection=connection: self._serve(connection))  # type: ignore[misc]

    def _serve(self, connection: socket.socket) -> None:
        with connection, suppress(OSError), connection.makefile("rb") as reader:
            word, *numbers = reader.readline().split() or [b""]
            match word, [int(number) for number in numbers]:
                case b"echo", []:
                    while data := reader.read1(_READ_BYTES):
                        connection.sendall(data)
                case b"give", [count, seed]:
                    connection.sendall(seeded_bytes(count, seed))
                    connection.shutdown(socket.SHUT_WR)
                case b"hold", [count, seed]:
                    connection.sendall(seeded_bytes(count, seed))
                    reader.read()
                case b"take", [count, seconds]:
                    self._is_closing.wait(seconds)
                    digest = hashlib.sha256()
                    while count and (data := reader.read1(min(count, _READ_BYTES))):
                        digest.update(data)
                        count -= len(data)
                    connection.sendall(digest.hexdigest().encode())
                case b"stamp", [count]:
                    for _ in range(count):
                        (written_at,) = STAMP.unpack(reader.read(STAMP.size))
                        self.delays.append((time.monotonic_ns() - written_at) / 1e9)
                case _:
                    pass


class SilentPort:
    """Accepts connections, reads nothing and says nothing; a context manager.

    Attributes:
        address: Where it listens.
        port: The port of that.
    """

    def __init__(self, host: str = "127.0.0.1") -> None:
        self._listener = socket.create_server((host, 0), backlog=64)
        self._listener.settimeout(0.0)
        self.port: int = self._listener.getsockname()[1]
        self.address = f"{host}:{self.port}"

    def connections(self) -> int:
        """How many connections were made since the last call; they are closed."""
        count = 0
        with suppress(BlockingIOError):
            while True:
                connection, _ = self._listener.accept()
                connection.close()
                count += 1
        return count

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._listener.close()


def closed_port() -> int:
    """A port of loopback on which nothing listens."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])
