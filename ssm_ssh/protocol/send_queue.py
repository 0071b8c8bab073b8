"""Accepted and not yet cut into messages: data and, between it, flags in their place."""

from __future__ import annotations

from collections import deque

from ssm_ssh.wire.agent_message import PayloadType
from ssm_ssh.wire.payload import Flag, encode_flag


class SendQueue:
    """Data and flags in the order they were accepted in. How much may wait is the caller's to say.

    Attributes:
        size_bytes: How much data waits.
    """

    def __init__(self) -> None:
        self.size_bytes = 0
        self._items: deque[bytearray | Flag] = deque()

    def __bool__(self) -> bool:
        """Whether anything waits."""
        return bool(self._items)

    def add(self, data: bytes) -> None:
        """Put data, not empty, behind everything else."""
        self.size_bytes += len(data)
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
        self.size_bytes = 0

    def take(self, max_bytes: int) -> tuple[PayloadType, bytes]:
        """The next message's payload: a flag, or at most ``max_bytes`` of data. There must be one."""
        head = self._items[0]
        if isinstance(head, Flag):
            self._items.popleft()
            return PayloadType.FLAG, encode_flag(head)
        data = bytes(head[:max_bytes])
        # Cheap: a bytearray is shortened at its front without moving the rest.
        del head[:max_bytes]
        if not head:
            self._items.popleft()
        self.size_bytes -= len(data)
        return PayloadType.OUTPUT, data
