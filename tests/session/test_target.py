"""From what the user typed to one node, without a call where none is needed."""

from __future__ import annotations

from dataclasses import dataclass

import pytest

from ssm_ssh.errors import InvalidTarget, TargetNotFound
from ssm_ssh.session.target import NodeId, NodeName, parse_target, resolve_target


@dataclass(frozen=True)
class Found:
    """One answer."""

    node_id: str


class Directory:
    """Nodes by name, and what was asked."""

    def __init__(self, **nodes: list[str]) -> None:
        self._nodes = nodes
        self.asked: list[str] = []

    def nodes_by_name(self, name: str) -> list[Found]:
        """As ``NodeDirectory``."""
        self.asked.append(name)
        return [Found(node_id) for node_id in self._nodes.get(name, [])]


@pytest.mark.parametrize("text", ["i-01234567", "i-0123456789abcdef0", "mi-0123456789abcdef0"])
def test_an_id_costs_no_call(text: str) -> None:
    """EC2's two lengths and a registered machine's one."""
    assert parse_target(text) == NodeId(text)
    directory = Directory()
    assert resolve_target(NodeId(text), directory) == text
    assert directory.asked == []


@pytest.mark.parametrize("text", ["web-1", "i-web", "i-0123", "I-01234567", "Bücher server", "a" * 256])
def test_a_name_is_looked_up(text: str) -> None:
    """Whatever is no id and may be a tag's value."""
    assert parse_target(text) == NodeName(text)
    assert resolve_target(NodeName(text), Directory(**{text: ["i-1"]})) == "i-1"


HOSTILE = {
    "nothing": "",
    "an option": "-oProxyCommand=evil",
    "a dash": "-",
    "a line break": "web\n1",
    "a line break at the end": "web-1\n",
    "a NUL": "web\x00",
    "an escape": "\x1b[2Jweb",
    "a bidirectional mark": "web\u202e1",
    "a no-break space": "web\u00a01",
    "a line separator": "web\u2028",
    "a surrogate": "web\udcff",
    "shell": "$(reboot)",
    "quotes": "a'b",
    "ten thousand letters": "a" * 10_000,
    "a later form": "tag:Role=web",
    "another later form": "ecs:cluster_task_id",
}


@pytest.mark.parametrize("text", HOSTILE.values(), ids=HOSTILE)
def test_a_hostile_target_is_refused(text: str) -> None:
    """Before anything is called, and with a hint."""
    with pytest.raises(InvalidTarget) as refusal:
        parse_target(text)
    assert refusal.value.hint


def test_a_name_that_nobody_or_several_have() -> None:
    """Both are errors, and the second lists the ids to choose from."""
    with pytest.raises(TargetNotFound, match="no node is named 'web'"):
        resolve_target(NodeName("web"), Directory())
    with pytest.raises(TargetNotFound, match="2 nodes are named 'web': i-1, i-2") as refusal:
        resolve_target(NodeName("web"), Directory(web=["i-2", "i-1"]))
    assert refusal.value.hint == "use one of these ids"
