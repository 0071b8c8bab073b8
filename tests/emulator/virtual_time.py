"""An event loop whose clock jumps to the next timer instead of waiting for it.

For tests whose whole world is in memory: real sockets would find their time skipped.
"""

from __future__ import annotations

import asyncio
import selectors
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Coroutine, Mapping

    from _typeshed import FileDescriptorLike

T = TypeVar("T")


class _JumpingSelector(selectors.BaseSelector):
    def __init__(self) -> None:
        self._real = selectors.DefaultSelector()
        self.now = 0.0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        if timeout is None:
            raise AssertionError("everybody waits for something that nobody will do")
        self.now += max(0.0, timeout)
        return self._real.select(0)

    def register(
        self, fileobj: FileDescriptorLike, events: int, data: object = None
    ) -> selectors.SelectorKey:
        return self._real.register(fileobj, events, data)

    def unregister(self, fileobj: FileDescriptorLike) -> selectors.SelectorKey:
        return self._real.unregister(fileobj)

    def get_map(self) -> Mapping[FileDescriptorLike, selectors.SelectorKey]:
        return self._real.get_map()

    def close(self) -> None:
        self._real.close()


class VirtualTimeLoop(asyncio.SelectorEventLoop):
    """A loop that lives through a minute in a millisecond."""

    def __init__(self) -> None:
        self._jumping = _JumpingSelector()
        super().__init__(self._jumping)

    def time(self) -> float:
        """Seconds since the loop was made, none of them real."""
        return self._jumping.now


def run_virtually(scenario: Coroutine[object, object, T]) -> T:
    """Run ``scenario`` to its end on a virtual clock; no task may outlive it."""
    with asyncio.Runner(debug=True, loop_factory=VirtualTimeLoop) as runner:

        async def watched() -> T:
            outcome = await scenario
            assert asyncio.all_tasks() == {asyncio.current_task()}
            return outcome

        return runner.run(watched())
