"""The SSM API as stock botocore sees it: answers, refusals, filters, pages."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from botocore.exceptions import ClientError

from ssm_ssh.emulator.session_document import ParameterRule, SessionDocument
from ssm_ssh.emulator.start import RunningEmulator, start_emulator
from tests.emulator.echo_node import EchoNode
from tests.emulator.scripted_client import aws_client

if TYPE_CHECKING:
    from collections.abc import Iterator

WEB = "i-0123456789abcdef0"
HYBRID = "mi-0123456789abcdef0"
OFFLINE = "i-0fedcba9876543210"


@pytest.fixture(scope="module")
def emulator() -> Iterator[RunningEmulator]:
    """Three nodes: one online, one hybrid, one offline."""
    nodes = [
        EchoNode(tags={"env": "prod"}),
        EchoNode("hybrid-1", HYBRID, platform="Windows", agent_version="2.3.672.0"),
        EchoNode("off-1", OFFLINE, tags={"env": "test"}, is_online=False),
    ]
    own = SessionDocument(
        "Own-Port",
        "Port",
        parameters={"portNumber": ParameterRule(None, "^(22|2222)$")},
        properties={"portNumber": "{{ portNumber }}"},
    )
    with start_emulator(nodes, documents=[own]) as running:
        yield running


@pytest.fixture
def ssm(emulator: RunningEmulator) -> Iterator[Any]:
    """A stock client; without its own validation, so that the service's is seen."""
    client = aws_client(emulator.environment, "ssm", parameter_validation=False)
    yield client
    client.close()


@pytest.mark.parametrize(
    ("operation", "parameters", "code", "words"),
    [
        ("start_session", {"Target": "i-0000000000000000"}, "TargetNotConnected", "is not connected."),
        ("start_session", {"Target": OFFLINE}, "TargetNotConnected", f"{OFFLINE} is not connected."),
        ("start_session", {}, "ValidationException", "at 'target' failed to satisfy constraint"),
        ("start_session", {"Target": "x" * 401}, "ValidationException", "less than or equal to 400"),
        ("start_session", {"Target": WEB, "Reason": "r" * 257}, "ValidationException", "'reason'"),
        ("start_session", {"Target": WEB, "DocumentName": "a b"}, "ValidationException", "pattern"),
        ("start_session", {"Target": WEB, "DocumentName": "No-Such"}, "InvalidDocument", "No-Such"),
        (
            "start_session",
            {"Target": WEB, "DocumentName": "AWS-StartSSHSession", "Parameters": {"portNumber": ["0"]}},
            "ValidationException",
            "portNumber",
        ),
        (
            "start_session",
            {"Target": WEB, "DocumentName": "AWS-StartSSHSession", "Parameters": {"port": ["22"]}},
            "InvalidParameters",
            "port",
        ),
        ("start_session", {"Target": WEB, "DocumentName": "Own-Port"}, "ValidationException", "required"),
        (
            "start_session",
            {"Target": WEB, "DocumentName": "Own-Port", "Parameters": {"portNumber": ["22", "2222"]}},
            "ValidationException",
            "one value",
        ),
        ("resume_session", {"SessionId": "alice-none"}, "DoesNotExistException", "alice-none"),
        ("terminate_session", {"SessionId": "alice-none"}, "DoesNotExistException", "alice-none"),
        ("terminate_session", {"SessionId": "x" * 97}, "ValidationException", "sessionId"),
        ("describe_sessions", {"State": "Lost"}, "ValidationException", "enum value set"),
        ("describe_sessions", {"State": "Active", "MaxResults": 0}, "ValidationException", "maxResults"),
        (
            "describe_sessions",
            {"State": "Active", "Filters": [{"key": "Colour", "value": "red"}]},
            "InvalidFilterKey",
            "Colour",
        ),
        (
            "describe_sessions",
            {"State": "Active", "Filters": [{"key": "InvokedAfter", "value": "noon"}]},
            "ValidationException",
            "noon",
        ),
        ("describe_sessions", {"State": "Active", "NextToken": "?"}, "InvalidNextToken", "token"),
        ("describe_instance_information", {"MaxResults": 4}, "ValidationException", "equal to 5"),
        (
            "describe_instance_information",
            {"Filters": [{"Key": "Colour", "Values": ["red"]}]},
            "InvalidFilterKey",
            "Colour",
        ),
        (
            "describe_instance_information",
            {"Filters": [{"Key": "tag:env", "Values": []}]},
            "InvalidInstanceInformationFilterValue",
            "tag:env",
        ),
        (
            "describe_instance_information",
            {"Filters": [{"Key": "tag:env", "Values": ["x"]}, {"Key": "InstanceIds", "Values": [WEB]}]},
            "ValidationException",
            "mixed",
        ),
        (
            "describe_instance_information",
            {
                "Filters": [{"Key": "tag:env", "Values": ["x"]}],
                "InstanceInformationFilterList": [{"key": "InstanceIds", "valueSet": [WEB]}],
            },
            "ValidationException",
            "together",
        ),
        ("get_document", {"Name": "No-Such"}, "InvalidDocument", "No-Such"),
        ("get_document", {"Name": "Own-Port", "DocumentVersion": "7"}, "InvalidDocumentVersion", "7"),
        ("describe_parameters", {}, "UnknownOperationException", "DescribeParameters"),
    ],
)
def test_refusals(ssm: Any, operation: str, parameters: dict[str, Any], code: str, words: str) -> None:  # noqa: ANN401
    """Every refusal has AWS's shape: a code, words, a status and a request id."""
    with pytest.raises(ClientError) as caught:
        getattr(ssm, operation)(**parameters)
    response = caught.value.response
    assert response["Error"]["Code"] == code
    assert words in response["Error"]["Message"]
    assert response["ResponseMetadata"]["HTTPStatusCode"] == 400
    assert response["ResponseMetadata"]["RequestId"]


def test_start_gives_a_stream(emulator: RunningEmulator, ssm: Any) -> None:  # noqa: ANN401
    """Shapes of session id, token and URL; defaults of document and parameters."""
    answer = ssm.start_session(Target=WEB, DocumentName="AWS-StartPortForwardingSession")
    user, _, suffix = answer["SessionId"].rpartition("-")
    assert user == "alice"
    assert len(suffix) == 26
    assert 0 < len(answer["TokenValue"]) <= 300
    start = f"ws://127.0.0.1:{emulator.port}/v1/data-channel/{answer['SessionId']}?role=publish_subscribe"
    assert answer["StreamUrl"].startswith(f"{start}&cell-number=")
    cell_number = answer["StreamUrl"].rpartition("cell-number=")[2]
    assert all(character in cell_number for character in "+/=")
    record = emulator.sessions()[-1]
    assert record.parameters == {"portNumber": "80", "localPortNumber": "0"}
    shell = ssm.start_session(Target=WEB)
    assert emulator.sessions()[-1].document_name == "SSM-SessionManagerRunShell"
    for session_id in (answer["SessionId"], shell["SessionId"]):
        ssm.terminate_session(SessionId=session_id)
    emulator.wait_for_live_sessions(0)


def test_documents_by_arn(emulator: RunningEmulator, ssm: Any) -> None:  # noqa: ANN401
    """A document's ARN names it too."""
    arn = "arn:aws:ssm:eu-central-1::document/AWS-StartSSHSession"
    answer = ssm.start_session(Target=WEB, DocumentName=arn, Reason="why not")
    assert emulator.sessions()[-1].document_name == "AWS-StartSSHSession"
    ssm.terminate_session(SessionId=answer["SessionId"])
    emulator.wait_for_live_sessions(0)


def test_describe_sessions(emulator: RunningEmulator, ssm: Any) -> None:  # noqa: ANN401
    """Active and History, newest first, filtered and in pages."""
    emulator.wait_for_live_sessions(0)
    ids = [ssm.start_session(Target=WEB, Reason=f"n{n}")["SessionId"] for n in range(3)]
    active = ssm.describe_sessions(State="Active")["Sessions"]
    assert [entry["SessionId"] for entry in active] == ids[::-1]
    assert active[0]["Status"] == "Connecting"
    assert active[0]["Reason"] == "n2"
    assert active[0]["Owner"].endswith("/alice")
    one = ssm.describe_sessions(State="Active", Filters=[{"key": "SessionId", "value": ids[1]}])["Sessions"]
    assert [entry["SessionId"] for entry in one] == [ids[1]]
    assert not ssm.describe_sessions(State="Active", Filters=[{"key": "Target", "value": HYBRID}])["Sessions"]
    late = [{"key": "InvokedAfter", "value": "2100-01-01T00:00:00Z"}]
    assert not ssm.describe_sessions(State="Active", Filters=late)["Sessions"]
    first = ssm.describe_sessions(State="Active", MaxResults=2)
    rest = ssm.describe_sessions(State="Active", MaxResults=2, NextToken=first["NextToken"])
    assert len(first["Sessions"]) == 2
    assert [entry["SessionId"] for entry in rest["Sessions"]] == ids[:1]
    assert "NextToken" not in rest
    for session_id in ids:
        ssm.terminate_session(SessionId=session_id)
    emulator.wait_for_live_sessions(0)
    history = ssm.describe_sessions(State="History")["Sessions"]
    assert [entry["SessionId"] for entry in history[:3]] == ids[::-1]
    assert history[0]["Status"] == "Terminated"
    assert history[0]["EndDate"] >= history[0]["StartDate"]


def test_connection_status(ssm: Any) -> None:  # noqa: ANN401
    """Lower case, and never an error."""
    for target, status in ((WEB, "connected"), (OFFLINE, "notconnected"), ("i-nothing", "notconnected")):
        assert ssm.get_connection_status(Target=target)["Status"] == status


@pytest.mark.parametrize(
    ("filters", "names"),
    [
        ([], [WEB, HYBRID, OFFLINE]),
        ([{"Key": "tag:Name", "Values": ["web-1"]}], [WEB]),
        ([{"Key": "tag:env", "Values": ["prod", "test"]}], [WEB, OFFLINE]),
        ([{"Key": "tag-key", "Values": ["env"]}, {"Key": "tag:Name", "Values": ["off-1"]}], [OFFLINE]),
        ([{"Key": "PingStatus", "Values": ["Online"]}], [WEB, HYBRID]),
        ([{"Key": "ResourceType", "Values": ["ManagedInstance"]}], [HYBRID]),
        ([{"Key": "PlatformTypes", "Values": ["Windows"]}], [HYBRID]),
        ([{"Key": "InstanceIds", "Values": ["i-none"]}], []),
    ],
)
def test_instance_information_filters(ssm: Any, filters: list[dict[str, Any]], names: list[str]) -> None:  # noqa: ANN401
    """Values of a filter are alternatives, filters must all pass."""
    nodes = ssm.describe_instance_information(Filters=filters)["InstanceInformationList"]
    assert [node["InstanceId"] for node in nodes] == names


def test_instance_information_shows_the_node(ssm: Any) -> None:  # noqa: ANN401
    """What a client reads from it: version, platform, status; and the older filter list."""
    old = [{"key": "InstanceIds", "valueSet": [HYBRID]}]
    (node,) = ssm.describe_instance_information(InstanceInformationFilterList=old)["InstanceInformationList"]
    assert node["AgentVersion"] == "2.3.672.0"
    assert (node["PlatformType"], node["PingStatus"], node["Name"]) == ("Windows", "Online", "hybrid-1")


def test_get_document(ssm: Any) -> None:  # noqa: ANN401
    """Built-in documents can be read, patterns and defaults included."""
    answer = ssm.get_document(Name="AWS-StartSSHSession", DocumentFormat="YAML")
    content = json.loads(answer["Content"])
    assert answer["DocumentType"] == "Session"
    assert content["sessionType"] == "Port"
    assert content["parameters"]["portNumber"]["default"] == "22"
    assert content["properties"] == {"portNumber": "{{ portNumber }}"}


def test_counts_and_calls(emulator: RunningEmulator, ssm: Any) -> None:  # noqa: ANN401
    """Every call leaves its name, its user agent and its code."""
    before = emulator.counts.get("GetConnectionStatus", 0)
    ssm.get_connection_status(Target=WEB)
    with pytest.raises(ClientError):
        ssm.get_connection_status()
    assert emulator.counts["GetConnectionStatus"] == before + 2
    good, bad = emulator.calls[-2:]
    assert (good.code, bad.code) == ("", "ValidationException")
    assert "Botocore" in good.user_agent
