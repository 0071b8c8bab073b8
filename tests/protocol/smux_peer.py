"""The agent's end of a mux, written from section 7.4 of the protocol and sharing nothing with ours.

It is strict: what the agent's library would choke on, or the document does not allow, is an AssertionError.
"""

# ruff: noqa: D102 -- the names of the methods are the sentences of the dialogue
from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

SYN: Final = 0
FIN: Final = 1
PSH: Final = 2
NOP: Final = 3


def frame(command: int, stream_id: int, data: bytes = b"") -> bytes:
    """One frame by hand."""
    return bytes((1, command)) + len(data).to_bytes(2, "little") + stream_id.to_bytes(4, "little") + data


@dataclass
class PeerStream:
    """What the agent knows of one stream."""

    received: bytearray = field(default_factory=bytearray)
    has_client_ended: bool = False
    has_ended: bool = False


class SmuxPeer:
    """Reads what the client sends, and makes what the agent would send.

    Attributes:
        streams: Every stream that was opened.
        heard: Each frame in its order: command, stream, size.
    """

    def __init__(self) -> None:
        self.streams: dict[int, PeerStream] = {}
        self.heard: list[tuple[int, int, int]] = []
        self._unread = b""

    def receive(self, data: bytes) -> None:
        self._unread += data
        while len(self._unread) >= 8:
            version, command = self._unread[0], self._unread[1]
            length = int.from_bytes(self._unread[2:4], "little")
            stream_id = int.from_bytes(self._unread[4:8], "little")
            assert version == 1
            assert length <= 32_768
            if len(self._unread) < 8 + length:
                return
            body, self._unread = self._unread[8 : 8 + length], self._unread[8 + length :]
            self.heard.append((command, stream_id, length))
            self._take(command, stream_id, body)

    def _take(self, command: int, stream_id: int, body: bytes) -> None:
        if command == NOP:
            assert (stream_id, body) == (0, b"")
            return
        if command == SYN:
            assert stream_id % 2 == 1
            assert stream_id >= 3
            assert stream_id not in self.streams
            assert not body
            self.streams[stream_id] = PeerStream()
            return
        stream = self.streams[stream_id]
        assert not stream.has_client_ended, "nothing is sent after the FIN"
        if command == FIN:
            assert not body
            stream.has_client_ended = True
        else:
            assert command == PSH
            assert body
            # Whoever has sent its FIN has forgotten the stream.
            if not stream.has_ended:
                stream.received += body

    def send(self, stream_id: int, data: bytes) -> bytes:
        assert not self.streams[stream_id].has_ended
        return b"".join(
            frame(PSH, stream_id, data[start : start + 32_768]) for start in range(0, len(data), 32_768)
        )

    def end(self, stream_id: int) -> bytes:
        stream = self.streams[stream_id]
        assert not stream.has_ended
        stream.has_ended = True
        return frame(FIN, stream_id)

    def answer_ends(self) -> bytes:
        """The FINs of all streams that the client has ended, as the agent sends them at once."""
        ended = [number for number, stream in self.streams.items() if stream.has_client_ended]
        return b"".join(self.end(number) for number in ended if not self.streams[number].has_ended)
