"""Where the supervisor of this user is found on this machine: a folder that is ours and nobody else's.

There is no fallback to a folder that others share: who can make ours there can be our supervisor.
"""

from __future__ import annotations

import os
import stat
import sys
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from ssm_ssh.errors import InvalidOption

if TYPE_CHECKING:
    from collections.abc import Iterator

# Specification: what fits into a Unix socket's address on every system, its last zero left out.
_SOCKET_PATH_BYTES: Final = 103


@dataclass(frozen=True, slots=True)
class ControlPlace:
    """The files of one supervisor.

    Attributes:
        socket: Where it answers.
        starting_lock: Held by whoever looks for the supervisor and may start it.
        running_lock: Held by the supervisor from before it listens until its process has ended.
    """

    socket: Path
    starting_lock: Path
    running_lock: Path


def find_place() -> ControlPlace:
    """The place, with its folder made and checked.

    Raises:
        InvalidOption: If the folder is not ours alone, or cannot be had.
    """
    if sys.platform == "win32":
        raise InvalidOption(
            "tunnels in the background need Unix sockets",
            hint="use `ssm-ssh tunnel`, or `ssm-ssh up --foreground` in a window of its own",
        )
    folder = state_folder("XDG_RUNTIME_DIR")
    place = ControlPlace(folder / "control", folder / "starting.lock", folder / "running.lock")
    if len(os.fsencode(place.socket)) > _SOCKET_PATH_BYTES:
        raise InvalidOption(
            f"the path of the control socket is too long: {place.socket}",
            hint="set XDG_RUNTIME_DIR to a folder of yours with a short path",
        )
    return place


def state_folder(*variables: str) -> Path:
    """A folder of ours below the first of some XDG folders that is set, else below the state folder.

    Raises:
        InvalidOption: If it is not ours alone, or cannot be had.
    """
    for name in (*variables, "XDG_STATE_HOME"):
        # The XDG rule: a relative path there is to be ignored.
        if os.path.isabs(value := os.environ.get(name, "")):
            folder = Path(value) / "ssm-ssh"
            break
    else:
        folder = _home() / ".local" / "state" / "ssm-ssh"
    try:
        _make_folder(folder)
        _check_folder(folder)
    except OSError as error:
        hint = "set XDG_RUNTIME_DIR or XDG_STATE_HOME to a folder of yours"
        raise InvalidOption(f"{folder} cannot be used: {error.strerror}", hint=hint) from error
    return folder


def _home() -> Path:
    try:
        return Path.home()
    except RuntimeError as error:
        raise InvalidOption(
            "there is no home folder", hint="set XDG_STATE_HOME to a folder of yours"
        ) from error


def _make_folder(folder: Path) -> None:
    """Make it and all above it for us alone; with ``parents=True`` only the last one would be."""
    if not os.path.lexists(folder):
        _make_folder(folder.parent)
        folder.mkdir(mode=0o700, exist_ok=True)


def _check_folder(folder: Path) -> None:
    status = folder.lstat()
    if not stat.S_ISDIR(status.st_mode):
        kind = "a symbolic link" if stat.S_ISLNK(status.st_mode) else "no folder"
        raise InvalidOption(f"{folder} is {kind}", hint="remove it: it is made anew")
    if sys.platform == "win32":
        # What is in a profile is its user's, by the folder's access list.
        return
    if status.st_uid != os.geteuid():
        raise InvalidOption(
            f"{folder} belongs to another user (uid {status.st_uid})",
            hint="its owner could pretend to be your supervisor: have it removed, or set XDG_RUNTIME_DIR",
        )
    if status.st_mode & 0o077:
        raise InvalidOption(f"others can reach {folder}", hint=f"run: chmod 700 {folder}")


def take_lock(path: Path, *, waits: bool) -> int:
    """Take a lock; it is held until the descriptor that is returned is closed, or our process has ended.

    Args:
        path: A file in the control place.
        waits: Wait for it while somebody else holds it.

    Raises:
        BlockingIOError: If somebody else holds it.
    """
    if sys.platform == "win32":
        raise AssertionError("there is no control place on Windows")
    import fcntl  # noqa: PLC0415 -- not on Windows

    # The file stays for ever: who waits for it has it open.
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | (0 if waits else fcntl.LOCK_NB))
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor


@contextmanager
def hold_lock(path: Path, *, waits: bool = True) -> Iterator[None]:
    """``take_lock`` for the length of a block."""
    descriptor = take_lock(path, waits=waits)
    try:
        yield
    finally:
        os.close(descriptor)
