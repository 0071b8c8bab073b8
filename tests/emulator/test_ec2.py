"""EC2 and EC2 Instance Connect as stock botocore sees them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from botocore.exceptions import ClientError
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from ssm_ssh.emulator.start import RunningEmulator, start_emulator
from tests.emulator.echo_node import EchoNode
from tests.emulator.scripted_client import aws_client

if TYPE_CHECKING:
    from collections.abc import Iterator

WEB = "i-0123456789abcdef0"
OFF = "i-0fedcba9876543210"
KEY = Ed25519PrivateKey.from_private_bytes(bytes(32)).public_key()
LINE = KEY.public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH).decode()
NODES = [
    EchoNode("web-1", WEB, tags={"env": "prod"}),
    EchoNode("off-[1]", OFF, platform="Windows", ip_address="10.0.1.3", is_online=False),
    EchoNode("hybrid", "mi-0123456789abcdef0"),
]


@pytest.fixture(scope="module")
def emulator() -> Iterator[RunningEmulator]:
    """Two EC2 nodes and one that is none."""
    with start_emulator(NODES) as running:
        yield running


@pytest.fixture
def ec2(emulator: RunningEmulator) -> Iterator[Any]:
    """A stock EC2 client."""
    client = aws_client(emulator.environment, "ec2")
    yield client
    client.close()


@pytest.fixture
def instance_connect(emulator: RunningEmulator) -> Iterator[Any]:
    """A stock client, its own validation off."""
    client = aws_client(emulator.environment, "ec2-instance-connect", parameter_validation=False)
    yield client
    client.close()


def instances(answer: dict[str, Any]) -> list[dict[str, Any]]:
    """All instances of an answer."""
    return [instance for entry in answer["Reservations"] for instance in entry["Instances"]]


@pytest.mark.parametrize(
    ("name", "values", "ids"),
    [
        ("tag:Name", ["web-*"], [WEB]),
        ("tag:Name", ["off-[1]"], [OFF]),
        ("tag:Name", ["w?b-1", "off*"], [WEB, OFF]),
        ("tag-key", ["env"], [WEB]),
        ("instance-state-name", ["running", "pending"], [WEB]),
        ("instance-id", [OFF], [OFF]),
        ("tag:none", ["*"], []),
    ],
)
def test_filters(ec2: Any, name: str, values: list[str], ids: list[str]) -> None:  # noqa: ANN401
    """EC2's filters, wildcards included and nothing else special."""
    found = instances(ec2.describe_instances(Filters=[{"Name": name, "Values": values}]))
    assert [instance["InstanceId"] for instance in found] == ids


def test_private_addresses_lead_back(ec2: Any) -> None:  # noqa: ANN401
    """What an instance shows finds it again."""
    (web,) = instances(ec2.describe_instances(InstanceIds=[WEB]))
    assert web["State"] == {"Code": 16, "Name": "running"}
    assert {"Key": "Name", "Value": "web-1"} in web["Tags"]
    for name, value in (
        ("private-ip-address", web["PrivateIpAddress"]),
        ("private-dns-name", web["PrivateDnsName"]),
    ):
        found = instances(ec2.describe_instances(Filters=[{"Name": name, "Values": [value]}]))
        assert [instance["InstanceId"] for instance in found] == [WEB]


def test_pages(ec2: Any) -> None:  # noqa: ANN401
    """One instance a page."""
    first = ec2.describe_instances(MaxResults=1)
    second = ec2.describe_instances(MaxResults=1, NextToken=first["NextToken"])
    assert [instance["InstanceId"] for instance in instances(first) + instances(second)] == [WEB, OFF]
    assert "NextToken" not in second
    assert instances(second)[0]["Platform"] == "windows"


@pytest.mark.parametrize(
    ("parameters", "code"),
    [
        ({"InstanceIds": ["i-0000000000000000f"]}, "InvalidInstanceID.NotFound"),
        ({"Filters": [{"Name": "colour", "Values": ["red"]}]}, "InvalidParameterValue"),
        ({"NextToken": "?"}, "InvalidNextToken"),
    ],
)
def test_ec2_refusals(ec2: Any, parameters: dict[str, Any], code: str) -> None:  # noqa: ANN401
    """EC2's XML errors, read by stock botocore."""
    with pytest.raises(ClientError) as caught:
        ec2.describe_instances(**parameters)
    assert caught.value.response["Error"]["Code"] == code


def test_unknown_action(ec2: Any) -> None:  # noqa: ANN401
    """What is not there says so."""
    with pytest.raises(ClientError, match="InvalidAction"):
        ec2.describe_regions()


def test_denied_and_throttled_in_ec2s_words(emulator: RunningEmulator, ec2: Any) -> None:  # noqa: ANN401
    """EC2 spells the common refusals differently from the JSON services."""
    try:
        emulator.inject(denied_actions=frozenset({"ec2:DescribeInstances"}))
        with pytest.raises(ClientError, match="UnauthorizedOperation"):
            ec2.describe_instances()
        emulator.inject(denied_actions=frozenset(), throttle_per_second={"DescribeInstances": 0})
        with pytest.raises(ClientError, match="RequestLimitExceeded"):
            ec2.describe_instances()
    finally:
        emulator.inject(denied_actions=frozenset(), throttle_per_second={})


def test_a_pushed_key_reaches_the_node(instance_connect: Any) -> None:  # noqa: ANN401
    """An ed25519 line without a comment has exactly the 80 characters that are the least."""
    assert len(LINE) == 80
    answer = instance_connect.send_ssh_public_key(
        InstanceId=WEB, InstanceOSUser="ec2-user", SSHPublicKey=f"{LINE}\n"
    )
    assert answer["Success"] is True
    assert answer["RequestId"]
    assert NODES[0].keys == [("ec2-user", LINE)]


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"InstanceId": "i-0000000000000000f"}, "EC2InstanceNotFoundException"),
        ({"InstanceId": OFF}, "EC2InstanceStateInvalidException"),
        ({"InstanceId": "mi-0123456789abcdef0"}, "ValidationException"),
        ({"InstanceOSUser": "no space"}, "ValidationException"),
        ({"InstanceOSUser": "123"}, "ValidationException"),
        ({"SSHPublicKey": LINE[:79]}, "ValidationException"),
        ({"SSHPublicKey": LINE.replace("ssh-ed25519", "ssh-rsa") + "    "}, "InvalidArgsException"),
        ({"SSHPublicKey": f"ssh-ed25519 {'!' * 80}"}, "InvalidArgsException"),
        ({"SSHPublicKey": f"{LINE}\n{LINE}"}, "InvalidArgsException"),
        ({"AvailabilityZone": "us-east-1a"}, "ValidationException"),
    ],
)
def test_instance_connect_refusals(instance_connect: Any, changes: dict[str, str], code: str) -> None:  # noqa: ANN401
    """Patterns and limits of protocol 10.1, and the states of a node."""
    parameters = {"InstanceId": WEB, "InstanceOSUser": "ec2-user", "SSHPublicKey": LINE, **changes}
    with pytest.raises(ClientError) as caught:
        instance_connect.send_ssh_public_key(**parameters)
    assert caught.value.response["Error"]["Code"] == code
