"""The floors and what may be imported where, as data and as one function over source text."""

from __future__ import annotations

import ast
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

PACKAGE: Final = Path(__file__).parent.parent / "ssm_ssh"

FEATURES: Final = ("ssh", "forward", "client", "node", "emulator")
# From the ground up. A room or root module that is not here has no floor and fails the test.
FLOORS: Final[tuple[frozenset[str], ...]] = (
    frozenset({"errors", "config_template"}),
    frozenset({"wire"}),
    frozenset({"protocol"}),
    frozenset({"transport"}),
    frozenset({"session"}),
    frozenset(FEATURES),
    frozenset({"cli", "ansible_plugin", "__init__", "__main__", "aio"}),
)

# What computes, and nothing that waits, reads a clock, asks the system, logs or rolls dice.
COMPUTING: Final = frozenset(
    {
        *("__future__", "abc", "base64", "binascii", "bisect", "collections", "contextlib", "dataclasses"),
        *("enum", "functools", "hashlib", "heapq", "hmac", "itertools", "json", "math", "operator", "re"),
        *("secrets", "string", "struct", "types", "typing", "uuid", "zlib"),
    }
)
COMPUTING_ROOMS: Final = frozenset({"wire", "protocol"})
# The one module of the two floors that may use a foreign library.
CIPHER: Final = "ssm_ssh.protocol.cipher"

# Foreign libraries have their doors, all of them in transport/: a name added here is a decision.
_AWS_DOORS: Final = frozenset(
    f"ssm_ssh.transport.{name}"
    for name in (
        "aws_session",
        "control_plane",
        "credentials",
        "endpoint",
        "json_api",
        "service_calls",
        "trust",
    )
)
_WEBSOCKET_DOORS: Final = frozenset({"ssm_ssh.transport.connection", "ssm_ssh.transport.websocket"})
SOLE_IMPORTERS: Final[Mapping[str, frozenset[str]]] = {
    "boto3": _AWS_DOORS,
    "botocore": _AWS_DOORS,
    "websockets": _WEBSOCKET_DOORS,
}

# The stand-in shares nothing of the client but these: what it got from elsewhere it could not check.
EMULATOR_MAY_IMPORT: Final = frozenset({"errors", "wire", "emulator"})


@dataclass(frozen=True, slots=True)
class Module:
    """A module of the package: its dotted name and its source."""

    name: str
    source: str

    @property
    def room(self) -> str:
        """The part of the name that decides the floor."""
        parts = self.name.split(".")
        return parts[1] if len(parts) > 1 else "__init__"


def modules_below(package: Path) -> list[Module]:
    """Every module of a package folder."""
    return [
        Module(_dotted(path.relative_to(package.parent)), path.read_text(encoding="utf-8"))
        for path in sorted(package.rglob("*.py"))
    ]


def violations(modules: Iterable[Module]) -> list[str]:
    """One line for each import that breaks a rule, and one for each ring."""
    modules = list(modules)
    names = {module.name for module in modules}
    graph = {module.name: set(_imports(module, names)) for module in modules}
    rooms = {module.name: module.room for module in modules}
    found = [
        f"{name}: the room {room!r} has no floor" for name, room in rooms.items() if _floor(room) is None
    ]
    for name, imported in graph.items():
        # One import statement of three names is three targets and one complaint.
        reasons = dict.fromkeys(reason for target in sorted(imported) for reason in _judge(name, target))
        found += [f"{name}: {reason}" for reason in reasons]
    # The root names its public names for type checkers and imports none of them: no ring runs through it.
    inner = {name: imported - {"ssm_ssh"} for name, imported in graph.items()}
    return found + [f"ring: {' -> '.join(ring)}" for ring in _rings(inner)]


def _judge(name: str, target: str) -> Iterator[str]:
    """Why the module ``name`` may not import ``target``."""
    room = _room(name)
    if target.split(".", maxsplit=1)[0] != "ssm_ssh":
        yield from _judge_foreign(name, room, target.split(".", maxsplit=1)[0])
        return
    if target == "ssm_ssh":
        # The version and the public names; the root imports nothing at once, so nothing comes with it.
        return
    target_room = _room(target)
    floor, target_floor = _floor(room), _floor(target_room)
    if floor is not None and target_floor is not None and target_floor > floor:
        yield f"may not look up to {target}"
    if room in FEATURES and target_room in FEATURES and room != target_room:
        yield f"features do not import each other: {target}"
    if room == "emulator" and target_room not in EMULATOR_MAY_IMPORT:
        yield f"the emulator shares only errors and wire with the client: {target}"


def _judge_foreign(name: str, room: str, library: str) -> Iterator[str]:
    if name not in SOLE_IMPORTERS.get(library, {name}):
        yield f"may not import {library}; its doors are {', '.join(sorted(SOLE_IMPORTERS[library]))}"
    if (
        room in COMPUTING_ROOMS
        and library not in COMPUTING
        and not (name == CIPHER and library == "cryptography")
    ):
        yield f"{library} does more than compute"


def _imports(module: Module, names: set[str]) -> Iterator[str]:
    """Every module imported anywhere in the source: at the top, in functions, under TYPE_CHECKING."""
    for node in ast.walk(ast.parse(module.source)):
        match node:
            case ast.Import():
                yield from (alias.name for alias in node.names)
            case ast.ImportFrom(module=str(origin), level=0):
                # "from ssm_ssh.wire import payload" imports the module payload, "… import Flags" does not.
                for alias in node.names:
                    submodule = f"{origin}.{alias.name}"
                    yield submodule if submodule in names else origin
            case ast.ImportFrom():
                yield f"{module.name}.<relative>"
            case ast.Call(func=ast.Attribute(attr="import_module"), args=[ast.Constant(value=str(name)), *_]):
                yield name
            case _:
                pass


def _rings(graph: Mapping[str, set[str]]) -> Iterator[list[str]]:
    """One ring through each module that can reach itself, each ring once."""
    seen: set[frozenset[str]] = set()
    for start in sorted(graph):
        ring = _way_back(graph, start)
        if ring and frozenset(ring) not in seen:
            seen.add(frozenset(ring))
            yield [*ring, start]


def _way_back(graph: Mapping[str, set[str]], start: str) -> list[str]:
    """The shortest way from ``start`` to itself, without its last step; empty if there is none."""
    ways = [[start]]
    reached: set[str] = set()
    while ways:
        way = ways.pop(0)
        for target in sorted(graph.get(way[-1], ())):
            if target == start:
                return way
            if target not in reached:
                reached.add(target)
                ways.append([*way, target])
    return []


def _floor(room: str) -> int | None:
    return next((number for number, rooms in enumerate(FLOORS) if room in rooms), None)


def _room(name: str) -> str:
    return Module(name, "").room


def _dotted(path: Path) -> str:
    parts = path.with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


# A name that is misspelled in COMPUTING would allow nothing and be noticed by nobody.
assert sys.stdlib_module_names >= COMPUTING
