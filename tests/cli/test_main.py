"""The front door: what each first word does, and what a failing command returns and says."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Final

import pytest

import ssm_ssh
from ssm_ssh.cli import main
from ssm_ssh.errors import SessionLost

if TYPE_CHECKING:
    from collections.abc import Sequence

REPOSITORY: Final = Path(ssm_ssh.__file__).parent.parent


def run(arguments: Sequence[str]) -> int:
    """What this module, registered as a command, does; its first argument says how it goes."""
    match arguments:
        case ["lose"]:
            raise SessionLost("the session was lost")
        case ["interrupt"]:
            raise KeyboardInterrupt
        case ["bug"]:
            raise ZeroDivisionError
        case _:
            return len(arguments)


@pytest.fixture
def command(monkeypatch: pytest.MonkeyPatch) -> str:
    """The name under which this module is a command."""
    monkeypatch.setitem(main.COMMANDS, "rehearse", main._Command(__name__, "goes as it is told"))
    # However pytest imported this file, the command line finds it by its name.
    monkeypatch.setitem(sys.modules, __name__, sys.modules.get(__name__) or sys.modules["__main__"])
    return "rehearse"


@pytest.mark.parametrize("word", ["-h", "--help", "help"])
def test_help_lists_the_commands_on_stdout(
    word: str, command: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Asked for, the overview is a result, and every command is in it with its summary."""
    assert main.run([word]) == 0
    out, err = capsys.readouterr()
    assert err == ""
    assert out.startswith("usage: ssm-ssh COMMAND")
    for name in main.COMMANDS:
        assert f"  {name} " in out
    assert "goes as it is told" in out
    assert command in out


def test_no_word_at_all_is_a_usage_error() -> None:
    """A script that forgot the command learns it from the status."""
    assert main.run([]) == 2


def test_version_is_the_packages(capsys: pytest.CaptureFixture[str]) -> None:
    """One line on stdout."""
    assert main.run(["--version"]) == 0
    assert capsys.readouterr() == (f"ssm-ssh {ssm_ssh.__version__}\n", "")


def test_a_command_gets_the_rest_and_returns_the_status(command: str) -> None:
    """Nothing is taken from a command's own words, not even what looks like ours."""
    assert main.run([command]) == 0
    assert main.run([command, "--help", "--version", "help"]) == 3


def test_a_failing_command_says_why_and_returns_its_errors_status(
    command: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """An error line, a hint line, no traceback, nothing on stdout."""
    assert main.run([command, "lose"]) == 5
    out, err = capsys.readouterr()
    assert out == ""
    first, second = err.splitlines()
    assert first == "ssm-ssh: error: the session was lost"
    assert second.startswith("ssm-ssh: hint: ")


def test_an_interrupted_command_returns_130_and_says_nothing(
    command: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """As a shell expects after Ctrl-C."""
    assert main.run([command, "interrupt"]) == 130
    assert capsys.readouterr() == ("", "")


def test_a_bug_is_not_swallowed(command: str) -> None:
    """What is not ours keeps its traceback."""
    with pytest.raises(ZeroDivisionError):
        main.run([command, "bug"])


def test_an_unknown_command_is_named_with_the_nearest_one(
    command: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """A typing error gets a suggestion, and stdout nothing."""
    assert main.run([command.replace("h", "")]) == 2
    assert capsys.readouterr() == (
        "",
        "ssm-ssh: error: there is no command 'reearse'\nssm-ssh: hint: did you mean 'rehearse'?\n",
    )


def test_an_unknown_command_far_from_all_gets_the_way_to_the_list(
    capsys: pytest.CaptureFixture[str],
) -> None:
    """And what was typed cannot steer the terminal."""
    assert main.run(["\x1b[2J\udcff"]) == 2
    assert capsys.readouterr().err == (
        "ssm-ssh: error: there is no command '\\x1b[2J\\udcff'\n"
        "ssm-ssh: hint: `ssm-ssh --help` lists the commands\n"
    )


def test_the_module_is_the_program() -> None:
    """``python -m ssm_ssh`` answers, its status is the process's, and its messages are on stderr."""
    environment = os.environ | {"PYTHONPATH": str(REPOSITORY), "PYTHONIOENCODING": "utf-8"}
    program = [sys.executable, "-m", "ssm_ssh"]
    version = subprocess.run(
        [*program, "--version"], env=environment, capture_output=True, check=True, text=True
    )
    assert version.stdout == f"ssm-ssh {ssm_ssh.__version__}\n"
    unknown = subprocess.run([*program, "qqqq"], env=environment, capture_output=True, check=False, text=True)
    assert (unknown.returncode, unknown.stdout) == (2, "")
    assert unknown.stderr.startswith("ssm-ssh: error: ")
