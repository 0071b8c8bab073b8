"""EC2's part of the API: instances and their networks, for those who look nodes up there."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final
from xml.etree import ElementTree as ET

from ssm_ssh.emulator.api_error import ApiError
from ssm_ssh.emulator.api_room import QueryRoom
from ssm_ssh.emulator.ec2_form import add, form_filters, form_list
from ssm_ssh.emulator.ec2_launch import launch_operations
from ssm_ssh.emulator.ec2_network import network_operations
from ssm_ssh.emulator.node_table import all_tags, matches, private_dns
from ssm_ssh.emulator.paging import page

if TYPE_CHECKING:
    from ssm_ssh.emulator.api_room import Call
    from ssm_ssh.emulator.link import EmulatedNode
    from ssm_ssh.emulator.service import Account

_VERSION: Final = "2016-11-15"
_DEFAULT_INSTANCES: Final = 1000
_STATES: Final = {True: ("16", "running"), False: ("80", "stopped")}


def ec2_room(account: Account) -> QueryRoom:
    """The room of EC2."""
    service = _InstanceService(account)
    operations = {"DescribeInstances": service.describe_instances}
    return QueryRoom(
        "ec2", _VERSION, {**operations, **network_operations(account), **launch_operations(account)}
    )


class _InstanceService:
    def __init__(self, account: Account) -> None:
        self._account = account

    def describe_instances(self, call: Call, root: ET.Element) -> None:
        account = self._account
        account.allow("ec2:DescribeInstances", "*")
        instances = [node for node in account.nodes if node.node_id.startswith("i-")]
        wanted = form_list(call.parameters, "InstanceId")
        unknown = sorted(set(wanted) - {node.node_id for node in instances})
        if unknown:
            text = f"The instance ID '{unknown[0]}' does not exist"
            raise ApiError("InvalidInstanceID.NotFound", text)
        filters = form_filters(call.parameters)
        selected = [
            node
            for node in instances
            if (not wanted or node.node_id in wanted)
            and all(self._passes(node, name, patterns) for name, patterns in filters)
        ]
        entries, token = page(
            selected,
            int(call.parameters.get("MaxResults", _DEFAULT_INSTANCES)),
            call.parameters.get("NextToken"),
            code="InvalidNextToken",
        )
        reservations = ET.SubElement(root, "reservationSet")
        for node in entries:
            self._add_reservation(reservations, node)
        if token is not None:
            ET.SubElement(root, "nextToken").text = token

    def _passes(self, node: EmulatedNode, name: str, patterns: list[str]) -> bool:
        return any(matches(pattern, text) for pattern in patterns for text in self._texts(node, name))

    def _texts(self, node: EmulatedNode, name: str) -> list[str]:
        """What a filter of that name compares its patterns with."""
        kind, _, key = name.partition(":")
        tags = all_tags(node)
        if kind == "tag" and key:
            return [tags[key]] if key in tags else []
        if name == "tag-key":
            return list(tags)
        texts = {
            "instance-id": node.node_id,
            "instance-state-code": _STATES[node.is_online][0],
            "instance-state-name": _STATES[node.is_online][1],
            "private-ip-address": node.ip_address,
            "network-interface.addresses.private-ip-address": node.ip_address,
            "vpc-id": node.placement.vpc_id,
            "subnet-id": node.placement.subnet_id,
            "private-dns-name": private_dns(node, self._account.settings.region),
        }
        if name not in texts:
            raise ApiError("InvalidParameterValue", f"The filter '{name}' is invalid")
        return [texts[name]]

    def _add_reservation(self, reservations: ET.Element, node: EmulatedNode) -> None:
        settings = self._account.settings
        code, state = _STATES[node.is_online]
        digits = node.node_id.removeprefix("i-")
        reservation = ET.SubElement(reservations, "item")
        add(reservation, {"reservationId": f"r-{digits}", "ownerId": settings.account_id})
        instance = ET.SubElement(ET.SubElement(reservation, "instancesSet"), "item")
        add(
            instance,
            {
                "instanceId": node.node_id,
                "instanceType": "t3.micro",
                "privateIpAddress": node.ip_address,
                "privateDnsName": private_dns(node, settings.region),
                "launchTime": self._account.nodes.started_at.strftime("%Y-%m-%dT%H:%M:%S.000Z"),
                "vpcId": node.placement.vpc_id,
                "subnetId": node.placement.subnet_id,
            },
        )
        if node.platform == "Windows":
            add(instance, {"platform": "windows"})
        add(ET.SubElement(instance, "instanceState"), {"code": code, "name": state})
        add(ET.SubElement(instance, "placement"), {"availabilityZone": settings.region + node.placement.zone})
        tags = ET.SubElement(instance, "tagSet")
        for key, value in all_tags(node).items():
            add(ET.SubElement(tags, "item"), {"key": key, "value": value})
