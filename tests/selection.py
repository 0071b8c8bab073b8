"""Which tests run: marked ones only when asked for, and under CI=true none may be skipped."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Final

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable


def _has_plugin(_: str) -> bool:
    return bool(os.environ.get("SSM_SSH_PLUGIN"))


def _names_soak(mark_expression: str) -> bool:
    return "soak" in mark_expression


# A test with one of these marks runs only where its condition, given the text of -m, holds.
_ON_REQUEST: Final[dict[str, Callable[[str], bool]]] = {"interop": _has_plugin, "soak": _names_soak}


class Selection:
    """Deselects what needs an official plugin or takes minutes, unless it is asked for."""

    @pytest.hookimpl(tryfirst=True)
    def pytest_collection_modifyitems(self, config: pytest.Config, items: list[pytest.Item]) -> None:
        """Keep the items that no unmet condition excludes."""
        mark_expression = str(config.option.markexpr)
        excluded = [mark for mark, is_wanted in _ON_REQUEST.items() if not is_wanted(mark_expression)]
        kept: list[pytest.Item] = []
        deselected: list[pytest.Item] = []
        for item in items:
            marks = {mark.name for mark in item.iter_markers()}
            (kept if marks.isdisjoint(excluded) else deselected).append(item)
        if deselected:
            config.hook.pytest_deselected(items=deselected)
            items[:] = kept


class NoSkips:
    """Fails the session if anything was skipped, however it was done."""

    def __init__(self) -> None:
        self._skipped: list[str] = []

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Note a skipped test; an expected failure is no skip."""
        if report.skipped and not hasattr(report, "wasxfail"):
            self._skipped.append(report.nodeid)

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        """Note a module that skipped itself."""
        if report.skipped:
            self._skipped.append(report.nodeid)

    @pytest.hookimpl(trylast=True)
    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        """Turn a success with skips into a failure."""
        if self._skipped and session.exitstatus == pytest.ExitCode.OK:
            session.exitstatus = pytest.ExitCode.TESTS_FAILED

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        """Name what was skipped."""
        if self._skipped:
            terminalreporter.section("skipped, which CI=true forbids", red=True)
            for nodeid in self._skipped:
                terminalreporter.write_line(nodeid)
