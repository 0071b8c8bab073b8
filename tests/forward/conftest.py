"""A stand-in of the service with one node, and this process's AWS variables leading to it."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest

from ssm_ssh.emulator.start import start_emulator
from tests.forward.port_node import PortNode

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ssm_ssh.emulator.start import RunningEmulator


@dataclass
class Account:
    """An account with one node."""

    emulator: RunningEmulator
    node: PortNode

    def assert_nothing_is_left(self) -> None:
        """All sessions have ended."""
        self.emulator.wait_for_live_sessions(0)


@contextmanager
def account_with(node: PortNode) -> Iterator[Account]:
    """An account with ``node`` in it, for the length of a block."""
    with start_emulator([node]) as emulator, pytest.MonkeyPatch.context() as patch:
        for name in emulator.foreign_variables:
            patch.delenv(name, raising=False)
        for name, value in emulator.environment.items():
            patch.setenv(name, value)
        yield Account(emulator, node)


@pytest.fixture
def account() -> Iterator[Account]:
    """An account with a node that has a current agent."""
    with account_with(PortNode()) as account:
        yield account
