"""A session's bytes in memory, with a scripted agent at their other end."""

# ruff: noqa: D102 -- the names of the methods are the sentences of the dialogue
from __future__ import annotations

import asyncio
from collections import deque
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from ssm_ssh.session.mux_session import MuxSession, MuxStream
from ssm_ssh.transport.byte_stream import READ_BYTES
from tests.protocol.smux_peer import SmuxPeer

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterable

    from ssm_ssh.errors import SsmSshError


class MemoryCarrier:
    """A ``ByteStream`` to an agent that the test's lines play.

    Attributes:
        agent: Hears what is written.
        has_room: While it is cleared, writing waits.
        is_prompt: Whether the agent answers our FINs at once, as it does.
    """

    def __init__(self) -> None:
        self.agent = SmuxPeer()
        self.has_room = asyncio.Event()
        self.has_room.set()
        self.is_prompt = True
        self._write_failure: SsmSshError | None = None
        self._arrived: deque[bytes | SsmSshError] = deque()
        self._changed = asyncio.Event()

    # --- the session's side: as careless as a real one about letting others have a turn ---

    async def read(self, max_bytes: int = READ_BYTES) -> bytes:
        while not self._arrived:
            self._changed.clear()
            await self._changed.wait()
        head = self._arrived[0]
        if not isinstance(head, bytes):
            raise head
        assert len(head) <= max_bytes
        if head:
            self._arrived.popleft()
        return head

    async def write(self, data: bytes) -> None:
        await self.has_room.wait()
        if self._write_failure is not None:
            raise self._write_failure
        self.agent.receive(data)
        if self.is_prompt:
            self.arrive(self.agent.answer_ends())

    async def end(self) -> None:
        raise AssertionError("the carrier is its session's")

    async def close(self) -> None:
        raise AssertionError("the carrier is its session's")

    # --- the test's side ---

    def arrive(self, data: bytes) -> None:
        """The agent has sent so much."""
        self.arrive_in([data[start : start + READ_BYTES] for start in range(0, len(data), READ_BYTES)])

    def arrive_in(self, pieces: Iterable[bytes]) -> None:
        """The agent has sent so much, and it arrives in these pieces."""
        self._arrived.extend(filter(None, pieces))
        self._changed.set()

    def agent_sends(self, stream: MuxStream, data: bytes) -> None:
        self.arrive(self.agent.send(stream.stream_id, data))

    def agent_ends(self, stream: MuxStream) -> None:
        self.arrive(self.agent.end(stream.stream_id))

    def finish(self, failure: SsmSshError | None = None) -> None:
        """Nothing more arrives."""
        self._arrived.append(failure or b"")
        self._changed.set()

    def break_writing(self, failure: SsmSshError) -> None:
        self._write_failure = failure
        self.has_room.set()

    @property
    def unread_bytes(self) -> int:
        """What the session has not taken."""
        return sum(len(item) for item in self._arrived if isinstance(item, bytes))


async def settle() -> None:
    """Let everybody do what can be done at once."""
    for _ in range(30):
        await asyncio.sleep(0)


@asynccontextmanager
async def mux_session(*, keeps_alive: bool = False) -> AsyncIterator[tuple[MuxSession, MemoryCarrier]]:
    """A running session; stopped at the end of the block."""
    carrier = MemoryCarrier()
    session = MuxSession(carrier, keeps_alive=keeps_alive)
    async with asyncio.TaskGroup() as tasks:
        running = tasks.create_task(session.run())
        try:
            yield session, carrier
        finally:
            running.cancel()


async def read_all(stream: MuxStream) -> bytes:
    """Everything until the end."""
    received = bytearray()
    while data := await stream.read():
        received += data
    return bytes(received)


def expect_nothing_left(session: MuxSession) -> None:
    """No stream has left a trace."""
    assert len(session) == 0
    assert len(session._mux) == 0
    assert session._unread_bytes == 0
    assert not session._overfull
    assert not session._refusals._left
