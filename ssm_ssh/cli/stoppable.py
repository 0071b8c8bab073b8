"""A command's asyncio part, which signals end in order."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from ssm_ssh.cli.stop_signals import StopSignals
from ssm_ssh.errors import ExitStatus

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine


def run_stoppable(body: Callable[[StopSignals], Coroutine[Any, Any, int]]) -> int:
    """Run ``body`` until it returns its exit status, or a signal cancels it.

    Until ``body`` says otherwise, each signal cancels it.
    """
    with StopSignals() as signals:
        try:
            return asyncio.run(_run(body, signals))
        except asyncio.CancelledError:
            return signals.exit_status or ExitStatus.INTERRUPTED


async def _run(body: Callable[[StopSignals], Coroutine[Any, Any, int]], signals: StopSignals) -> int:
    loop, task = asyncio.get_running_loop(), asyncio.current_task()
    assert task is not None
    cancel = task.cancel
    # A signal does not wake the loop; this does.
    signals.act(lambda _: loop.call_soon_threadsafe(cancel))
    return await body(signals)
