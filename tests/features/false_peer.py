"""Peers that are not what they should be: gateways and APIs that answer wrongly, on purpose."""

from __future__ import annotations

import base64
import hashlib
import socket
import threading
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    import ssl
    from collections.abc import Callable
    from types import TracebackType
    from typing import Self

_WEBSOCKET_SALT: Final = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"


class FalseGateway:
    """Takes every connection and answers its request with fixed bytes; a context manager.

    Args:
        answer: From a request's head to the bytes of the answer, after which the connection is closed.
        context: For TLS; a client that does not trust it has sent nothing.

    Attributes:
        address: Where it listens.
        heads: The heads of the requests so far.
    """

    def __init__(self, answer: Callable[[bytes], bytes], *, context: ssl.SSLContext | None = None) -> None:
        self._answer = answer
        self._context = context
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=64)
        self.address = f"127.0.0.1:{self._listener.getsockname()[1]}"
        self.heads: list[bytes] = []
        self._thread = threading.Thread(target=self._serve, name="false gateway")

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._thread.join()

    def _serve(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            # A client that speaks no further must not keep the next one waiting.
            connection.settimeout(1.0)
            with suppress(OSError), connection:
                self._talk(connection)

    def _talk(self, connection: socket.socket) -> None:
        if self._context is not None:
            connection = self._context.wrap_socket(connection, server_side=True)
        with connection:
            head = b""
            while b"\r\n\r\n" not in head:
                data = connection.recv(65_536)
                if not data:
                    return
                head += data
            self.heads.append(head)
            connection.sendall(self._answer(head))
            connection.shutdown(socket.SHUT_WR)
            while connection.recv(65_536):
                pass


def upgraded(head: bytes, frames: bytes = b"") -> bytes:
    """The right answer to an upgrade, and bytes behind it."""
    key = next(
        line.partition(b":")[2].strip()
        for line in head.split(b"\r\n")
        if line.lower().startswith(b"sec-websocket-key:")
    )
    accept = base64.b64encode(hashlib.sha1(key + _WEBSOCKET_SALT, usedforsecurity=False).digest())
    return (
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        b"Sec-WebSocket-Accept: " + accept + b"\r\n\r\n" + frames
    )


def binary_frame(payload: bytes) -> bytes:
    """A server's WebSocket frame with a short binary message."""
    assert len(payload) < 65_536
    return b"\x82\x7e" + len(payload).to_bytes(2, "big") + payload


class FalseApi:
    """An HTTP server that answers every POST as it is told; a context manager.

    Args:
        answer: From a request's headers and body to status, content type and body.

    Attributes:
        url: Where it is.
    """

    def __init__(self, answer: Callable[[dict[str, str], bytes], tuple[int, str, bytes]]) -> None:
        class Answering(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length", "0")))
                status, content_type, content = answer(dict(self.headers.items()), body)
                self.send_response(status)
                self.send_header("Content-Type", content_type)
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)

            def log_message(self, format: str, *args: object) -> None:  # noqa: A002 -- the library's name
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Answering)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), name="false API")

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()
