"""HTTP's CONNECT (RFC 9110, section 9.3.6) as a server hears it. No I/O: bytes in, a request or refusal out.

Nothing but CONNECT is served: a plain ``GET http://…`` would have to be rewritten on its way.
"""

from __future__ import annotations

import base64
import binascii
import re
from http import HTTPStatus
from http.client import HTTPException, parse_headers
from io import BytesIO
from typing import TYPE_CHECKING, Final

from ssm_ssh.forward.client_request import Asked, Login, Outcome, Rejected
from ssm_ssh.forward.spec import HOST

if TYPE_CHECKING:
    from email.message import Message

# Ours: request line and headers together; browsers send a tenth of it.
LARGEST_HEAD_BYTES: Final = 16 * 1024
_HEAD_END: Final = re.compile(rb"\r?\n\r?\n")
# The longest end, less one byte: so much of it may have been seen before.
_HEAD_END_SEEN_BYTES: Final = 3
_REQUEST_LINE: Final = re.compile(rb"([!#$%&'*+.^_`|~0-9A-Za-z-]+) ([\x21-\x7e]+) HTTP/1\.[01]")
_AUTHORITY: Final = re.compile(r"(?:\[([^\[\]]+)\]|([^:\[\]]+)):([0-9]{1,5})")
_LARGEST_PORT: Final = 65_535
_ESTABLISHED: Final = b"HTTP/1.1 200 Connection established\r\n\r\n"
_STATUSES: Final = {
    Outcome.FORBIDDEN: HTTPStatus.FORBIDDEN,
    Outcome.UNREACHABLE: HTTPStatus.BAD_GATEWAY,
    Outcome.REFUSED: HTTPStatus.BAD_GATEWAY,
    Outcome.TIMED_OUT: HTTPStatus.GATEWAY_TIMEOUT,
    Outcome.BUSY: HTTPStatus.SERVICE_UNAVAILABLE,
    Outcome.FAILED: HTTPStatus.BAD_GATEWAY,
}
_CONNECT_ONLY: Final = (
    "Only CONNECT is served here. For http:// addresses use the same port as a SOCKS5 proxy (socks5h://), or "
    "make the program use CONNECT for them too (curl --proxytunnel)."
)


class HttpConnectDialogue:
    """One program's request, from its first byte to the end of its head.

    Holds at most ``LARGEST_HEAD_BYTES``, and what came with the end in one piece.
    """

    def __init__(self, login: Login | None = None) -> None:
        """Start before the first byte.

        Args:
            login: What the program has to give; None where nothing is asked.
        """
        self._login = login
        self._unread = bytearray()
        self._searched_bytes = 0
        self._replies = b""

    def receive_data(self, data: bytes) -> Asked | Rejected | None:
        """Take in what arrived; None while more is needed. After anything else it is not called again.

        Whatever ``data`` is, nothing is raised.
        """
        self._unread += data
        end = _HEAD_END.search(self._unread, self._searched_bytes)
        if end is None:
            self._searched_bytes = max(len(self._unread) - _HEAD_END_SEEN_BYTES, 0)
        if (len(self._unread) if end is None else end.end()) > LARGEST_HEAD_BYTES:
            status = HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE
            return self._reject(status, "a program sent an HTTP request that is too long")
        if end is None:
            return None
        return self._judge(bytes(self._unread[: end.end()]), bytes(self._unread[end.end() :]))

    def data_to_send(self) -> bytes:
        """What the program is to hear now."""
        data, self._replies = self._replies, b""
        return data

    def reply(self, outcome: Outcome, reason: str = "") -> bytes:
        """What the program hears of its request."""
        return _ESTABLISHED if outcome is Outcome.CONNECTED else _answer(_STATUSES[outcome], reason)

    def _judge(self, head: bytes, early: bytes) -> Asked | Rejected:
        line, _, rest = head.partition(b"\n")
        request = _REQUEST_LINE.fullmatch(line.removesuffix(b"\r"))
        headers = _parse_headers(rest)
        if request is None or headers is None:
            return self._reject(HTTPStatus.BAD_REQUEST, "a program sent what is no HTTP request")
        if self._login is not None and not _has_login(headers, self._login):
            status = HTTPStatus.PROXY_AUTHENTICATION_REQUIRED
            return self._reject(status, "a program gave no user and password, or wrong ones")
        if request[1] != b"CONNECT":
            return self._reject(
                HTTPStatus.METHOD_NOT_ALLOWED,
                "a program asked for a plain http:// address; only CONNECT and SOCKS5 are served",
            )
        target = _AUTHORITY.fullmatch(request[2].decode("ascii"))
        host = "" if target is None else target[1] or target[2]
        port = 0 if target is None else int(target[3])
        if not HOST.fullmatch(host) or not 1 <= port <= _LARGEST_PORT:
            return self._reject(HTTPStatus.BAD_REQUEST, "a program asks for a host or port that cannot be")
        return Asked(host, port, early)

    def _reject(self, status: HTTPStatus, reason: str) -> Rejected:
        self._replies = _answer(status, reason)
        return Rejected(reason)


def _parse_headers(raw: bytes) -> Message | None:
    try:
        return parse_headers(BytesIO(raw))
    except HTTPException:
        # More of them than anybody needs.
        return None


def _has_login(headers: Message, login: Login) -> bool:
    scheme, _, encoded = headers.get("Proxy-Authorization", "").partition(" ")
    if scheme.lower() != "basic":
        return False
    try:
        user, _, password = base64.b64decode(encoded.strip(), validate=True).partition(b":")
    except (binascii.Error, ValueError):
        return False
    return login.is_right(user, password)


def _answer(status: HTTPStatus, reason: str) -> bytes:
    """A whole answer, after which the connection is over."""
    headers = ["Connection: close", "Content-Type: text/plain; charset=utf-8"]
    text = f"{reason}\n"
    match status:
        case HTTPStatus.METHOD_NOT_ALLOWED:
            headers.append("Allow: CONNECT")
            text = f"{_CONNECT_ONLY}\n"
        case HTTPStatus.PROXY_AUTHENTICATION_REQUIRED:
            headers.append('Proxy-Authenticate: Basic realm="ssm-ssh", charset="UTF-8"')
        case _:
            pass
    body = text.encode()
    headers.append(f"Content-Length: {len(body)}")
    lines = [f"HTTP/1.1 {status.value} {status.phrase}", *headers, "", ""]
    return "\r\n".join(lines).encode("ascii") + body
