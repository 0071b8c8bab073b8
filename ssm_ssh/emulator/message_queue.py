"""A bounded queue of messages that can be closed: one half of an agent's link.

``asyncio.Queue`` cannot be closed before Python 3.13, and closing is what a cut is.
"""

from __future__ import annotations

import asyncio
from collections import deque
from typing import Final

# Ours: what one direction of a link holds; small, because a cut loses it.
QUEUE_MESSAGES: Final = 32


class QueueClosed(Exception):
    """Nothing more can be put, or nothing more will come."""


class MessageQueue:
    """First in, first out, for any number of writers and one reader; all on one event loop."""

    def __init__(self, capacity: int = QUEUE_MESSAGES) -> None:
        self._capacity = capacity
        self._messages: deque[str | bytes] = deque()
        self._writers: deque[asyncio.Future[None]] = deque()
        self._reader: asyncio.Future[None] | None = None
        self._is_closed = False

    @property
    def has_room(self) -> bool:
        """Whether ``put`` would not wait."""
        return len(self._messages) < self._capacity and not self._is_closed

    async def put(self, message: str | bytes) -> None:
        """Append ``message``; waits while the queue is full.

        Raises:
            QueueClosed: If the queue is closed, also while waiting.
        """
        while len(self._messages) >= self._capacity and not self._is_closed:
            waiter = asyncio.get_running_loop().create_future()
            self._writers.append(waiter)
            try:
                await waiter
            except asyncio.CancelledError:
                self._pass_on(waiter)
                raise
        self.put_at_once(message)

    def put_at_once(self, message: str | bytes) -> None:
        """Append ``message`` even beyond the bound: for the service's own few words.

        Raises:
            QueueClosed: If the queue is closed.
        """
        if self._is_closed:
            raise QueueClosed
        self._messages.append(message)
        _wake(self._reader)

    async def get(self) -> str | bytes:
        """The oldest message; what was put before an orderly close is still handed out.

        Raises:
            QueueClosed: If the queue is closed and empty.
        """
        while not self._messages:
            if self._is_closed:
                raise QueueClosed
            self._reader = asyncio.get_running_loop().create_future()
            try:
                await self._reader
            finally:
                self._reader = None
        message = self._messages.popleft()
        self._wake_one_writer()
        return message

    def close(self) -> None:
        """Take no more; what is held can still be had. Closing twice is fine."""
        self._is_closed = True
        _wake(self._reader)
        while self._writers:
            _wake(self._writers.popleft())

    def discard(self) -> int:
        """Lose what is held and return how many messages that were."""
        lost = len(self._messages)
        self._messages.clear()
        while self._writers:
            _wake(self._writers.popleft())
        return lost

    def _wake_one_writer(self) -> None:
        while self._writers:
            waiter = self._writers.popleft()
            if not waiter.done():
                waiter.set_result(None)
                return

    def _pass_on(self, waiter: asyncio.Future[None]) -> None:
        """A writer that was cancelled hands its turn to the next, or leaves the line."""
        if waiter.done() and not waiter.cancelled():
            self._wake_one_writer()
        elif waiter in self._writers:
            self._writers.remove(waiter)


def _wake(waiter: asyncio.Future[None] | None) -> None:
    if waiter is not None and not waiter.done():
        waiter.set_result(None)
