"""From what the user typed to one node."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Protocol

from ssm_ssh.errors import InvalidTarget, TargetNotFound

if TYPE_CHECKING:
    from collections.abc import Sequence

# EC2 nodes have 8 or 17 digits, registered machines 17 (protocol 1.2).
_NODE_ID: Final = re.compile(r"i-[0-9a-f]{8}|m?i-[0-9a-f]{17}")
# What a tag's value may hold: letters, digits and spaces of any script, and these marks (EC2's rule).
_NAME: Final = re.compile(r"[\w .:/=+@-]{1,256}")


class NodeFound(Protocol):
    """One answer to a look-up."""

    @property
    def node_id(self) -> str:
        """The node's id."""


class NodeDirectory(Protocol):
    """Whoever can look a name up."""

    def nodes_by_name(self, name: str) -> Sequence[NodeFound]:
        """The nodes whose Name tag is exactly ``name``."""


@dataclass(frozen=True, slots=True)
class NodeName:
    """A Name tag's value, still to be looked up."""

    name: str


@dataclass(frozen=True, slots=True)
class NodeId:
    """A node's id, which needs no look-up."""

    node_id: str


Target = NodeId | NodeName


def parse_target(text: str) -> Target:
    """Read what the user typed.

    Raises:
        InvalidTarget: If it is neither a node id nor a possible Name tag.
    """
    if _NODE_ID.fullmatch(text):
        return NodeId(text)
    if text.startswith("-") or not _NAME.fullmatch(text) or not text.isprintable():
        raise InvalidTarget(text, "a name has letters, digits, spaces and . : / = + _ @ -, at most 256")
    form, separator, _ = text.partition(":")
    if separator and form in {"tag", "asg", "ecs"}:
        raise InvalidTarget(text, f"the form {form}:… is not understood by this version")
    return NodeName(text)


def resolve_target(target: Target, directory: NodeDirectory) -> str:
    """The id of the one node that ``target`` means; a node id costs no call.

    Raises:
        TargetNotFound: If no node has the name, or several have.
    """
    if isinstance(target, NodeId):
        return target.node_id
    name = target.name
    found = sorted(node.node_id for node in directory.nodes_by_name(name))
    if not found:
        raise TargetNotFound("DescribeInstanceInformation", "", f"no node is named {name!r}")
    if len(found) > 1:
        raise TargetNotFound(
            "DescribeInstanceInformation",
            "",
            f"{len(found)} nodes are named {name!r}: {', '.join(found)}",
            hint="use one of these ids",
        )
    return found[0]
