"""Accepted and not yet cut into messages: data and, between it, flags in their place."""

from __future__ import annotations

from collections import deque
from typing import Final

from ssm_ssh.wire.agent_message import PayloadType
from ssm_ssh.wire.payload import Flag, encode_flag

# Ours: four of the largest payloads, and no more than a keystroke may wait behind.
QUEUE_BYTES: Final = 128 * 1024


class SendQueue:
    """At most ``QUEUE_BYTES`` of data, and flags.

    Attributes:
        backlog_bytes: Data taken out since the queue was last empty: whether there is much to send.
    """

    def __init__(self) -> None:
        self.backlog_bytes = 0
        self._items: deque[bytearray | Flag] = deque()
        self._bytes = 0

    def __bool__(self) -> bool:
        """Whether anything waits."""
        return bool(self._items)

    @property
    def room_bytes(self) -> int:
        """How much more data fits."""
        return QUEUE_BYTES - self._bytes

    def add(self, data: bytes) -> None:
        """Put data, not empty, behind everything else."""
        self._bytes += len(data)
        tail = self._items[-1] if self._items else None
        if isinstance(tail, bytearray):
            tail += data
        else:
            self._items.append(bytearray(data))

    def add_flag(self, flag: Flag) -> None:
        """Put a flag behind everything else."""
        self._items.append(flag)

    def clear(self) -> None:
        """Drop everything."""
        self._items.clear()
        self._bytes = 0
        self.backlog_bytes = 0

    def take(self, max_bytes: int) -> tuple[PayloadType, bytes]:
        """The next message's payload: a flag, or at most ``max_bytes`` of data. There must be one."""
        head = self._items[0]
        if isinstance(head, Flag):
            self._items.popleft()
            taken = PayloadType.FLAG, encode_flag(head)
        else:
            data = bytes(head[:max_bytes])
            del head[:max_bytes]
            if not head:
                self._items.popleft()
            self._bytes -= len(data)
            self.backlog_bytes += len(data)
            taken = PayloadType.OUTPUT, data
        if not self._items:
            self.backlog_bytes = 0
        return taken
