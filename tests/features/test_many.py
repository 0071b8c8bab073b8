"""Many connections at once."""

from __future__ import annotations

import subprocess
from contextlib import ExitStack
from typing import TYPE_CHECKING, Final

from ssm_ssh.cli.demo_stage import NODE_NAME

if TYPE_CHECKING:
    from ssm_ssh.cli.demo_stage import Stage

_COUNT: Final = 20
_SECONDS: Final = 60.0


def test_twenty_commands_at_once(stage: Stage) -> None:
    """Twenty ``ssh`` are there together, each in a session of its own, and all succeed."""
    sessions_before = len(stage.emulator.sessions())
    with ExitStack() as stack:
        commands = [
            stack.enter_context(
                subprocess.Popen(
                    stage.command("ssh", NODE_NAME, f"echo {number}; read line; echo $line"),
                    env=stage.environment,
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    text=True,
                )
            )
            for number in range(_COUNT)
        ]
        for number, command in enumerate(commands):
            assert command.stdout is not None
            assert command.stdout.readline() == f"{number}\n"
        assert len(stage.emulator.live_sessions()) == _COUNT
        answers = [
            command.communicate(f"to {number}\n", _SECONDS)[0] for number, command in enumerate(commands)
        ]
    assert answers == [f"to {number}\n" for number in range(_COUNT)]
    assert [command.returncode for command in commands] == [0] * _COUNT
    stage.emulator.wait_for_live_sessions(0)
    assert len(stage.emulator.sessions()) == sessions_before + _COUNT
