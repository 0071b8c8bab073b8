"""A mux: streams over the one ordered byte stream of a multiplexing port session (protocol 7.4).

We open, the agent accepts: one stream for each connection, ids 3, 5, 7 … Each stream has a queue of its own,
and the queues are emptied in turn, a small piece each, those of streams that send little first.

Version 1 of smux has no half-close: what a FIN's receiver has not sent yet is lost (protocol 7.4). So the end
of our side is kept back until the agent's side has ended; a server that answers after our end is heard whole,
and one that waits for our end waits in vain. Nor has it a window for a stream: what arrives has to be taken.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum, auto
from typing import Final

from ssm_ssh.errors import LocalProtocolError
from ssm_ssh.protocol.turns import SHARE_BYTES, Turns
from ssm_ssh.wire.smux_frame import MAX_FRAME_DATA_BYTES, Command, Frame, FrameReader, StreamId

assert SHARE_BYTES <= MAX_FRAME_DATA_BYTES

# Specification: a client's first id; every further one is two more (protocol 7.4).
_FIRST_STREAM: Final = 3
_LAST_STREAM: Final = 2**32 - 1
# Specification: how often a NOP is sent to an agent that ends a mux where none arrive (protocol 7.5).
KEEPALIVE_SECONDS: Final = 10.0
# Ours: one stream's data that has not left yet.
STREAM_QUEUE_BYTES: Final = 64 * 1024
# Ours: who waits for room is woken when the queue is down to this, and not for every turn.
_LOW_QUEUE_BYTES: Final = STREAM_QUEUE_BYTES // 2


@dataclass(frozen=True, slots=True)
class StreamData:
    """The next bytes of a stream, at least one."""

    stream_id: StreamId
    data: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class StreamEnded:
    """The agent ended a stream, after its last bytes: the port closed it, or was never reached.

    Reported once for each stream that the agent has heard of, even if it was closed before.
    """

    stream_id: StreamId


MuxEvent = StreamData | StreamEnded


class _Ours(Enum):
    """How far our side of a stream is."""

    OPEN = auto()
    ENDED = auto()  # nothing more is accepted; the FIN waits for the agent's
    FINISHED = auto()  # the FIN is queued behind the data
    GONE = auto()  # the FIN has left; the agent's has not arrived


class _Stream:
    __slots__ = ("has_agent_ended", "has_syn_left", "ours", "queue")

    def __init__(self) -> None:
        self.has_syn_left = False
        self.has_agent_ended = False
        self.ours = _Ours.OPEN
        self.queue = bytearray()


class Mux:
    """The client's end of a mux.

    Memory: ``STREAM_QUEUE_BYTES`` for each stream, plus one incomplete frame. A stream is forgotten once both
    sides have ended it.
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
        self._turns = Turns()
        self._relieved: set[StreamId] = set()
        self._next_stream = _FIRST_STREAM
        self._keeps_alive = keeps_alive
        self._sent_at = now

    def __len__(self) -> int:
        """How many streams are not over on both sides."""
        return len(self._streams)

    def __contains__(self, stream_id: StreamId) -> bool:
        """Whether a stream is not over on both sides."""
        return stream_id in self._streams

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
        self._turns.add(stream_id)
        return stream_id

    def room_bytes(self, stream_id: StreamId) -> int:
        """How much data ``send`` accepts now; 0 for a stream that takes no more."""
        stream = self._streams.get(stream_id)
        if stream is None or stream.ours is not _Ours.OPEN:
            return 0
        return STREAM_QUEUE_BYTES - len(stream.queue)

    def send(self, stream_id: StreamId, data: bytes) -> None:
        """Accept data, at least one byte, for a stream.

        Raises:
            LocalProtocolError: If it is more than ``room_bytes``, or nothing.
        """
        if not 0 < len(data) <= self.room_bytes(stream_id):
            raise LocalProtocolError(f"stream {stream_id} has no room for {len(data)} bytes")
        self._streams[stream_id].queue += data
        self._turns.add(stream_id)

    def end(self, stream_id: StreamId) -> None:
        """No more from us: the agent hears of it once its own side has ended. Twice is fine."""
        stream = self._streams.get(stream_id)
        if stream is not None and stream.ours is _Ours.OPEN:
            stream.ours = _Ours.ENDED

    def close(self, stream_id: StreamId) -> None:
        """Both sides, at once: no more of its data is reported. Twice is fine.

        What has not left is dropped, unless ``end`` was called before: then the FIN goes behind it.
        """
        stream = self._streams.get(stream_id)
        if stream is None:
            return
        if stream.ours is _Ours.OPEN:
            stream.queue.clear()
        if not stream.has_syn_left and not stream.queue:
            # The agent has not heard of it and need not.
            self._forget(stream_id)
        elif stream.ours is not _Ours.GONE:
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
            if stream is None or not stream.has_syn_left or stream.has_agent_ended:
                continue
            if frame.command is Command.FIN:
                events.append(StreamEnded(frame.stream_id))
                self._agent_ended(frame.stream_id, stream)
            elif frame.command is Command.PSH and frame.data and stream.ours in {_Ours.OPEN, _Ours.ENDED}:
                events.append(StreamData(frame.stream_id, frame.data))
        return events

    # --- the caller collects ---

    def data_to_send(self, max_bytes: int, now: float) -> bytes:
        """Up to about ``max_bytes`` for the session's byte stream; empty if there is nothing to send.

        At most one turn of ``SHARE_BYTES`` more than ``max_bytes`` is returned.
        """
        data = bytearray()
        while self._turns and len(data) < max_bytes:
            self._serve(data)
        if not data and self._keeps_alive and now >= self._sent_at + KEEPALIVE_SECONDS:
            data += Frame(Command.NOP, StreamId(0)).encode()
        if data:
            self._sent_at = now
        return bytes(data)

    def streams_with_room(self) -> set[StreamId]:
        """The streams whose queues were full or nearly so, and since the last call are no more."""
        relieved, self._relieved = self._relieved, set()
        return relieved

    def next_deadline(self) -> float | None:
        """When to call ``data_to_send`` if nothing else happens, or None."""
        return self._sent_at + KEEPALIVE_SECONDS if self._keeps_alive else None

    # --- inside ---

    def _agent_ended(self, stream_id: StreamId, stream: _Stream) -> None:
        stream.has_agent_ended = True
        # The agent has forgotten the stream: what we still have for it would be discarded there.
        stream.queue.clear()
        if stream.ours is _Ours.GONE:
            self._forget(stream_id)
        else:
            self._finish(stream_id, stream)

    def _finish(self, stream_id: StreamId, stream: _Stream) -> None:
        stream.ours = _Ours.FINISHED
        self._turns.add(stream_id)

    def _forget(self, stream_id: StreamId) -> None:
        del self._streams[stream_id]
        self._turns.remove(stream_id)
        self._relieved.discard(stream_id)

    def _serve(self, data: bytearray) -> None:
        """Add the next turn's frames to ``data``."""
        stream_id, share_bytes = self._turns.take()
        stream = self._streams[stream_id]
        if not stream.has_syn_left:
            stream.has_syn_left = True
            data += Frame(Command.SYN, stream_id).encode()
        if stream.queue:
            piece = bytes(stream.queue[:share_bytes])
            if len(stream.queue) > _LOW_QUEUE_BYTES >= len(stream.queue) - len(piece):
                self._relieved.add(stream_id)
            del stream.queue[:share_bytes]
            data += Frame(Command.PSH, stream_id, piece).encode()
            self._turns.spend(stream_id, len(piece))
        if stream.queue:
            self._turns.add(stream_id)
        elif stream.ours is _Ours.FINISHED:
            data += Frame(Command.FIN, stream_id).encode()
            stream.ours = _Ours.GONE
            if stream.has_agent_ended:
                self._forget(stream_id)
