"""Streams over one multiplexing port session: a mux driven over the session's bytes."""

from __future__ import annotations

import asyncio
from collections import deque
from typing import TYPE_CHECKING, Final

from ssm_ssh.errors import DestinationRefused, SsmSshError, StreamReset
from ssm_ssh.protocol.mux import Mux, StreamData, StreamEnded
from ssm_ssh.transport.byte_stream import READ_BYTES, ByteStream
from ssm_ssh.transport.driver import single_cause

if TYPE_CHECKING:
    from ssm_ssh.wire.smux_frame import StreamId

# Ours: what leaves the mux at a time; small, so that a keystroke's turn comes soon.
_WRITE_BYTES: Final = 32 * 1024
# Ours: what one stream, and all streams together, may hold unread. Version 1 of smux cannot tell the agent to
# pause one stream, so beyond this the whole session waits, or the stream that nobody reads is given up.
STREAM_UNREAD_BYTES: Final = 8 * 1024 * 1024
SESSION_UNREAD_BYTES: Final = 32 * 1024 * 1024
# Ours: how long the others wait for a local program that has stopped reading.
STALL_SECONDS: Final = 5.0


class MuxStream:
    """One stream: a ``ByteStream`` as far as smux allows. Made by ``MuxSession.open_stream``.

    ``end`` is told to the agent only after the agent's side has ended: it has no half-close.
    """

    def __init__(self, session: MuxSession, stream_id: StreamId, now: float) -> None:
        self.stream_id = stream_id
        self.unread_bytes = 0
        self.read_at = now
        self.has_received = False
        self._session = session
        self._unread: deque[bytes] = deque()
        self._changed = asyncio.Event()
        self._has_ended = False
        self._failure: SsmSshError | None = None

    # --- the session's side ---

    def feed(self, data: bytes) -> None:
        """Take in what arrived."""
        self.has_received = True
        self._unread.append(data)
        self.unread_bytes += len(data)
        self._changed.set()

    def finish(self, failure: SsmSshError | None) -> None:
        """Nothing more will arrive. The first word counts."""
        if not self._has_ended:
            self._has_ended = True
            self._failure = failure
            self._changed.set()

    def discard(self) -> None:
        """Drop what was not read."""
        self._unread.clear()
        self.unread_bytes = 0

    # --- the user's side ---

    async def read(self, max_bytes: int = READ_BYTES) -> bytes:
        """The next bytes, or ``b""`` once the agent has ended the stream.

        Raises:
            DestinationRefused: If the node could not reach the port.
            SsmSshError: Why the stream broke, after everything that arrived was read.
        """
        while not self._unread:
            if self._has_ended:
                if self._failure is not None:
                    raise self._failure
                return b""
            self._changed.clear()
            await self._changed.wait()
        data = self._unread.popleft()
        if len(data) > max_bytes:
            self._unread.appendleft(data[max_bytes:])
            data = data[:max_bytes]
        self.unread_bytes -= len(data)
        self.read_at = asyncio.get_running_loop().time()
        self._session.note_read()
        return data

    async def write(self, data: bytes) -> None:
        """Accept all of ``data``; waits while the stream's queue is full.

        Raises:
            SsmSshError: If the stream is over.
        """
        view = memoryview(data)
        while view:
            view = view[await self._session.send(self, view) :]

    async def end(self) -> None:
        """No more from us; see the class."""
        self._session.end(self)

    async def close(self) -> None:
        """Both sides, at once."""
        self._session.close(self)

    def check_open(self) -> None:
        """Raises ``SsmSshError`` if the agent's side is over, and with it the stream."""
        if self._has_ended:
            raise self._failure or StreamReset("the node's port closed the connection")


class MuxSession:
    """The mux of one session; ``run`` must be under way for anything to move.

    Memory is bounded by ``SESSION_UNREAD_BYTES`` plus what one read holds, and by the mux's own queues.

    Attributes:
        is_over: Whether no stream can be opened any more.
    """

    def __init__(self, carrier: ByteStream, *, keeps_alive: bool) -> None:
        self.is_over = False
        self._carrier = carrier
        self._loop = asyncio.get_running_loop()
        self._mux = Mux(keeps_alive=keeps_alive, now=self._loop.time())
        self._streams: dict[StreamId, MuxStream] = {}
        self._wake = asyncio.Event()
        self._has_room = asyncio.Event()
        self._was_read = asyncio.Event()
        self._refusals = 0

    def __len__(self) -> int:
        """How many streams are open."""
        return len(self._streams)

    def open_stream(self) -> MuxStream:
        """Open a stream to the session's port.

        Raises:
            StreamReset: If the session is over.
        """
        if self.is_over:
            raise StreamReset("the session has ended")
        stream_id = self._mux.open_stream()
        stream = self._streams[stream_id] = MuxStream(self, stream_id, self._loop.time())
        self._wake.set()
        return stream

    def note_refusal(self) -> None:
        """The agent said that it could not reach the port: the next stream that ends unheard is meant.

        Its flag names no stream, but it leaves right before that stream's end (protocol 7.2).
        """
        self._refusals += 1

    async def run(self) -> None:
        """Carry the streams until the session ends; they learn why."""
        failure: SsmSshError | None = None
        try:
            async with asyncio.TaskGroup() as tasks:
                writing = tasks.create_task(self._write())
                await self._read()
                writing.cancel()
        except BaseExceptionGroup as group:
            cause = single_cause(group)
            if not isinstance(cause, SsmSshError):
                raise cause from None
            failure = cause
        finally:
            self.is_over = True
            for stream in self._streams.values():
                stream.finish(failure or StreamReset("the session has ended"))
            self._streams.clear()
            self._has_room.set()

    # --- for the streams ---

    async def send(self, stream: MuxStream, data: memoryview) -> int:
        """Accept some of ``data`` and return how much; waits for room."""
        while True:
            stream.check_open()
            room = self._mux.room_bytes(stream.stream_id)
            if room:
                accepted = bytes(data[:room])
                self._mux.send(stream.stream_id, accepted)
                self._wake.set()
                return len(accepted)
            self._has_room.clear()
            await self._has_room.wait()

    def end(self, stream: MuxStream) -> None:
        """No more from us on ``stream``."""
        self._mux.end(stream.stream_id)

    def close(self, stream: MuxStream) -> None:
        """Let go of ``stream``."""
        self._mux.close(stream.stream_id)
        self._streams.pop(stream.stream_id, None)
        stream.discard()
        stream.finish(StreamReset("the stream was closed"))
        self._wake.set()
        self._was_read.set()
        self._has_room.set()

    def note_read(self) -> None:
        """A local program has read something."""
        self._was_read.set()

    # --- inside ---

    async def _read(self) -> None:
        while data := await self._carrier.read():
            for event in self._mux.receive_data(data):
                stream = self._streams.get(event.stream_id)
                if stream is None:
                    continue
                match event:
                    case StreamData(data=received):
                        stream.feed(received)
                    case StreamEnded():
                        self._finish(stream)
            self._wake.set()
            await self._wait_for_readers()

    def _finish(self, stream: MuxStream) -> None:
        failure = None
        if self._refusals and not stream.has_received:
            self._refusals -= 1
            failure = DestinationRefused("the node could not connect to the port")
        stream.finish(failure)
        del self._streams[stream.stream_id]
        self._has_room.set()

    async def _wait_for_readers(self) -> None:
        """Hold the session up while too much is unread; give up a stream that holds the others too long."""
        while (stalled := self._most_unread()) is not None:
            patience = None
            if len(self._streams) > 1:
                patience = stalled.read_at + STALL_SECONDS - self._loop.time()
                if patience <= 0:
                    self.close(stalled)
                    continue
            self._was_read.clear()
            try:
                async with asyncio.timeout(patience):
                    await self._was_read.wait()
            except TimeoutError:
                continue

    def _most_unread(self) -> MuxStream | None:
        """The stream with most unread, if that or all of it is too much."""
        most = max(self._streams.values(), key=lambda stream: stream.unread_bytes, default=None)
        if most is None:
            return None
        total = sum(stream.unread_bytes for stream in self._streams.values())
        is_too_much = most.unread_bytes > STREAM_UNREAD_BYTES or total > SESSION_UNREAD_BYTES
        return most if is_too_much else None

    async def _write(self) -> None:
        while True:
            self._wake.clear()
            while data := self._mux.data_to_send(_WRITE_BYTES, self._loop.time()):
                await self._carrier.write(data)
                self._has_room.set()
            try:
                async with asyncio.timeout_at(self._mux.next_deadline()):
                    await self._wake.wait()
            except TimeoutError:
                continue
