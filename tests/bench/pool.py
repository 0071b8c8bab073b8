"""What several sessions to one port bring: bytes a second through one session and through a pool of eight.

The stand-in runs in a process of its own, as an agent does on a machine of its own.
"""

from __future__ import annotations

import os
import socket
import statistics
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

from tests.bench.stage import NOW, REPOSITORY
from tests.bench.table import machine, say, show
from tests.features.tunnel_run import running_tunnel
from tests.isolation import Isolation

if TYPE_CHECKING:
    from collections.abc import Iterator

_NODE: Final = "web-1"
_POOL_SESSIONS: Final = 8
# At the agent's pace some three seconds.
_SESSION_BYTES: Final = 2_000_000
_RUNS: Final = 3
_WAIT_SECONDS: Final = 60.0
_PIECE_BYTES: Final = 65_536
# Says that the stand-in is there.
_INSIDE: Final = "inside"


def main() -> None:
    """Measure and print."""
    say(f"pool: {_SESSION_BYTES / 1e6:g} MB down over each session ({machine()})")
    say()
    isolation = Isolation()
    try:
        environment = {**os.environ, "PYTHONPATH": str(REPOSITORY)}
        command = [sys.executable, "-m", "ssm_ssh", "emulator", "--node", _NODE, "--timing", "real", "--"]
        subprocess.run([*command, sys.executable, "-m", __spec__.name, _INSIDE], env=environment, check=True)
    finally:
        isolation.end()


def measure() -> None:
    """Measure and print, with a stand-in where AWS would be."""
    with _source() as port:
        # In turn, so that what else the machine does meets both.
        pairs = [(_rate(port, 1), _rate(port, _POOL_SESSIONS)) for _ in range(_RUNS)]
    figures = [(one, pool, pool / one) for one, pool in pairs]
    middle = [statistics.median(column) for column in zip(*figures, strict=True)]
    titles = [*(f"run {number}" for number in range(1, _RUNS + 1)), "median"]
    rows = [
        [title, f"{one:.2f}", f"{pool:.2f}", f"{ratio:.1f}"]
        for title, (one, pool, ratio) in zip(titles, [*figures, middle], strict=True)
    ]
    show("down", ["", "MB/s, 1 session", f"MB/s, {_POOL_SESSIONS} sessions", "ratio"], rows)


def _rate(port: int, sessions: int) -> float:
    """Megabytes a second that so many connections get together over so many sessions.

    From when every connection has its first byte, for the sessions are started one after the other.
    """
    moments: list[float] = []
    together = threading.Barrier(sessions, action=lambda: moments.append(NOW()))
    with (
        running_tunnel(_NODE, "-L", f"0:{port}", "--sessions", str(sessions)) as tunnel,
        ThreadPoolExecutor(sessions) as programs,
    ):
        fetched = [programs.submit(_fetch, tunnel.port, together) for _ in range(sessions)]
        for future in fetched:
            future.result()
        return sessions * _SESSION_BYTES / (NOW() - moments[0]) / 1e6


def _fetch(port: int, together: threading.Barrier) -> None:
    with socket.create_connection(("127.0.0.1", port), timeout=_WAIT_SECONDS) as connection:
        left = _SESSION_BYTES + 1 - len(connection.recv(1))
        together.wait(_WAIT_SECONDS)
        connection.sendall(b"!")
        while left and (data := connection.recv(_PIECE_BYTES)):
            left -= len(data)
    if left:
        raise RuntimeError(f"{left} bytes did not arrive")


@contextmanager
def _source() -> Iterator[int]:
    """The port of something that says one byte, and to a byte the rest."""
    rest = os.urandom(_SESSION_BYTES)
    listener = socket.create_server(("127.0.0.1", 0), backlog=_POOL_SESSIONS)

    def serve(connection: socket.socket) -> None:
        with connection:
            connection.sendall(rest[:1])
            if connection.recv(1):
                connection.sendall(rest)

    def accept() -> None:
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            servers.submit(serve, connection)

    with ThreadPoolExecutor(_POOL_SESSIONS + 1) as servers, listener:
        servers.submit(accept)
        try:
            yield listener.getsockname()[1]
        finally:
            listener.shutdown(socket.SHUT_RDWR)


if __name__ == "__main__":
    if sys.argv[1:] == [_INSIDE]:
        measure()
    else:
        main()
