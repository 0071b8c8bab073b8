"""A virtual clock for tests of the session floor and above: calls in threads run on it as well."""

from __future__ import annotations

import asyncio
import random
from typing import TYPE_CHECKING, TypeVar

from tests.emulator.virtual_time import VirtualTimeLoop

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

T = TypeVar("T")


class VirtualLoop(VirtualTimeLoop):
    """A virtual clock whose executor works at once, in this thread, and answers when the work says.

    Attributes:
        work_seconds: What a call in the executor sets to how long it shall take.
    """

    work_seconds = 0.0

    # The signature of the event loop's own method, less what nobody here passes.
    def run_in_executor(
        self, _executor: object, work: Callable[..., T], *arguments: object
    ) -> asyncio.Future[T]:
        """Do ``work`` now; the future learns of it later."""
        future: asyncio.Future[T] = self.create_future()
        self.work_seconds = 0.0

        def settle(outcome: T | None, failure: Exception | None) -> None:
            if future.cancelled():
                return
            if failure is not None:
                future.set_exception(failure)
            else:
                future.set_result(outcome)  # type: ignore[arg-type]  # None only if T allows it

        try:
            outcome = work(*arguments)
        except Exception as failure:
            self.call_later(self.work_seconds, settle, None, failure)
        else:
            self.call_later(self.work_seconds, settle, outcome, None)
        return future


def virtual_loop() -> VirtualLoop:
    """The running loop of a test that ``run_virtually`` runs."""
    loop = asyncio.get_running_loop()
    assert isinstance(loop, VirtualLoop)
    return loop


def run_virtually(scenario: Coroutine[object, object, T]) -> T:
    """Run ``scenario`` to its end on a virtual clock, in debug mode; no task may outlive it."""
    random.seed(20_241_121)
    failures: list[object] = []

    async def watched() -> T:
        asyncio.get_running_loop().set_exception_handler(lambda _loop, context: failures.append(context))
        outcome = await scenario
        # What was cancelled at the very end gets its turn.
        await asyncio.sleep(0)
        assert asyncio.all_tasks() == {asyncio.current_task()}
        return outcome

    with asyncio.Runner(debug=True, loop_factory=VirtualLoop) as runner:
        outcome = runner.run(watched())
    assert not failures, failures
    return outcome
