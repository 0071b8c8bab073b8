"""One direction of a session's relay: passes messages on at once, or as badly as the faults ask for."""

from __future__ import annotations

import asyncio
import heapq
from itertools import count
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    import random
    from collections.abc import Awaitable, Callable, Sequence

    from ssm_ssh.emulator.fault import Direction, Faults, FaultSwitch
    from ssm_ssh.emulator.session_record import MessageCounts

# Ours: what is held for later delivery; a cut loses it. With a delay, messages are on the way, not held, and
# the bound has to carry a bulk transfer through that delay.
HELD_MESSAGES: Final = 32
DELAYED_MESSAGES: Final = 8_192
# Ours: how long a reordered message is held back.
_SHORTEST_HOLD_SECONDS: Final = 0.005
_LONGEST_HOLD_SECONDS: Final = 0.030


class ImpairedLine:
    """Carries messages to ``deliver``, losing, doubling, delaying and reordering them on request.

    A writer waits while the line is full or its receiver is slow. What is lost and doubled is added to
    ``counts``.
    """

    def __init__(
        self,
        faults: FaultSwitch,
        direction: Direction,
        chance: random.Random,
        deliver: Callable[[bytes], Awaitable[None]],
        counts: MessageCounts,
    ) -> None:
        self._faults = faults
        self._direction = direction
        self._chance = chance
        self._deliver = deliver
        self._held: list[tuple[float, int, bytes]] = []
        self._order = count()
        self._free_at = 0.0
        self._arrived = asyncio.Event()
        self._left = asyncio.Event()
        self._is_delivering = False
        self._counts = counts

    @property
    def is_clear(self) -> bool:
        """Whether a message may be handed over directly: no fault touches it and none is ahead of it."""
        return not (self._held or self._is_delivering or self._faults.now.touches_messages)

    async def carry(self, message: bytes) -> None:
        """Take one message; returns when the next may come."""
        if self.is_clear:
            await self._deliver(message)
            return
        faults = self._faults.now
        replacements: Sequence[bytes] = (message,)
        if faults.script is not None:
            replacements = faults.script(self._direction, message)
        for replacement in replacements:
            await self._wait_for_room()
            self._schedule(replacement, faults)

    async def run(self) -> None:
        """Deliver what is held, each message when it is due, until cancelled."""
        while True:
            self._arrived.clear()
            if not self._held:
                await self._arrived.wait()
                continue
            due = self._held[0][0]
            if due > asyncio.get_running_loop().time():
                await self._wait_until(due)
                continue
            message = heapq.heappop(self._held)[2]
            self._is_delivering = True
            try:
                await self._deliver(message)
            finally:
                self._is_delivering = False
                self._left.set()

    async def drain(self) -> None:
        """Wait until nothing is held any more."""
        while self._held or self._is_delivering:
            await self._one_leaves()

    def discard(self) -> int:
        """Lose what is held, and return how many messages that were."""
        lost = len(self._held)
        self._held.clear()
        self._counts.lost += lost
        self._left.set()
        return lost

    def _schedule(self, message: bytes, faults: Faults) -> None:
        chance = self._chance.random
        if faults.loss and chance() < faults.loss:
            self._counts.lost += 1
            return
        copies = 1
        if faults.duplication and chance() < faults.duplication:
            self._counts.doubled += 1
            copies = 2
        now = asyncio.get_running_loop().time()
        for _ in range(copies):
            due = now + faults.delay_seconds
            if faults.bandwidth_bytes_per_second:
                self._free_at = max(self._free_at, now) + len(message) / faults.bandwidth_bytes_per_second
                due = self._free_at + faults.delay_seconds
            if faults.reordering and chance() < faults.reordering:
                due += self._chance.uniform(_SHORTEST_HOLD_SECONDS, _LONGEST_HOLD_SECONDS)
            heapq.heappush(self._held, (due, next(self._order), message))
        self._arrived.set()

    async def _wait_for_room(self) -> None:
        while len(self._held) >= (DELAYED_MESSAGES if self._faults.now.delay_seconds else HELD_MESSAGES):
            await self._one_leaves()

    async def _one_leaves(self) -> None:
        self._left.clear()
        await self._left.wait()

    async def _wait_until(self, due: float) -> None:
        try:
            async with asyncio.timeout_at(due):
                await self._arrived.wait()
        except TimeoutError:
            pass
