"""The agent's end of the stream multiplexer smux, version 1 (protocol 7.4).

Written from the protocol's description and apart from the client's end, with the habits of the agent's
library: one budget of received bytes for all streams, no window of a stream's own, one frame of each writer
under way, no half-close, and silence after a frame it does not understand.

Frame header, 8 bytes, little-endian:

    offset  bytes  field
         0      1  version    1
         1      1  command    0 SYN, 1 FIN, 2 PSH, 3 NOP
         2      2  length     data bytes that follow; only a PSH has any
         4      4  stream id  chosen by the client: 3, 5, 7 …
"""

from __future__ import annotations

import asyncio
import heapq
import itertools
import struct
from collections import deque
from enum import IntEnum
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from ssm_ssh.emulator.byte_pipe import BytePipe

_HEADER: Final = struct.Struct("<BBHI")
_VERSION: Final = 1
# Specification: data bytes of the longest frame that is sent; a received one may have 65 535.
LARGEST_FRAME_BYTES: Final = 32_768
# Specification: received bytes that wait for their streams' readers, all streams together.
RECEIVE_BUDGET_BYTES: Final = 4 * 1024 * 1024
# Specification: streams that wait to be accepted.
BACKLOG_STREAMS: Final = 1024
# Specification: between two NOPs, and between two looks whether any frame came.
NOP_SECONDS: Final = 10.0
SILENCE_SECONDS: Final = 30.0


class Command(IntEnum):
    """What a frame says."""

    SYN = 0
    FIN = 1
    PSH = 2
    NOP = 3


def frame(command: int, stream_id: int, data: bytes = b"") -> bytes:
    """One frame."""
    return _HEADER.pack(_VERSION, command, len(data), stream_id) + data


class StreamClosed(Exception):
    """The stream was closed on this side."""


class SmuxStream:
    """One stream that the client opened.

    Attributes:
        stream_id: The client's choice.
        sent_frames: PSH frames sent so far: who sent fewest sends next.
    """

    def __init__(self, stream_id: int, server: SmuxServer) -> None:
        self.stream_id = stream_id
        self.sent_frames = 0
        self._server = server
        self._received: deque[bytes] = deque()
        self._arrived = asyncio.Event()
        self._is_finished = False
        self._is_closed = False

    async def copy_to(self, write: Callable[[bytes], Awaitable[None]]) -> None:
        """Hand every received piece to ``write``, until the client's FIN; what ``write`` raises ends it.

        A piece counts against the session's budget until ``write`` is done with it.
        """
        while True:
            while self._received:
                piece = self._received.popleft()
                try:
                    await write(piece)
                finally:
                    self._server.give_back(len(piece))
            if self._is_finished:
                return
            self._arrived.clear()
            await self._arrived.wait()

    async def write(self, data: bytes) -> None:
        """Send ``data`` in frames; returns when the last of them has left.

        Raises:
            StreamClosed: If this side closed the stream.
        """
        for start in range(0, len(data), LARGEST_FRAME_BYTES):
            if self._is_closed:
                raise StreamClosed
            piece = data[start : start + LARGEST_FRAME_BYTES]
            await self._server.send_frame(frame(Command.PSH, self.stream_id, piece), self.sent_frames)
            self.sent_frames += 1

    async def close(self) -> None:
        """End both directions: say FIN, forget the id; what comes for it later is dropped. Twice is fine."""
        if self._is_closed:
            return
        self._is_closed = True
        try:
            await self._server.send_frame(frame(Command.FIN, self.stream_id), 0)
        finally:
            self._server.give_back(sum(map(len, self._received)))
            self._received.clear()
            self._server.forget(self)

    # --- what the server tells it ------------------------------------------------------------------------

    def arrived(self, data: bytes) -> None:
        """The client's bytes."""
        self._received.append(data)
        self._arrived.set()

    def finished(self) -> None:
        """The client's FIN."""
        self._is_finished = True
        self._arrived.set()


class SmuxServer:
    """The side that accepts streams.

    Args:
        source: What the client says.
        sink: What is said to the client.
        has_keepalive: Send NOPs, and end when the client says nothing for long (protocol 7.5).
    """

    def __init__(self, source: BytePipe, sink: BytePipe, *, has_keepalive: bool) -> None:
        self._source = source
        self._sink = sink
        self._has_keepalive = has_keepalive
        self._streams: dict[int, SmuxStream] = {}
        self._backlog: asyncio.Queue[SmuxStream] = asyncio.Queue(BACKLOG_STREAMS)
        self._budget = RECEIVE_BUDGET_BYTES
        self._has_budget = asyncio.Event()
        self._has_budget.set()
        self._has_heard = False
        self._order = itertools.count()
        self._waiting: list[tuple[int, int, bytes, asyncio.Future[None]]] = []
        self._has_waiting = asyncio.Event()

    async def run(self) -> None:
        """Receive and send; returns only when the keepalive finds the client dead."""
        async with asyncio.TaskGroup() as tasks:
            loops = [tasks.create_task(self._receive()), tasks.create_task(self._send())]
            try:
                await self._keep_alive()
            finally:
                for loop in loops:
                    loop.cancel()

    async def accept(self) -> SmuxStream:
        """The next stream, in the order of the SYNs."""
        return await self._backlog.get()

    # --- for its streams ---------------------------------------------------------------------------------

    async def send_frame(self, raw: bytes, priority: int) -> None:
        """Queue one frame and return when it has left; the least ``priority`` leaves first."""
        left = asyncio.get_running_loop().create_future()
        heapq.heappush(self._waiting, (priority, next(self._order), raw, left))
        self._has_waiting.set()
        await left

    def give_back(self, count: int) -> None:
        """Received bytes were read or thrown away."""
        self._budget += count
        if self._budget > 0:
            self._has_budget.set()

    def forget(self, stream: SmuxStream) -> None:
        """The stream is closed: its id means nothing any more."""
        self._streams.pop(stream.stream_id, None)

    # --- inside ------------------------------------------------------------------------------------------

    async def _receive(self) -> None:
        """Read frames for good, or until one that is not understood: the agent never reads again then."""
        while True:
            await self._has_budget.wait()
            header = await self._source.read_exactly(_HEADER.size)
            self._has_heard = True
            version, command, length, stream_id = _HEADER.unpack(header)
            if version != _VERSION:
                return
            match command:
                case Command.SYN:
                    await self._open(stream_id)
                case Command.PSH:
                    self._deliver(stream_id, await self._source.read_exactly(length))
                case Command.FIN:
                    if stream_id in self._streams:
                        self._streams[stream_id].finished()
                case Command.NOP:
                    pass
                case _:
                    return

    async def _open(self, stream_id: int) -> None:
        """A second SYN of a known id is ignored; a full backlog holds up everything behind it."""
        if stream_id not in self._streams:
            stream = self._streams[stream_id] = SmuxStream(stream_id, self)
            await self._backlog.put(stream)

    def _deliver(self, stream_id: int, data: bytes) -> None:
        if data and stream_id in self._streams:
            self._budget -= len(data)
            if self._budget <= 0:
                self._has_budget.clear()
            self._streams[stream_id].arrived(data)

    async def _send(self) -> None:
        while True:
            while self._waiting:
                _, _, raw, left = heapq.heappop(self._waiting)
                # A writer that was cancelled meanwhile takes its frame with it.
                if not left.cancelled():
                    await self._sink.write(raw)
                if not left.done():
                    left.set_result(None)
            self._has_waiting.clear()
            await self._has_waiting.wait()

    async def _keep_alive(self) -> None:
        if not self._has_keepalive:
            await asyncio.Event().wait()
        async with asyncio.TaskGroup() as tasks:
            nops = tasks.create_task(self._say_nops())
            while True:
                await asyncio.sleep(SILENCE_SECONDS)
                # A reader that its budget holds up hears nothing either: that is no silence.
                if not self._has_heard and self._budget > 0:
                    break
                self._has_heard = False
            nops.cancel()

    async def _say_nops(self) -> None:
        while True:
            await asyncio.sleep(NOP_SECONDS)
            await self.send_frame(frame(Command.NOP, 0), 0)
