"""Which stream a refused connection was meant for: the agent does not say."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ssm_ssh.wire.smux_frame import StreamId


class Refusals:
    """The agent's flags for ports that it could not reach, and the streams that may be meant.

    A flag names no stream and has its place between the session's bytes: right before the refused stream's
    end (protocol 7.2). So the next stream that ends without a byte is meant, even if we have let go of it.
    """

    def __init__(self) -> None:
        self._flags: deque[int] = deque()
        self._received_bytes = 0
        self._reached = 0
        self._left: set[StreamId] = set()

    def note_flag(self, after_bytes: int) -> None:
        """A flag came after so many of the session's bytes."""
        self._flags.append(max(after_bytes, self._received_bytes, *self._flags))

    def received(self, data: bytes) -> bytes:
        """The session's next bytes, not empty, are ``data``: returns those that come before the next flag."""
        while self._flags and self._flags[0] == self._received_bytes:
            self._flags.popleft()
            self._reached += 1
        piece = data[: self._flags[0] - self._received_bytes] if self._flags else data
        self._received_bytes += len(piece)
        return piece

    def left_unheard(self, stream_id: StreamId) -> None:
        """We let go of a stream from which nothing has arrived, and whose end will arrive."""
        self._left.add(stream_id)

    def is_meant(self, stream_id: StreamId, *, is_unheard: bool) -> bool:
        """Whether a stream that has ended was refused.

        Args:
            stream_id: Which.
            is_unheard: Whether it is ours still and nothing had arrived.
        """
        if stream_id in self._left:
            self._left.discard(stream_id)
            is_unheard = True
        if not is_unheard or not self._reached:
            return False
        self._reached -= 1
        return True
