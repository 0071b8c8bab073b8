"""A real remote desktop with real NLA on loopback: FreeRDP's shadow server over a screen of its own."""

from __future__ import annotations

import hashlib
import os
import socket
import ssl
import subprocess
import time
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tests.requirement import need_program

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

_SECONDS = 30.0


@dataclass(frozen=True)
class DesktopServer:
    """A server that accepts connections.

    Attributes:
        display: For clients, which need one even where they show nothing.
        thumbprint: SHA-1 of its certificate.
    """

    port: int
    display: str
    thumbprint: str


@contextmanager
def screen() -> Iterator[str]:
    """The name of a display nobody sees."""
    reading, writing = os.pipe()
    command = [need_program("Xvfb"), "-displayfd", str(writing), "-nolisten", "tcp"]
    server = subprocess.Popen(command, pass_fds=[writing], stderr=subprocess.DEVNULL)
    os.close(writing)
    try:
        with open(reading) as lines:
            number = lines.readline().strip()
        assert number, "Xvfb did not start"
        yield f":{number}"
    finally:
        server.terminate()
        server.wait(_SECONDS)


@contextmanager
def desktop_server(folder: Path, user: str, password: str) -> Iterator[DesktopServer]:
    """A server that lets ``user`` in with ``password``, by NLA only."""
    make_hash = [need_program("winpr-hash"), "-u", user, "-p", password, "-f", "sam"]
    (folder / "sam").write_bytes(subprocess.run(make_hash, capture_output=True, check=True).stdout)
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    with screen() as display, (folder / "log").open("wb") as log:
        command = [
            need_program("freerdp-shadow-cli"),
            f"/port:{port}",
            "/bind-address:127.0.0.1",
            "+auth",
            f"/sam-file:{folder / 'sam'}",
            "/sec:nla",
        ]
        environment = {**os.environ, "HOME": str(folder), "DISPLAY": display}
        del environment["XDG_CONFIG_HOME"]
        server = subprocess.Popen(command, env=environment, stdout=log, stderr=log)
        try:
            _wait_for(port, server)
            (certificate,) = folder.glob(".config/freerdp/shadow/shadow.crt")
            der = ssl.PEM_cert_to_DER_cert(certificate.read_text().rstrip("\0"))
            yield DesktopServer(port, display, hashlib.sha1(der).hexdigest())
        finally:
            server.terminate()
            server.wait(_SECONDS)


def _wait_for(port: int, server: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + _SECONDS
    while True:
        try:
            socket.create_connection(("127.0.0.1", port)).close()
        except ConnectionRefusedError:
            assert server.poll() is None, "freerdp-shadow-cli did not start"
            assert time.monotonic() < deadline
            time.sleep(0.05)  # noqa: TID251 -- another program tells nothing before it listens
        else:
            return
