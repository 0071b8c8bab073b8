"""Bad input, from the command line to the stream: told in two lines, in time, with nothing on stdout."""

from __future__ import annotations

import re
from functools import partial
from typing import TYPE_CHECKING, Final

import pytest

from tests.features.play import Play, play
from tests.features.port_node import NODE_ID, PortNode
from tests.features.proxy_run import Outcome, ProxyRun, assert_refused, together

if TYPE_CHECKING:
    from collections.abc import Iterator

TWINS: Final = ("i-0000000000000000a", "i-0000000000000000b")


@pytest.fixture(scope="module")
def stage() -> Iterator[Play]:
    """One node called web-1, and two called twin."""
    with play(PortNode(), *(PortNode("twin", node_id) for node_id in reversed(TWINS))) as stage:
        yield stage


# --- the command line ------------------------------------------------------------------------------------

BAD_WORDS: Final[dict[str, tuple[list[str | bytes], str, str]]] = {
    "no host": ([], "not 0 words", "--help"),
    "too many words": (["a", "22", "user", "more"], "not 4 words", "--help"),
    "unknown option": (["--frobnicate", "web-1"], "--frobnicate", "--help"),
    "unknown short option": (["-x", "web-1"], "-x", "--help"),
    "option without its value": (["web-1", "--reason"], "--reason", "--help"),
    "port zero": (["web-1", "0"], "'0' is not a port", "1 to 65535"),
    "port too large": (["web-1", "65536"], "'65536' is not a port", "1 to 65535"),
    "port by name": (["web-1", "ssh"], "'ssh' is not a port", "1 to 65535"),
    "port in foreign digits": (["web-1", "\uff12\uff12"], "is not a port", "1 to 65535"),
    "port with a sign": (["web-1", "+22"], "is not a port", "1 to 65535"),
    "empty port": (["web-1", ""], "is not a port", "1 to 65535"),
    "endless port": (["web-1", "1" * 5000], "is not a port", "1 to 65535"),
    "resume-minutes": (["--resume-minutes", "ten", "web-1"], "--resume-minutes 'ten'", "whole number"),
    "payload-size": (["--payload-size", "1", "web-1"], "--payload-size '1'", "from 64 to 65536"),
    "document name": (["--document-name", "a b", "web-1"], "'a b'", "letters, digits"),
    "parameter": (["--parameters", "portNumber", "web-1"], "'portNumber'", "NAME=VALUE"),
    "stream endpoint's scheme": (["--stream-endpoint", "ftp://a", NODE_ID], "--stream-endpoint", "https://"),
    "plain stream endpoint": (["--stream-endpoint", "http://a.example", NODE_ID], "must be https", "TLS"),
    "stream endpoint with a login": (["--stream-endpoint", "https://u:p4ss@a", NODE_ID], "no endpoint", ""),
    "profile": (["--profile", "nobody", NODE_ID], "nobody", "--profile"),
    "region": (["--region", "eu central", NODE_ID], "eu central", "--region"),
    "empty host": ([""], "'' is not a target", "node id"),
    "host that is an option": (["-oProxyCommand=touch x"], "-o", "--help"),
    "host behind --": (["--", "-oProxyCommand=x"], "is not a target", "node id"),
    "shell words": (["$(touch x)"], "is not a target", "node id"),
    "semicolon": (["a;id"], "is not a target", "node id"),
    "newline": (["a\nHost *"], "is not a target", "node id"),
    "escape sequence": (["\x1b]0;owned\x07"], "is not a target", "node id"),
    "right-to-left override": (["web\u202e1-bew"], "is not a target", "node id"),
    "not UTF-8": ([b"web\xff\xfe"], "is not a target", "node id"),
    "too long": (["w" * 400], "is not a target", "node id"),
    "a form of later": (["tag:Role=db"], "tag:", "node id"),
}


@pytest.mark.parametrize("case", BAD_WORDS)
def test_bad_words_are_refused_before_aws_is_asked(stage: Play, case: str) -> None:
    """Whatever ssh's %h, %p and %r may hold: told in two lines of visible characters, and no call is made."""
    words, error, hint = BAD_WORDS[case]
    calls = len(stage.emulator.calls)
    assert_refused(stage.outcome(*words), error, hint, within=5)
    assert len(stage.emulator.calls) == calls


def test_a_password_in_an_endpoint_is_not_repeated(stage: Play) -> None:
    """What stands before the @ of a URL may be a secret, even in a URL that cannot be used."""
    outcome = stage.outcome("-vv", "--stream-endpoint", "https://u:p4ss@a", NODE_ID)
    assert "p4ss" not in outcome.stderr
    assert outcome.errors


# --- targets ---------------------------------------------------------------------------------------------


def test_a_name_that_nobody_has(stage: Play) -> None:
    """The hint tells where to look."""
    assert_refused(stage.outcome("nobody"), "no node is named 'nobody'", "region")


def test_a_name_that_several_nodes_have(stage: Play) -> None:
    """All their ids are listed, in order."""
    outcome = stage.outcome("twin")
    assert_refused(outcome, "2 nodes are named 'twin'", "one of these ids")
    assert ", ".join(TWINS) in outcome.errors[0]


def test_an_id_that_no_node_has(stage: Play) -> None:
    """AWS does not tell an unknown node from one that is away."""
    assert_refused(stage.outcome("i-0fedcba9876543210"), "TargetNotConnected", "agent")


# --- the answers of the API ------------------------------------------------------------------------------


def test_an_answer_without_a_token() -> None:
    """Nothing goes to the stream, and the session that was started is ended."""
    with play() as stage:
        stage.emulator.inject(omits_token=True)
        assert_refused(stage.outcome(NODE_ID), "without TokenValue", "")
        stage.emulator.wait_for_live_sessions(0)


# --- the stream ------------------------------------------------------------------------------------------

_MESSAGE_HEAD: Final = (116).to_bytes(4, "big") + b"output_stream_data".ljust(32)
GARBAGE: Final = {
    "one byte": b"\x00",
    "text": b"GET / HTTP/1.1\r\n\r\n",
    "a header that is cut off": _MESSAGE_HEAD,
    "a header length of nothing": bytes(200),
    "a header length of 4 GiB": b"\xff" * 400,
    "a payload shorter than promised": _MESSAGE_HEAD + bytes(76) + (1 << 31).to_bytes(4, "big") + b"x",
    "a wrong digest": _MESSAGE_HEAD + (1).to_bytes(4, "big") + bytes(72) + (1).to_bytes(4, "big") + b"x",
    "a MiB of one character": b"A" * (1 << 20),
}


def test_garbage_on_the_stream() -> None:
    """A valid WebSocket, an invalid agent message: the session is given up and ended at the service."""

    def hear(garbage: bytes) -> Outcome:
        with play() as stage:
            stage.emulator.inject(garbage=garbage)
            outcome = stage.outcome(NODE_ID, str(stage.depot.port))
            stage.emulator.wait_for_live_sessions(0)
            assert stage.session.counts.client_channels == 1
            return outcome

    for outcome in together({name: partial(hear, raw) for name, raw in GARBAGE.items()}).values():
        assert_refused(outcome, "malformed message", "-vv")


def test_a_traceback_is_shown_with_vv_only(stage: Play) -> None:
    """With -vv where it came from is told too, after the two lines and as lines."""
    with stage.run("-vv", "nobody") as run:
        outcome = run.finish()
    assert [line for line in outcome.lines if "Traceback" in line]
    assert not [line for line in outcome.lines if "\\n" in line]
    assert len(outcome.errors) == len(outcome.hints) == 1
    assert outcome.status == 255


def test_help_is_no_failure(stage: Play) -> None:
    """It goes to stdout, and no session is started."""
    with ProxyRun("--help", environment=stage.environment()) as run:
        outcome = run.finish()
    assert outcome.status == 0
    assert re.match(rb"usage: ssm-ssh proxy ", outcome.stdout)
    assert outcome.stderr == ""
