"""Work that must be done is done, and who was cancelled meanwhile is cancelled afterwards."""

from __future__ import annotations

import asyncio

import pytest

from ssm_ssh.session.uninterrupted import uninterrupted
from tests.virtual_loop import run_virtually, virtual_loop


def test_it_waits_through_cancellations() -> None:
    """However often; the cancellation comes out at the end."""

    async def scenario() -> None:
        done: list[float] = []

        async def work() -> None:
            await asyncio.sleep(10)
            done.append(virtual_loop().time())

        task = virtual_loop().create_task(uninterrupted(work()))
        for moment in (1, 2, 9.9):
            virtual_loop().call_at(moment, task.cancel)
        with pytest.raises(asyncio.CancelledError):
            await task
        assert done == [pytest.approx(10)]

    run_virtually(scenario())


def test_its_failure_comes_out() -> None:
    """Also to somebody who was cancelled meanwhile: a failure says more."""

    async def scenario(*, is_cancelled: bool) -> None:
        async def work() -> None:
            await asyncio.sleep(1)
            raise KeyError("x")

        task = virtual_loop().create_task(uninterrupted(work()))
        if is_cancelled:
            virtual_loop().call_at(0.5, task.cancel)
        with pytest.raises(KeyError):
            await task

    run_virtually(scenario(is_cancelled=False))
    run_virtually(scenario(is_cancelled=True))


def test_it_returns_when_nothing_happens() -> None:
    """The plain case."""

    async def work() -> None:
        await asyncio.sleep(1)

    run_virtually(uninterrupted(work()))
