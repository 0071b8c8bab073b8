"""The signals that end a command, turned into one call: nothing is left open because one arrived."""

from __future__ import annotations

import contextlib
import signal
from typing import TYPE_CHECKING, Final, Self

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import FrameType, TracebackType

    _Action = Callable[[int, FrameType | None], object] | int | None

_NAMES: Final = ("SIGINT", "SIGTERM", "SIGHUP")
# What shells add to the number of the signal that ended a program.
SIGNALLED: Final = 128


class StopSignals:
    """Takes SIGINT, SIGTERM and SIGHUP over for the length of a block; those that are ignored stay so.

    Main thread only.
    """

    def __init__(self) -> None:
        self._first: int | None = None
        self._act: Callable[[int], object] | None = None
        self._previous: dict[int, _Action] = {}

    def __enter__(self) -> Self:
        for name in _NAMES:
            number = getattr(signal, name, None)
            action = signal.SIG_IGN if number is None else signal.getsignal(number)
            # None: not Python's, so it could not be put back.
            if number is not None and action not in {signal.SIG_IGN, None}:
                self._previous[number] = action
                signal.signal(number, self._note)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for number, action in self._previous.items():
            signal.signal(number, action)

    @property
    def exit_status(self) -> int | None:
        """What a shell calls the end by the first signal; None before any."""
        return None if self._first is None else SIGNALLED + self._first

    def act(self, act: Callable[[int], object]) -> None:
        """Have ``act`` called, in a signal's frame, with each signal from now on; and with one that was."""
        self._act = act
        if self._first is not None:
            act(self._first)

    def _note(self, number: int, _frame: FrameType | None) -> None:
        self._first = self._first or number
        if self._act is not None:
            # A loop that has closed has nothing left to stop.
            with contextlib.suppress(RuntimeError):
                self._act(number)
