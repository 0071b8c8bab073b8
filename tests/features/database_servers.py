"""Real database servers on loopback, each with its files in a folder of its own, and none of them as root."""

from __future__ import annotations

import os
import secrets
import signal
import subprocess
import tempfile
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from tests.features.port_node import closed_port
from tests.features.proxy_run import wait_until
from tests.requirement import need_program, unmet, without_privileges

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

_START_SECONDS: Final = 30.0
_STOP_SECONDS: Final = 20.0
# Whom ``without_privileges`` leaves, if the tests run as root.
_NOBODY: Final = 65_534


@dataclass(frozen=True, slots=True)
class DatabaseServer:
    """A server that answers.

    Attributes:
        port: On 127.0.0.1.
        user: Who may do everything.
        password: Of ``user``.
    """

    port: int
    user: str
    password: str


@contextmanager
def postgresql() -> Iterator[DatabaseServer]:
    """PostgreSQL with passwords by SCRAM, for the length of a block."""
    server = DatabaseServer(closed_port(), "app", secrets.token_hex())
    with _folder() as folder:
        data, password_file = folder / "data", folder / "password"
        password_file.write_text(server.password)
        choices = ["-A", "scram-sha-256", "-E", "UTF8", "--locale=C", "--no-sync"]
        identity = ["-U", server.user, f"--pwfile={password_file}"]
        _run([need_program("initdb"), "-D", str(data), *identity, *choices])
        options = {
            "listen_addresses": "127.0.0.1",
            "unix_socket_directories": "",
            "fsync": "off",
            # Nothing here is kept, and 50 MB shall not wait for checkpoints.
            "full_page_writes": "off",
            "max_wal_size": "1GB",
        }
        words = [word for name, value in options.items() for word in ("-c", f"{name}={value}")]
        command = [need_program("postgres"), "-D", str(data), "-p", str(server.port), *words]
        is_ready = [need_program("pg_isready"), "-q", "-h", "127.0.0.1", "-p", str(server.port)]
        # At SIGTERM it would wait for its clients.
        with _serving(command, is_ready, folder, signal.SIGINT):
            yield server


@contextmanager
def mariadb() -> Iterator[DatabaseServer]:
    """MariaDB, for the length of a block."""
    server = DatabaseServer(closed_port(), "root", "")
    with _folder() as folder:
        places = ["--no-defaults", f"--datadir={folder / 'data'}"]
        normal = "--auth-root-authentication-method=normal"
        _run([need_program("mariadb-install-db"), *places, normal, "--skip-test-db"])
        network = ["--bind-address=127.0.0.1", f"--port={server.port}", "--skip-name-resolve"]
        files = [f"--socket={folder / 's'}", f"--pid-file={folder / 'pid'}", "--innodb-flush-method=nosync"]
        command = [need_program("mariadbd"), *places, *network, *files]
        client = [need_program("mariadb-admin"), "--no-defaults", "-h127.0.0.1", f"-P{server.port}", "-uroot"]
        with _serving(command, [*client, "ping"], folder, signal.SIGTERM):
            yield server


@contextmanager
def redis() -> Iterator[DatabaseServer]:
    """Redis with a password, for the length of a block."""
    server = DatabaseServer(closed_port(), "default", secrets.token_hex())
    with _folder() as folder:
        options = {"--bind": "127.0.0.1", "--port": str(server.port), "--save": "", "--dir": str(folder)}
        words = [word for pair in options.items() for word in pair]
        command = [need_program("redis-server"), *words, "--requirepass", server.password]
        client = [need_program("redis-cli"), "-e", "-h", "127.0.0.1", "-p", str(server.port)]
        is_ready = [*client, "--no-auth-warning", "-a", server.password, "ping"]
        with _serving(command, is_ready, folder, signal.SIGTERM):
            yield server


@contextmanager
def _folder() -> Iterator[Path]:
    """A folder of the user that the servers run as."""
    with tempfile.TemporaryDirectory(prefix="db-") as name:
        if hasattr(os, "geteuid") and os.geteuid() == 0:
            os.chown(name, _NOBODY, _NOBODY)
        yield Path(name)


def _run(command: Sequence[str]) -> None:
    outcome = subprocess.run(
        without_privileges(command), capture_output=True, text=True, timeout=_START_SECONDS, check=False
    )
    assert outcome.returncode == 0, outcome.stdout + outcome.stderr


@contextmanager
def _serving(
    command: Sequence[str], is_ready: Sequence[str], folder: Path, stop_signal: signal.Signals
) -> Iterator[None]:
    """Run a server from when ``is_ready`` succeeds to the end of the block."""
    log = folder / "log"
    with log.open("wb") as output:
        process = subprocess.Popen(without_privileges(command), stdout=output, stderr=output, cwd=folder)

    def answers() -> bool:
        if process.poll() is not None:
            unmet(f"{Path(command[0]).name} to start: {log.read_text()[-1000:]}")
        return subprocess.run(is_ready, capture_output=True, check=False).returncode == 0

    try:
        wait_until(answers, within=_START_SECONDS)
        yield
    finally:
        process.send_signal(stop_signal)
        try:
            process.wait(_STOP_SECONDS)
        finally:
            process.kill()
            process.wait()
