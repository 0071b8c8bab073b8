"""The stand-in as a whole: who may speak to it, TLS, host names, the thread, the admin's door."""

from __future__ import annotations

import asyncio
import json
import ssl
import time
import urllib.request
from typing import TYPE_CHECKING, Any
from urllib.error import HTTPError

import aiohttp
import pytest

from ssm_ssh.emulator.emulator import Emulator
from ssm_ssh.emulator.fault import Side
from ssm_ssh.emulator.link import TaskComplete, TaskStatus
from ssm_ssh.emulator.service import stream_host
from ssm_ssh.emulator.settings import ServiceSettings
from ssm_ssh.emulator.start import start_emulator
from tests.emulator.echo_node import EchoAgent, EchoNode
from tests.emulator.scripted_client import aws_client, call, dial, open_session, run, start

if TYPE_CHECKING:
    from ssm_ssh.emulator.link import Dial, SessionOrder


@pytest.mark.parametrize(
    "headers", [{"Host": "evil.example"}, {"Host": "127.0.0.1"}, {"Origin": "http://127.0.0.1"}]
)
@pytest.mark.parametrize("path", ["/", "/v1/data-channel/alice-1", "/_emulator", "/nowhere"])
def test_foreign_hosts_and_pages_are_refused(path: str, headers: dict[str, str]) -> None:
    """A rebound name or a page in a browser gets nothing, not even an error of AWS's."""

    async def scenario() -> None:
        async with Emulator([EchoNode()]) as emulator, aiohttp.ClientSession() as session:
            admin = emulator.environment["SSM_SSH_EMULATOR"].removeprefix(emulator.url) + "/state"
            method = "POST" if path == "/" else "GET"
            target = admin if path == "/_emulator" else path
            body = {"Host": emulator.url.removeprefix("http://"), "X-Amz-Target": "AmazonSSM.StartSession"}
            async with session.request(method, emulator.url + target, headers={**body, **headers}) as answer:
                assert answer.status == 403
                assert "x-amzn-RequestId" not in answer.headers

    run(scenario())


def test_unsigned_calls_are_refused() -> None:
    """Every call must be signed, and every emulator has credentials of its own."""

    async def scenario() -> None:
        async with (
            Emulator([EchoNode()]) as emulator,
            Emulator([]) as other,
            aiohttp.ClientSession() as session,
        ):
            assert emulator.credentials != other.credentials
            headers = {"X-Amz-Target": "AmazonSSM.DescribeSessions"}
            async with session.post(emulator.url, headers=headers, data=b"{}") as answer:
                assert answer.status == 400
                fields = json.loads(await answer.read())
                assert fields["__type"] == "MissingAuthenticationTokenException"
                assert answer.headers["x-amzn-RequestId"]
            async with session.post(emulator.url, data=b"nothing known") as answer:
                assert answer.status == 404
            keys = emulator.credentials
            emulator.credentials = other.credentials
            with pytest.raises(Exception, match="UnrecognizedClientException"):
                await start(emulator)
            emulator.credentials = keys
            await start(emulator)

    run(scenario())


@pytest.mark.parametrize("is_required", [True, False])
def test_unsigned_streams(*, is_required: bool) -> None:
    """Unsigned upgrades pass only where that is allowed; a wrong signature never does."""

    async def scenario() -> None:
        settings = ServiceSettings(requires_signed_stream=is_required)
        async with Emulator([EchoNode()], settings=settings) as emulator:
            answer = await start(emulator)
            if is_required:
                with pytest.raises(aiohttp.WSServerHandshakeError, match="403"):
                    async with dial(emulator, answer["StreamUrl"], headers={}):
                        pass
            else:
                async with dial(emulator, answer["StreamUrl"], headers={}) as client:
                    await client.open(answer["TokenValue"])
                    await client.say(b"unsigned")
                    assert await client.hear_output() == b"unsigned"
            with pytest.raises(aiohttp.WSServerHandshakeError, match="403"):
                async with dial(emulator, answer["StreamUrl"], headers={"Authorization": "wrong"}):
                    pass

    run(scenario())


def test_tls_with_a_private_authority() -> None:
    """Stock botocore trusts it by AWS_CA_BUNDLE, and the stream is wss."""

    async def scenario() -> None:
        names = frozenset({"ssm.eu-central-1.amazonaws.com", "ssmmessages.eu-central-1.amazonaws.com"})
        settings = ServiceSettings(server_host_names=names)
        async with Emulator([EchoNode()], settings=settings, has_tls=True) as emulator:
            answer = await start(emulator)
            assert answer["StreamUrl"].startswith(f"wss://127.0.0.1:{emulator.port}/")
            context = ssl.create_default_context(cafile=emulator.authority_path)
            reader, writer = await asyncio.open_connection(
                "127.0.0.1", emulator.port, ssl=context, server_hostname="ssm.eu-central-1.amazonaws.com"
            )
            writer.close()
            await writer.wait_closed()
            assert not await reader.read()

    run(scenario())


@pytest.mark.parametrize(
    ("host", "expected"),
    [
        ("127.0.0.1:4566", "127.0.0.1:4566"),
        ("ssm.eu-central-1.amazonaws.com", "ssmmessages.eu-central-1.amazonaws.com"),
        ("ssm-fips.us-east-1.amazonaws.com:443", "ssmmessages-fips.us-east-1.amazonaws.com"),
        ("ssm.eu-west-1.api.aws", "ssm.eu-west-1.api.aws"),
    ],
)
def test_stream_hosts(host: str, expected: str) -> None:
    """The gateway's name beside the API's, where the test serves it; never a port."""
    names = frozenset(
        {
            "ssm.eu-central-1.amazonaws.com",
            "ssmmessages.eu-central-1.amazonaws.com",
            "ssmmessages-fips.us-east-1.amazonaws.com",
        }
    )
    assert stream_host(host, names) == expected


def test_the_synchronous_face() -> None:
    """A program without a loop: environment, sessions, counts, faults, cuts."""
    begin = time.monotonic()
    with start_emulator([EchoNode()]) as emulator:
        assert time.monotonic() - begin < 1.0
        ssm = aws_client(emulator.environment, "ssm")
        answer = ssm.start_session(Target="i-0123456789abcdef0", DocumentName="AWS-StartSSHSession")
        (record,) = emulator.live_sessions()
        assert record.session_id == answer["SessionId"]
        emulator.cut(Side.BOTH)
        emulator.inject(has_expired_credentials=True)
        with pytest.raises(Exception, match="ExpiredTokenException"):
            ssm.get_connection_status(Target="i-0123456789abcdef0")
        emulator.terminate(answer["SessionId"])
        emulator.wait_for_live_sessions(0)
        assert emulator.counts == {"StartSession": 1, "GetConnectionStatus": 1}
        with pytest.raises(TimeoutError):
            emulator.wait_for_live_sessions(1, seconds=0.01)
        ssm.close()


def test_proxies_are_not_for_the_emulator(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where a proxy leads to AWS, the stand-in's address is made an exception of it."""
    monkeypatch.delenv("no_proxy", raising=False)
    monkeypatch.setenv("HTTPS_PROXY", "http://127.0.0.1:1")
    monkeypatch.setenv("NO_PROXY", "example.com")
    assert Emulator([]).environment["NO_PROXY"] == "example.com,127.0.0.1"


def test_failures_reach_the_callers_thread() -> None:
    """What fails at the start or inside is raised where the block is; the caller's own errors stay as are."""
    with start_emulator([EchoNode()]) as emulator:
        with pytest.raises(OSError, match="in use"), start_emulator(port=emulator.port):
            pass
        with pytest.raises(KeyError, match="mine"), start_emulator([EchoNode()]):
            raise KeyError("mine")


def test_a_broken_agent_is_heard_of() -> None:
    """A bug in an agent ends the emulator with that very error instead of a test that hangs."""

    class BrokenAgent(EchoAgent):
        async def run_session(self, order: SessionOrder, dial: Dial) -> TaskComplete:
            raise ZeroDivisionError

    async def serve_for_ever() -> None:
        async with Emulator([EchoNode(agent=BrokenAgent())]) as emulator:
            await start(emulator)
            await asyncio.Event().wait()

    async def scenario() -> None:
        with pytest.raises(ZeroDivisionError):
            await serve_for_ever()

    run(scenario())


def test_the_admins_door() -> None:
    """State, cuts and faults over HTTP, for those in another process."""

    def ask(url: str, body: object = None) -> Any:  # noqa: ANN401 -- JSON
        data = None if body is None else json.dumps(body).encode()
        with urllib.request.urlopen(urllib.request.Request(url, data)) as answer:
            return json.loads(answer.read())

    with start_emulator([EchoNode()]) as emulator:
        door = emulator.environment["SSM_SSH_EMULATOR"]
        ssm = aws_client(emulator.environment, "ssm")
        ssm.start_session(Target="i-0123456789abcdef0", Reason="because")
        state = ask(f"{door}/state")
        assert (state["live"], state["calls"]) == (1, {"StartSession": 1})
        assert state["sessions"][0]["reason"] == "because"
        assert state["sessions"][0]["counts"]["cuts"] == 0
        assert ask(f"{door}/cut?side=both", {}) == {"cut": 1}
        ask(f"{door}/faults", {"denied_actions": ["ssm:GetConnectionStatus"], "oversize": "cut"})
        with pytest.raises(Exception, match="AccessDenied"):
            ssm.get_connection_status(Target="i-0123456789abcdef0")
        for path, body in (("faults", {"los": 1}), ("faults", {"cut_side": "up"}), ("cut?side=up", {})):
            with pytest.raises(HTTPError) as caught:
                ask(f"{door}/{path}", body)
            assert caught.value.code == 400
            caught.value.close()
        ssm.close()


def test_many_megabytes_pass_through() -> None:
    """20 MB each way, nothing lost; the messages under way are bounded by what the queues hold."""

    async def scenario() -> None:
        async with Emulator([EchoNode()]) as emulator, open_session(emulator) as client:
            payload = b"x" * 32_768
            for _ in range(40):
                for _ in range(16):
                    await client.say(payload)
                for _ in range(16):
                    assert await client.hear_output() == payload
            record = emulator.sessions.records[0]
            assert record.counts.lost == 0
            assert await call(emulator, "terminate_session", SessionId=record.session_id)

    run(scenario(), seconds=60)


def test_renewed_credentials() -> None:
    """The old ones have expired, which is another thing than never having been good."""
    with start_emulator([EchoNode()]) as emulator:
        before = aws_client(emulator.environment, "ssm")
        emulator.renew_credentials()
        with pytest.raises(Exception, match="ExpiredToken"):
            before.get_connection_status(Target="i-0123456789abcdef0")
        after = aws_client(emulator.environment, "ssm")
        assert after.get_connection_status(Target="i-0123456789abcdef0")["Status"] == "connected"
        before.close()
        after.close()


def test_an_agent_that_refuses_at_once_is_heard() -> None:
    """Its last words wait for the client, who needs a moment to open the stream after StartSession."""

    class Refusing(EchoAgent):
        async def run_session(self, order: SessionOrder, dial: Dial) -> TaskComplete:
            return TaskComplete(TaskStatus.FAILED, "no such plugin")

    async def scenario() -> None:
        async with Emulator([EchoNode(agent=Refusing())]) as emulator, open_session(emulator) as client:
            assert (await client.hear_end()).output == "no such plugin"

    run(scenario())
