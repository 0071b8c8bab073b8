"""The supervisor is looked for in a folder that is ours and nobody else's, or not at all."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import threading
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from ssm_ssh.errors import InvalidOption
from ssm_ssh.forward.control_place import find_place, hold_lock, state_folder
from tests.requirement import need_root, without_privileges

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture
def folder(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A short folder that stands for the system's own."""
    with tempfile.TemporaryDirectory(prefix="run-") as name:
        monkeypatch.setenv("XDG_RUNTIME_DIR", name)
        yield Path(name)


def mode(path: Path) -> int:
    """The permissions."""
    return path.stat().st_mode & 0o777


def test_the_folder_is_made_for_us_alone(folder: Path) -> None:
    """Whatever the umask says; a second look finds the same."""
    before = os.umask(0)
    try:
        place = find_place()
    finally:
        os.umask(before)
    assert place.socket.parent == folder / "ssm-ssh"
    assert mode(folder / "ssm-ssh") == 0o700
    assert find_place() == place


def test_without_a_runtime_folder_the_state_folder_serves(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Never a temporary folder that others share; a relative path is to be ignored."""
    monkeypatch.setenv("XDG_RUNTIME_DIR", "relative")
    monkeypatch.setenv("XDG_STATE_HOME", str(folder / "state"))
    assert find_place().socket.parent == folder / "state" / "ssm-ssh"
    monkeypatch.delenv("XDG_RUNTIME_DIR")
    monkeypatch.delenv("XDG_STATE_HOME")
    monkeypatch.setenv("HOME", str(folder / "home"))
    assert state_folder() == folder / "home" / ".local" / "state" / "ssm-ssh"
    assert mode(folder / "home" / ".local") == 0o700


def test_a_symbolic_link_is_refused(folder: Path) -> None:
    """Even one to a folder of ours: who made it can make it lead elsewhere."""
    (folder / "real").mkdir(mode=0o700)
    (folder / "ssm-ssh").symlink_to(folder / "real")
    with pytest.raises(InvalidOption, match="is a symbolic link"):
        find_place()


def test_what_is_no_folder_is_refused(folder: Path) -> None:
    """A file in its place; a folder that cannot be made."""
    (folder / "ssm-ssh").write_text("")
    with pytest.raises(InvalidOption, match="is no folder"):
        find_place()


def test_a_folder_that_cannot_be_made_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """With what to set instead."""
    monkeypatch.setenv("XDG_RUNTIME_DIR", "/dev/null")
    with pytest.raises(InvalidOption, match="/dev/null/ssm-ssh cannot be used") as caught:
        find_place()
    assert "XDG_RUNTIME_DIR" in str(caught.value.hint)


@pytest.mark.parametrize("wide", [0o701, 0o710, 0o755, 0o777])
def test_a_folder_that_others_reach_is_refused(folder: Path, wide: int) -> None:
    """Searching it is enough for them to connect; the hint narrows it."""
    (folder / "ssm-ssh").mkdir()
    (folder / "ssm-ssh").chmod(wide)
    with pytest.raises(InvalidOption, match="others can reach") as caught:
        find_place()
    assert caught.value.hint == f"run: chmod 700 {folder / 'ssm-ssh'}"


def test_a_folder_of_another_user_is_refused(folder: Path) -> None:
    """Even by root."""
    need_root()
    (folder / "ssm-ssh").mkdir(mode=0o700)
    os.chown(folder / "ssm-ssh", 65_534, 65_534)
    with pytest.raises(InvalidOption, match=r"belongs to another user \(uid 65534\)"):
        find_place()


def test_nobody_is_asked_in_a_folder_of_another_user(folder: Path) -> None:
    """As on a machine where somebody was here first."""
    need_root()
    find_place()
    folder.chmod(0o755)
    program = "from ssm_ssh.cli.main import run; raise SystemExit(run(['status']))"
    outcome = subprocess.run(
        without_privileges([sys.executable, "-c", program]),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert outcome.returncode == 2
    assert f"{folder / 'ssm-ssh'} belongs to another user (uid 0)" in outcome.stderr


def test_a_path_too_long_for_a_socket_is_told(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Before anything listens."""
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(folder / ("x" * 100)))
    with pytest.raises(InvalidOption, match="too long"):
        find_place()


def test_a_user_without_a_home_is_told(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As in some containers."""

    def homeless() -> Path:
        raise RuntimeError

    monkeypatch.delenv("XDG_RUNTIME_DIR")
    monkeypatch.delenv("XDG_STATE_HOME")
    monkeypatch.setattr(Path, "home", homeless)
    with pytest.raises(InvalidOption, match="no home folder"):
        find_place()


def test_windows_has_no_supervisor_to_ask(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Said at once, with what works there; the log's folder is had without a look at modes."""
    (folder / "ssm-ssh").mkdir(mode=0o755)
    monkeypatch.setenv("XDG_STATE_HOME", str(folder))
    monkeypatch.setattr(sys, "platform", "win32")
    with pytest.raises(InvalidOption, match="need Unix sockets") as caught:
        find_place()
    assert "--foreground" in str(caught.value.hint)
    assert state_folder() == folder / "ssm-ssh"
    with pytest.raises(AssertionError), hold_lock(folder / "lock"):
        pass


def test_a_lock_is_held_by_one(folder: Path) -> None:
    """Who does not wait is told; who waits gets it next. A link in its place is not followed."""
    path = folder / "lock"
    got = threading.Event()

    def take() -> None:
        with hold_lock(path):
            got.set()

    with hold_lock(path):
        with pytest.raises(BlockingIOError), hold_lock(path, waits=False):
            pass
        waiting = threading.Thread(target=take)
        waiting.start()
        assert not got.wait(0.1)
    waiting.join()
    assert got.is_set()
    assert mode(path) == 0o600
    (folder / "link").symlink_to(path)
    with pytest.raises(OSError, match="Too many levels"), hold_lock(folder / "link"):
        pass
