"""Where a port session leads: the node itself, or a host that the node knows (protocol 7.1)."""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import IPv4Network, IPv6Address, ip_address, ip_network
from typing import TYPE_CHECKING, Any, Final

from ssm_ssh.emulator.port_connection import PortConnection

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from ipaddress import IPv4Address

    from ssm_ssh.emulator.room import Connect, Surroundings

_LOCALHOST: Final = "localhost"
# Specification: instance metadata, DNS, time, and two more of AWS's own, in both families.
_FORBIDDEN: Final = frozenset(
    ip_address(text)
    for text in (
        *(f"169.254.169.{last}" for last in (123, 250, 251, 253, 254)),
        *(f"fd00:ec2::{last}" for last in (123, 240, 253, 254)),
    )
)
# Specification: the first addresses of a VPC's range are AWS's: network, router, DNS, future use.
_RESERVED_ADDRESSES: Final = 4


@dataclass(frozen=True, slots=True)
class Destination:
    """A port under the addresses that its host had when the session started.

    Attributes:
        addresses: Dialled in this order, each time anew.
    """

    addresses: Sequence[str]
    port: int

    async def dial(self, connect: Connect) -> PortConnection:
        """A connection to the first address that takes one.

        Raises:
            OSError: Of the last address, if none does.
        """
        *others, last = self.addresses
        for address in others:
            try:
                return PortConnection(*await connect(address, self.port))
            except OSError:
                continue
        return PortConnection(*await connect(last, self.port))


def find_destination(properties: Mapping[str, Any], surroundings: Surroundings) -> Destination:
    """The destination that a session's properties name; the host is resolved now and never again.

    Raises:
        ValueError: With the agent's text, for an unknown host or a forbidden address.
    """
    port = int(properties["portNumber"])
    host = str(properties.get("host") or "")
    if not host or not surroundings.traits.has_remote_host:
        return Destination((_LOCALHOST,), port)
    addresses = surroundings.resolve(host)
    if not addresses:
        raise ValueError(f"lookup {host}: no such host")
    networks = surroundings.vpc_networks if surroundings.traits.denies_vpc_addresses else ()
    if any(_is_forbidden(address, networks) for address in addresses):
        raise ValueError(f"Forwarding to IP address {host} is forbidden.")
    return Destination(addresses, port)


def _is_forbidden(text: str, vpc_networks: Iterable[str]) -> bool:
    if text == _LOCALHOST:
        return False
    address: IPv4Address | IPv6Address = ip_address(text)
    if isinstance(address, IPv6Address) and address.ipv4_mapped is not None:
        address = address.ipv4_mapped
    return address in _FORBIDDEN or any(_is_reserved(address, ip_network(text)) for text in vpc_networks)


def _is_reserved(address: IPv4Address | IPv6Address, network: object) -> bool:
    """Whether the address is one that AWS keeps for itself in an IPv4 range."""
    if not isinstance(network, IPv4Network) or address not in network:
        return False
    index = int(address) - int(network.network_address)
    return index < _RESERVED_ADDRESSES or address == network.broadcast_address
