"""EC2 Instance Connect: a public key that opens a node for a minute (protocol 10.1)."""

from __future__ import annotations

import base64
import binascii
import re
from typing import TYPE_CHECKING, Any, Final

from ssm_ssh.emulator.api_error import ApiError, validation
from ssm_ssh.emulator.api_room import JsonRoom
from ssm_ssh.emulator.constraint import Text, check

if TYPE_CHECKING:
    from ssm_ssh.emulator.api_room import Call
    from ssm_ssh.emulator.service import Account

# Specification: all three patterns and both limits.
_INSTANCE_ID: Final = "i-[a-f0-9]+"
_OS_USER: Final = (
    r"(^[A-Za-z_][A-Za-z0-9\@\._-]{0,30}[A-Za-z0-9\$_-]?$)"
    r"|(^(?=.{2,32}$)[0-9]{1,32}[A-Za-z\@\._-][A-Za-z0-9\@\._-]*[A-Za-z0-9\$_-]?$)"
)
_ZONE: Final = r"(\w+-){2,3}\d+\w+"
_KEY_SECONDS: Final = 60.0
_RULES: Final = {
    "InstanceId": Text(is_required=True, shortest=10, longest=32, pattern=_INSTANCE_ID),
    "InstanceOSUser": Text(is_required=True, shortest=1, longest=32, pattern=_OS_USER),
    "SSHPublicKey": Text(is_required=True, shortest=80, longest=4096),
    "AvailabilityZone": Text(shortest=6, longest=32, pattern=_ZONE),
}
_KEY_TYPES: Final = frozenset(
    {"ssh-ed25519", "ssh-rsa", "ecdsa-sha2-nistp256", "ecdsa-sha2-nistp384", "ecdsa-sha2-nistp521"}
)


def instance_connect_room(account: Account) -> JsonRoom:
    """The room of ``AWSEC2InstanceConnectService``."""
    service = _InstanceConnectService(account)
    return JsonRoom(
        signing_name="ec2-instance-connect",
        target_prefix="AWSEC2InstanceConnectService",
        operations={"SendSSHPublicKey": service.send_ssh_public_key},
    )


class _InstanceConnectService:
    def __init__(self, account: Account) -> None:
        self._account = account

    def send_ssh_public_key(self, call: Call) -> dict[str, Any]:
        check(call.parameters, _RULES)
        node_id = call.parameters["InstanceId"]
        public_key = call.parameters["SSHPublicKey"].strip()
        account = self._account
        account.allow("ec2-instance-connect:SendSSHPublicKey", account.node_arn(node_id))
        if not _is_public_key(public_key):
            raise ApiError("InvalidArgsException", "SSH Public Key is not valid.")
        node = account.nodes.get(node_id)
        if node is None:
            raise ApiError("EC2InstanceNotFoundException", f"Instance {node_id} not found.")
        if not node.is_online:
            raise ApiError("EC2InstanceStateInvalidException", f"Instance {node_id} is not running.")
        zone = call.parameters.get("AvailabilityZone")
        if zone is not None and not re.fullmatch(f"{account.settings.region}[a-z]", zone):
            raise validation(f"Value '{zone}' at 'availabilityZone' is not the instance's zone")
        try:
            node.authorize_key(call.parameters["InstanceOSUser"], public_key, seconds=_KEY_SECONDS)
        except ValueError as error:
            raise ApiError("InvalidArgsException", str(error)) from error
        return {"RequestId": call.request_id, "Success": True}


def _is_public_key(line: str) -> bool:
    """Whether this is one line of OpenSSH's format whose blob names the type that the line names."""
    key_type, _, rest = line.partition(" ")
    blob_text, _, _ = rest.partition(" ")
    if key_type not in _KEY_TYPES or "\n" in line:
        return False
    try:
        blob = base64.b64decode(blob_text, validate=True)
    except (binascii.Error, ValueError):
        return False
    return blob.startswith(len(key_type).to_bytes(4, "big") + key_type.encode())
