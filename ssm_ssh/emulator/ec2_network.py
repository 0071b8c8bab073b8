"""EC2's VPCs and subnets: those in which the account's nodes and databases stand."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final
from xml.etree import ElementTree as ET

from ssm_ssh.emulator.api_error import ApiError
from ssm_ssh.emulator.ec2_form import add, form_filters, form_list
from ssm_ssh.emulator.node_table import matches

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from ssm_ssh.emulator.api_room import Call
    from ssm_ssh.emulator.placement import Placement
    from ssm_ssh.emulator.service import Account


@dataclass(frozen=True, slots=True)
class _Kind:
    """How calls speak of one kind of thing.

    Attributes:
        wanted: The parameter that lists ids.
        unknown_code: The refusal of an id that is none.
        filters: The member that each filter looks at.
    """

    wanted: str
    unknown_code: str
    filters: Mapping[str, str]


_VPCS: Final = _Kind(
    "VpcId", "InvalidVpcID.NotFound", {"vpc-id": "vpcId", "cidr": "cidrBlock", "state": "state"}
)
_SUBNETS: Final = _Kind(
    "SubnetId",
    "InvalidSubnetID.NotFound",
    {"subnet-id": "subnetId", "vpc-id": "vpcId", "availability-zone": "availabilityZone"},
)


def network_operations(account: Account) -> dict[str, Callable[[Call, ET.Element], None]]:
    """The operations by name."""
    service = _NetworkService(account)
    return {"DescribeVpcs": service.describe_vpcs, "DescribeSubnets": service.describe_subnets}


class _NetworkService:
    def __init__(self, account: Account) -> None:
        self._account = account

    def describe_vpcs(self, call: Call, root: ET.Element) -> None:
        self._account.allow("ec2:DescribeVpcs", "*")
        vpcs = {
            place.vpc_id: {"vpcId": place.vpc_id, "cidrBlock": place.vpc_network, "state": "available"}
            for place in self._placements()
        }
        # Of a VPC where only databases stand nothing but its id is known here.
        for resource in self._account.resources:
            vpcs.setdefault(resource.vpc_id, {"vpcId": resource.vpc_id, "state": "available"})
        self._show(ET.SubElement(root, "vpcSet"), _select(vpcs, call, _VPCS))

    def describe_subnets(self, call: Call, root: ET.Element) -> None:
        self._account.allow("ec2:DescribeSubnets", "*")
        region = self._account.settings.region
        subnets = {
            place.subnet_id: {
                "subnetId": place.subnet_id,
                "vpcId": place.vpc_id,
                "cidrBlock": place.subnet_network,
                "availabilityZone": region + place.zone,
                "state": "available",
            }
            for place in self._placements()
        }
        self._show(ET.SubElement(root, "subnetSet"), _select(subnets, call, _SUBNETS))

    def _placements(self) -> list[Placement]:
        return [node.placement for node in self._account.nodes if node.node_id.startswith("i-")]

    def _show(self, parent: ET.Element, entries: Iterable[Mapping[str, str]]) -> None:
        for entry in entries:
            add(ET.SubElement(parent, "item"), {**entry, "ownerId": self._account.settings.account_id})


def _select(entries: Mapping[str, dict[str, str]], call: Call, kind: _Kind) -> list[dict[str, str]]:
    """The entries of the ids asked for, if any were, that pass every filter."""
    wanted = form_list(call.parameters, kind.wanted)
    unknown = sorted(set(wanted) - set(entries))
    if unknown:
        raise ApiError(kind.unknown_code, f"The ID '{unknown[0]}' does not exist")
    asked = form_filters(call.parameters)
    for name, _ in asked:
        if name not in kind.filters:
            raise ApiError("InvalidParameterValue", f"The filter '{name}' is invalid")
    return [
        entry
        for entry_id, entry in entries.items()
        if (not wanted or entry_id in wanted)
        and all(_passes(entry.get(kind.filters[name], ""), patterns) for name, patterns in asked)
    ]


def _passes(text: str, patterns: Iterable[str]) -> bool:
    return any(matches(pattern, text) for pattern in patterns)
