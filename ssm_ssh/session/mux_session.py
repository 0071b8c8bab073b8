"""Streams over one multiplexing port session: a mux driven over the session's bytes."""

from __future__ import annotations

import asyncio
import copy
from typing import TYPE_CHECKING, Final, assert_never

from ssm_ssh.errors import DestinationRefused, LocalProtocolError, SsmSshError, StreamReset
from ssm_ssh.protocol.mux import Mux, MuxEvent, StreamData, StreamEnded
from ssm_ssh.session.refusals import Refusals
from ssm_ssh.session.unread import Unread
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

    It has no half-close: ``end`` returns at once, and the agent is told only after its own side has ended.
    What was written before ``end`` is sent, even if ``close`` follows; without ``end``, ``close`` drops what
    has not left.

    Attributes:
        stream_id: Its number in the mux.
        has_room: Set when there may be room for more to be written.
        has_received: Whether anything has arrived.
        is_live: Whether more may arrive: the agent's side has not ended, and it was not closed.
        waiting_since: When the oldest unread byte began to wait for its reader; each read starts this anew.
    """

    def __init__(self, session: MuxSession, stream_id: StreamId) -> None:
        self.stream_id = stream_id
        self.has_room = asyncio.Event()
        self.has_received = False
        self.is_live = True
        self.waiting_since = 0.0
        self._session = session
        self._unread = Unread()
        self._readable = asyncio.Event()
        self._is_ending = False
        self._failure: SsmSshError | None = None

    @property
    def unread_bytes(self) -> int:
        """How much has arrived and was not read."""
        return self._unread.size_bytes

    # --- the session's side ---

    def feed(self, data: bytes, now: float) -> None:
        """Take in what arrived."""
        if not self.unread_bytes:
            self.waiting_since = now
        self.has_received = True
        self._unread.add(data)
        self._readable.set()

    def finish(self, failure: SsmSshError | None) -> None:
        """Nothing more will arrive. The first word counts."""
        if self.is_live:
            self.is_live = False
            self._failure = failure
            self._readable.set()
            self.has_room.set()

    def break_off(self, failure: SsmSshError) -> None:
        """Drop what was not read: nobody may take what is missing then for an end."""
        self._unread.clear()
        self.finish(failure)
        self._failure = failure

    def check_writable(self) -> None:
        """Raises ``SsmSshError`` if nothing more can be written."""
        if not self.is_live:
            failure = self._failure or StreamReset("the node's port closed the connection")
            raise _copy_of(failure)
        if self._is_ending:
            raise LocalProtocolError(f"stream {self.stream_id} was ended by our side")

    # --- the user's side ---

    async def read(self, max_bytes: int = READ_BYTES) -> bytes:
        """The next bytes, or ``b""`` once the agent has ended the stream.

        Raises:
            DestinationRefused: If the node could not reach the port.
            SsmSshError: Why the stream broke, after everything that arrived was read.
        """
        while not self.unread_bytes:
            if not self.is_live:
                if self._failure is not None:
                    raise _copy_of(self._failure)
                return b""
            self._readable.clear()
            await self._readable.wait()
        data = self._unread.take(max_bytes)
        self._session.note_read(self, len(data))
        return data

    async def write(self, data: bytes) -> None:
        """Accept all of ``data``; waits while the stream's queue is full.

        Raises:
            StreamReset: If the agent's side has ended, for it would discard the data. What it sent before can
                be read still.
            SsmSshError: If the stream is over.
        """
        view = memoryview(data)
        while view:
            view = view[await self._session.send(self, view) :]

    async def end(self) -> None:
        """No more from us; see the class."""
        self._is_ending = True
        self._session.end(self)

    async def close(self) -> None:
        """Both sides, at once; see the class."""
        self._session.close(self)


class MuxSession:
    """The mux of one session; ``run`` must be under way for anything to move.

    Memory is bounded by ``SESSION_UNREAD_BYTES``, for each stream by ``STREAM_UNREAD_BYTES``, either plus
    what one read of the carrier brings, and by the mux's own queues. What is unread counts until it was read
    or its stream closed, whether the agent has ended the stream or not.

    Attributes:
        is_over: Whether no stream can be opened any more.
    """

    def __init__(self, carrier: ByteStream, *, keeps_alive: bool) -> None:
        """Start with no streams.

        Args:
            carrier: The session's bytes.
            keeps_alive: See ``Mux``.
        """
        self.is_over = False
        self._carrier = carrier
        self._loop = asyncio.get_running_loop()
        self._mux = Mux(keeps_alive=keeps_alive, now=self._loop.time())
        # Opened, and neither closed nor ended by the agent and read to the end.
        self._streams: dict[StreamId, MuxStream] = {}
        self._unread_bytes = 0
        self._overfull: set[MuxStream] = set()
        self._wake = asyncio.Event()
        # Something that the session is held up for may have changed.
        self._relief = asyncio.Event()
        self._refusals = Refusals()
        # Why nothing can be written any more; what has arrived can be read still.
        self._broken: SsmSshError | None = None

    def __len__(self) -> int:
        """How many streams are open, those included that have ended but are not read to the end."""
        return len(self._streams)

    def open_stream(self) -> MuxStream:
        """Open a stream to the session's port.

        Raises:
            StreamReset: If the session is over.
        """
        if self.is_over:
            raise StreamReset("the session has ended")
        stream_id = self._mux.open_stream()
        stream = self._streams[stream_id] = MuxStream(self, stream_id)
        self._wake.set()
        # A reader that was alone may be as slow as it liked; now somebody else would wait for it.
        self._relief.set()
        return stream

    def note_refusal(self, after_bytes: int | None = None) -> None:
        """The agent said that it could not reach the port: the next stream that ends unheard is meant.

        Its flag names no stream, but it leaves right before that stream's end (protocol 7.2).

        Args:
            after_bytes: How many of the carrier's bytes came before the flag; None for those read so far.
        """
        self._refusals.note_flag(after_bytes or 0)

    async def run(self) -> None:
        """Carry the streams until the session ends; they learn why, after everything that had arrived."""
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
                stream.finish(failure or self._broken or StreamReset("the session has ended"))
            self._streams.clear()
            self._overfull.clear()

    # --- for the streams ---

    async def send(self, stream: MuxStream, data: memoryview) -> int:
        """Accept some of ``data`` and return how much; waits for room."""
        while True:
            stream.check_writable()
            if self._broken is not None:
                raise _copy_of(self._broken)
            room = self._mux.room_bytes(stream.stream_id)
            if room:
                accepted = bytes(data[:room])
                self._mux.send(stream.stream_id, accepted)
                self._wake.set()
                return len(accepted)
            stream.has_room.clear()
            await stream.has_room.wait()

    def end(self, stream: MuxStream) -> None:
        """No more from us on ``stream``."""
        self._mux.end(stream.stream_id)
        stream.has_room.set()

    def close(self, stream: MuxStream) -> None:
        """Let go of ``stream``."""
        self._let_go(stream, StreamReset("the connection was closed here"))

    def note_read(self, stream: MuxStream, read_bytes: int) -> None:
        """A local program has read something."""
        stream.waiting_since = self._loop.time()
        self._count(stream, -read_bytes)
        if not stream.is_live and not stream.unread_bytes:
            self._streams.pop(stream.stream_id, None)

    # --- inside ---

    async def _read(self) -> None:
        while data := await self._carrier.read():
            while data:
                piece = self._refusals.received(data)
                data = data[len(piece) :]
                for event in self._mux.receive_data(piece):
                    self._take(event)
            self._wake.set()
            # A carrier that has much to read does not wait, and nobody else would get a turn.
            await asyncio.sleep(0)
            await self._wait_for_readers()

    def _take(self, event: MuxEvent) -> None:
        stream = self._streams.get(event.stream_id)
        match event:
            case StreamData(data=data):
                # Whoever gave a stream up has closed it in the mux: no more of its data is reported.
                assert stream is not None
                stream.feed(data, self._loop.time())
                self._count(stream, len(data))
            case StreamEnded(stream_id):
                is_unheard = stream is not None and not stream.has_received
                is_refused = self._refusals.is_meant(stream_id, is_unheard=is_unheard)
                if stream is not None:
                    self._finish(stream, is_refused=is_refused)
            case _:
                assert_never(event)

    def _finish(self, stream: MuxStream, *, is_refused: bool) -> None:
        stream.finish(DestinationRefused("the node could not connect to the port") if is_refused else None)
        self._overfull.discard(stream)
        if not stream.unread_bytes:
            del self._streams[stream.stream_id]

    def _let_go(self, stream: MuxStream, failure: SsmSshError) -> None:
        self._mux.close(stream.stream_id)
        if not stream.has_received and stream.stream_id in self._mux and stream.is_live:
            self._refusals.left_unheard(stream.stream_id)
        self._streams.pop(stream.stream_id, None)
        unread_bytes = stream.unread_bytes
        stream.break_off(failure)
        self._count(stream, -unread_bytes)
        self._wake.set()

    def _count(self, stream: MuxStream, change_bytes: int) -> None:
        """Keep the account of what is unread; in constant time, for this happens with every message."""
        self._unread_bytes += change_bytes
        # What the agent has ended grows no more: it does not count against the limit of one stream.
        if stream.is_live and stream.unread_bytes > STREAM_UNREAD_BYTES:
            self._overfull.add(stream)
        else:
            self._overfull.discard(stream)
        if change_bytes <= 0:
            self._relief.set()

    async def _wait_for_readers(self) -> None:
        """Hold the session up while too much is unread; give up a stream that holds the others too long."""
        while (stalled := self._most_stalled()) is not None:
            deadline = None
            if any(other.is_live and other is not stalled for other in self._streams.values()):
                deadline = stalled.waiting_since + STALL_SECONDS
                if deadline <= self._loop.time():
                    reason = f"nobody read from it for {STALL_SECONDS:g} seconds while others waited"
                    self._let_go(stalled, StreamReset(reason))
                    continue
            self._relief.clear()
            try:
                async with asyncio.timeout_at(deadline):
                    await self._relief.wait()
            except TimeoutError:
                continue

    def _most_stalled(self) -> MuxStream | None:
        """Of the streams with too much unread, the one that has waited longest for its reader, if any."""
        heavy = list(self._overfull)
        if self._unread_bytes > SESSION_UNREAD_BYTES:
            unread = [stream for stream in self._streams.values() if stream.unread_bytes]
            share_bytes = SESSION_UNREAD_BYTES / len(unread)
            heavy = [stream for stream in unread if stream.unread_bytes > share_bytes]
        return min(heavy, key=lambda stream: stream.waiting_since, default=None)

    async def _write(self) -> None:
        try:
            await self._write_on()
        except SsmSshError as failure:
            # The carrier is over. What has arrived comes first; then its reader is told the same.
            self._broken = failure
            self.is_over = True
            for stream in self._streams.values():
                stream.has_room.set()

    async def _write_on(self) -> None:
        while True:
            self._wake.clear()
            while data := self._mux.data_to_send(_WRITE_BYTES, self._loop.time()):
                await self._carrier.write(data)
                for stream_id in self._mux.streams_with_room():
                    if (stream := self._streams.get(stream_id)) is not None:
                        stream.has_room.set()
            try:
                async with asyncio.timeout_at(self._mux.next_deadline()):
                    await self._wake.wait()
            except TimeoutError:
                continue


def _copy_of(failure: SsmSshError) -> SsmSshError:
    """The same failure, for one more to raise: an exception that many tasks raise mixes up their traces."""
    own = copy.copy(failure)
    own.__cause__ = failure.__cause__
    return own
