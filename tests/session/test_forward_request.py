"""What StartSession is asked for a forwarded port, and what agents can do by their version."""

from __future__ import annotations

import pytest

from ssm_ssh.errors import AccessDenied, InvalidOption
from ssm_ssh.session.agent_version import (
    knows_hosts,
    knows_terminate_flag,
    speaks_mux,
    wants_keepalive,
)
from ssm_ssh.session.document import (
    Destination,
    OwnDocument,
    SessionRequest,
    find_own_document,
    forward_request,
)

NODE = "i-0123456789abcdef0"
DB = Destination("db", 5432)


def test_a_port_of_the_node_itself() -> None:
    """AWS's document for it, with the local port that the agent never looks at."""
    assert forward_request(NODE, Destination(None, 5432), reason="because") == SessionRequest(
        NODE,
        "AWS-StartPortForwardingSession",
        {"portNumber": ["5432"], "localPortNumber": ["0"]},
        "because",
    )


def test_a_port_of_another_host() -> None:
    """The other document, and the host beside; what the user says holds."""
    assert forward_request(NODE, DB, parameters={"localPortNumber": ["7"]}) == SessionRequest(
        NODE,
        "AWS-StartPortForwardingSessionToRemoteHost",
        {"portNumber": ["5432"], "localPortNumber": ["7"], "host": ["db"]},
        None,
    )


@pytest.mark.parametrize(
    ("declared", "sent"),
    [
        (frozenset(), {}),
        (frozenset({"portNumber"}), {"portNumber": ["5432"]}),
        (frozenset({"host", "colour"}), {"host": ["db"]}),
        (None, {}),
    ],
)
def test_an_own_document_gets_only_what_it_declares(
    declared: frozenset[str] | None, sent: dict[str, list[str]]
) -> None:
    """Where it may not be looked up, only what the user says."""
    own = OwnDocument("Own", declared)
    assert forward_request(NODE, DB, own=own).parameters == sent
    if declared is None or "colour" in declared:
        request = forward_request(NODE, DB, own=own, parameters={"colour": ["red"]})
        assert request.parameters == {**sent, "colour": ["red"]}
    else:
        with pytest.raises(InvalidOption, match="declares no parameter 'colour'"):
            forward_request(NODE, DB, own=own, parameters={"colour": ["red"]})


class Directory:
    """A ``DocumentDirectory`` with one answer."""

    def __init__(self, answer: frozenset[str] | Exception) -> None:
        self._answer = answer

    def document_parameters(self, _name: str) -> frozenset[str]:
        """As ``DocumentDirectory``."""
        if isinstance(self._answer, Exception):
            raise self._answer
        return self._answer


def test_a_document_that_may_not_be_read_is_used_all_the_same(caplog: pytest.LogCaptureFixture) -> None:
    """Many policies forbid GetDocument: it is told, and nothing else fails."""
    assert find_own_document("Own", Directory(frozenset({"host"}))) == OwnDocument("Own", frozenset({"host"}))
    denied = AccessDenied("GetDocument", "AccessDeniedException", "no")
    assert find_own_document("Own", Directory(denied)) == OwnDocument("Own", None)
    assert "only what --parameters says is sent to the document Own" in caplog.text


@pytest.mark.parametrize(
    ("version", "flag", "mux", "keepalive"),
    [
        ("2.3.672.0", False, False, False),
        ("2.3.722.0", False, False, False),
        ("2.3.722.1", True, False, False),
        ("3.0.196.0", True, False, False),
        ("3.0.222.0", True, True, True),
        ("3.0.655.0", True, True, True),
        ("3.1.1446.0", True, True, False),
        ("3.1.1511.0", True, True, True),
        ("3.1.1575.0", True, True, False),
        ("3.3.987.0", True, True, False),
        ("", False, False, False),
        ("3.3.987", False, False, False),
        ("3.3.x.0", False, False, False),
    ],
)
def test_what_an_agent_can_do(version: str, *, flag: bool, mux: bool, keepalive: bool) -> None:
    """The thresholds of protocol 1.4 and 7.5; what is no version can nothing."""
    assert knows_terminate_flag(version) is flag
    assert speaks_mux(version) is mux
    assert wants_keepalive(version) is keepalive


@pytest.mark.parametrize(
    ("version", "knows"),
    [("3.1.1187.9", False), ("3.1.1188.0", True), ("3.3.987.0", True), ("", False), ("3.3.x.0", False)],
)
def test_which_agents_know_hosts(version: str, *, knows: bool) -> None:
    """The threshold of protocol 1.4."""
    assert knows_hosts(version) is knows
