"""The pytest fixture ``ssm_emulator``, for this project's tests and for other people's.

pytest loads this file in every run of every project where the package is installed, so it imports nothing
of weight until the fixture is used.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ssm_ssh.emulator.start import RunningEmulator


@pytest.fixture
def ssm_emulator_options() -> dict[str, Any]:
    """Arguments of ``start_emulator`` for the fixture ``ssm_emulator``; override it to change them."""
    return {"nodes": ["web-1"]}


@pytest.fixture
def ssm_emulator(
    ssm_emulator_options: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> Iterator[RunningEmulator]:
    """A running stand-in of Session Manager; this process's AWS variables lead to it."""
    from ssm_ssh.emulator.start import start_emulator  # noqa: PLC0415 -- see the module's docstring

    with start_emulator(**ssm_emulator_options) as emulator:
        for name in emulator.foreign_variables:
            monkeypatch.delenv(name, raising=False)
        for name, value in emulator.environment.items():
            monkeypatch.setenv(name, value)
        yield emulator
