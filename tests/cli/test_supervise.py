"""The supervisor's process: what it starts with, what it writes, and that it is started once."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from ssm_ssh.cli import supervise
from ssm_ssh.cli.supervise import log_path, start_supervisor
from ssm_ssh.errors import SupervisorUnreachable
from ssm_ssh.forward.control_place import find_place, hold_lock

if TYPE_CHECKING:
    from pathlib import Path

# Writes more than a log holds, and to its own stderr in between.
_CHATTER = """
import logging, os, sys
from pathlib import Path
from ssm_ssh.cli import supervise
from ssm_ssh.forward.supervised import tunnel_name
supervise._LOG_BYTES = 2000
supervise._write_log(Path(sys.argv[1]))
tunnel_name.set("orders")
for number in range(100):
    logging.getLogger("ssm_ssh.forward").info("line %d", number)
    os.write(2, f"raw {number}\\n".encode())
"""


def test_the_log_is_ours_alone_and_bounded(tmp_path: Path) -> None:
    """Two files of at most its size, stderr in them; each line with its time, its level and its tunnel."""
    path = tmp_path / "supervisor.log"
    subprocess.run([sys.executable, "-c", _CHATTER, str(path)], check=True, timeout=60, capture_output=True)
    files = sorted(tmp_path.iterdir())
    assert [file.name for file in files] == ["supervisor.log", "supervisor.log.1"]
    for file in files:
        assert file.stat().st_mode & 0o777 == 0o600
        assert file.stat().st_size < 4000
    lines = path.read_text("utf-8").splitlines()
    assert lines[-1] == "raw 99"
    assert lines[-2].endswith(" INFO [orders] line 99")


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Folders of our own."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    return tmp_path


def test_why_it_cannot_start_is_told(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In its own words, where it has some; else the log is named."""
    log_path()
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(folder / "long" / ("x" * 120)))
    with pytest.raises(SupervisorUnreachable, match="could not be started: the path of the control socket"):
        start_supervisor()
    monkeypatch.setattr(sys, "executable", "/bin/false")
    with pytest.raises(SupervisorUnreachable, match="it ended at once") as caught:
        start_supervisor()
    assert "supervisor.log" in str(caught.value.hint)


def test_one_that_does_not_get_its_turn_is_given_up(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another one holds the lock and does not answer: the command does not hang."""
    monkeypatch.setattr(supervise, "_START_SECONDS", 1.0)
    with (
        hold_lock(find_place().running_lock),
        pytest.raises(SupervisorUnreachable, match="was waited for too long"),
    ):
        start_supervisor()
    assert os.path.getsize(folder / "ssm-ssh" / "supervisor.log") == 0
