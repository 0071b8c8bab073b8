"""What StartSession is asked for, and what never reaches it."""

from __future__ import annotations

import getpass
import re
import socket

import pytest

from ssm_ssh.errors import InvalidOption
from ssm_ssh.session.document import (
    default_reason,
    parse_document_name,
    parse_parameters,
    parse_port,
    parse_reason,
    ssh_request,
)

# Specification: StartSession's Reason (protocol 1.1).
REASON = re.compile(r"^.{1,256}$")


@pytest.mark.parametrize(("text", "port"), [("1", 1), ("22", 22), ("65535", 65_535), ("00022", 22)])
def test_a_port(text: str, port: int) -> None:
    """1 to 65535."""
    assert parse_port(text) == port


@pytest.mark.parametrize(
    "text", ["", "0", "65536", "-1", "+22", "22 ", " 22", "2 2", "22\n", "0x16", "ssh", "٢٢", "²", "9" * 5000]
)
def test_no_port(text: str) -> None:
    """Anything else, other scripts' digits included."""
    with pytest.raises(InvalidOption) as refusal:
        parse_port(text)
    assert refusal.value.hint


def test_document_names() -> None:
    """Names and ARNs, as the API takes them."""
    for text in ("AWS-StartSSHSession", "arn:aws:ssm:eu-central-1:123456789012:document/my_doc", "abc"):
        assert parse_document_name(text) == text
    for text in ("", "ab", "a b c", "doc\n", "dóc", "x" * 129):
        with pytest.raises(InvalidOption):
            parse_document_name(text)


def test_parameters() -> None:
    """NAME=VALUE; repeated names make lists, and values may hold anything, equals signs too."""
    words = ["portNumber=22", "host=a", "host=b=c"]
    assert parse_parameters(words) == {"portNumber": ["22"], "host": ["a", "b=c"]}
    assert parse_parameters([]) == {}
    for word in ("", "name", "name=", "=value", "="):
        with pytest.raises(InvalidOption):
            parse_parameters([word])


def test_the_request_for_ssh() -> None:
    """AWS's document with the port; further parameters win; an own document gets its own alone."""
    plain = ssh_request("i-1", 2222, reason="why")
    assert (plain.document_name, plain.parameters, plain.reason) == (
        "AWS-StartSSHSession",
        {"portNumber": ["2222"]},
        "why",
    )
    more = ssh_request("i-1", 22, parameters={"portNumber": ["23"], "x": ["y"]})
    assert more.parameters == {"portNumber": ["23"], "x": ["y"]}
    assert ssh_request("i-1", 22, document_name="Mine").parameters == {}
    assert ssh_request("i-1", 22, document_name="Mine", parameters={"p": ["1"]}).parameters == {"p": ["1"]}


@pytest.mark.parametrize("text", ["x", "a ticket: #7, für später", "x" * 256])
def test_a_reason(text: str) -> None:
    """One line of up to 256 characters."""
    assert parse_reason(text) == text


@pytest.mark.parametrize(
    "text", ["", "x" * 257, "a\nb", "a\rb", "a\u2028b", "a\x85b", "a\x1b[2Jb", "a\udcffb"]
)
def test_no_reason(text: str) -> None:
    """What the API would refuse is refused before it is asked."""
    with pytest.raises(InvalidOption) as refusal:
        parse_reason(text)
    assert refusal.value.hint


@pytest.mark.parametrize("user", ["alice", "a\nb", "u" * 500, "a\u2028b", "\udcff", ""])
@pytest.mark.parametrize("host", ["laptop", "x\r\ny", "h" * 500])
def test_the_default_reason_can_always_be_sent(user: str, host: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever user and machine are called."""
    monkeypatch.setattr(getpass, "getuser", lambda: user)
    monkeypatch.setattr(socket, "gethostname", lambda: host)
    reason = default_reason("proxy")
    assert REASON.match(reason)
    assert reason.isprintable()
    assert reason.startswith("ssm-ssh proxy ")
    reason.encode()


def test_the_default_reason_names_who_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    """User and machine, for CloudTrail."""
    monkeypatch.setattr(getpass, "getuser", lambda: "alice")
    monkeypatch.setattr(socket, "gethostname", lambda: "laptop")
    assert default_reason("proxy") == "ssm-ssh proxy alice@laptop"


@pytest.mark.parametrize("error", [KeyError("uid"), OSError("none"), ModuleNotFoundError("pwd")])
def test_a_user_without_a_name(error: Exception, monkeypatch: pytest.MonkeyPatch) -> None:
    """As in containers, and on Windows without USERNAME."""

    def nobody() -> str:
        raise error

    monkeypatch.setattr(getpass, "getuser", nobody)
    assert default_reason("proxy").startswith("ssm-ssh proxy unknown@")
