"""The stand-in with one node, and a clock at each of its doors: when a session took which step."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import tempfile
import time
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Final

from aiohttp import web

from ssm_ssh.emulator.emulator import Emulator
from ssm_ssh.emulator.node import Node, NodeSpec
from tests.isolation import Isolation

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from aiohttp.typedefs import Handler

    from ssm_ssh.emulator.timing import Timing

REPOSITORY: Final = Path(__file__).parents[2]
# The system's monotonic clock is the same for all processes, so these can be compared with an exec's moment.
NOW: Final = time.monotonic
_KEY: Final = "id_ed25519"
_IDLE_SECONDS: Final = 15.0


class Moments(dict[str, float]):
    """When each step happened for the first time since the last ``clear``."""

    def note(self, step: str) -> None:
        """The step happens now."""
        self.setdefault(step, NOW())


class WatchedNode(Node):
    """A node that notes when its agent dials the port."""

    def __init__(self, spec: NodeSpec, timing: Timing, moments: Moments) -> None:
        super().__init__(spec, timing=timing)
        self._moments = moments

    async def connect(self, host: str, port: int) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """See ``Node``."""
        self._moments.note("port dialled")
        return await super().connect(host, port)


class WatchedEmulator(Emulator):
    """A stand-in that notes when requests come and are answered."""

    def __init__(self, node: Node, moments: Moments, *, has_tls: bool) -> None:
        super().__init__([node], has_tls=has_tls)
        self._moments = moments

    def _application(self) -> web.Application:
        application = super()._application()
        application.middlewares.append(self._watch)
        return application

    @web.middleware
    async def _watch(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        if request.headers.get("X-Amz-Target", "").endswith(".StartSession"):
            self._moments.note("StartSession arrives")
            answer = await handler(request)
            self._moments.note("StartSession answered")
            return answer
        if request.path.startswith("/v1/data-channel/"):
            self._moments.note("upgrade arrives")
        return await handler(request)


class Stage:
    """A running stand-in, its node, and an environment that leads programs to it.

    Attributes:
        moments: To be cleared before each run.
        node_id: Whom to connect to.
        environment: For every child process.
        folder: Removed at the end.
    """

    def __init__(self, emulator: Emulator, node: Node, moments: Moments, folder: Path) -> None:
        self.emulator = emulator
        self.node = node
        self.moments = moments
        self.node_id = node.node_id
        self.folder = folder
        self.environment = {**os.environ, **emulator.environment, "PYTHONPATH": str(REPOSITORY)}
        if emulator.authority_path is not None:
            self.environment["AWS_CA_BUNDLE"] = str(self._usual_authorities(Path(emulator.authority_path)))

    def proxy_command(self, *arguments: str) -> list[str]:
        """The words of ``ssm-ssh proxy``, as pip installs it where that is so."""
        script = Path(sys.executable).with_name("ssm-ssh")
        program = [str(script)] if script.exists() else [sys.executable, "-m", "ssm_ssh"]
        return [*program, "proxy", *arguments]

    def ssh_command(self, *arguments: str) -> list[str]:
        """The words of OpenSSH's ssh, with this stage's key and nothing of the caller's settings."""
        known_hosts = self.folder / "known_hosts"
        known_hosts.write_text("".join(f"{self.node_id} {key}\n" for key in self.node.host_keys), "ascii")
        options = {
            "User": self.node.user,
            "IdentityFile": str(self.folder / _KEY),
            "IdentitiesOnly": "yes",
            "UserKnownHostsFile": str(known_hosts),
            "HostKeyAlias": self.node_id,
            "LogLevel": "ERROR",
        }
        words = [word for name, value in options.items() for word in ("-o", f"{name}={value}")]
        return ["ssh", "-F", "none", *words, *arguments]

    async def end_sessions(self) -> None:
        """End every session, so that no run meets what is left of another."""
        self.emulator.sessions.cancel()
        await self.emulator.sessions.wait_for_live(0)

    async def wait_until_idle(self) -> None:
        """Wait until the programs have ended their sessions themselves."""
        async with asyncio.timeout(_IDLE_SECONDS):
            await self.emulator.sessions.wait_for_live(0)

    def _usual_authorities(self, own: Path) -> Path:
        """The authorities that botocore trusts, and the stand-in's: loading a hundred costs what it costs."""
        import botocore  # noqa: PLC0415 -- a file of it is wanted, and only with TLS

        usual = Path(botocore.__file__).with_name("cacert.pem")
        bundle = self.folder / "authorities.pem"
        bundle.write_bytes(usual.read_bytes() + b"\n" + own.read_bytes())
        return bundle


@asynccontextmanager
async def set_stage(
    timing: Timing, *, has_tls: bool = False, authorized: bool = False
) -> AsyncIterator[Stage]:
    """Start everything, in a home without the caller's settings, and leave nothing of it.

    Args:
        timing: The agent's.
        has_tls: Whether the service is reached by TLS.
        authorized: Whether ``Stage.ssh_command`` shall be let in.
    """
    isolation = Isolation()
    try:
        with tempfile.TemporaryDirectory(prefix="ssm-ssh-bench-") as folder:
            moments = Moments()
            key = [_make_key(Path(folder))] if authorized else []
            node = WatchedNode(NodeSpec("web-1", authorized_keys=key), timing, moments)
            async with WatchedEmulator(node, moments, has_tls=has_tls) as emulator:
                yield Stage(emulator, node, moments, Path(folder))
    finally:
        isolation.end()


def _make_key(folder: Path) -> str:
    """Make a key pair for this run; returns the public line."""
    key = folder / _KEY
    command = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "bench", "-f", str(key)]
    subprocess.run(command, check=True)
    return key.with_suffix(".pub").read_text("ascii").strip()
