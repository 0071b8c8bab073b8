"""Where in the account's network a node or a database stands."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

DEFAULT_VPC_ID: Final = "vpc-0123456789abcdef0"


@dataclass(frozen=True, slots=True)
class Placement:
    """A subnet in a VPC.

    Attributes:
        vpc_network: The VPC's address range; its reserved addresses are forbidden to forwarding.
        subnet_network: The subnet's, inside it.
        zone: The letter of the availability zone.
    """

    vpc_id: str = DEFAULT_VPC_ID
    subnet_id: str = "subnet-0123456789abcdef0"
    vpc_network: str = "10.0.0.0/16"
    subnet_network: str = "10.0.0.0/17"
    zone: str = "a"


DEFAULT_PLACEMENT: Final = Placement()
