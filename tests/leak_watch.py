"""Nothing a test started may outlive it: threads, child processes, descriptors.

What a fixture of a wider scope starts while it is set up belongs to that fixture; everything else belongs to
the test. There is no mark to opt out.
"""

from __future__ import annotations

import gc
import os
import signal
import sys
import threading
import time
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import pytest

if TYPE_CHECKING:
    from collections.abc import Generator, Iterable

# Ours: what is on its way out when a test ends is given this long.
GRACE_SECONDS: Final = 2.0
# Ours: a session may end with this many more descriptors than it began with; imports open a few for good.
SPARE_DESCRIPTORS: Final = 16
# asyncio reaps each child in a thread of this name before 3.12; the child itself is what counts.
_REAPER_PREFIX: Final = "waitpid-"


def threads() -> set[threading.Thread]:
    """The threads alive now that somebody has to answer for."""
    return {thread for thread in threading.enumerate() if not thread.name.startswith(_REAPER_PREFIX)}


def children(except_by: Iterable[threading.Thread] = ()) -> set[int]:
    """The ids of our child processes, unreaped ones included; empty where the system does not tell.

    Args:
        except_by: Threads whose children are left out.
    """
    except_ids = {thread.native_id for thread in except_by}
    found: set[int] = set()
    for task in Path("/proc/self/task").glob("*"):
        if int(task.name) not in except_ids:
            with suppress(OSError):
                found.update(map(int, (task / "children").read_text().split()))
    return found


def descriptor_count() -> int:
    """How many descriptors are open; 0 where the system does not tell."""
    try:
        return len(os.listdir("/proc/self/fd" if sys.platform == "linux" else "/dev/fd"))
    except OSError:
        return 0


class LeakWatch:
    """Compares what runs before and after each test."""

    def __init__(self) -> None:
        self._descriptors = 0
        self._growth = 0
        # What wider fixtures started, and what an earlier test was already blamed for.
        self._known_threads: set[threading.Thread] = set()
        self._known_children: set[int] = set()

    def pytest_sessionstart(self) -> None:
        """Take the first count."""
        self._known_threads = threads()
        self._known_children = children()
        self._descriptors = descriptor_count()

    @pytest.hookimpl(wrapper=True)
    def pytest_fixture_setup(self, fixturedef: pytest.FixtureDef[Any]) -> Generator[None, object, object]:
        """Let a fixture of a wider scope keep what its set-up starts."""
        if fixturedef.scope == "function":
            return (yield)
        threads_before, children_before = threads(), children()
        try:
            return (yield)
        finally:
            self._known_threads |= threads() - threads_before
            self._known_children |= children() - children_before

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_runtest_teardown(self, item: pytest.Item) -> Generator[None, object, object]:
        """After everything else of the test is gone, fail it for what is not."""
        outcome = yield
        leaks = self._leaks()
        if leaks:
            pytest.fail(f"{item.nodeid} left behind: {', '.join(leaks)}", pytrace=False)
        return outcome

    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        """Fail a session that ends with many more descriptors than it began with."""
        gc.collect()
        self._growth = descriptor_count() - self._descriptors
        if self._growth > SPARE_DESCRIPTORS and session.exitstatus == pytest.ExitCode.OK:
            session.exitstatus = pytest.ExitCode.TESTS_FAILED

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        """Say why the session failed although its tests passed."""
        if self._growth > SPARE_DESCRIPTORS:
            terminalreporter.section(f"{self._growth} descriptors more than at the start", red=True)

    def _leaks(self) -> list[str]:
        deadline = time.monotonic() + GRACE_SECONDS
        leaks: list[str] = []
        for thread in threads() - self._known_threads:
            thread.join(max(0.0, deadline - time.monotonic()))
            if thread.is_alive():
                leaks.append(f"thread {thread.name}")
                self._known_threads.add(thread)
        for child in self._lasting_children(deadline):
            leaks.append(f"process {child} ({_program(child)})")
            _end(child)
        return leaks

    def _lasting_children(self, deadline: float) -> set[int]:
        pause = threading.Event()
        while (
            found := children(except_by=self._known_threads - {threading.main_thread()})
            - self._known_children
        ):
            if time.monotonic() >= deadline:
                return found
            pause.wait(0.01)
        return set()


def _program(process_id: int) -> str:
    try:
        return (
            Path(f"/proc/{process_id}/cmdline").read_text().replace("\0", " ").strip()
            or "ended, not waited for"
        )
    except OSError:
        return "gone"


def _end(process_id: int) -> None:
    """Kill and reap, so that the next test is not blamed."""
    with suppress(OSError):
        os.kill(process_id, signal.SIGKILL)
    with suppress(OSError):
        os.waitpid(process_id, 0)
