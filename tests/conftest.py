"""What holds for every test: a home of its own, no skips under CI, and no leaks."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Final

import hypothesis
import pytest

from tests.isolation import Isolation
from tests.leak_watch import LeakWatch
from tests.requirement import is_ci
from tests.selection import NoSkips, Selection

if TYPE_CHECKING:
    from collections.abc import Iterator

# Held for the life of the process: the environment is isolated before any test module is imported.
_isolation: Final = Isolation()

hypothesis.settings.register_profile("ci", derandomize=True, deadline=None, print_blob=True, database=None)
hypothesis.settings.register_profile("desk", deadline=None, print_blob=True)
hypothesis.settings.load_profile("ci" if is_ci() else "desk")


def pytest_configure(config: pytest.Config) -> None:
    """Register what watches over all tests."""
    config.pluginmanager.register(Selection())
    config.pluginmanager.register(LeakWatch())
    if is_ci():
        config.pluginmanager.register(NoSkips())


def pytest_unconfigure() -> None:
    """Give the environment back."""
    _isolation.end()


@pytest.fixture(autouse=True)
def _package_log() -> Iterator[None]:
    """A command that runs in this process shows the package's log: not in the tests after it."""
    package = logging.getLogger("ssm_ssh")
    before = package.level, package.propagate, list(package.handlers)
    yield
    level, package.propagate, package.handlers = before
    package.setLevel(level)
