"""A node as a separate world on one machine: own name, users, homes, processes and boots.

As root on Linux a node's programs run in namespaces of their own, with the files that make up a machine's
identity bound over the host's. The network is shared, so that ports stay reachable. Nothing outlives the
world's first process: the kernel ends its processes and drops its mounts.
"""

from __future__ import annotations

import asyncio
import os
import shlex
import shutil
import subprocess
import sys
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Final
from uuid import uuid4

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

_UNSHARE: Final = ("unshare", "--mount", "--uts", "--pid", "--fork", "--kill-child", "--mount-proc")
_FIRST_USER_ID: Final = 1000
# Created by the real agent for its shell sessions.
_SSM_USER: Final = "ssm-user"
_POWER_NAMES: Final = ("shutdown", "reboot", "poweroff", "halt")
_POWER_SCRIPT: Final = """#!/bin/sh
# Stands in for the real thing: only the emulator is told.
if [ "$(id -u)" != 0 ]; then
    echo "${0##*/}: must be root" >&2
    exit 1
fi
echo "${0##*/} $*" >/run/ssm-node/power
"""
# $@ is the world's server. The first process waits for it, and so reaps whatever is orphaned meanwhile.
_INIT: Final = """
cd /
exec 3<&0
trap 'exit 0' TERM
"$@" </dev/null 3<&- & server=$!
(read -r _ || kill -TERM 1) <&3 &
exec 3<&-
wait "$server"
"""


@cache
def can_separate_worlds() -> bool:
    """Whether this process may give each node a world of its own. Asks the system, once."""
    if sys.platform != "linux" or os.geteuid() != 0 or not shutil.which("unshare"):
        return False
    trial = subprocess.run([*_UNSHARE, "true"], check=False, capture_output=True)
    return trial.returncode == 0


class World:
    """The files of one world and the way into it.

    Args:
        directory: Belongs to the world; only root may reach it.
        hostname: The world's own name.
        user: The user people log in as; made unless the host has it.
    """

    def __init__(self, directory: Path, *, hostname: str, user: str) -> None:
        self.directory = directory
        self._hostname = hostname
        self._users = dict.fromkeys((user, _SSM_USER))
        self.power = directory / "run" / "ssm-node" / "power"

    def build(self) -> None:
        """Write everything that makes the world what it is."""
        self.boot()
        for name in ("etc", "etc-ssh", "home", "root", "run/sshd", "run/ssm-node", "sbin", "log"):
            (self.directory / name).mkdir(parents=True)
        (self.directory / "tmp").mkdir()
        (self.directory / "tmp").chmod(0o1777)
        (self.directory / "root").chmod(0o700)
        self._write_users()
        self._write("etc/hostname", f"{self._hostname}\n")
        hosts = _read(Path("/etc/hosts"))
        self._write("etc/hosts", f"127.0.0.1 localhost {self._hostname}\n{hosts}")
        rules = "".join(f"{user} ALL=(ALL:ALL) NOPASSWD:ALL\n" for user in ("root", *self._users))
        self._write("etc/sudoers", rules, mode=0o440)
        for name in _POWER_NAMES:
            self._write(f"sbin/{name}", _POWER_SCRIPT, mode=0o755)
        lines = ["set -eu", f"echo {shlex.quote(self._hostname)} >/proc/sys/kernel/hostname"]
        lines += [f"mount --bind {shlex.quote(str(source))} {target}" for source, target in self._binds()]
        self._write("init", "\n".join(lines) + _INIT)
        os.mkfifo(self.power, 0o600)

    def boot(self) -> None:
        """Give the world a new boot id, as every start of a machine does."""
        self._write("boot_id", f"{uuid4()}\n")

    def command(self, server: Sequence[str]) -> list[str]:
        """What runs ``server`` inside; it ends when its standard input does."""
        return [*_UNSHARE, "/bin/sh", str(self.directory / "init"), *server]

    def _binds(self) -> list[tuple[Path, str]]:
        """What lies over what, where there is something to lie over; /tmp last, it may hide the sources."""
        places = {
            **{f"etc/{name}": f"/etc/{name}" for name in ("passwd", "shadow", "group", "hostname", "hosts")},
            "etc/sudoers": "/etc/sudoers",
            "etc-ssh": "/etc/ssh",
            "boot_id": "/proc/sys/kernel/random/boot_id",
            "home": "/home",
            "sbin": "/usr/local/sbin",
            **{f"sbin/{name}": f"/usr/sbin/{name}" for name in _POWER_NAMES},
            "log": "/var/log",
            "root": "/root",
            "run": "/run",
            "tmp": "/tmp",  # noqa: S108 -- the world's, not ours
        }
        return [
            (self.directory / source, target)
            for source, target in places.items()
            if os.path.lexists(target) and not os.path.islink(target)
        ]

    def _write_users(self) -> None:
        shell = "/bin/bash" if Path("/bin/bash").exists() else "/bin/sh"
        accounts = dict(_accounts(Path("/etc/passwd")))
        groups = dict(_accounts(Path("/etc/group")))
        taken = {int(fields[2]) for fields in (*accounts.values(), *groups.values())}
        free = (number for number in range(_FIRST_USER_ID, 2**16) if number not in taken)
        for user in self._users:
            _, _, user_id, group_id, *_ = accounts.get(user, ["", "", *[str(next(free))] * 2])
            home = "/root" if user == "root" else f"/home/{user}"
            accounts[user] = [user, "x", user_id, group_id, "", home, shell]
            groups.setdefault(user, [user, "x", group_id, ""])
            self._make_home(home, int(user_id), int(group_id))
        self._write("etc/passwd", "".join(":".join(fields) + "\n" for fields in accounts.values()))
        self._write("etc/group", "".join(":".join(fields) + "\n" for fields in groups.values()))
        # "*" has no password but is not locked, which "!" would be for sshd.
        self._write("etc/shadow", "".join(f"{user}:*:19000:0:99999:7:::\n" for user in accounts), mode=0o640)

    def _make_home(self, home: str, user_id: int, group_id: int) -> None:
        path = self.directory / home.lstrip("/")
        path.mkdir(mode=0o700, exist_ok=True)
        os.chown(path, user_id, group_id)

    def _write(self, name: str, text: str, *, mode: int = 0o644) -> None:
        path = self.directory / name
        path.write_text(text, encoding="utf-8")
        path.chmod(mode)


def _accounts(path: Path) -> list[tuple[str, list[str]]]:
    rows = (line.split(":") for line in _read(path).splitlines() if line and not line.startswith(("#", "+")))
    return [(fields[0], fields) for fields in rows if len(fields) >= 4 and fields[2].isdigit()]


def _read(path: Path) -> str:
    return path.read_text(encoding="utf-8") if path.exists() else ""


class PowerSwitch:
    """Hears what is said to the world's ``shutdown`` and its kin.

    Args:
        world: A world that was built.
        heard: Called in the event loop with the program's name and arguments.
    """

    def __init__(self, world: World, heard: Callable[[str], None]) -> None:
        self._heard = heard
        self._loop = asyncio.get_running_loop()
        # Open for writing too, so that the pipe never ends.
        self._pipe = os.open(world.power, os.O_RDWR | os.O_NONBLOCK)
        self._loop.add_reader(self._pipe, self._read)

    def close(self) -> None:
        """Stop listening."""
        self._loop.remove_reader(self._pipe)
        os.close(self._pipe)

    def _read(self) -> None:
        for line in os.read(self._pipe, 4096).decode("utf-8", "replace").splitlines():
            self._heard(line.strip())
