"""Whose turn it is: streams share what can be sent equally, and those that send little go first."""

from __future__ import annotations

from collections import OrderedDict
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from ssm_ssh.wire.smux_frame import StreamId

# Ours: one stream's share of a round. Small, for whoever speaks up waits for the turn that is under way.
SHARE_BYTES: Final = 8 * 1024


class Turns:
    """The streams that have something to send, in the order in which they may.

    A round gives each of them ``SHARE_BYTES``. One that speaks up in the middle of a round takes what is left
    of its share before those that have been sending all along: a keystroke overtakes bulk, and nobody can use
    that to get more than the others.

    Memory: two small entries for each stream.
    """

    def __init__(self) -> None:
        self._sparse: OrderedDict[StreamId, None] = OrderedDict()
        self._busy: OrderedDict[StreamId, None] = OrderedDict()
        # Those that have used up their share of this round.
        self._next_round: OrderedDict[StreamId, None] = OrderedDict()
        self._spent_bytes: dict[StreamId, int] = {}

    def __bool__(self) -> bool:
        """Whether anybody waits for a turn."""
        return bool(self._sparse or self._busy or self._next_round)

    def add(self, stream_id: StreamId) -> None:
        """A stream has something to send. One that waits already keeps its place."""
        if stream_id in self._busy or stream_id in self._next_round:
            return
        has_share = self._spent_bytes.get(stream_id, 0) < SHARE_BYTES
        (self._sparse if has_share else self._next_round).setdefault(stream_id)

    def take(self) -> tuple[StreamId, int]:
        """The next stream and how many bytes of data it may send. Somebody must be waiting."""
        if not self._sparse and not self._busy:
            self._busy, self._next_round = self._next_round, self._busy
            self._spent_bytes.clear()
        stream_id, _ = (self._sparse or self._busy).popitem(last=False)
        return stream_id, SHARE_BYTES - self._spent_bytes.get(stream_id, 0)

    def spend(self, stream_id: StreamId, sent_bytes: int) -> None:
        """A stream has used its turn to send so much."""
        self._spent_bytes[stream_id] = self._spent_bytes.get(stream_id, 0) + sent_bytes

    def remove(self, stream_id: StreamId) -> None:
        """Forget a stream."""
        for waiting in (self._sparse, self._busy, self._next_round):
            waiting.pop(stream_id, None)
        self._spent_bytes.pop(stream_id, None)
