"""Turns: some at once, then so many a second."""

from __future__ import annotations

import asyncio

from ssm_ssh.session.pacing import Pacing
from tests.emulator.virtual_time import run_virtually


def test_a_few_at_once_and_then_in_their_turn() -> None:
    """Three, then two a second; after a pause three again."""

    async def scenario() -> None:
        loop = asyncio.get_running_loop()
        pacing = Pacing(at_once=3, per_second=2.0)

        async def turn() -> float:
            await pacing.wait_turn()
            return loop.time()

        assert await asyncio.gather(*(turn() for _ in range(7))) == [0, 0, 0, 0.5, 1.0, 1.5, 2.0]
        await asyncio.sleep(100)
        now = loop.time()
        assert [await turn() - now for _ in range(4)] == [0, 0, 0, 0.5]

    run_virtually(scenario())


def test_whoever_gives_up_stops_nobody() -> None:
    """A cancelled wait costs its turn and no more."""

    async def scenario() -> None:
        pacing = Pacing(at_once=1, per_second=1.0)
        await pacing.wait_turn()
        for _ in range(2):
            try:
                async with asyncio.timeout(0.1):
                    await pacing.wait_turn()
            except TimeoutError:
                pass
        await pacing.wait_turn()
        assert asyncio.get_running_loop().time() == 3.0

    run_virtually(scenario())
