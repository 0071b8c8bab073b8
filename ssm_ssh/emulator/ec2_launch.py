"""EC2's traces of a launch: the encrypted password and the console (protocol 10.3)."""

from __future__ import annotations

import base64
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from ssm_ssh.emulator.api_error import ApiError
from ssm_ssh.emulator.ec2_form import add
from ssm_ssh.emulator.node_table import private_dns

if TYPE_CHECKING:
    from collections.abc import Callable
    from xml.etree import ElementTree as ET

    from ssm_ssh.emulator.api_room import Call
    from ssm_ssh.emulator.link import EmulatedNode
    from ssm_ssh.emulator.service import Account


def launch_operations(account: Account) -> dict[str, Callable[[Call, ET.Element], None]]:
    """The operations by name."""
    service = _LaunchService(account)
    return {
        "GetPasswordData": service.get_password_data,
        "GetConsoleOutput": service.get_console_output,
    }


class _LaunchService:
    def __init__(self, account: Account) -> None:
        self._account = account

    def get_password_data(self, call: Call, root: ET.Element) -> None:
        launch = self._node(call).windows_launch
        self._show(root, call, {"passwordData": "" if launch is None else launch.password_data})

    def get_console_output(self, call: Call, root: ET.Element) -> None:
        node = self._node(call)
        launch = node.windows_launch
        computer_name = private_dns(node, self._account.settings.region).partition(".")[0]
        text = "" if launch is None else launch.console_output(computer_name)
        # An empty console has no output element at all.
        self._show(root, call, {"output": base64.b64encode(text.encode()).decode("ascii")} if text else {})

    def _node(self, call: Call) -> EmulatedNode:
        node_id = str(call.parameters.get("InstanceId", ""))
        self._account.allow(f"ec2:{call.operation}", self._account.node_arn(node_id))
        node = self._account.nodes.get(node_id) if node_id.startswith("i-") else None
        if node is None:
            raise ApiError("InvalidInstanceID.NotFound", f"The instance ID '{node_id}' does not exist")
        if call.parameters.get("DryRun") == "true":
            text = "Request would have succeeded, but DryRun flag is set."
            raise ApiError("DryRunOperation", text, status=412)
        return node

    @staticmethod
    def _show(root: ET.Element, call: Call, texts: dict[str, str]) -> None:
        moment = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.000Z")
        add(root, {"instanceId": str(call.parameters["InstanceId"]), "timestamp": moment, **texts})
