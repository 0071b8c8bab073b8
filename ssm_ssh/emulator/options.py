"""The emulator's options as a command line spells them: ``--node`` and ``--fault``."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final

from ssm_ssh.emulator.fault import Faults, Oversize, Side
from ssm_ssh.emulator.node import NodeSpec
from ssm_ssh.errors import InvalidOption

if TYPE_CHECKING:
    from collections.abc import Callable

_NODE_KEYS: Final = {"id": "node_id", "platform": "platform", "agent": "agent_version", "user": "user"}
_PLATFORMS: Final = ("Linux", "Windows", "MacOS")
_NODE_ID: Final = r"(i-[0-9a-f]{8}|i-[0-9a-f]{17}|mi-[0-9a-f]{17})"
_AGENT_VERSION: Final = r"[0-9]{1,6}(\.[0-9]{1,6}){2,3}"
_DURATION: Final = re.compile(r"(\d+(?:\.\d+)?)(ms|s|m|h)?")
_SECONDS: Final = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, None: 1.0}


def parse_node(text: str) -> NodeSpec:
    """Read ``NAME[,id=…][,tag:K=V]…[,platform=…][,agent=…][,user=…]``.

    Raises:
        InvalidOption: For anything else.
    """
    name, *parts = text.split(",")
    values: dict[str, Any] = {}
    tags: dict[str, str] = {}
    for part in parts:
        key, sign, value = part.partition("=")
        if sign and key.startswith("tag:") and len(key) > len("tag:"):
            tags[key.removeprefix("tag:")] = value
        elif sign and key in _NODE_KEYS:
            values[_NODE_KEYS[key]] = value
        else:
            raise InvalidOption(
                f"{part!r} says nothing about a node",
                hint="--node NAME,id=i-…,tag:KEY=VALUE,platform=Linux,agent=3.3.987.0,user=NAME",
            )
    node = NodeSpec(name, tags=tags, **values)
    _check_node(node)
    return node


def parse_faults(text: str) -> Faults:
    """Read ``loss=0.2%,dup=0.02,reorder=5%,cut=5s,seed=1`` and the other names of ``FAULT_NAMES``.

    Raises:
        InvalidOption: For anything else.
    """
    changes: dict[str, Any] = {}
    for part in filter(None, text.split(",")):
        name, sign, value = part.partition("=")
        if name not in _FAULTS:
            raise InvalidOption(f"there is no fault {name!r}", hint=f"faults are {', '.join(FAULT_NAMES)}")
        member, read = _FAULTS[name]
        try:
            changes[member] = read(value if sign else "")
        except ValueError:
            hint = f"such as {name}={_EXAMPLES[read]}"
            raise InvalidOption(f"the fault {part!r} cannot be understood", hint=hint) from None
    return Faults(**changes)


def _check_node(node: NodeSpec) -> None:
    if not node.name:
        raise InvalidOption("a node needs a name")
    if node.platform not in _PLATFORMS:
        raise InvalidOption(f"a platform is one of {', '.join(_PLATFORMS)}, not {node.platform!r}")
    if node.node_id and re.fullmatch(_NODE_ID, node.node_id) is None:
        raise InvalidOption(f"{node.node_id!r} is no node id", hint="such as i-0123456789abcdef0")
    if re.fullmatch(_AGENT_VERSION, node.agent_version) is None:
        raise InvalidOption(f"{node.agent_version!r} is no agent version", hint="such as 3.3.987.0")


def _chance(text: str) -> float:
    value = float(text.removesuffix("%")) / (100 if text.endswith("%") else 1)
    if not 0.0 <= value <= 1.0:
        raise ValueError("a chance is 0 to 1, or 0% to 100%")
    return value


def _duration(text: str) -> float:
    match = _DURATION.fullmatch(text)
    if match is None:
        raise ValueError("a duration is a number with ms, s, m or h")
    return float(match[1]) * _SECONDS[match[2]]


def _rate(text: str) -> dict[str, float]:
    """``5`` for every operation, or ``StartSession:5`` for one."""
    operation, colon, value = text.rpartition(":")
    return {operation if colon else "*": float(value)}


def _flag(text: str) -> bool:
    if text not in {"yes", "no"}:
        raise ValueError("yes or no")
    return text == "yes"


def _actions(text: str) -> frozenset[str]:
    actions = frozenset(text.split("+"))
    if not all(":" in action for action in actions):
        raise ValueError("an IAM action has a service in front")
    return actions


_FAULTS: Final[dict[str, tuple[str, Callable[[str], Any]]]] = {
    "seed": ("seed", int),
    "loss": ("loss", _chance),
    "dup": ("duplication", _chance),
    "reorder": ("reordering", _chance),
    "delay": ("delay_seconds", _duration),
    "bandwidth": ("bandwidth_bytes_per_second", float),
    "cut": ("cut_every_seconds", _duration),
    "side": ("cut_side", Side),
    "rate": ("message_limit_per_second", int),
    "silent": ("is_silent", _flag),
    "api-delay": ("api_delay_seconds", _duration),
    "refuse": ("refused_upgrade_status", int),
    "largest": ("largest_message_bytes", int),
    "oversize": ("oversize", Oversize),
    "throttle": ("throttle_per_second", _rate),
    "deny": ("denied_actions", _actions),
    "expired": ("has_expired_credentials", _flag),
    "storm": ("publication_storm_seconds", _duration),
}
FAULT_NAMES: Final = tuple(_FAULTS)
# For whoever wrote something that cannot be read.
_EXAMPLES: Final[dict[Callable[[str], Any], str]] = {
    int: "1",
    float: "1000000",
    _chance: "0.5%",
    _duration: "5s",
    _rate: "StartSession:3",
    _flag: "yes",
    _actions: "ssm:StartSession+ssm:ResumeSession",
    Side: "client, agent or both",
    Oversize: "close, cut or swallow",
}
