"""The nodes of the account, by id and by tag, and what the API tells of them."""

from __future__ import annotations

from datetime import UTC, datetime
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Final

from ssm_ssh.emulator.api_error import target_not_connected

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from ssm_ssh.emulator.link import EmulatedNode

_PLATFORM_NAMES: Final = {
    "Linux": ("Debian GNU/Linux", "12"),
    "Windows": ("Microsoft Windows Server 2022 Datacenter", "10.0.20348"),
    "MacOS": ("macOS", "14.4"),
}


class NodeTable:
    """All nodes, in the order they were given."""

    def __init__(self, nodes: Sequence[EmulatedNode]) -> None:
        self._nodes = {node.node_id: node for node in nodes}
        self.started_at = datetime.now(UTC)

    def __iter__(self) -> Iterator[EmulatedNode]:
        return iter(self._nodes.values())

    def get(self, node_id: str) -> EmulatedNode | None:
        """The node of that id, or None."""
        return self._nodes.get(node_id)

    def connected(self, target: str) -> EmulatedNode:
        """The node of that id, if its agent is connected.

        Raises:
            ApiError: ``TargetNotConnected``, also for an unknown node: AWS does not tell them apart.
        """
        node = self._nodes.get(target)
        if node is None or not node.is_online:
            raise target_not_connected(target)
        return node


def all_tags(node: EmulatedNode) -> dict[str, str]:
    """A node's tags, Name included."""
    return {"Name": node.name, **node.tags}


def private_dns(node: EmulatedNode, region: str) -> str:
    """The private DNS name that EC2 makes of the address."""
    return f"ip-{node.ip_address.replace('.', '-')}.{region}.compute.internal"


def platform_name(node: EmulatedNode) -> tuple[str, str]:
    """Name and version of a node's operating system."""
    return _PLATFORM_NAMES[node.platform]


def matches(pattern: str, text: str) -> bool:
    """EC2's filters take ``*`` and ``?``; nothing else is special."""
    return fnmatchcase(text, pattern.replace("[", "[[]"))
