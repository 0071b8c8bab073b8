"""SOCKS5 (RFC 1928, RFC 1929) as a server hears it. No I/O: bytes go in, a request or a refusal comes out.

Only CONNECT is served: a session carries TCP, one way in.
"""

from __future__ import annotations

import ipaddress
from typing import TYPE_CHECKING, Final

from ssm_ssh.forward.client_request import Asked, Login, Outcome, Rejected
from ssm_ssh.forward.spec import HOST

if TYPE_CHECKING:
    from collections.abc import Callable

VERSION: Final = 5
# The version before, which cannot log in, nor, but for an extension, name a host.
OLD_VERSION: Final = 4

# Specification, RFC 1928 section 3: how to log in.
_NO_LOGIN: Final = 0x00
_USER_PASSWORD: Final = 0x02
_NO_METHOD: Final = 0xFF
# Specification, RFC 1929.
_LOGIN_VERSION: Final = 1
_LOGIN_RIGHT: Final = bytes([_LOGIN_VERSION, 0])
_LOGIN_WRONG: Final = bytes([_LOGIN_VERSION, 1])
# Specification, RFC 1928 sections 4 and 5.
_CONNECT: Final = 1
_IPV4: Final = 1
_NAME: Final = 3
_IPV6: Final = 4
_ADDRESS_BYTES: Final = {_IPV4: 4, _IPV6: 16}
# Specification, RFC 1928 section 6.
_FAILURE: Final = 1
_COMMAND_NOT_SUPPORTED: Final = 7
_ADDRESS_NOT_SUPPORTED: Final = 8
_REPLIES: Final = {
    Outcome.CONNECTED: 0,
    Outcome.FAILED: _FAILURE,
    Outcome.BUSY: _FAILURE,
    Outcome.FORBIDDEN: 2,
    Outcome.UNREACHABLE: 4,
    Outcome.REFUSED: 5,
    Outcome.TIMED_OUT: 6,
}
# SOCKS4's own: "request rejected or failed", with port and address that mean nothing.
_OLD_REJECTED: Final = bytes([0, 0x5B]) + bytes(6)


class Socks5Dialogue:
    """One program's talk with us, from its first byte to its request.

    Holds at most one message of theirs, 513 bytes, and what came with it in one piece.
    """

    def __init__(self, login: Login | None = None) -> None:
        """Start before the first byte.

        Args:
            login: What the program has to give; None where nothing is asked.
        """
        self._login = login
        self._unread = bytearray()
        self._replies = bytearray()
        self._verdict: Asked | Rejected | None = None
        self._read_on: Callable[[], bool] = self._read_methods

    def receive_data(self, data: bytes) -> Asked | Rejected | None:
        """Take in what arrived; None while more is needed. After anything else it is not called again.

        Whatever ``data`` is, nothing is raised.
        """
        self._unread += data
        while self._verdict is None and self._read_on():
            pass
        return self._verdict

    def data_to_send(self) -> bytes:
        """What the program is to hear now."""
        data = bytes(self._replies)
        self._replies.clear()
        return data

    def reply(self, outcome: Outcome, _reason: str = "") -> bytes:
        """What the program hears of its request; SOCKS has no room for reasons."""
        return _reply(_REPLIES[outcome])

    # --- one message each; whether it was there ---

    def _read_methods(self) -> bool:
        # version, count, methods
        if self._is_not(VERSION):
            self._reject(_OLD_REJECTED, "a program speaks SOCKS4: tell it to use SOCKS5 (socks5h://)")
            return True
        if len(self._unread) < 2 or len(self._unread) < 2 + self._unread[1]:
            return False
        methods = self._take(2 + self._unread[1])[2:]
        wanted = _NO_LOGIN if self._login is None else _USER_PASSWORD
        if wanted not in methods:
            reason = "a program gave no user and password" if self._login else "a program insists on a login"
            self._reject(bytes([VERSION, _NO_METHOD]), reason)
            return True
        self._replies += bytes([VERSION, wanted])
        self._read_on = self._read_request if self._login is None else self._read_login
        return True

    def _read_login(self) -> bool:
        # version, length, user, length, password
        if self._is_not(_LOGIN_VERSION):
            self._reject(_LOGIN_WRONG, "a program speaks no SOCKS5 that is known here")
            return True
        if len(self._unread) < 2:
            return False
        user_end = 2 + self._unread[1]
        if len(self._unread) <= user_end or len(self._unread) <= user_end + self._unread[user_end]:
            return False
        message = self._take(user_end + 1 + self._unread[user_end])
        assert self._login is not None
        if not self._login.is_right(message[2:user_end], message[user_end + 1 :]):
            self._reject(_LOGIN_WRONG, "a program gave a wrong user or password")
            return True
        self._replies += _LOGIN_RIGHT
        self._read_on = self._read_request
        return True

    def _read_request(self) -> bool:
        # version, command, reserved, address type, address, port
        if self._is_not(VERSION):
            self._reject(_reply(_FAILURE), "a program speaks no SOCKS5 that is known here")
            return True
        if len(self._unread) < 5:
            return False
        if self._unread[1] != _CONNECT:
            self._reject(
                _reply(_COMMAND_NOT_SUPPORTED), "a program asks for UDP or a listener; TCP is all there is"
            )
            return True
        kind = self._unread[3]
        if kind not in {_IPV4, _NAME, _IPV6}:
            self._reject(_reply(_ADDRESS_NOT_SUPPORTED), "a program speaks no SOCKS5 that is known here")
            return True
        start, size = (5, self._unread[4]) if kind == _NAME else (4, _ADDRESS_BYTES[kind])
        if len(self._unread) < start + size + 2:
            return False
        message = self._take(start + size + 2)
        host = _host(kind, message[start:-2])
        port = int.from_bytes(message[-2:])
        if host is None or not port:
            self._reject(_reply(_ADDRESS_NOT_SUPPORTED), "a program asks for a host or port that cannot be")
        else:
            self._verdict = Asked(host, port, bytes(self._unread))
        return True

    def _is_not(self, version: int) -> bool:
        return bool(self._unread) and self._unread[0] != version

    def _take(self, size: int) -> bytes:
        message = bytes(self._unread[:size])
        del self._unread[:size]
        return message

    def _reject(self, reply: bytes, reason: str) -> None:
        self._replies += reply
        self._verdict = Rejected(reason)


def _host(kind: int, raw: bytes) -> str | None:
    """The host as text, or None if it cannot be one."""
    if kind != _NAME:
        return str(ipaddress.ip_address(raw))
    name = raw.decode("ascii", "replace")
    return name if HOST.fullmatch(name) else None


def _reply(code: int) -> bytes:
    """A reply; the address that we are known under at the destination is the agent's secret."""
    return bytes([VERSION, code, 0, _IPV4]) + bytes(6)
