"""The command ``ssm-ssh emulator``, run as users run it."""

from __future__ import annotations

import json
import shlex
import signal
import subprocess
import sys
import urllib.request
from typing import Final

import pytest

PROGRAM: Final = [sys.executable, "-m", "ssm_ssh", "emulator"]
SECONDS: Final = 60.0


def emulator(*words: str) -> subprocess.CompletedProcess[str]:
    """Run the command to its end."""
    return subprocess.run([*PROGRAM, *words], check=False, capture_output=True, text=True, timeout=SECONDS)


def test_prints_its_variables_and_runs_until_it_is_told() -> None:
    """The lines can be sourced; the admin's door answers; SIGTERM ends it with status 0."""
    process = subprocess.Popen(
        [*PROGRAM, "--node", "web-1,tag:env=prod", "--timing", "fast"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    with process:
        try:
            variables = read_exports(process)
            assert process.stderr is not None
            assert "web-1" in process.stderr.readline()
            with urllib.request.urlopen(f"{variables['SSM_SSH_EMULATOR']}/state") as answer:
                assert json.loads(answer.read())["live"] == 0
        finally:
            process.send_signal(signal.SIGTERM)
        assert process.wait(SECONDS) == 0


def read_exports(process: subprocess.Popen[str]) -> dict[str, str]:
    """The variables that the command prints, read as a shell would."""
    assert process.stdout is not None
    variables: dict[str, str] = {}
    for line in process.stdout:
        verb, _, rest = line.strip().partition(" ")
        if verb == "export":
            name, _, value = rest.partition("=")
            (variables[name],) = shlex.split(value)
        if "SSM_SSH_EMULATOR" in variables:
            break
    return variables


def test_a_command_has_the_variables_and_gives_its_status() -> None:
    """With ``--`` the emulator lives as long as the command."""
    code = "import os, sys; print(os.environ['AWS_ENDPOINT_URL'], 'AWS_PROFILE' in os.environ); sys.exit(7)"
    result = emulator("--timing", "fast", "--fault", "loss=1%", "--", sys.executable, "-c", code)
    assert result.returncode == 7
    assert result.stdout.startswith("http://127.0.0.1:")
    assert result.stdout.endswith(" False\n")


def test_a_killed_command_counts_as_in_a_shell() -> None:
    """128 and the number of the signal."""
    code = "import os, signal; os.kill(os.getpid(), signal.SIGKILL)"
    assert emulator("--timing", "fast", "--", sys.executable, "-c", code).returncode == 128 + signal.SIGKILL


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--node", "a,colour=red"], "colour=red"),
        (["--fault", "los=1"], "no fault 'los'"),
        (["--port", "70000"], "70000"),
        (["--"], "no command"),
        (["--", "/no/such/program"], "cannot be run"),
    ],
)
def test_what_cannot_be_done_is_told_with_status_2(words: list[str], told: str) -> None:
    """An error line, and nothing on stdout."""
    result = emulator(*words)
    assert (result.returncode, result.stdout) == (2, "")
    assert told in result.stderr
    assert "Traceback" not in result.stderr
