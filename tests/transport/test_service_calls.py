"""Botocore's clients behind our exceptions, against the stand-in."""

from __future__ import annotations

import socket
from contextlib import closing
from typing import TYPE_CHECKING
from urllib.parse import parse_qs, urlsplit

import pytest

from ssm_ssh.emulator.start import start_emulator
from ssm_ssh.errors import (
    AccessDenied,
    ControlPlaneError,
    CredentialsMissing,
    EndpointUnreachable,
    InvalidOption,
    RegionMissing,
)
from ssm_ssh.transport.instance_api import InstanceApi
from ssm_ssh.transport.service_calls import ServiceCalls
from tests.emulator.echo_node import EchoNode

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ssm_ssh.emulator.start import RunningEmulator

NODE_ID = "i-0123456789abcdef0"


@pytest.fixture(scope="module")
def emulator() -> Iterator[RunningEmulator]:
    """Two nodes in one VPC, one of them away."""
    away = EchoNode("away", "i-00000000000000001", is_online=False)
    with start_emulator([EchoNode("web-1", NODE_ID), away]) as running:
        yield running


@pytest.fixture
def calls(emulator: RunningEmulator, monkeypatch: pytest.MonkeyPatch) -> Iterator[ServiceCalls]:
    """Calls that reach the stand-in."""
    for name in emulator.foreign_variables:
        monkeypatch.delenv(name, raising=False)
    for name, value in emulator.environment.items():
        monkeypatch.setenv(name, value)
    with closing(ServiceCalls.connect()) as calls:
        yield calls
        # Twice is fine.
        calls.close()


def test_answers_come_as_botocore_reads_them(calls: ServiceCalls) -> None:
    """One call, and all pages of one."""
    answer = calls.call("ec2", "DescribeInstances", InstanceIds=[NODE_ID])
    assert answer["Reservations"][0]["Instances"][0]["InstanceId"] == NODE_ID
    pages = calls.pages("ec2", "DescribeInstances", PaginationConfig={"PageSize": 5})
    assert sum(len(page["Reservations"]) for page in pages) == 2


def test_only_nodes_that_run_and_report_are_online(calls: ServiceCalls) -> None:
    """Of the VPC that was asked for."""
    api = InstanceApi(calls)
    assert api.online_nodes("vpc-0123456789abcdef0") == [NODE_ID]
    assert api.online_nodes("vpc-00000000000000000") == []


def test_a_refusal_is_aws_s_with_its_words(emulator: RunningEmulator, calls: ServiceCalls) -> None:
    """By its code, as those of the control plane are."""
    with pytest.raises(ControlPlaneError, match=r"GetPasswordData failed \(InvalidInstanceID.NotFound\)"):
        InstanceApi(calls).password_data("i-0000000000000000f")
    emulator.inject(denied_actions=frozenset({"ec2:DescribeInstances"}))
    try:
        with pytest.raises(AccessDenied) as caught:
            list(calls.pages("ec2", "DescribeInstances"))
    finally:
        emulator.inject(denied_actions=frozenset())
    assert caught.value.request_id


def test_what_botocore_itself_refuses_is_told(calls: ServiceCalls) -> None:
    """A parameter that the service does not know."""
    with pytest.raises(ControlPlaneError, match="DescribeVpcs failed: Parameter validation failed"):
        calls.call("ec2", "DescribeVpcs", NoSuchThing=1)


def test_no_answer_is_told(calls: ServiceCalls, monkeypatch: pytest.MonkeyPatch) -> None:
    """With the service's name."""
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
    monkeypatch.setenv("AWS_ENDPOINT_URL_EC2", f"http://127.0.0.1:{port}")
    with pytest.raises(EndpointUnreachable, match="the endpoint of ec2"):
        calls.call("ec2", "DescribeVpcs")


def test_missing_credentials_are_told(calls: ServiceCalls, monkeypatch: pytest.MonkeyPatch) -> None:
    """Before a client is made."""
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    with pytest.raises(CredentialsMissing):
        calls.call("ec2", "DescribeVpcs")


def test_what_cannot_be_configured_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """A profile that is none, a region that is none, and no region."""
    with pytest.raises(InvalidOption):
        ServiceCalls.connect(profile="nobody")
    with pytest.raises(InvalidOption):
        ServiceCalls.connect(region="no region")
    monkeypatch.delenv("AWS_DEFAULT_REGION", raising=False)
    with pytest.raises(RegionMissing):
        ServiceCalls.connect()


def test_a_token_is_for_one_host_port_and_user(calls: ServiceCalls) -> None:
    """The form that RDS documents; nothing goes to the network."""
    token = calls.database_token("db.example", 5432, "app")
    url = urlsplit(f"//{token}")
    query = parse_qs(url.query)
    assert (url.netloc, query["DBUser"], query["Action"]) == ("db.example:5432", ["app"], ["connect"])
    assert query["X-Amz-Expires"] == ["900"]
