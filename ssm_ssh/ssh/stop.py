"""SIGTERM and Ctrl-C, held back until there is something that can be cancelled.

A signal that raises wherever it strikes could strike between StartSession and the block that ends the
session, and leave the session open.
"""

from __future__ import annotations

import contextlib
import signal
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import FrameType


class Stop:
    """The wish to stop, as signals tell it. The first one counts: what it sets off has a limit of its own."""

    def __init__(self) -> None:
        self._is_wanted = False
        self._cancel: Callable[[], object] | None = None

    def listen(self) -> None:
        """Take over SIGTERM, and SIGINT unless it is ignored. Main thread only."""
        signal.signal(signal.SIGTERM, self._note)
        if signal.getsignal(signal.SIGINT) is not signal.SIG_IGN:
            signal.signal(signal.SIGINT, self._note)

    def act(self, cancel: Callable[[], object]) -> None:
        """Call ``cancel``, from a signal's frame, once somebody wants to stop; now, if somebody did."""
        self._cancel = cancel
        if self._is_wanted:
            cancel()

    def _note(self, _number: int, _frame: FrameType | None) -> None:
        if self._is_wanted:
            return
        self._is_wanted = True
        if self._cancel is not None:
            # A loop that has closed has nothing left to cancel.
            with contextlib.suppress(RuntimeError):
                self._cancel()
