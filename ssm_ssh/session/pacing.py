"""How fast sessions may be started: AWS throttles StartSession for the whole account, not just for us."""

from __future__ import annotations

import asyncio
from typing import Final

# Ours: few enough to leave the account's other users their share, and to be no burst on the node.
STARTS_AT_ONCE: Final = 4
STARTS_PER_SECOND: Final = 4.0


class Pacing:
    """Turns: some at once, then so many a second, in the order in which they were asked for."""

    def __init__(self, *, at_once: int = STARTS_AT_ONCE, per_second: float = STARTS_PER_SECOND) -> None:
        self._interval_seconds = 1.0 / per_second
        self._credit_seconds = (at_once - 1) * self._interval_seconds
        # When the next turn would be, had none been at once.
        self._next_at = float("-inf")

    async def wait_turn(self) -> None:
        """Wait for a turn. Who is cancelled meanwhile has used it up."""
        now = asyncio.get_running_loop().time()
        turn_at = max(now, self._next_at)
        self._next_at = turn_at + self._interval_seconds
        wait_seconds = turn_at - self._credit_seconds - now
        if wait_seconds > 0:
            await asyncio.sleep(wait_seconds)
