"""How far ``-D`` reaches: which hosts programs may ask for.

Whoever can use the port is, for the node's own services, a program on the node: what listens on its loopback
and link-local addresses often trusts everybody there. So these are reached only if the user names them,
however they are spelled. A name that the node resolves to one of them cannot be told here.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from fnmatch import fnmatchcase
from ipaddress import (
    IPv4Address,
    IPv4Network,
    IPv6Address,
    IPv6Network,
    ip_address,
    ip_network,
)
from typing import TYPE_CHECKING, Final, TypeAlias

from ssm_ssh.errors import InvalidOption

if TYPE_CHECKING:
    from collections.abc import Sequence

Address: TypeAlias = IPv4Address | IPv6Address
Network: TypeAlias = IPv4Network | IPv6Network

_LOCALHOST: Final = "localhost"
# Names that lists of hosts and resolvers (RFC 6761) give to loopback addresses.
_LOCAL_NAMES: Final = frozenset(
    {_LOCALHOST, "localhost.localdomain", "localhost4", "localhost6", "ip6-localhost", "ip6-loopback"}
)
_LOOPBACK: Final = (ip_address("127.0.0.1"), ip_address("::1"))
# "This host", loopback and link-local (RFC 6890); the last is EC2's metadata, DNS and time over IPv6.
_OWN_NETWORKS: Final[tuple[Network, ...]] = tuple(
    ip_network(text)
    for text in (
        "0.0.0.0/8",
        "127.0.0.0/8",
        "169.254.0.0/16",
        "::/128",
        "::1/128",
        "fe80::/10",
        "fd00:ec2::/32",
    )
)
# IPv6 networks whose last 32 bits are an IPv4 address (RFC 4291 section 2.5.5.1, RFC 2765, RFC 6052).
_EMBEDDING: Final = tuple(map(ip_network, ("::/96", "::ffff:0:0:0/96", "64:ff9b::/96")))
# A part of an IPv4 address as inet_aton reads it: hexadecimal, octal, decimal.
_PART: Final = r"(?:0x[0-9a-f]*|[0-9]+)"
_ODD_IPV4: Final = re.compile(rf"{_PART}(?:\.{_PART}){{0,3}}")
_GLOB: Final = re.compile(r"[A-Za-z0-9._:%*?\[\]!-]+")
_WILD: Final = frozenset("*?[")


@dataclass(frozen=True, slots=True)
class Host:
    """A host that a program asked for.

    Attributes:
        text: As the node is told: lower case, an address in its usual form.
        names: What may be matched as a name.
        addresses: What may be matched as an address; none if only the node can tell.
    """

    text: str
    names: tuple[str, ...]
    addresses: tuple[Address, ...] = ()

    @property
    def is_own(self) -> bool:
        """Whether it is the node itself, or what only the node's own link reaches."""
        return any(address in network for address in self.addresses for network in _OWN_NETWORKS)


def parse_host(text: str) -> Host:
    """Read a host, in whatever form, as the resolvers of today and yesterday do."""
    # No host at all means the node itself to the session document.
    name = text.strip("[]").rstrip(".").lower() or _LOCALHOST
    if name in _LOCAL_NAMES or name.endswith(f".{_LOCALHOST}"):
        return Host(name, (name, _LOCALHOST), _LOOPBACK)
    address = _parse_address(name)
    if address is None:
        return Host(name, (name,))
    zone = name.partition("%")[2] if address.version == 6 else ""
    written = f"{address}%{zone}" if zone else str(address)
    names = (written, _LOCALHOST) if address in _LOOPBACK else (written,)
    return Host(written, names, (address, *_embedded(address)))


@dataclass(frozen=True, slots=True)
class Allowance:
    """One ``--socks-allow``: a network, or a pattern of names."""

    glob: str
    network: Network | None = None

    def covers(self, host: Host) -> bool:
        """Whether it matches."""
        if self.network is not None:
            return any(address in self.network for address in host.addresses)
        return any(fnmatchcase(name, self.glob) for name in host.names)

    def names_own(self, host: Host) -> bool:
        """Whether it matches and was meant to: it says nothing of hosts that are not the node's own."""
        if self.network is not None:
            is_meant = self.network.num_addresses == 1 or _is_within_own(self.network)
            return is_meant and self.covers(host)
        return _WILD.isdisjoint(self.glob) and self.covers(host)


def parse_allowance(text: str) -> Allowance:
    """Read what stands after ``--socks-allow``. Raises ``InvalidOption``."""
    word = text.removeprefix("[").removesuffix("]") if text.count(":") > 1 else text
    address = _parse_address(word.lower())
    if address is not None:
        return Allowance(word, ip_network(address))
    try:
        return Allowance(word, ip_network(word, strict=False))
    except ValueError:
        pass
    if not _GLOB.fullmatch(word):
        raise InvalidOption(
            f"--socks-allow {text!r} cannot be used",
            hint="write a host (db.internal), a pattern ('*.internal') or a network (10.0.0.0/8)",
        )
    return Allowance(word.rstrip(".").lower())


@dataclass(frozen=True, slots=True)
class Reach:
    """The user's choice.

    Attributes:
        allowances: Once there is one, only these.
    """

    allowances: Sequence[Allowance] = ()

    def refusal(self, host: Host) -> str | None:
        """Why programs may not have ``host``, with what would allow it; None if they may."""
        if host.is_own:
            if any(allowance.names_own(host) for allowance in self.allowances):
                return None
            return f"it is the node itself or its own link; --socks-allow {host.text} would allow it"
        if not self.allowances or any(allowance.covers(host) for allowance in self.allowances):
            return None
        return f"no --socks-allow matches it; --socks-allow {host.text} would allow it"


def _is_within_own(network: Network) -> bool:
    return any(
        network.version == own.version and network.subnet_of(own)  # type: ignore[arg-type]  # same version
        for own in _OWN_NETWORKS
    )


def _embedded(address: Address) -> tuple[Address, ...]:
    if any(address in network for network in _EMBEDDING):
        return (IPv4Address(int(address) & 0xFFFF_FFFF),)
    return ()


def _parse_address(text: str) -> Address | None:
    """An address in any spelling, without its zone; one of IPv4 mapped into IPv6 is IPv4's."""
    try:
        address = ip_address(text.partition("%")[0] if ":" in text else text)
    except ValueError:
        return _parse_odd_ipv4(text)
    mapped = address.ipv4_mapped if isinstance(address, IPv6Address) else None
    return mapped or address


def _parse_odd_ipv4(text: str) -> IPv4Address | None:
    """``2130706433``, ``0x7f.1`` and ``0177.0.0.1`` are 127.0.0.1: the last part fills what is left."""
    if not _ODD_IPV4.fullmatch(text):
        return None
    try:
        *leading, last = [_number(part) for part in text.split(".")]
    except ValueError:
        return None
    left_bits = 32 - 8 * len(leading)
    if any(part > 0xFF for part in leading) or last >> left_bits:
        return None
    return IPv4Address(int.from_bytes(bytes(leading)) << left_bits | last)


def _number(part: str) -> int:
    """One part. Raises ``ValueError`` for digits that its base has not, and for absurdly many."""
    if part.startswith("0x"):
        return int(part[2:] or "0", 16)
    return int(part, 8 if part.startswith("0") and len(part) > 1 else 10)
