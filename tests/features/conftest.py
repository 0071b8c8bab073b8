"""One stand-in with one node for each file of tests, and the law that no test leaves a session open."""

from __future__ import annotations

from dataclasses import fields
from typing import TYPE_CHECKING, Any, Final

import pytest

from ssm_ssh.cli.demo_stage import Stage, set_stage
from ssm_ssh.emulator.fault import Faults
from ssm_ssh.emulator.timing import FAST
from tests.requirement import need_module, need_program

if TYPE_CHECKING:
    from collections.abc import Iterator

# Ours: a session that is told to end drains for two seconds (protocol 7.2); the rest is for a busy machine.
_ENDING_SECONDS: Final = 10.0
_NO_FAULTS: Final[dict[str, Any]] = {
    field.name: getattr(Faults(), field.name) for field in fields(Faults) if field.init
}


@pytest.fixture(scope="module")
def module_stage() -> Iterator[Stage]:
    """A stand-in without the real agent's pauses, its node with a real sshd, and ssh's configuration."""
    need_module("aiohttp")
    need_program("ssh")
    need_program("sshd")
    with set_stage(timing=FAST) as stage:
        yield stage


@pytest.fixture
def stage(module_stage: Stage) -> Iterator[Stage]:
    """The stage for one test: its faults are forgotten afterwards, and a session left open fails it."""
    _check_nothing_is_open(module_stage)
    yield module_stage
    module_stage.emulator.inject(**_NO_FAULTS)
    _check_nothing_is_open(module_stage)


def _check_nothing_is_open(stage: Stage) -> None:
    """Fail unless every session is over soon."""
    try:
        stage.emulator.wait_for_live_sessions(0, _ENDING_SECONDS)
    except TimeoutError:
        left = [f"{record.session_id} ({record.status})" for record in stage.emulator.live_sessions()]
        pytest.fail(f"left open: {', '.join(left)}", pytrace=False)
