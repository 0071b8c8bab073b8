"""What ``-L`` and ``-D`` say, in OpenSSH's own forms.

    -L port:hostport                 a port of the node itself
    -L port:host:hostport            a port that the node reaches
    -L bind:port:host:hostport       the same, listening on another address
    -L /path:host:hostport           the same, listening on a Unix socket
    -D port, -D bind:port            SOCKS5 and HTTP CONNECT to whatever the node reaches

An IPv6 address stands in brackets. Port 0 of this machine means any free one. Without BIND both loopback
addresses are listened on; ``*`` means every address; an empty BIND, unlike OpenSSH's, means none was given.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

from ssm_ssh.errors import InvalidForward
from ssm_ssh.session.document import Destination

# A field: an address in brackets, or anything without a colon.
_FIELD: Final = re.compile(r"\[([^\[\]]*)\]|([^:\[\]]*)")
_HINT_L: Final = "write -L [BIND:]PORT:HOST:HOSTPORT, or -L PORT:HOSTPORT for a port of the node itself"
_HINT_D: Final = "write -D [BIND:]PORT"
_NODE_ITSELF: Final = frozenset({"", "localhost", "127.0.0.1", "::1"})
# A host name or address as it can stand in a session's parameters.
HOST: Final = re.compile(r"[A-Za-z0-9._:%-]{1,255}")


@dataclass(frozen=True, slots=True)
class Listen:
    """Where to listen on this machine.

    Attributes:
        bind: An address or name; None for both loopback addresses, ``*`` for every address.
        port: 0 for any free port.
        unix_path: A Unix socket instead; then the others mean nothing.
    """

    bind: str | None = None
    port: int = 0
    unix_path: str | None = None


@dataclass(frozen=True, slots=True)
class LocalForward:
    """One ``-L``."""

    listen: Listen
    destination: Destination


@dataclass(frozen=True, slots=True)
class DynamicForward:
    """One ``-D``."""

    listen: Listen


def parse_local_forward(text: str) -> LocalForward:
    """Read what stands after ``-L``. Raises ``InvalidForward`` with a hint."""
    if text.startswith("/"):
        path, _, rest = text.partition(":")
        host, port = _fields(text, rest, {2}, _HINT_L)
        return LocalForward(Listen(unix_path=path), _destination(text, host, port))
    fields = _fields(text, text, {2, 3, 4}, _HINT_L)
    if len(fields) == 2:
        fields.insert(1, "")
    bind = fields.pop(0) if len(fields) == 4 else None
    port, host, host_port = fields
    return LocalForward(_listen(text, bind, port, _HINT_L), _destination(text, host, host_port))


def parse_dynamic_forward(text: str) -> DynamicForward:
    """Read what stands after ``-D``. Raises ``InvalidForward`` with a hint."""
    fields = _fields(text, text, {1, 2}, _HINT_D)
    bind = fields.pop(0) if len(fields) == 2 else None
    return DynamicForward(_listen(text, bind, fields[0], _HINT_D))


def _fields(text: str, rest: str, counts: set[int], hint: str) -> list[str]:
    """The fields between colons, brackets taken off."""
    fields: list[str] = []
    position = 0
    while True:
        match = _FIELD.match(rest, position)
        assert match is not None
        fields.append(match[1] if match[1] is not None else match[2])
        position = match.end()
        if position == len(rest):
            break
        if rest[position] != ":":
            raise InvalidForward(f"{text!r} is not a forward", hint=hint)
        position += 1
    if len(fields) not in counts:
        raise InvalidForward(f"{text!r} is not a forward", hint=hint)
    return fields


def _listen(text: str, bind: str | None, port: str, hint: str) -> Listen:
    number = _port(port)
    if number is None:
        raise InvalidForward(f"{port!r} in {text!r} is not a port", hint=hint)
    return Listen(bind=bind or None, port=number)


def to_destination(host: str, port: int) -> Destination:
    """Where the node is to connect to; empty, ``localhost`` and the like mean the node itself.

    Raises:
        InvalidForward: If the host is none.
    """
    if host in _NODE_ITSELF:
        return Destination(None, port)
    if not HOST.fullmatch(host):
        raise InvalidForward(f"{host!r} is not a host", hint=_HINT_L)
    return Destination(host, port)


def _destination(text: str, host: str, port: str) -> Destination:
    number = _port(port)
    if not number:
        raise InvalidForward(f"{port!r} in {text!r} is not a port to connect to", hint=_HINT_L)
    return to_destination(host, number)


def _port(text: str) -> int | None:
    is_number = text.isascii() and text.isdigit() and len(text) <= 5
    return int(text) if is_number and int(text) < 65_536 else None
