"""An HTTP proxy that connects names to wherever a test wants them, and remembers what it was asked."""

from __future__ import annotations

import base64
import socket
import threading
from contextlib import suppress
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping
    from types import TracebackType
    from typing import Self


class ConnectProxy:
    """Answers CONNECT; a context manager.

    Args:
        places: Port of loopback by ``name:port``; everything else is answered with ``elsewhere``.
        login: ``USER:PASSWORD`` that every request must bear, or None.
        elsewhere: The status line for names that it does not know.

    Attributes:
        port: Where it listens on loopback.
        asked: The ``name:port`` of every CONNECT with a good login, in order.
        refused: How many came without one.
    """

    def __init__(
        self,
        places: Mapping[str, int],
        *,
        login: str | None = None,
        elsewhere: str = "502 Bad Gateway",
    ) -> None:
        self._places = places
        self._login = login and base64.b64encode(login.encode()).decode()
        self._elsewhere = elsewhere
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=64)
        self.port: int = self._listener.getsockname()[1]
        self.asked: list[str] = []
        self.refused = 0
        self._connections: list[socket.socket] = []
        self._threads = [threading.Thread(target=self._accept, name="proxy")]

    def __enter__(self) -> Self:
        self._threads[0].start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for connection in self._connections:
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join()

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            self._connections.append(connection)
            thread = threading.Thread(target=self._serve, args=(connection,), name="proxy")
            self._threads.append(thread)
            thread.start()

    def _serve(self, connection: socket.socket) -> None:
        with connection, suppress(OSError):
            head = b""
            while b"\r\n\r\n" not in head:
                data = connection.recv(65_536)
                if not data:
                    return
                head += data
            answer, port = self._judge(head.decode("latin-1"))
            connection.sendall(f"HTTP/1.1 {answer}\r\n\r\n".encode())
            if port is not None:
                with socket.create_connection(("127.0.0.1", port)) as far:
                    self._connections.append(far)
                    back = threading.Thread(target=_pump, args=(far, connection), name="proxy")
                    back.start()
                    _pump(connection, far)
                    back.join()

    def _judge(self, head: str) -> tuple[str, int | None]:
        request, *headers = head.split("\r\n")
        method, place, _ = request.split(" ")
        if self._login is not None and f"Proxy-Authorization: Basic {self._login}" not in headers:
            self.refused += 1
            return "407 Proxy Authentication Required\r\nProxy-Authenticate: Basic", None
        self.asked.append(place)
        if method != "CONNECT" or place not in self._places:
            return self._elsewhere, None
        return "200 Connection established", self._places[place]


def _pump(source: socket.socket, sink: socket.socket) -> None:
    with suppress(OSError):
        while data := source.recv(65_536):
            sink.sendall(data)
    for end in (source, sink):
        with suppress(OSError):
            end.shutdown(socket.SHUT_RDWR)
