"""A Windows node's password and console, as stock botocore and a real key see them."""

from __future__ import annotations

import base64
import re
from typing import TYPE_CHECKING, Any

import pytest
from botocore.exceptions import ClientError
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.asymmetric.rsa import generate_private_key
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from ssm_ssh.emulator.start import RunningEmulator, start_emulator
from ssm_ssh.emulator.windows_launch import WindowsLaunch
from tests.emulator.echo_node import EchoNode
from tests.emulator.scripted_client import aws_client

if TYPE_CHECKING:
    from collections.abc import Iterator

WINDOWS = "i-0123456789abcdef0"
LINUX = "i-0fedcba9876543210"
PASSWORD = "pÄss(word)\\;%&\"' ?"
THUMBPRINT = "ab:" * 19 + "cd"
KEY = generate_private_key(65537, 2048)
PEM = KEY.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()
LINE = KEY.public_key().public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH).decode()
LAUNCH = WindowsLaunch(PASSWORD, PEM, is_ready=False, thumbprint=THUMBPRINT)


@pytest.fixture(scope="module")
def emulator() -> Iterator[RunningEmulator]:
    """A Windows node, and a Linux one."""
    nodes = [EchoNode("win-1", WINDOWS, platform="Windows", windows_launch=LAUNCH), EchoNode("web-1", LINUX)]
    with start_emulator(nodes) as running:
        yield running


@pytest.fixture
def ec2(emulator: RunningEmulator) -> Iterator[Any]:
    """A stock EC2 client, and a node that is not ready before and after."""
    client = aws_client(emulator.environment, "ec2")
    yield client
    client.close()
    LAUNCH.is_ready = False


def test_only_the_private_key_opens_the_password(ec2: Any) -> None:  # noqa: ANN401
    """Empty until it is there; then white space around base64 around RSA."""
    assert ec2.get_password_data(InstanceId=WINDOWS)["PasswordData"] == ""
    LAUNCH.is_ready = True
    answer = ec2.get_password_data(InstanceId=WINDOWS)
    assert answer["PasswordData"] != answer["PasswordData"].strip()
    assert PASSWORD not in answer["PasswordData"]
    assert KEY.decrypt(base64.b64decode(answer["PasswordData"]), PKCS1v15()).decode() == PASSWORD
    assert (answer["InstanceId"], answer["Timestamp"].year > 2000) == (WINDOWS, True)


def test_a_key_pairs_public_key_may_be_openssh() -> None:
    """As ssh-keygen writes it."""
    launch = WindowsLaunch(PASSWORD, f"{LINE} somebody@somewhere")
    assert KEY.decrypt(base64.b64decode(launch.password_data), PKCS1v15()).decode() == PASSWORD


def test_the_console_tells_the_thumbprint(ec2: Any) -> None:  # noqa: ANN401
    """40 capital hexadecimal digits, and the line that says that all is done."""
    assert "Output" not in ec2.get_console_output(InstanceId=WINDOWS)
    LAUNCH.is_ready = True
    text = ec2.get_console_output(InstanceId=WINDOWS)["Output"]
    found = re.search(r"^\S+ \S+Z: RDPCERTIFICATE-THUMBPRINT: ([0-9A-F]{40})\r$", text, re.MULTILINE)
    assert found is not None
    assert found[1] == THUMBPRINT.replace(":", "").upper()
    assert "RDPCERTIFICATE-SUBJECTNAME: ip-10-0-1-2" in text
    assert text.endswith("Message: Windows is Ready to use\r\n")


def test_a_linux_node_has_neither(ec2: Any) -> None:  # noqa: ANN401
    """Empty answers, no errors."""
    assert ec2.get_password_data(InstanceId=LINUX)["PasswordData"] == ""
    assert "Output" not in ec2.get_console_output(InstanceId=LINUX)


def test_an_image_may_make_no_password_and_no_certificate() -> None:
    """Then the console is short."""
    launch = WindowsLaunch()
    assert launch.password_data == ""
    assert "RDPCERTIFICATE" not in launch.console_output("win")
    assert "Ready to use" in launch.console_output("win")


@pytest.mark.parametrize(
    ("parameters", "code", "status"),
    [
        ({"InstanceId": "i-0000000000000000f"}, "InvalidInstanceID.NotFound", 400),
        ({"InstanceId": WINDOWS, "DryRun": True}, "DryRunOperation", 412),
    ],
)
def test_refusals(ec2: Any, parameters: dict[str, Any], code: str, status: int) -> None:  # noqa: ANN401
    """EC2's words."""
    with pytest.raises(ClientError) as caught:
        ec2.get_password_data(**parameters)
    assert caught.value.response["Error"]["Code"] == code
    assert caught.value.response["ResponseMetadata"]["HTTPStatusCode"] == status


def test_without_the_right_it_is_denied(emulator: RunningEmulator, ec2: Any) -> None:  # noqa: ANN401
    """Before anything is told."""
    emulator.inject(denied_actions=frozenset({"ec2:GetPasswordData"}))
    try:
        with pytest.raises(ClientError, match="UnauthorizedOperation"):
            ec2.get_password_data(InstanceId=WINDOWS, DryRun=True)
    finally:
        emulator.inject(denied_actions=frozenset())


def test_other_keys_are_refused_at_once() -> None:
    """Ed25519 cannot encrypt, and nonsense is no key."""
    ed25519 = Ed25519PrivateKey.from_private_bytes(bytes(32)).public_key()
    with pytest.raises(ValueError, match="RSA"):
        WindowsLaunch(PASSWORD, ed25519.public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH).decode())
    for text in ("", "-----BEGIN PUBLIC KEY-----", "ssh-rsa AAAA"):
        with pytest.raises(ValueError, match="cannot be read"):
            WindowsLaunch(PASSWORD, text)
