"""The network as a node sees it: names, addresses and ports, all of them really on this machine's loopback.

Nothing leaves the machine: names are looked up in a table and never in DNS, and addresses beyond loopback
lead where the table says or nowhere.
"""

from __future__ import annotations

import asyncio
import errno
import hashlib
import os
from ipaddress import ip_address
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

_LOOPBACK: Final = "127.0.0.1"
_LOCALHOST: Final = "localhost"


class NodeNetwork:
    """What a node reaches; may be changed at any time and from any thread.

    Args:
        hosts: Addresses by host name, in the order in which they are dialled.
        ports: Where a (host or address, port) really listens: (loopback address, port). A host that is in
            ``hosts`` stands for all of its addresses; one that is not gets an address of its own.
    """

    def __init__(
        self,
        hosts: Mapping[str, Sequence[str]] | None = None,
        ports: Mapping[tuple[str, int], tuple[str, int]] | None = None,
    ) -> None:
        self._hosts: dict[str, tuple[str, ...]] = {_LOCALHOST: (_LOOPBACK,)}
        self._ports: dict[tuple[str, int], tuple[str, int]] = {}
        for host, addresses in (hosts or {}).items():
            self.name(host, *addresses)
        for (host, port), (address, real_port) in (ports or {}).items():
            self.serve(host, port, real_port, address=address)

    def name(self, host: str, *addresses: str) -> None:
        """Let ``host`` have these addresses; none makes it unknown."""
        self._hosts[host.lower()] = addresses

    def serve(self, host: str, port: int, real_port: int, *, address: str = _LOOPBACK) -> None:
        """Let ``port`` of ``host``, a name or an address, be what really listens on ``address``.

        Raises:
            ValueError: If that is no loopback address: nothing here reaches further.
        """
        if not ip_address(address).is_loopback:
            raise ValueError(f"{address} is not on loopback")
        if not self.resolve(host):
            self.name(host, _made_up_address(host))
        for seen in self.resolve(host):
            self._ports[_canonical(seen), port] = address, real_port

    def resolve(self, host: str) -> Sequence[str]:
        """The addresses of a name, or the address itself; none for an unknown name."""
        try:
            return (str(ip_address(host)),)
        except ValueError:
            return self._hosts.get(host.lower().rstrip("."), ())

    async def connect(self, host: str, port: int) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """Connect as a program on the node would.

        Raises:
            OSError: If nothing answers there; ``EHOSTUNREACH`` beyond loopback and the table.
        """
        for address in self.resolve(host):
            real = self._ports.get((_canonical(address), port))
            if real is not None:
                return await asyncio.open_connection(*real)
            if ip_address(address).is_loopback:
                return await asyncio.open_connection(address, port)
        raise OSError(errno.EHOSTUNREACH, os.strerror(errno.EHOSTUNREACH), host)


def _canonical(address: str) -> str:
    """One spelling for the node itself: localhost is found under both families."""
    return _LOOPBACK if address == "::1" else address


def _made_up_address(host: str) -> str:
    """A private address that is always the same for a name, and none that a VPC reserves."""
    digest = hashlib.sha256(host.encode()).digest()
    return f"10.0.{128 + digest[0] % 127}.{4 + digest[1] % 250}"
