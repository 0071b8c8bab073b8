"""What ``ssm-ssh up`` makes of the supervisor's answers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from ssm_ssh.cli import up
from ssm_ssh.cli.main import run

if TYPE_CHECKING:
    from pathlib import Path

OVER = {"is_over": True, "tunnels": []}
STARTING: dict[str, Any] = {"name": "a", "state": "starting", "listeners": [], "failure": None}
FAILED: dict[str, Any] = {**STARTING, "failure": {"text": "it is off", "hint": None, "exit_status": 3}}


@pytest.fixture
def answers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """What a supervisor that is there will answer to each ``up``."""
    config = tmp_path / "config.toml"
    config.write_text('[tunnels.a]\ntarget = "web-1"\nforwards = ["0:22"]\n')
    monkeypatch.setenv("SSM_SSH_CONFIG", str(config))
    waiting: list[dict[str, Any]] = []
    monkeypatch.setattr(
        up, "ask_supervisor", lambda _, request: {} if request["verb"] == "status" else waiting.pop(0)
    )
    return waiting


def test_a_supervisor_that_is_ending_is_asked_again(
    answers: list[dict[str, Any]], capsys: pytest.CaptureFixture[str]
) -> None:
    """Its last tunnel was just taken down; the next one has ours."""
    answers += [OVER, {"is_over": False, "tunnels": [FAILED, STARTING]}]
    assert run(["up"]) == 3
    assert capsys.readouterr().err.splitlines() == [
        "ssm-ssh: error: a: it is off",
        "ssm-ssh: hint: `ssm-ssh status` tells more; it is tried again until `ssm-ssh down a`",
        "ssm-ssh: a: not up yet; `ssm-ssh status` tells when it is",
    ]


def test_what_takes_its_time_is_told(answers: list[dict[str, Any]]) -> None:
    """Neither up nor failed: the status of what took too long."""
    answers.append({"is_over": False, "tunnels": [STARTING]})
    assert run(["up"]) == 6


def test_it_is_not_asked_for_ever(answers: list[dict[str, Any]], capsys: pytest.CaptureFixture[str]) -> None:
    """Somebody takes everything down as fast as it is brought up."""
    answers += [OVER] * 3
    assert run(["up"]) == 5
    assert "ended, again and again" in capsys.readouterr().err
