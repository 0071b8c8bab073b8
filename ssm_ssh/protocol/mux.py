"""A mux: streams over the one ordered byte stream of a multiplexing port session (protocol 7.4).

We open, the agent accepts: one stream for each connection, ids 3, 5, 7 … Each stream has a queue of its own,
and queues are emptied in turn, a small piece each, so that bulk does not delay a keystroke.

Version 1 of smux has no half-close: what a FIN's receiver has not sent yet is lost (protocol 7.4). So the end
of our side is kept back until the agent's side has ended; a server that answers after our end is heard whole,
and one that waits for our end waits in vain. Nor has it a window for a stream: what arrives has to be taken.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
from enum import Enum, auto
from typing import Final

from ssm_ssh.errors import LocalProtocolError
from ssm_ssh.wire.smux_frame import Command, Frame, FrameReader, StreamId

# Specification: a client's first id; every further one is two more (protocol 7.4).
_FIRST_STREAM: Final = 3
_LAST_STREAM: Final = 2**32 - 1
# Specification: how often a NOP is sent to an agent that ends a mux where none arrive (protocol 7.5).
KEEPALIVE_SECONDS: Final = 10.0
# Ours: one stream's data that has not left yet.
STREAM_QUEUE_BYTES: Final = 64 * 1024
# Ours: one stream's turn; a keystroke waits for one such piece of every busy stream at most.
_TURN_BYTES: Final = 8 * 1024


@dataclass(frozen=True, slots=True)
class StreamData:
    """The next bytes of a stream."""

    stream_id: StreamId
    data: bytes


@dataclass(frozen=True, slots=True)
class StreamEnded:
    """The agent ended a stream, after its last bytes: the port closed it, or was never reached."""

    stream_id: StreamId


MuxEvent = StreamData | StreamEnded


class _Ours(Enum):
    """How far our side of a stream is."""

    OPEN = auto()
    ENDED = auto()  # nothing more is accepted; the FIN waits for the agent's
    FINISHED = auto()  # the FIN is queued behind the data


class _Stream:
    __slots__ = ("has_syn_left", "ours", "queue")

    def __init__(self) -> None:
        self.has_syn_left = False
        self.ours = _Ours.OPEN
        self.queue = bytearray()


class Mux:
    """The client's end of a mux.

    Memory: ``STREAM_QUEUE_BYTES`` for each open stream, plus one incomplete frame.
    """

    def __init__(self, *, keeps_alive: bool, now: float) -> None:
        """Start with no streams.

        Args:
            keeps_alive: Send NOPs: only where the agent wants them, or the user does, for they count
                as activity and defeat the account's idle limit (protocol 7.5).
            now: When.
        """
        self._reader = FrameReader()
        self._streams: dict[StreamId, _Stream] = {}
        # Streams with something to send, in the order of their turns.
        self._turns: OrderedDict[StreamId, None] = OrderedDict()
        self._next_stream = _FIRST_STREAM
        self._keeps_alive = keeps_alive
        self._sent_at = now

    def __len__(self) -> int:
        """How many streams are open."""
        return len(self._streams)

    # --- the caller speaks ---

    def open_stream(self) -> StreamId:
        """Open a stream; data may be sent at once.

        Raises:
            LocalProtocolError: If all ids are used up.
        """
        if self._next_stream > _LAST_STREAM:
            raise LocalProtocolError("the mux has no stream ids left")
        stream_id = StreamId(self._next_stream)
        self._next_stream += 2
        self._streams[stream_id] = _Stream()
        self._turns[stream_id] = None
        return stream_id

    def room_bytes(self, stream_id: StreamId) -> int:
        """How much data ``send`` accepts now; 0 for a stream that takes no more."""
        stream = self._streams.get(stream_id)
        if stream is None or stream.ours is not _Ours.OPEN:
            return 0
        return STREAM_QUEUE_BYTES - len(stream.queue)

    def send(self, stream_id: StreamId, data: bytes) -> None:
        """Accept data for a stream.

        Raises:
            LocalProtocolError: If it is more than ``room_bytes``.
        """
        if len(data) > self.room_bytes(stream_id):
            raise LocalProtocolError(f"stream {stream_id} has no room for {len(data)} bytes")
        stream = self._streams[stream_id]
        stream.queue += data
        self._turns.setdefault(stream_id)

    def end(self, stream_id: StreamId) -> None:
        """No more from us: the agent hears of it once its own side has ended. Twice is fine."""
        stream = self._streams.get(stream_id)
        if stream is not None and stream.ours is _Ours.OPEN:
            stream.ours = _Ours.ENDED

    def close(self, stream_id: StreamId) -> None:
        """Both sides, at once: what has not left is dropped, what still arrives too. Twice is fine."""
        stream = self._streams.get(stream_id)
        if stream is not None:
            stream.queue.clear()
            self._finish(stream_id, stream)

    # --- the byte stream speaks ---

    def receive_data(self, data: bytes) -> list[MuxEvent]:
        """Take in the session's next bytes; returns what they mean.

        Raises:
            RemoteProtocolError: If they are no smux stream. Nothing else is ever raised, whatever the bytes.
        """
        events: list[MuxEvent] = []
        for frame in self._reader.feed(data):
            # Specification: frames of unknown streams are discarded in silence; agents never open any.
            stream = self._streams.get(frame.stream_id)
            if stream is None or stream.ours is _Ours.FINISHED:
                continue
            if frame.command is Command.PSH:
                events.append(StreamData(frame.stream_id, frame.data))
            elif frame.command is Command.FIN:
                events.append(StreamEnded(frame.stream_id))
                # The agent has forgotten the stream: what we still have for it would be discarded there.
                stream.queue.clear()
                self._finish(frame.stream_id, stream)
        return events

    # --- the caller collects ---

    def data_to_send(self, max_bytes: int, now: float) -> bytes:
        """Up to about ``max_bytes`` for the session's byte stream; empty if there is nothing to send.

        Streams take turns of a few kilobytes. At most one turn more than ``max_bytes`` is returned.
        """
        frames: list[bytes] = []
        size = 0
        while self._turns and size < max_bytes:
            frames += self._serve(self._turns.popitem(last=False)[0])
            size = sum(map(len, frames))
        if not frames and self._keeps_alive and now >= self._sent_at + KEEPALIVE_SECONDS:
            frames.append(Frame(Command.NOP, StreamId(0)).encode())
        if frames:
            self._sent_at = now
        return b"".join(frames)

    def next_deadline(self) -> float | None:
        """When to call ``data_to_send`` if nothing else happens, or None."""
        return self._sent_at + KEEPALIVE_SECONDS if self._keeps_alive else None

    # --- inside ---

    def _finish(self, stream_id: StreamId, stream: _Stream) -> None:
        stream.ours = _Ours.FINISHED
        self._turns.setdefault(stream_id)

    def _serve(self, stream_id: StreamId) -> list[bytes]:
        """One turn of one stream."""
        stream = self._streams[stream_id]
        frames = []
        if not stream.has_syn_left:
            stream.has_syn_left = True
            frames.append(Frame(Command.SYN, stream_id).encode())
        if stream.queue:
            frames.append(Frame(Command.PSH, stream_id, bytes(stream.queue[:_TURN_BYTES])).encode())
            del stream.queue[:_TURN_BYTES]
        if stream.queue:
            self._turns[stream_id] = None
        elif stream.ours is _Ours.FINISHED:
            frames.append(Frame(Command.FIN, stream_id).encode())
            del self._streams[stream_id]
        return frames
