"""Real database servers on loopback that speak TLS with the certificate of a host far away."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import time
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from ssm_ssh.emulator.certificate import Certificate
from tests.requirement import need_program, unmet

if TYPE_CHECKING:
    from collections.abc import Iterator

_SECONDS = 60.0
PASSWORD = "s3cret"


@contextmanager
def certificate_of(host: str) -> Iterator[Certificate]:
    """A certificate for ``host``, while its files are there."""
    certificate = Certificate([host])
    try:
        yield certificate
    finally:
        certificate.close()


def _as(user: str) -> dict[str, Any]:
    """How to run a program that refuses to be root."""
    if os.geteuid() != 0:
        return {}
    return {"user": user, "group": user, "extra_groups": []}


def _own_copy(certificate: Certificate, folder: Path, user: str) -> Path:
    path = folder / "server.pem"
    shutil.copy(certificate.authority_path.parent / "server.pem", path)
    path.chmod(0o600)
    if os.geteuid() == 0:
        shutil.chown(folder, user, user)
        shutil.chown(path, user, user)
    return path


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port: int = free.getsockname()[1]
        return port


@contextmanager
def _folder() -> Iterator[Path]:
    # Not pytest's: below root's own folders a server that is another user finds nothing.
    with TemporaryDirectory(prefix="ssm-ssh-server-") as name:
        yield Path(name)


@contextmanager
def postgres(certificate: Certificate) -> Iterator[int]:
    """PostgreSQL; its user ``postgres`` has ``PASSWORD``, and TLS is a must. Yields the port."""
    with _folder() as folder:
        (binaries,) = list(Path("/usr/lib/postgresql").glob("*/bin"))[-1:] or [unmet("PostgreSQL's server")]
        port, key = _free_port(), _own_copy(certificate, folder, "postgres")
        (folder / "password").write_text(PASSWORD)
        (folder / "password").chmod(0o644)
        data = folder / "data"
        run_as = _as("postgres")
        make: list[str | Path] = [binaries / "initdb", "-D", data, "-U", "postgres", "-A", "scram-sha-256"]
        subprocess.run(
            [*make, f"--pwfile={folder / 'password'}"], check=True, capture_output=True, cwd=folder, **run_as
        )
        (data / "pg_hba.conf").write_text("hostssl all all 127.0.0.1/32 scram-sha-256\n")
        settings = {
            "listen_addresses": "127.0.0.1",
            "port": port,
            "unix_socket_directories": "",
            "fsync": "off",
            "ssl": "on",
            "ssl_cert_file": key,
            "ssl_key_file": key,
        }
        options = " ".join(f"-c {name}='{value}'" for name, value in settings.items())
        control: list[str | Path] = [binaries / "pg_ctl", "-D", data, "-w", "-l", folder / "log"]
        subprocess.run(
            [*control, "-o", options, "start"], check=True, stdout=subprocess.DEVNULL, cwd=folder, **run_as
        )
        try:
            yield port
        finally:
            subprocess.run(
                [*control, "-m", "immediate", "stop"],
                check=True,
                stdout=subprocess.DEVNULL,
                cwd=folder,
                **run_as,
            )


@contextmanager
def mariadb(certificate: Certificate) -> Iterator[int]:
    """MariaDB; its user ``app`` has ``PASSWORD`` and must use TLS. Yields the port."""
    with _folder() as folder:
        server, install = need_program("mariadbd"), need_program("mariadb-install-db")
        port, key = _free_port(), _own_copy(certificate, folder, "mysql")
        run_as = _as("mysql")
        data = f"--datadir={folder / 'data'}"
        subprocess.run(
            [install, "--no-defaults", data],
            check=True,
            capture_output=True,
            cwd=folder,
            **run_as,
        )
        (folder / "init.sql").write_text(
            f"CREATE USER app@'127.0.0.1' IDENTIFIED BY '{PASSWORD}' REQUIRE SSL;\n"
        )
        options = [
            f"--port={port}",
            "--bind-address=127.0.0.1",
            f"--socket={folder / 's'}",
            f"--init-file={folder / 'init.sql'}",
        ]
        tls = [f"--ssl-cert={key}", f"--ssl-key={key}", f"--pid-file={folder / 'pid'}"]
        with (folder / "log").open("wb") as log:
            process = subprocess.Popen(
                [server, "--no-defaults", "--skip-name-resolve", data, *options, *tls],
                stdout=log,
                stderr=log,
                cwd=folder,
                **run_as,
            )
        with _ending(process):
            _wait_for(port, process)
            yield port


@contextmanager
def redis(certificate: Certificate) -> Iterator[int]:
    """Redis with TLS. Yields the port."""
    with _folder() as folder:
        port = _free_port()
        key = certificate.authority_path.parent / "server.pem"
        command = [
            need_program("redis-server"),
            "--port",
            "0",
            "--tls-port",
            str(port),
            "--bind",
            "127.0.0.1",
        ]
        tls: list[str | Path] = ["--tls-cert-file", key, "--tls-key-file", key, "--tls-auth-clients", "no"]
        trust: list[str | Path] = [
            "--tls-ca-cert-file",
            certificate.authority_path,
            "--save",
            "",
            "--dir",
            folder,
        ]
        process = subprocess.Popen([*command, *tls, *trust], stdout=subprocess.DEVNULL)
        with _ending(process):
            _wait_for(port, process)
            yield port


@contextmanager
def _ending(process: subprocess.Popen[bytes]) -> Iterator[None]:
    try:
        yield
    finally:
        process.terminate()
        process.wait(_SECONDS)


def _wait_for(port: int, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + _SECONDS
    while True:
        try:
            socket.create_connection(("127.0.0.1", port)).close()
        except ConnectionRefusedError:
            assert process.poll() is None, "the server did not start"
            assert time.monotonic() < deadline
            time.sleep(0.05)  # noqa: TID251 -- another program tells nothing before it listens
        else:
            return
