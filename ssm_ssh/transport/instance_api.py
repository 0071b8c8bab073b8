"""What EC2 tells of nodes: the password and the console of a Windows node, and who stands in a VPC."""

from __future__ import annotations

import base64
import binascii
from typing import TYPE_CHECKING, Final

from ssm_ssh.errors import RemoteProtocolError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ssm_ssh.transport.service_calls import ServiceCalls

# Specification: the most values a filter of DescribeInstanceInformation takes.
_FILTER_VALUES: Final = 50


class InstanceApi:
    """EC2's and Systems Manager's knowledge of nodes. Blocks."""

    def __init__(self, calls: ServiceCalls) -> None:
        self._calls = calls

    def password_data(self, node_id: str) -> bytes:
        """The administrator's password, encrypted for the node's key pair; empty while there is none.

        Raises:
            ControlPlaneError: As ``ServiceCalls.call``.
            RemoteProtocolError: If the answer is no base64.
        """
        answer = self._calls.call("ec2", "GetPasswordData", InstanceId=node_id)
        # Protocol 10.3: between line ends.
        text = "".join(str(answer.get("PasswordData") or "").split())
        try:
            return base64.b64decode(text, validate=True)
        except binascii.Error:
            raise RemoteProtocolError("GetPasswordData was answered with something else") from None

    def console_output(self, node_id: str) -> str:
        """What the node printed to its console at its last start; empty while there is nothing.

        Raises:
            ControlPlaneError: As ``ServiceCalls.call``.
        """
        return str(self._calls.call("ec2", "GetConsoleOutput", InstanceId=node_id).get("Output") or "")

    def online_nodes(self, vpc_id: str) -> list[str]:
        """The ids of the nodes in a VPC that run and whose agents reported lately, sorted.

        Raises:
            ControlPlaneError: As ``ServiceCalls.call``.
        """
        filters = [
            {"Name": "vpc-id", "Values": [vpc_id]},
            {"Name": "instance-state-name", "Values": ["running"]},
        ]
        running = [
            str(instance["InstanceId"])
            for page in self._calls.pages("ec2", "DescribeInstances", Filters=filters)
            for reservation in page.get("Reservations", ())
            for instance in reservation.get("Instances", ())
        ]
        online: list[str] = []
        for start in range(0, len(running), _FILTER_VALUES):
            online += self._online(running[start : start + _FILTER_VALUES])
        return sorted(online)

    def _online(self, node_ids: Sequence[str]) -> list[str]:
        filters = [
            {"Key": "InstanceIds", "Values": list(node_ids)},
            {"Key": "PingStatus", "Values": ["Online"]},
        ]
        return [
            str(node["InstanceId"])
            for page in self._calls.pages("ssm", "DescribeInstanceInformation", Filters=filters)
            for node in page.get("InstanceInformationList", ())
        ]
