"""Which nodes DescribeInstanceInformation shows."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from ssm_ssh.emulator.api_error import ApiError
from ssm_ssh.emulator.node_table import all_tags

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from ssm_ssh.emulator.link import EmulatedNode


def select_nodes(nodes: Iterable[EmulatedNode], parameters: Mapping[str, Any]) -> list[EmulatedNode]:
    """The nodes that pass every filter of ``Filters`` or of the older ``InstanceInformationFilterList``.

    Raises:
        ApiError: ``InvalidFilterKey``; ``InvalidInstanceInformationFilterValue`` without values;
            ``ValidationException`` where both lists are given, or tag filters beside others.
    """
    filters = _filters(parameters)
    keys = [key for key, _ in filters]
    if len({key.startswith("tag") for key in keys}) > 1:
        raise ApiError("ValidationException", "Tag filters cannot be mixed with other filters.")
    tests = [(_reader(key), values) for key, values in filters]
    return [node for node in nodes if all(read(node) & values for read, values in tests)]


def _filters(parameters: Mapping[str, Any]) -> list[tuple[str, set[str]]]:
    new = parameters.get("Filters") or []
    old = parameters.get("InstanceInformationFilterList") or []
    if new and old:
        raise ApiError(
            "ValidationException", "Filters and InstanceInformationFilterList cannot be used together."
        )
    filters = [(entry.get("Key"), entry.get("Values")) for entry in new]
    filters += [(entry.get("key"), entry.get("valueSet")) for entry in old]
    for key, values in filters:
        if not values or len(values) > 100:
            raise ApiError(
                "InvalidInstanceInformationFilterValue", f"The filter {key} needs 1 to 100 values."
            )
    return [(str(key), set(values)) for key, values in filters]


def _reader(key: str) -> Callable[[EmulatedNode], set[str]]:
    """What a filter of that key compares its values with."""
    kind, _, name = key.partition(":")
    if kind == "tag" and name:
        return lambda node: {all_tags(node)[name]} if name in all_tags(node) else set()
    if key in _READERS:
        return _READERS[key]
    raise ApiError("InvalidFilterKey", f"The filter key {key} is not valid.")


_READERS: Final[dict[str, Callable[[EmulatedNode], set[str]]]] = {
    "tag-key": lambda node: set(all_tags(node)),
    "InstanceIds": lambda node: {node.node_id},
    "AgentVersion": lambda node: {node.agent_version},
    "PingStatus": lambda node: {"Online" if node.is_online else "ConnectionLost"},
    "PlatformTypes": lambda node: {node.platform},
    "ResourceType": lambda node: {"EC2Instance" if node.node_id.startswith("i-") else "ManagedInstance"},
}
