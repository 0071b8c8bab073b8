"""Who is at the other end of a local connection, and whether they are still there, as Linux tells.

Other systems do not say it to everybody; there nobody is refused and nobody is known to have gone.
"""

from __future__ import annotations

import ipaddress
import os
import select
import socket
import struct
import sys
from pathlib import Path
from typing import Final, NamedTuple

_TABLES: Final = (Path("/proc/net/tcp"), Path("/proc/net/tcp6"))
_ROOT: Final = 0
# Specification: struct ucred is process, user and group.
_CREDENTIALS: Final = struct.Struct("3i")


class Peer(NamedTuple):
    """A line of the kernel's table.

    Attributes:
        uid: Whose socket it is.
        inode: Its number; 0 once no program holds it any more, and then ``uid`` may be anything.
    """

    uid: int
    inode: int


def refusal(connection: socket.socket) -> str | None:
    """Why a loopback connection is not to be served, or None if it is.

    Served are our own user and root. Whoever has gone by the time of the question cannot be told from another
    user, and is refused.
    """
    if sys.platform != "linux" or not _is_loopback(connection):
        return None
    peer = find_peer(connection)
    if peer is None or not peer.inode:
        return "the local program was gone before it could be told whose it is"
    if peer.uid in {os.getuid(), _ROOT}:
        return None
    return f"it comes from another user of this machine (uid {peer.uid})"


def peer_user(connection: socket.socket) -> int | None:
    """The user at the other end of a Unix socket, where the system tells."""
    if sys.platform != "linux":
        return None
    told = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
    return int(_CREDENTIALS.unpack(told)[1])


def has_let_go(connection: socket.socket) -> bool:
    """Whether the program at the other end has closed the whole connection, not just its sending side."""
    if sys.platform != "linux" or connection.fileno() < 0:
        return connection.fileno() < 0
    if connection.family == socket.AF_UNIX:
        poll = select.poll()
        poll.register(connection, 0)
        return any(events & select.POLLHUP for _, events in poll.poll(0))
    if not _is_loopback(connection):
        return False
    peer = find_peer(connection)
    return peer is None or not peer.inode


def find_peer(connection: socket.socket) -> Peer | None:
    """The other end of a connection within this machine, or None where the kernel lists none."""
    try:
        ours, theirs = connection.getsockname(), connection.getpeername()
    except OSError:
        return None
    wanted = {(_endpoint(theirs, is_v6=is_v6), _endpoint(ours, is_v6=is_v6)) for is_v6 in (False, True)}
    for table in _TABLES:
        try:
            lines = table.read_text(encoding="ascii").splitlines()
        except OSError:
            continue
        for line in lines[1:]:
            # sl local remote state queues timer retransmits uid timeout inode …
            fields = line.split()
            if len(fields) >= 10 and (fields[1], fields[2]) in wanted:
                return Peer(int(fields[7]), int(fields[9]))
    return None


def _is_loopback(connection: socket.socket) -> bool:
    if connection.family not in {socket.AF_INET, socket.AF_INET6}:
        return False
    try:
        return ipaddress.ip_address(connection.getpeername()[0].partition("%")[0]).is_loopback
    except (OSError, ValueError):
        return False


def _endpoint(address: tuple[str, int], *, is_v6: bool) -> str:
    """An address as the kernel's tables have it: words of 32 bits in this machine's order of bytes.

    A program with an IPv6 socket may have connected to an IPv4 address: then it is listed as a mapped one.
    """
    packed = ipaddress.ip_address(address[0].partition("%")[0]).packed
    if is_v6 and len(packed) == 4:
        packed = bytes(10) + b"\xff\xff" + packed
    words = (packed[start : start + 4] for start in range(0, len(packed), 4))
    return "".join(f"{int.from_bytes(word, sys.byteorder):08X}" for word in words) + f":{address[1]:04X}"
