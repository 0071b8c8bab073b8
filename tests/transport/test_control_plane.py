"""The calls of a session's life, against a service on loopback."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from typing import TYPE_CHECKING, Any, TypeVar

import pytest
from botocore.auth import SigV4Auth

from ssm_ssh.errors import (
    AccessDenied,
    ControlPlaneError,
    InvalidOption,
    RegionMissing,
    RemoteProtocolError,
    UntrustedStreamUrl,
)
from ssm_ssh.transport.control_plane import ControlPlane, StartedSession
from ssm_ssh.transport.stream_url import address_of_host
from tests.transport.peers import Answer, Service, raw_server, run

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from botocore.awsrequest import AWSRequest

_T = TypeVar("_T")
SESSION = "jane-0123456789abcdef0"
STARTED = {
    "SessionId": SESSION,
    "TokenValue": "TOKEN-SECRET",
    "StreamUrl": f"wss://ssmmessages.eu-central-1.amazonaws.com/v1/data-channel/{SESSION}?role=publish_subscribe",
}
ENDED = Answer({"__type": "DoesNotExistException", "Message": "gone"}, 400)
DENIED = Answer({"__type": "AccessDeniedException", "Message": "no"}, 400)

pytestmark = pytest.mark.usefixtures("aws_home")


@pytest.fixture
def ask(monkeypatch: pytest.MonkeyPatch) -> Callable[..., Any]:
    """Let a control plane do something against scripted answers; return what it did and what was asked."""

    def asked(do: Callable[[ControlPlane], _T], *answers: Answer) -> tuple[_T, list[dict[str, Any]]]:
        service = Service()
        service.answers = list(answers)

        async def scenario() -> _T:
            async with service.serving():
                monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{service.port}")
                control_plane = ControlPlane.connect()
                try:
                    return await asyncio.to_thread(do, control_plane)
                finally:
                    control_plane.close()

        return run(scenario()), [json.loads(request.body) for request in service.requests]

    return asked


def test_start(ask: Callable[..., Any]) -> None:
    """What is asked is what was given and nothing else."""
    started, asked = ask(
        lambda plane: plane.start_session(
            target="i-0",
            document_name="AWS-StartSSHSession",
            parameters={"portNumber": ("22",)},
            reason="why",
        ),
        Answer(STARTED),
    )
    assert started == StartedSession(SESSION, "TOKEN-SECRET", STARTED["StreamUrl"])
    assert asked == [
        {
            "Target": "i-0",
            "DocumentName": "AWS-StartSSHSession",
            "Parameters": {"portNumber": ["22"]},
            "Reason": "why",
        }
    ]
    assert "SECRET" not in repr(started)


def test_start_with_a_target_only(ask: Callable[..., Any]) -> None:
    """What was not given is not sent."""
    _, asked = ask(lambda plane: plane.start_session(target="i-0"), Answer(STARTED))
    assert asked == [{"Target": "i-0"}]


@pytest.mark.parametrize("missing", ["SessionId", "TokenValue", "StreamUrl"])
@pytest.mark.parametrize("value", [None, "", 7])
def test_an_answer_that_lacks_something(ask: Callable[..., Any], missing: str, value: object) -> None:
    """A session without its id, token or URL is no session."""
    with pytest.raises(RemoteProtocolError, match=missing):
        ask(lambda plane: plane.start_session(target="i-0"), Answer(STARTED | {missing: value}))


@pytest.mark.parametrize("missing", ["TokenValue", "StreamUrl"])
def test_a_session_that_cannot_be_used_is_ended(ask: Callable[..., Any], missing: str) -> None:
    """The service has started it; whether it lets us end it or not, what is told is what was missing."""

    def start(plane: ControlPlane) -> list[Any]:
        with pytest.raises(RemoteProtocolError, match=missing):
            plane.start_session(target="i-0")
        return []

    for ending in (Answer({"SessionId": SESSION}), DENIED):
        _, asked = ask(start, Answer(STARTED | {missing: ""}), ending)
        assert asked == [{"Target": "i-0"}, {"SessionId": SESSION}]


def test_resume(ask: Callable[..., Any]) -> None:
    """A resumed session has a new token and URL."""
    started, asked = ask(lambda plane: plane.resume_session(SESSION), Answer(STARTED))
    assert started.token == "TOKEN-SECRET"
    assert asked == [{"SessionId": SESSION}]


@pytest.mark.parametrize(
    "answer",
    [
        ENDED,
        Answer({"SessionId": SESSION}),
        Answer({"SessionId": SESSION, "TokenValue": "", "StreamUrl": ""}),
    ],
)
def test_resume_of_a_session_that_is_over(ask: Callable[..., Any], answer: Answer) -> None:
    """Both ways of saying so are understood (protocol 2.4)."""
    assert ask(lambda plane: plane.resume_session(SESSION), answer)[0] is None


def test_resume_answers_that_make_no_sense(ask: Callable[..., Any]) -> None:
    """Another session's token is not ours, and other refusals are no end."""
    with pytest.raises(RemoteProtocolError, match="another"):
        ask(lambda plane: plane.resume_session("other"), Answer(STARTED))
    with pytest.raises(RemoteProtocolError, match="StreamUrl"):
        ask(lambda plane: plane.resume_session(SESSION), Answer({"TokenValue": "t"}))
    with pytest.raises(AccessDenied):
        ask(lambda plane: plane.resume_session(SESSION), DENIED)


@pytest.mark.parametrize(
    "answer",
    [
        Answer({"SessionId": SESSION}),
        ENDED,
        Answer({"__type": "ValidationException", "message": "Session is not in a valid state"}, 400),
    ],
)
def test_terminate(ask: Callable[..., Any], answer: Answer) -> None:
    """An ended session is what was wanted."""
    _, asked = ask(lambda plane: plane.terminate_session(SESSION), answer)
    assert asked == [{"SessionId": SESSION}]


@pytest.mark.parametrize("answer", [DENIED, Answer({"__type": "ValidationException", "message": "odd"}, 400)])
def test_terminate_refused(ask: Callable[..., Any], answer: Answer) -> None:
    """Who may not end a session hears so; what to make of it is the caller's."""
    with pytest.raises(ControlPlaneError):
        ask(lambda plane: plane.terminate_session(SESSION), answer)


def test_nodes_by_name(ask: Callable[..., Any]) -> None:
    """All pages are read, and what a node never said is empty."""
    first = {"InstanceId": "i-1", "PingStatus": "Online", "PlatformType": "Linux", "AgentVersion": "3.3.1.0"}
    nodes, asked = ask(
        lambda plane: plane.nodes_by_name("web"),
        Answer({"InstanceInformationList": [first | {"IPAddress": "10.0.0.1"}], "NextToken": "more"}),
        Answer({"InstanceInformationList": [{"InstanceId": "mi-2"}, {}]}),
    )
    assert [(node.node_id, node.name, node.is_online) for node in nodes] == [
        ("i-1", "web", True),
        ("mi-2", "web", False),
    ]
    assert (nodes[0].platform, nodes[0].agent_version, nodes[0].ip_address) == (
        "Linux",
        "3.3.1.0",
        "10.0.0.1",
    )
    assert (nodes[1].platform, nodes[1].agent_version, nodes[1].ip_address) == ("", "", "")
    query = {"Filters": [{"Key": "tag:Name", "Values": ["web"]}], "MaxResults": 50}
    assert asked == [query, query | {"NextToken": "more"}]


def test_pages_are_bounded(ask: Callable[..., Any]) -> None:
    """A service that always has one more page is not asked for ever."""
    _, asked = ask(
        lambda plane: plane.nodes_by_name("web"), Answer({"InstanceInformationList": [], "NextToken": "more"})
    )
    assert len(asked) == 20


@pytest.mark.parametrize(
    ("status", "expected"), [("connected", True), ("notconnected", False), (None, False)]
)
def test_connection_status(ask: Callable[..., Any], status: str | None, *, expected: bool) -> None:
    """Connected is one word, in lower case."""
    assert ask(lambda plane: plane.connection_status("i-0"), Answer({"Status": status}))[0] is expected


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ('{"parameters": {"host": {}, "portNumber": {"default": "80"}}}', {"host", "portNumber"}),
        ('{"sessionType": "Port"}', set()),
    ],
)
def test_what_a_document_declares(ask: Callable[..., Any], content: str, expected: set[str]) -> None:
    """The names of its parameters."""
    declared, (asked,) = ask(lambda aws: aws.document_parameters("Own"), Answer({"Content": content}))
    assert declared == expected
    assert asked == {"Name": "Own", "DocumentFormat": "JSON"}


@pytest.mark.parametrize("content", ["", "{", "[]", '{"parameters": 7}', "[" * 100_000])
def test_a_document_that_is_none(ask: Callable[..., Any], content: str) -> None:
    """Whatever its content is, nothing but one error."""
    with pytest.raises(RemoteProtocolError):
        ask(lambda aws: aws.document_parameters("Own"), Answer({"Content": content}))


def test_no_region(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a region nothing can be asked."""
    monkeypatch.delenv("AWS_REGION")
    with pytest.raises(RegionMissing):
        ControlPlane.connect()


def test_options_that_cannot_be_used() -> None:
    """A profile nobody has, a region that is none, an endpoint that is none."""
    with pytest.raises(InvalidOption, match="nobody"):
        ControlPlane.connect(profile="nobody")
    with pytest.raises(InvalidOption, match="eu_central"):
        ControlPlane.connect(region="eu_central/1")
    with pytest.raises(InvalidOption, match="--stream-endpoint"):
        ControlPlane.connect(stream_endpoint="gateway.example")


def test_the_region_and_where_streams_go(monkeypatch: pytest.MonkeyPatch) -> None:
    """Region and settings decide the gateway; an override hides it, because it may lead elsewhere."""
    plane = ControlPlane.connect(region="us-gov-west-1")
    assert plane.region == "us-gov-west-1"
    expected = plane.expected_stream_address()
    assert expected == address_of_host("ssmmessages.us-gov-west-1.amazonaws.com")
    moved = ControlPlane.connect(stream_endpoint="https://gateway.example")
    assert moved.expected_stream_address() is None
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:1")
    assert ControlPlane.connect().expected_stream_address() is None


def test_stream_addresses_are_checked() -> None:
    """The service's host passes, an answer's own idea does not, the user's word goes first."""
    plane = ControlPlane.connect()
    started = StartedSession(SESSION, "t", STARTED["StreamUrl"])
    assert plane.stream_address(started).url == STARTED["StreamUrl"]
    foreign = StartedSession(SESSION, "t", f"wss://evil.example/v1/data-channel/{SESSION}")
    with pytest.raises(UntrustedStreamUrl):
        plane.stream_address(foreign)
    moved = ControlPlane.connect(stream_endpoint="https://gateway.example:8443")
    assert moved.stream_address(started).netloc == "gateway.example:8443"


def test_a_foreign_stream_url_is_refused_before_a_byte_leaves(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever is named by a wrong answer is not even connected to."""
    service, visits = Service(), list[object]()

    async def count(_reader: object, writer: asyncio.StreamWriter) -> None:
        visits.append(writer)

    async def scenario() -> None:
        async with service.serving(), raw_server(count) as port:
            monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://localhost:{service.port}")
            url = f"wss://127.0.0.1:{port}/v1/data-channel/{SESSION}?role=publish_subscribe"
            service.answers = [Answer(STARTED | {"StreamUrl": url})]
            plane = ControlPlane.connect()
            started = await asyncio.to_thread(plane.start_session, target="i-0")
            with pytest.raises(UntrustedStreamUrl):
                plane.stream_address(started)
            plane.close()

    run(scenario())
    assert visits == []


def test_the_upgrades_canonical_request(monkeypatch: pytest.MonkeyPatch) -> None:
    """Protocol 2.1, byte for byte: the query is decoded, a plus is a space, and encoded again."""
    seen: list[str] = []
    canonical_request = SigV4Auth.canonical_request

    def recorded(self: SigV4Auth, request: AWSRequest) -> str:
        seen.append(canonical_request(self, request))
        return seen[-1]

    monkeypatch.setattr(SigV4Auth, "canonical_request", recorded)
    monkeypatch.setenv("AWS_SESSION_TOKEN", "SESSION-TOKEN")
    plane = ControlPlane.connect()
    url = f"{STARTED['StreamUrl']}&cell-number=AAE+x/y=="
    address = plane.stream_address(StartedSession(SESSION, "t", url))
    headers = plane.stream_headers(address)
    assert seen[0] == (
        "GET\n"
        f"/v1/data-channel/{SESSION}\n"
        "cell-number=AAE%20x%2Fy%3D%3D&role=publish_subscribe\n"
        "host:ssmmessages.eu-central-1.amazonaws.com\n"
        f"x-amz-date:{headers['X-Amz-Date']}\n"
        "x-amz-security-token:SESSION-TOKEN\n"
        "\n"
        "host;x-amz-date;x-amz-security-token\n"
        "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
    )
    assert "/eu-central-1/ssmmessages/aws4_request" in headers["Authorization"]
    assert headers["X-Amz-Security-Token"] == "SESSION-TOKEN"
    assert headers["User-Agent"].startswith("ssm-ssh/")
    assert address.url == url


def test_a_presigned_url_is_not_signed_again() -> None:
    """A signature in the query is enough."""
    plane = ControlPlane.connect()
    url = f"{STARTED['StreamUrl']}&X-Amz-Signature=abc"
    headers = plane.stream_headers(plane.stream_address(StartedSession(SESSION, "t", url)))
    assert list(headers) == ["User-Agent"]


def test_proxies_for_streams(monkeypatch: pytest.MonkeyPatch) -> None:
    """The stream goes the way botocore's calls go."""
    plane = ControlPlane.connect()
    address = address_of_host("ssmmessages.eu-central-1.amazonaws.com")
    assert plane.proxy_for(address) is None
    monkeypatch.setenv("HTTPS_PROXY", "proxy.example:3128")
    assert plane.proxy_for(address) == "http://proxy.example:3128"
    monkeypatch.setenv("NO_PROXY", ".amazonaws.com")
    assert plane.proxy_for(address) is None
    monkeypatch.delenv("NO_PROXY")
    here = ControlPlane.connect(stream_endpoint="http://127.0.0.1:1")
    started = StartedSession(SESSION, "t", STARTED["StreamUrl"])
    assert here.proxy_for(here.stream_address(started)) is None


def test_the_context_is_made_once() -> None:
    """A hundred authorities are read once."""
    plane = ControlPlane.connect()
    assert plane.ssl_context() is plane.ssl_context()


def test_what_starting_a_session_does_not_load(aws_home: Path) -> None:
    """StartSession leaves before asyncio, a WebSocket library or a service model is loaded."""
    script = (
        "import sys; from ssm_ssh.transport.control_plane import ControlPlane\n"
        "from ssm_ssh.errors import EndpointUnreachable\n"
        "try: ControlPlane.connect().start_session(target='i-0')\n"
        "except EndpointUnreachable: pass\n"
        "print([m for m in ('asyncio', 'websockets', 'boto3', 'keyring', 'paramiko') if m in sys.modules])"
    )
    environment = {
        "HOME": str(aws_home),
        "AWS_ENDPOINT_URL": "http://127.0.0.1:9",
        "AWS_REGION": "eu-central-1",
    }
    environment |= {"AWS_ACCESS_KEY_ID": "a", "AWS_SECRET_ACCESS_KEY": "b", "PYTHONPATH": ":".join(sys.path)}
    done = subprocess.run(
        [sys.executable, "-c", script], env=environment, capture_output=True, text=True, check=True
    )
    assert done.stdout == "[]\n"
