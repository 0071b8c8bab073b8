"""A program that listens on a port of the node and holds one conversation."""

from __future__ import annotations

import socket
import threading
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

# Ours: the other side speaks within this or the conversation has failed.
_PATIENCE_SECONDS: Final = 30.0


@contextmanager
def listen_on_node(converse: Callable[[socket.socket], None]) -> Iterator[int]:
    """Let ``converse`` have the first connection, and close it when it returns; gives the port.

    The stand-in's nodes share the machine's loopback: its ports are theirs. At the end of the block the
    conversation is over, and what it raised is raised.
    """
    failures: list[BaseException] = []
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def run() -> None:
            try:
                connection, _ = listener.accept()
            except OSError:
                # Nobody came.
                return
            try:
                with connection:
                    connection.settimeout(_PATIENCE_SECONDS)
                    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                    converse(connection)
            except BaseException as error:
                failures.append(error)

        thread = threading.Thread(target=run)
        thread.start()
        try:
            yield listener.getsockname()[1]
        finally:
            with suppress(OSError):
                # Wakes a listener that still waits; closing alone would not.
                listener.shutdown(socket.SHUT_RDWR)
            thread.join()
    if failures:
        raise failures[0]


def receive_exactly(connection: socket.socket, size: int) -> bytes:
    """The next ``size`` bytes.

    Raises:
        EOFError: If there are fewer.
    """
    received = bytearray()
    while len(received) < size:
        data = connection.recv(size - len(received))
        if not data:
            raise EOFError(f"{len(received)} bytes of {size}")
        received += data
    return bytes(received)


def receive_all(connection: socket.socket) -> bytes:
    """Everything up to the end."""
    with connection.makefile("rb") as incoming:
        return incoming.read()
