"""What the demo plays on: the stand-in with one node, and all that OpenSSH needs to reach it."""

from __future__ import annotations

import os
import shutil
import stat
import subprocess
import sys
import tempfile
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Final

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

from ssm_ssh.emulator.node import Node, NodeSpec
from ssm_ssh.emulator.start import RunningEmulator, start_emulator
from ssm_ssh.emulator.timing import REAL

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from ssm_ssh.emulator.settings import ServiceSettings
    from ssm_ssh.emulator.timing import Timing

NODE_NAME: Final = "web-1"
# What the README calls a node, so that its commands work here.
NODE_ID: Final = "i-0123456789abcdef0"
# Ours: no step takes a fifth of it; a demo that hangs is no demo.
_STEP_SECONDS: Final = 120.0
# Ours: a session that is told to end takes two seconds at most (protocol 7.2).
_ENDING_SECONDS: Final = 5.0
_PROGRAMS: Final = ("ssh", "scp", "sftp")
# The profile that the README exports, in place of whatever the caller's own file says.
_AWS_CONFIG: Final = "[profile work]\n"


class Stage:
    """A started stand-in, its node, and a folder with key, known_hosts and ssh_config.

    Attributes:
        emulator: The stand-in.
        folder: The folder, removed at the end.
        node_folder: A folder on the node, gone with it.
        environment: What programs need to reach the stand-in.
    """

    def __init__(self, emulator: RunningEmulator, node: Node, folder: Path, key: Path) -> None:
        self.emulator = emulator
        self.folder = folder
        self.environment = self._make_environment()
        self.node_id = node.node_id
        self.is_separate = node.is_separate
        self._config = folder / "ssh_config"
        known_hosts = folder / "known_hosts"
        names = f"{NODE_NAME},{node.node_id}"
        known_hosts.write_text("".join(f"{names} {line}\n" for line in node.host_keys), encoding="utf-8")
        # The key is made for this demo, opens this demo's node only, and goes with the folder.
        self._config.write_text(_ssh_config(node, key=key, known_hosts=known_hosts), encoding="utf-8")
        # A node that is a world of its own takes its /tmp with it; else the node is this machine.
        self.node_folder = "/tmp" if node.is_separate else str(folder / "node")  # noqa: S108 -- the node's
        (folder / "node").mkdir()

    def _make_environment(self) -> dict[str, str]:
        """The caller's, without what leads AWS programs elsewhere or comes from earlier sessions."""
        (self.folder / "aws_config").write_text(_AWS_CONFIG, encoding="utf-8")
        ours = {
            **self.emulator.environment,
            "AWS_CONFIG_FILE": str(self.folder / "aws_config"),
            "XDG_CACHE_HOME": str(self.folder / "cache"),
        }
        foreign = self.emulator.foreign_variables
        return {name: value for name, value in os.environ.items() if name not in foreign} | ours

    def run(self, program: str, *arguments: str, text_in: str | None = None) -> str:
        """Run one of OpenSSH's programs against the node and return its stdout.

        Raises:
            subprocess.CalledProcessError: If it fails; its stderr is in there.
            subprocess.TimeoutExpired: If it hangs.
        """
        return subprocess.run(
            self.command(program, *arguments),
            env=self.environment,
            input=text_in,
            stdin=subprocess.DEVNULL if text_in is None else None,
            capture_output=True,
            text=True,
            check=True,
            timeout=_STEP_SECONDS,
        ).stdout

    @contextmanager
    def connection(self, *options: str) -> Iterator[None]:
        """An ssh that stays for the length of the block, with the forwards that ``options`` ask for.

        Raises:
            ValueError: If it cannot log in or cannot listen.
        """
        # ssh runs the command once its listeners are up, so its first word says that they are; it ends with
        # its input.
        command = self.command(
            "ssh", "-o", "ExitOnForwardFailure=yes", *options, NODE_NAME, "echo up; exec cat"
        )
        with subprocess.Popen(
            command, env=self.environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE
        ) as connected:
            assert connected.stdout is not None
            if connected.stdout.readline() != b"up\n":
                raise ValueError("ssh could not log in or listen")
            yield

    def command(self, program: str, *arguments: str) -> list[str]:
        """The words that start one of OpenSSH's programs with this stage's configuration."""
        return [program, "-F", str(self._config), *arguments]

    def shell_environment(self) -> dict[str, str]:
        """An environment in which plain ``ssh``, ``scp``, ``sftp`` and ``ssm-ssh`` reach the node."""
        programs = self.folder / "bin"
        programs.mkdir()
        for program in _PROGRAMS:
            _write_program(programs / program, [shutil.which(program) or program, "-F", str(self._config)])
        _write_program(programs / "ssm-ssh", [sys.executable, "-m", "ssm_ssh"])
        path = os.pathsep.join((str(programs), os.environ.get("PATH", os.defpath)))
        return {**self.environment, "PATH": path}


@contextmanager
def set_stage(*, timing: Timing = REAL, settings: ServiceSettings | None = None) -> Iterator[Stage]:
    """Start everything, and leave nothing of it."""
    folder = Path(tempfile.mkdtemp(prefix="ssm-ssh-demo-"))
    try:
        key = folder / "id_ed25519"
        node = Node(NodeSpec(NODE_NAME, node_id=NODE_ID, authorized_keys=[_make_key(key)]), timing=timing)
        with start_emulator([node], settings=settings) as emulator:
            yield Stage(emulator, node, folder, key)
            # The last ssh's helper is still ending its session; it would complain if nobody answered.
            with suppress(TimeoutError):
                emulator.wait_for_live_sessions(0, _ENDING_SECONDS)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _make_key(file: Path) -> str:
    """Write a new private key to ``file``, readable by us alone; returns its public line."""
    private_key = Ed25519PrivateKey.generate()
    with os.fdopen(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as opened:
        opened.write(private_key.private_bytes(Encoding.PEM, PrivateFormat.OpenSSH, NoEncryption()))
    public_key = private_key.public_key().public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH)
    return f"{public_key.decode('ascii')} ssm-ssh demo"


def _ssh_config(node: Node, *, key: Path, known_hosts: Path) -> str:
    return f"""\
Host {NODE_NAME} i-* mi-*
    User {node.user}
    IdentityFile "{key}"
    IdentitiesOnly yes
    UserKnownHostsFile "{known_hosts}"
    StrictHostKeyChecking yes
    LogLevel ERROR
    ProxyCommand "{sys.executable}" -m ssm_ssh proxy %h %p %r
"""


def _write_program(file: Path, words: Sequence[str]) -> None:
    quoted = " ".join(f"'{word}'" for word in words)
    file.write_text(f'#!/bin/sh\nexec {quoted} "$@"\n', encoding="utf-8")
    file.chmod(file.stat().st_mode | stat.S_IXUSR)
