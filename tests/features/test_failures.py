"""What can go wrong on the way to a session: every failure says what it was and what to try."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import threading
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any, Final

import pytest

from ssm_ssh.emulator.certificate import Certificate
from ssm_ssh.emulator.fault import Direction, Faults
from ssm_ssh.emulator.session_record import SessionStatus
from ssm_ssh.emulator.timing import FAST, REAL
from ssm_ssh.wire.agent_message import AgentMessage, MessageType
from tests.features.connect_proxy import ConnectProxy
from tests.features.false_peer import FalseApi, FalseGateway, binary_frame, upgraded
from tests.features.play import Play, play
from tests.features.port_node import NODE_ID, PortNode, SilentPort, closed_port
from tests.features.proxy_run import Outcome, assert_refused, together
from tests.requirement import need_program

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

NOBODY: Final[dict[str, str | None]] = {
    "AWS_ACCESS_KEY_ID": None,
    "AWS_SECRET_ACCESS_KEY": None,
    "AWS_SESSION_TOKEN": None,
}
START_DENIED: Final = frozenset({"ssm:StartSession"})


# --- what AWS says ---------------------------------------------------------------------------------------


def test_expired_credentials() -> None:
    """The usual failure of a morning."""
    with play(faults=Faults(has_expired_credentials=True)) as stage:
        assert_refused(stage.outcome(NODE_ID), "ExpiredToken", "aws sso login")


def test_no_credentials() -> None:
    """Nothing is sent without them."""
    with play() as stage:
        assert_refused(stage.outcome(NODE_ID, variables=NOBODY), "no credentials were found", "AWS_PROFILE")
        assert stage.emulator.calls == []


def test_access_denied_names_action_and_resource() -> None:
    """AWS's words, and a hint with what to ask the administrator for."""
    with play(faults=Faults(denied_actions=START_DENIED)) as stage:
        outcome = stage.outcome(NODE_ID)
    assert_refused(outcome, "AccessDeniedException", "policy that allows ssm:StartSession on arn:aws:ec2:")
    assert f"instance/{NODE_ID}" in outcome.errors[0]
    assert f"instance/{NODE_ID}" in outcome.hints[0]


def test_denied_stream() -> None:
    """StartSession may be allowed where opening the data channel is not."""
    with play(faults=Faults(denied_actions=frozenset({"ssmmessages:OpenDataChannel"}))) as stage:
        assert_refused(stage.outcome(NODE_ID), "HTTP 403", "ssmmessages:OpenDataChannel")


def test_a_node_that_is_not_connected() -> None:
    """The hint lists why that may be, the wrong region among them."""
    with play(PortNode(is_online=False)) as stage:
        outcome = stage.outcome(NODE_ID)
    assert_refused(outcome, f"{NODE_ID} is not connected", "region and account")
    assert "agent" in outcome.hints[0]


def test_another_regions_endpoint() -> None:
    """Signatures for one region are refused by another's endpoint."""
    with play() as stage:
        assert_refused(stage.outcome("--region", "us-west-2", NODE_ID), "valid region", "region")


def test_a_region_that_does_not_exist() -> None:
    """Its name cannot be resolved; the hint says to check the region."""
    with play() as stage:
        outcome = stage.outcome(NODE_ID, AWS_ENDPOINT_URL="https://ssm.eu-cental-1.invalid")
    assert_refused(outcome, "ssm.eu-cental-1.invalid cannot be resolved", "check the region", within=40)


def test_throttling_that_passes() -> None:
    """Twenty windows opened at once are no reason to fail."""
    with play() as stage:
        stage.emulator.inject(throttle_per_second={"StartSession": 1})
        runs = {str(number): partial(stage.download, count=1000) for number in range(3)}
        assert all(outcome.stderr == "" for outcome in together(runs).values())
        assert [call.code for call in stage.emulator.calls].count("ThrottlingException") > 0


def test_words_of_aws_cannot_steer_the_terminal() -> None:
    """Escape sequences, bidirectional marks and line breaks in AWS's words are shown as what they are."""
    words = "no\x1b]0;owned\x07 \u202egnihton\u202c\r\u2028\u2066second\x9b31m line\x00"
    body = json.dumps({"__type": "AccessDeniedException", "message": words}).encode()
    with (
        play() as stage,
        FalseApi(lambda _headers, _body: (400, "application/x-amz-json-1.1", body)) as api,
    ):
        outcome = stage.outcome(NODE_ID, AWS_ENDPOINT_URL=api.url)
    assert_refused(outcome, r"no\x1b]0;owned\x07 \u202egnihton", "policy")
    assert r"\x9b31m" in outcome.errors[0]


def test_something_else_than_aws_answers() -> None:
    """A hotel's login page answers everything with HTML."""
    page = b"<html>Welcome</html>"
    with play() as stage, FalseApi(lambda _headers, _body: (200, "text/html", page)) as api:
        assert_refused(stage.outcome(NODE_ID, AWS_ENDPOINT_URL=api.url), "no JSON", "not AWS")


# --- what the agent says ---------------------------------------------------------------------------------


def test_an_agent_without_the_port_plugin() -> None:
    """The agent's own text, and the version that is needed."""
    with play(PortNode(agent_version="2.3.600.0")) as stage:
        assert_refused(
            stage.outcome(NODE_ID), "Plugin with name Port is not supported by this version", "2.3.672"
        )


def test_nothing_listens_on_the_port() -> None:
    """The agent's worker crashes, which the service tells a minute later; here after a second."""
    with play() as stage:
        assert_refused(
            stage.outcome(NODE_ID, str(closed_port())), "document process failed unexpectedly", "sshd"
        )


def test_words_of_the_agent_cannot_steer_the_terminal() -> None:
    """The same for the text of ``channel_closed``: a node is not trusted with our terminal."""

    def refuse(*_: object) -> Any:  # noqa: ANN401 -- never returns
        raise ValueError("\x1b[2Jbroken\u202e \u2028ssm-ssh: hint: run this\x07")

    node = PortNode()
    node.agent.rooms["Port"] = replace(node.agent.rooms["Port"], open=refuse)
    with play(node) as stage:
        assert_refused(stage.outcome(NODE_ID), r"\x1b[2Jbroken\u202e", "agent")


def test_bytes_that_never_arrive() -> None:
    """The node's server closed, and the agent gave up to repeat a lost message: no clean end, no status 0."""

    def lose(direction: Direction, raw: bytes) -> list[bytes]:
        message = AgentMessage.decode(raw)
        is_lost = direction is Direction.TO_CLIENT and message.message_type == MessageType.OUTPUT_STREAM_DATA
        return [] if is_lost and message.sequence_number == 10 else [raw]

    with play(faults=Faults(script=lose)) as stage, stage.dial() as run:
        run.write(b"give 50000 1\n")
        outcome = run.finish()
    assert len(outcome.stdout) < 10_000
    assert_refused(replace(outcome, stdout=b""), "before all bytes of the node had arrived", "connect again")


# --- the way there ---------------------------------------------------------------------------------------


def test_an_api_that_nobody_serves() -> None:
    """A closed port is told as such."""
    with play() as stage:
        url = f"http://127.0.0.1:{closed_port()}"
        assert_refused(stage.outcome(NODE_ID, AWS_ENDPOINT_URL=url), "no connection to 127.0.0.1", "network")


def test_a_proxy_that_is_away() -> None:
    """The proxy is blamed, not AWS."""
    with play(has_tls=True) as stage:
        outcome = stage.outcome(NODE_ID, HTTPS_PROXY=f"http://127.0.0.1:{closed_port()}")
    assert_refused(outcome, "the proxy on the way to 127.0.0.1 failed", "HTTPS_PROXY")


@pytest.mark.parametrize("login", ["", "eve:s3cret@"])
def test_a_proxy_that_wants_a_login(login: str) -> None:
    """The hint shows how to write one; a wrong one is not repeated."""
    with play(has_tls=True) as stage, ConnectProxy({}, login="alice:right") as proxy:
        outcome = stage.outcome(NODE_ID, HTTPS_PROXY=f"http://{login}127.0.0.1:{proxy.port}")
        assert_refused(outcome, "407", "USER:PASSWORD")
        loud = stage.outcome("-vv", NODE_ID, HTTPS_PROXY=f"http://{login}127.0.0.1:{proxy.port}")
    assert "s3cret" not in outcome.stderr + loud.stderr


def test_a_proxy_that_forbids_the_place() -> None:
    """A company's proxy that lets nobody to AWS."""
    with play(has_tls=True) as stage, ConnectProxy({}, elsewhere="403 Forbidden") as proxy:
        outcome = stage.outcome(NODE_ID, HTTPS_PROXY=f"http://127.0.0.1:{proxy.port}")
    assert_refused(outcome, "403", "HTTPS_PROXY")


def test_a_certificate_that_is_not_trusted() -> None:
    """A company's TLS inspection without its authority configured."""
    with play(has_tls=True) as stage:
        outcome = stage.outcome(NODE_ID, AWS_CA_BUNDLE=None)
    assert_refused(outcome, "certificate of 127.0.0.1 is not trusted", "AWS_CA_BUNDLE")


def test_a_bundle_that_is_not_there() -> None:
    """The setting is named."""
    with play(has_tls=True) as stage:
        outcome = stage.outcome(NODE_ID, AWS_CA_BUNDLE="/nonexistent.pem")
    assert_refused(outcome, "/nonexistent.pem", "AWS_CA_BUNDLE")


# --- what takes its time ---------------------------------------------------------------------------------


@contextmanager
def false_gateway(answer: Callable[[bytes], bytes]) -> Iterator[tuple[Play, FalseGateway]]:
    """A stand-in whose streams are led to a gateway that answers so."""
    with play() as stage, FalseGateway(answer) as gateway:
        yield stage, gateway


def _silent_gateway() -> Outcome:
    with play() as stage, SilentPort() as port:
        return stage.outcome("--stream-endpoint", f"http://{port.address}", NODE_ID)


def _silent_after_upgrade() -> Outcome:
    with play(faults=Faults(is_silent=True)) as stage:
        return stage.outcome(NODE_ID)


def _refused_for_now() -> Outcome:
    with play(faults=Faults(refused_upgrade_status=503)) as stage:
        return stage.outcome(NODE_ID)


def _closed_gateway() -> Outcome:
    with play() as stage:
        return stage.outcome("--stream-endpoint", f"http://127.0.0.1:{closed_port()}", NODE_ID)


def _silent_api() -> Outcome:
    with play() as stage, SilentPort() as port:
        return stage.outcome(NODE_ID, AWS_ENDPOINT_URL=f"http://{port.address}")


def _silent_proxy() -> Outcome:
    with play(has_tls=True) as stage, SilentPort() as port:
        return stage.outcome(NODE_ID, HTTPS_PROXY=f"http://{port.address}")


def _answered_with(answer: Callable[[bytes], bytes]) -> Outcome:
    with false_gateway(answer) as (stage, gateway):
        outcome = stage.outcome("--stream-endpoint", f"http://{gateway.address}", NODE_ID)
        # However often it was tried again: not in a busy loop.
        assert 1 <= len(gateway.heads) < 20
        return outcome


def _always_throttled() -> Outcome:
    with play(faults=Faults(throttle_per_second={"StartSession": 0})) as stage:
        return stage.outcome(NODE_ID)


def _nothing_listens() -> Outcome:
    timing = replace(FAST, crash_report_seconds=12.0)
    with play(PortNode(timing=timing)) as stage:
        return stage.outcome(NODE_ID, str(closed_port()))


def _foreign_certificate() -> Outcome:
    certificate = Certificate(["gateway.example"])
    try:
        with play() as stage, FalseGateway(upgraded, context=certificate.context) as gateway:
            outcome = stage.outcome("--stream-endpoint", f"https://{gateway.address}", NODE_ID)
            assert gateway.heads == []
            return outcome
    finally:
        certificate.close()


PAUSE: Final = binary_frame((116).to_bytes(4, "big") + b"pause_publication".ljust(32) + bytes(84))
SLOW: Final[Mapping[str, tuple[Callable[[], Outcome], str, str, float]]] = {
    "a gateway that accepts and says nothing": (_silent_gateway, "not answered in time", "WebSocket", 30),
    "a gateway that upgrades and says nothing": (_silent_after_upgrade, "fallen silent", "network", 40),
    "an upgrade refused with 503": (_refused_for_now, "HTTP 503", "", 30),
    "a gateway that is away": (_closed_gateway, "no connection to 127.0.0.1", "", 30),
    "an API that accepts and says nothing": (_silent_api, "no answer from 127.0.0.1 in time", "firewall", 45),
    "a proxy that accepts and says nothing": (_silent_proxy, "no answer from", "proxy", 20),
    "an upgrade answered with rubbish": (
        partial(_answered_with, lambda _: b"220 mail.example ESMTP\r\n\r\n"),
        "no upgrade",
        "WebSocket",
        30,
    ),
    "an upgrade answered with a page": (
        partial(_answered_with, lambda _: b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi"),
        "HTTP 200",
        "WebSockets",
        10,
    ),
    "an upgrade answered with a redirect": (
        partial(_answered_with, lambda _: b"HTTP/1.1 302 Found\r\nLocation: https://a.example/\r\n\r\n"),
        "HTTP 302",
        "redirects are not followed",
        10,
    ),
    "an upgrade answered with a false key": (
        partial(_answered_with, lambda head: upgraded(head).replace(b"Accept: ", b"Accept: x")),
        "no upgrade",
        "WebSocket",
        30,
    ),
    "an upgrade not answered": (
        partial(_answered_with, lambda _: b""),
        "closed instead of an answer",
        "WebSocket",
        30,
    ),
    "frames that are none": (
        partial(_answered_with, lambda head: upgraded(head, b"\xff" * 64)),
        "WebSocket protocol",
        "",
        30,
    ),
    "streams that end after one message": (
        partial(_answered_with, lambda head: upgraded(head, PAUSE)),
        "without a close frame",
        "network",
        40,
    ),
    "throttling that does not pass": (_always_throttled, "ThrottlingException", "try again in a minute", 25),
    "nothing that listens, told late": (_nothing_listens, "document process failed", "sshd", 20),
    "a stream's certificate that is not trusted": (_foreign_certificate, "not trusted", "AWS_CA_BUNDLE", 10),
}
NOTICES: Final = {"nothing that listens, told late": ["has not sent a byte for 10 seconds"]}


@pytest.fixture(scope="module")
def slow_outcomes() -> dict[str, Outcome]:
    """All slow cases, run at the same time."""
    return together({name: case for name, (case, *_) in SLOW.items()})


@pytest.mark.parametrize("name", SLOW)
def test_a_dead_end_is_told_in_bounded_time(slow_outcomes: dict[str, Outcome], name: str) -> None:
    """Nobody waits for ever, and everybody is told what for."""
    _, error, hint, within = SLOW[name]
    assert_refused(slow_outcomes[name], error, hint, within=within, notices=NOTICES.get(name, []))


@pytest.mark.soak
def test_the_real_agents_minute() -> None:
    """With the real agent's timing: a notice after ten seconds, its text after sixty."""
    with play(PortNode(timing=REAL)) as stage:
        outcome = stage.outcome(NODE_ID, str(closed_port()))
    assert_refused(
        outcome, "document process failed", "sshd", within=66, notices=["not sent a byte for 10 seconds"]
    )


@pytest.mark.soak
def test_a_port_that_never_speaks() -> None:
    """Something listens and says nothing: given up after 75 seconds."""
    with play() as stage, SilentPort() as port:
        outcome = stage.outcome(NODE_ID, str(port.port))
    assert_refused(
        outcome, "first byte: nothing for 75 seconds", "sshd", within=80, notices=["for 10 seconds"]
    )


# --- signals and ssh -------------------------------------------------------------------------------------


def test_sigterm_while_starting() -> None:
    """Whatever StartSession answers then: its session is ended, and nothing is said on stdout."""
    with play(faults=Faults(api_delay_seconds=1.0)) as stage:
        with stage.run(NODE_ID, str(stage.depot.port)) as run:
            threading.Event().wait(0.6)
            run.process.send_signal(signal.SIGTERM)
            outcome = run.finish(within=8)
        assert outcome.stdout == b""
        assert outcome.status == 130
        assert "Traceback" not in outcome.stderr
        stage.emulator.wait_for_live_sessions(0)
        assert stage.session.status is SessionStatus.TERMINATED


@pytest.mark.parametrize(
    ("faults", "host", "error"),
    [
        (Faults(), "nobody", "no node is named 'nobody'"),
        (Faults(has_expired_credentials=True), NODE_ID, "ExpiredToken"),
        (Faults(denied_actions=START_DENIED), NODE_ID, "not authorized to perform: ssm:StartSession"),
    ],
)
def test_ssh_users_see_our_lines_first(faults: Faults, host: str, error: str) -> None:
    """What ssh itself says of a failed helper is useless; ours stands above it."""
    with play(faults=faults) as stage:
        done = subprocess.run(
            [
                *(need_program("ssh"), "-F", "none", "-T", "-o", "UserKnownHostsFile=none"),
                *("-o", f"ProxyCommand={sys.executable} -m ssm_ssh proxy %h %p %r", f"ec2-user@{host}"),
            ],
            env=stage.environment(),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=30,
            check=False,
        )
    lines = done.stderr.splitlines()
    assert error in lines[0]
    assert lines[0].startswith("ssm-ssh: error: ")
    assert lines[1].startswith("ssm-ssh: hint: ")
    assert "closed" in lines[2]
    assert done.returncode == 255
    assert done.stdout == ""
