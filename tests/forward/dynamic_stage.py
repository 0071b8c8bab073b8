"""``-D`` in memory, on a virtual clock: programs that knock, and a node whose agent the test plays."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Final, cast

from ssm_ssh.errors import StreamReset
from ssm_ssh.forward.destination_pools import DestinationPools
from ssm_ssh.forward.dynamic import OpenDynamicForward
from ssm_ssh.forward.options import DynamicOptions
from ssm_ssh.session.pool import SessionPool
from tests.session.memory_carrier import MemoryCarrier, mux_session

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Collection, Iterator

    from ssm_ssh.errors import SsmSshError
    from ssm_ssh.forward.accept import Accepted
    from ssm_ssh.forward.listener import Listener
    from ssm_ssh.session.document import Destination
    from ssm_ssh.session.forward_session import ForwardSession
    from ssm_ssh.session.mux_session import MuxSession

ROUND_TRIP_SECONDS: Final = 0.1
HELLO: Final = b"\x05\x01\x00"


def socks_request(host: str, port: int) -> bytes:
    """A greeting and a request in one piece."""
    return HELLO + bytes([5, 1, 0, 3, len(host)]) + host.encode() + port.to_bytes(2)


class Program:
    """A local program's connection: what is served, and what the test says and hears on it."""

    def __init__(self) -> None:
        self.stream = self
        self.heard = bytearray()
        self.has_heard_end = False
        self.was_reset = False
        self.is_gone = False
        self._said: asyncio.Queue[bytes] = asyncio.Queue()

    # --- the served side ---

    async def read(self, _max_bytes: int = 0) -> bytes:
        """See ``ByteStream``."""
        if self.is_gone:
            raise StreamReset("gone")
        return await self._said.get()

    async def write(self, data: bytes) -> None:
        """See ``ByteStream``."""
        if self.is_gone:
            raise StreamReset("gone")
        self.heard += data

    async def end(self) -> None:
        """See ``ByteStream``."""
        self.has_heard_end = True

    async def close(self) -> None:
        """See ``ByteStream``."""
        self.has_heard_end = True

    def reset(self) -> None:
        """See ``LocalConnection``."""
        self.was_reset = True

    def has_let_go(self) -> bool:
        """See ``Accepted``."""
        return self.is_gone

    # --- the test's side ---

    def says(self, data: bytes) -> None:
        """So much arrives."""
        self._said.put_nowait(data)

    def hangs_up(self) -> None:
        """It has ended its side and reads no more."""
        self.is_gone = True
        self._said.put_nowait(b"")


class AgentSession:
    """A session that is up: what a pool knows of it, and the agent's end."""

    is_shared = True
    stalled_seconds = 0.0
    round_trip_seconds = ROUND_TRIP_SECONDS
    resumes = 0

    def __init__(self, session_id: str, streams: MuxSession, carrier: MemoryCarrier) -> None:
        self.session_id = session_id
        self.streams = streams
        self.carrier = carrier

    async def wait_over(self) -> SsmSshError | None:
        """Nobody ends it."""
        await asyncio.Event().wait()
        return None

    # --- the agent's side ---

    @property
    def received(self) -> list[bytes]:
        """What each stream brought, in the order in which they were opened."""
        return [bytes(stream.received) for stream in self.carrier.agent.streams.values()]

    def sends(self, number: int, data: bytes) -> None:
        """The destination of the stream of that number answers."""
        self.carrier.arrive(self.carrier.agent.send(3 + 2 * number, data))

    def ends(self, number: int) -> None:
        """It closes."""
        self.carrier.arrive(self.carrier.agent.end(3 + 2 * number))

    def refuses(self, number: int) -> None:
        """It could not be reached."""
        self.streams.note_refusal()
        self.ends(number)


@dataclass
class Stage:
    """A node, and one ``-D`` to it.

    Attributes:
        forward: What is tested.
        live: The sessions that are up, by destination.
        started: The destinations of all sessions that were started, in order.
        failures: Why a destination's sessions fail to start; None for those that never answer.
    """

    tasks: asyncio.TaskGroup
    live: dict[Destination, AgentSession] = field(default_factory=dict)
    started: list[Destination] = field(default_factory=list)
    failures: dict[Destination, SsmSshError | None] = field(default_factory=dict)
    pools: dict[Destination, SessionPool] = field(default_factory=dict)
    forward: OpenDynamicForward = field(init=False)

    @contextmanager
    def program(self, *words: bytes) -> Iterator[Program]:
        """A program that has connected and said this; gone at the end of the block."""
        program = Program()
        for word in words:
            program.says(word)
        self.tasks.create_task(self.forward.serve_one(cast("Accepted", program)))
        yield program
        program.hangs_up()

    def open_pool(self, destination: Destination) -> SessionPool:
        """See ``NodePools.pool_to``."""
        if destination not in self.pools:
            pool = SessionPool(partial(self._open, destination), self.tasks, keeps_one=False)
            self.pools[destination] = pool
        return self.pools[destination]

    def drop_pool(self, destination: Destination) -> None:
        """See ``NodePools.drop_pool``."""
        self.pools.pop(destination).close()

    @asynccontextmanager
    async def _open(self, destination: Destination) -> AsyncIterator[ForwardSession]:
        self.started.append(destination)
        await asyncio.sleep(1.0)
        if destination in self.failures:
            failure = self.failures[destination]
            if failure is None:
                await asyncio.Event().wait()
            else:
                raise failure
        async with mux_session() as (streams, carrier):
            session = AgentSession(f"s-{len(self.started)}", streams, carrier)
            self.live[destination] = session
            try:
                yield cast("ForwardSession", session)
            finally:
                del self.live[destination]


@asynccontextmanager
async def stage(
    options: DynamicOptions | None = None, *, kept: Collection[Destination] = (), limit: int = 32
) -> AsyncIterator[Stage]:
    """A stage; at the end of the block everything on it ends."""
    async with asyncio.TaskGroup() as tasks:
        scene = Stage(tasks)
        destinations = DestinationPools(scene.open_pool, scene.drop_pool, kept=kept, limit=limit)
        scene.forward = OpenDynamicForward(
            cast("Listener", None), destinations, options or DynamicOptions(), allows_other_users=False
        )
        try:
            yield scene
        finally:
            for destination in list(scene.pools):
                scene.drop_pool(destination)
