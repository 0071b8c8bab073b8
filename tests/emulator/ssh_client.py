"""The system's ssh, straight to a node's SSH server."""

from __future__ import annotations

import asyncio
import os
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tests.requirement import need_program

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path


@dataclass(frozen=True)
class Finished:
    """How a program ended."""

    status: int
    out: bytes
    err: str


async def run(*argv: str, stdin: bytes = b"", seconds: float = 30.0) -> Finished:
    """Run a program to its end."""
    process = await asyncio.create_subprocess_exec(
        *argv,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env={**os.environ, "SSH_AUTH_SOCK": ""},
    )
    async with asyncio.timeout(seconds):
        out, err = await process.communicate(stdin)
    assert process.returncode is not None
    return Finished(process.returncode, out, err.decode(errors="replace"))


@dataclass(frozen=True)
class SshClient:
    """A user with one key, who believes every host unless told to note what it saw."""

    key: Path
    known_hosts: str = "/dev/null"

    @classmethod
    async def make(cls, directory: Path) -> SshClient:
        """A user with a fresh key in ``directory``."""
        key = directory / "id_ed25519"
        keygen = need_program("ssh-keygen")
        assert (await run(keygen, "-q", "-t", "ed25519", "-N", "", "-C", "test", "-f", str(key))).status == 0
        return cls(key)

    @property
    def public_key(self) -> str:
        """The key's public line."""
        return self.key.with_suffix(".pub").read_text(encoding="utf-8")

    @property
    def options(self) -> list[str]:
        """What keeps the machine's own configuration out."""
        settings = {
            "IdentityFile": str(self.key),
            "IdentitiesOnly": "yes",
            "BatchMode": "yes",
            "StrictHostKeyChecking": "no",
            "UserKnownHostsFile": self.known_hosts,
            "GlobalKnownHostsFile": "/dev/null",
            "LogLevel": "ERROR",
            "ConnectTimeout": "10",
        }
        return ["-F", "none", *(f"-o{name}={value}" for name, value in settings.items())]

    async def ssh(
        self, port: int, user: str, *command: str, options: Sequence[str] = (), stdin: bytes = b""
    ) -> Finished:
        """Run ``ssh``."""
        ssh = need_program("ssh")
        return await run(
            ssh, *self.options, "-p", str(port), "-l", user, *options, "127.0.0.1", *command, stdin=stdin
        )

    async def scp(self, port: int, *words: str) -> Finished:
        """Run ``scp``."""
        return await run(need_program("scp"), "-q", *self.options, "-P", str(port), *words)
