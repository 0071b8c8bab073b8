"""Where a forward listens on this machine: both loopback addresses, another address, or a Unix socket."""

from __future__ import annotations

import contextlib
import errno
import ipaddress
import os
import socket
import stat
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Final

from ssm_ssh.errors import InvalidForward

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ssm_ssh.forward.spec import Listen

_LOOPBACK: Final = ("127.0.0.1", "::1")
_EVERYWHERE: Final = ("0.0.0.0", "::")  # noqa: S104 -- only where the user wrote it
# Ours: what the kernel keeps until we accept.
_BACKLOG: Final = 128
# Ours: how many free ports of one address family are tried for one that is free in the other, too.
_FREE_PORT_TRIES: Final = 20
# A machine without IPv6, or without that address.
_NO_SUCH_FAMILY: Final = frozenset({errno.EAFNOSUPPORT, errno.EADDRNOTAVAIL, errno.EPROTONOSUPPORT})
_FIRST_FREE_PORT: Final = 1024


class Listener:
    """One or two listening sockets, of one port.

    Attributes:
        sockets: Listening, without blocking.
        unix_path: Where the Unix socket is, or None.
    """

    def __init__(self, sockets: Sequence[socket.socket], unix_path: Path | None = None) -> None:
        self.sockets = tuple(sockets)
        self.unix_path = unix_path
        self._unix_inode = None if unix_path is None else unix_path.lstat().st_ino

    @property
    def host(self) -> str:
        """The address that a local program connects to; the path of a Unix socket."""
        if self.unix_path is not None:
            return str(self.unix_path)
        host: str = self.sockets[0].getsockname()[0]
        return dict(zip(_EVERYWHERE, _LOOPBACK, strict=True)).get(host, host)

    @property
    def port(self) -> int | None:
        """The port that a local program connects to; None for a Unix socket."""
        return None if self.unix_path is not None else int(self.sockets[0].getsockname()[1])

    @property
    def addresses(self) -> list[str]:
        """All addresses with their port, as people write them."""
        if self.unix_path is not None:
            return [str(self.unix_path)]
        return [_written(*sock.getsockname()[:2]) for sock in self.sockets]

    @property
    def remote_reach(self) -> str | None:
        """Who beyond this machine can connect, in words; None if nobody can."""
        if self.unix_path is not None:
            return None
        hosts = [ipaddress.ip_address(sock.getsockname()[0].partition("%")[0]) for sock in self.sockets]
        if all(host.is_loopback for host in hosts):
            return None
        if any(host.is_unspecified for host in hosts):
            return "every machine that reaches any address of this one"
        return f"every machine that reaches {', '.join(map(str, hosts))}"

    def close(self) -> None:
        """Stop listening, and take the Unix socket away if it is still ours. Twice is fine."""
        for sock in self.sockets:
            sock.close()
        if self.unix_path is not None:
            with contextlib.suppress(OSError):
                if self.unix_path.lstat().st_ino == self._unix_inode:
                    self.unix_path.unlink()


def open_listener(listen: Listen) -> Listener:
    """Listen; connections wait in the kernel until they are accepted.

    Raises:
        InvalidForward: With a hint, if the port, the address or the path cannot be had.
    """
    if listen.unix_path is not None:
        return _open_unix(Path(listen.unix_path))
    if listen.bind in {None, "localhost"}:
        return Listener(_bind_pair(_LOOPBACK, listen.port))
    if listen.bind == "*":
        return Listener(_bind_pair(_EVERYWHERE, listen.port))
    return Listener([_bind(_resolve(str(listen.bind)), listen.port)])


def _bind_pair(hosts: tuple[str, str], port: int) -> list[socket.socket]:
    """Both address families on one port; the first alone where the machine lacks the second."""
    for tries_left in reversed(range(1 if port else _FREE_PORT_TRIES)):
        first = _bind(hosts[0], port)
        try:
            second = _bind(hosts[1], first.getsockname()[1])
        except InvalidForward as error:
            cause = error.__cause__
            if isinstance(cause, OSError) and cause.errno in _NO_SUCH_FAMILY:
                return [first]
            first.close()
            if not tries_left:
                raise
        else:
            return [first, second]
    raise AssertionError("the last try returns or raises")


def _resolve(name: str) -> str:
    try:
        found = socket.getaddrinfo(name, None, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except (OSError, UnicodeError) as error:
        raise InvalidForward(
            f"{name!r} is no address to listen on",
            hint="write an address of this machine, or none for localhost",
        ) from error
    return str(found[0][4][0])


def _bind(host: str, port: int) -> socket.socket:
    """A listening socket. Raises ``InvalidForward``, caused by the ``OSError``."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        sock = socket.socket(family, socket.SOCK_STREAM)
    except OSError as error:
        raise _explain(error, host, port) from error
    try:
        if family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        if sys.platform == "win32":
            # Without it another program could take the port over.
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_EXCLUSIVEADDRUSE, 1)
        else:
            # Connections of an earlier run that linger do not keep the port.
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind((host, port))
        sock.listen(_BACKLOG)
        sock.settimeout(0)
    except OSError as error:
        sock.close()
        raise _explain(error, host, port) from error
    return sock


def _explain(error: OSError, host: str, port: int) -> InvalidForward:
    place = _written(host, port)
    if error.errno == errno.EADDRINUSE:
        return InvalidForward(
            f"{place} is in use already",
            hint="stop what listens there (`ss -ltnp` shows it), or use another port; 0 takes any free one",
        )
    if error.errno in {errno.EACCES, errno.EPERM}:
        return InvalidForward(
            f"listening on {place} is not allowed",
            hint=f"ports below {_FIRST_FREE_PORT} need a right of their own: use a higher one, or 0 for any",
        )
    if error.errno == errno.EADDRNOTAVAIL:
        return InvalidForward(
            f"{host} is no address of this machine", hint="leave it out to listen on localhost"
        )
    return InvalidForward(f"cannot listen on {place}: {error.strerror}")


def _open_unix(path: Path) -> Listener:
    if sys.platform == "win32":
        raise InvalidForward("there are no Unix sockets here", hint="give a port")
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        _remove_stale(path)
        sock.bind(str(path))
        # Before anybody can connect: until listen every try is refused.
        path.chmod(0o600)
        sock.listen(_BACKLOG)
        sock.settimeout(0)
        return Listener([sock], path)
    except InvalidForward:
        sock.close()
        raise
    except OSError as error:
        sock.close()
        raise _explain_unix(error, path) from error


def _remove_stale(path: Path) -> None:
    """Take away a Unix socket that nobody listens on any more; ``InvalidForward`` for anything else."""
    try:
        status = path.lstat()
    except FileNotFoundError:
        return
    if not stat.S_ISSOCK(status.st_mode) or status.st_uid != os.getuid():
        raise InvalidForward(f"{path} is there already", hint="give a path that does not exist yet")
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        try:
            probe.connect(str(path))
        except ConnectionRefusedError:
            path.unlink()
            return
    raise InvalidForward(f"{path} is in use already", hint="stop what listens there, or give another path")


def _explain_unix(error: OSError, path: Path) -> InvalidForward:
    # Python says it without a number.
    if error.errno in {None, errno.ENAMETOOLONG, errno.EINVAL}:
        return InvalidForward(
            f"the path of the Unix socket is too long: {path}",
            hint="about 100 characters are possible: give a shorter path",
        )
    return InvalidForward(
        f"cannot listen on {path}: {error.strerror}", hint="give a path in a folder that is yours"
    )


def _written(host: str, port: int) -> str:
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
