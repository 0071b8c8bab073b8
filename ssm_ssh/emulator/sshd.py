"""A node's SSH server: the system's own OpenSSH, with host keys and a port of its own."""

from __future__ import annotations

import asyncio
import os
import shutil
import socket
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Final

from ssm_ssh.emulator.lifeline import Lifeline

if TYPE_CHECKING:
    from ssm_ssh.emulator.authorized_keys import AuthorizedKeys
    from ssm_ssh.emulator.world import World

_HOST_KEY_TYPES: Final = ("ed25519", "ecdsa")
_START_SECONDS: Final = 10.0
_POLL_SECONDS: Final = 0.005
# A free port may be taken by somebody else before sshd has it.
_PORT_TRIES: Final = 5
_PATH: Final = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


class ServerFailed(Exception):
    """The node's SSH server did not start; the text is the end of its log."""


def find_sshd() -> str | None:
    """The system's sshd, which insists on an absolute path; None if there is none."""
    return shutil.which("sshd") or shutil.which("sshd", path="/usr/sbin:/usr/local/sbin:/sbin")


class OpenSshd:
    """OpenSSH on a loopback port.

    Args:
        program: What ``find_sshd`` found.
        directory: Belongs to the server; gone after ``stop``.
        keys: Who may log in; ``refresh`` tells the server what they are now.
        world: Where the server runs; None for the machine itself.

    Attributes:
        port: Where it listens on 127.0.0.1, once started.
    """

    def __init__(
        self, program: str, directory: Path, keys: AuthorizedKeys, *, world: World | None = None
    ) -> None:
        self.port = 0
        self.log = directory / "sshd.log"
        self._program = program
        self._directory = directory
        self._keys = keys
        self._world = world
        # The same directory from outside and from inside the world.
        self._etc = directory / "etc-ssh"
        self._inner_etc = Path("/etc/ssh") if world else self._etc
        self._lifeline = Lifeline(directory, self.log)

    @property
    def host_keys(self) -> list[str]:
        """Its public host keys, each as in a known_hosts line: type and base64, once it was started."""
        lines = [
            self._etc.joinpath(f"ssh_host_{kind}_key.pub").read_text("ascii") for kind in _HOST_KEY_TYPES
        ]
        return [" ".join(line.split()[:2]) for line in lines]

    async def start(self) -> None:
        """Make host keys unless there are some, start, and return when connections are answered.

        Raises:
            ServerFailed: If it does not come up.
        """
        await self._make_host_keys()
        self.refresh()
        if self._world is None and os.geteuid() == 0:
            # Debian's sshd wants this as root; there it is made by a service unit.
            os.makedirs("/run/sshd", mode=0o755, exist_ok=True)
        for _ in range(_PORT_TRIES):
            self.port = _free_port()
            self._write_configuration()
            await self._launch()
            if await self._is_answering():
                self._lifeline.settle()
                return
            await self._lifeline.stop(keep_directory=True)
        log = self.log.read_text(encoding="utf-8", errors="replace")
        await self.stop()
        raise ServerFailed("sshd did not start: " + " ".join(log.split())[-500:])

    async def stop(self, *, keep_directory: bool = False) -> None:
        """End the server and everything that runs in its world. Twice is fine."""
        await self._lifeline.stop(keep_directory=keep_directory)
        if not keep_directory:
            shutil.rmtree(self._directory, ignore_errors=True)

    def refresh(self) -> None:
        """Write every user's keys as they are now; sshd reads them anew for each login."""
        folder = self._etc / "authorized_keys"
        folder.mkdir(parents=True, exist_ok=True)
        for user in self._keys.users():
            text = "".join(f"{line}\n" for line in self._keys.of(user))
            draft = folder / f".{user}.new"
            draft.write_text(text, encoding="utf-8")
            draft.chmod(0o644)
            draft.replace(folder / user)

    async def _make_host_keys(self) -> None:
        self._etc.mkdir(exist_ok=True)
        paths = [self._etc / f"ssh_host_{kind}_key" for kind in _HOST_KEY_TYPES]
        if all(path.exists() for path in paths):
            return
        makers = [
            await asyncio.create_subprocess_exec(
                "ssh-keygen", "-q", "-t", kind, "-N", "", "-C", "", "-f", str(path)
            )
            for kind, path in zip(_HOST_KEY_TYPES, paths, strict=True)
        ]
        for maker in makers:
            await maker.wait()

    async def _launch(self) -> None:
        server = [self._program, "-D", "-e", "-f", str(self._inner_etc / "sshd_config")]
        if self._world is None:
            await self._lifeline.start(server)
        else:
            await self._lifeline.start(self._world.command(server), reads_pipe=True)

    async def _is_answering(self) -> bool:
        with suppress(TimeoutError):
            async with asyncio.timeout(_START_SECONDS):
                while self._lifeline.is_running:
                    if await _has_banner(self.port):
                        return self._lifeline.is_running
                    await asyncio.sleep(_POLL_SECONDS)
        return False

    def _write_configuration(self) -> None:
        etc = self._inner_etc
        homes = " .ssh/authorized_keys" if self._world else ""
        lines = [
            "ListenAddress 127.0.0.1",
            f"Port {self.port}",
            *(f'HostKey "{etc}/ssh_host_{kind}_key"' for kind in _HOST_KEY_TYPES),
            f'AuthorizedKeysFile "{etc}/authorized_keys/%u"{homes}',
            "PidFile none",
            "UsePAM no",
            "StrictModes no",
            "UseDNS no",
            "PasswordAuthentication no",
            "KbdInteractiveAuthentication no",
            "PermitRootLogin prohibit-password",
            "PrintMotd no",
            "PrintLastLog no",
            "AcceptEnv LANG LC_*",
            f"SetEnv PATH={_PATH}" if self._world else "",
            # Many logins at once are a test's daily bread.
            "MaxStartups 1000",
            "MaxSessions 100",
            "Subsystem sftp internal-sftp",
            "LogLevel VERBOSE",
        ]
        (self._etc / "sshd_config").write_text("\n".join(lines) + "\n", encoding="utf-8")


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


async def _has_banner(port: int) -> bool:
    try:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
    except OSError:
        return False
    try:
        return await reader.read(4) == b"SSH-"
    except OSError:
        return False
    finally:
        writer.close()
        with suppress(OSError):
            await writer.wait_closed()
