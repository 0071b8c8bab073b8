"""``ssm-ssh emulator [--node …] [--timing …] [--fault …] [--port N] [-- CMD …]``: the local stand-in."""

from __future__ import annotations

import os
import shlex
import signal
import subprocess
import sys
import threading
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Final

from ssm_ssh.cli.message import say
from ssm_ssh.cli.parser import CommandParser, read_number
from ssm_ssh.errors import ExitStatus, InvalidOption, UsageError

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable, Iterator, Sequence
    from types import FrameType

    from ssm_ssh.emulator.start import RunningEmulator

_DEFAULT_NODE: Final = "web-1"
_PORTS: Final = range(65_536)
# What shells add to the number of the signal that ended a program.
_SIGNALLED: Final = 128
_ENDS: Final = ("SIGTERM", "SIGHUP")
_START_HINT: Final = "choose another --port; user= in --node is for root, whose nodes are separate"


def run(arguments: Sequence[str]) -> int:
    """Run the command. Returns CMD's own status, or 0 after an interrupted wait."""
    words, command = _split(arguments)
    options = _parser().parse_args(words)
    port = read_number("--port", options.port, _PORTS)
    with _started(options, port) as emulator:
        if command:
            return _run_command(command, emulator)
        interrupted = threading.Event()
        # Whoever reads what is announced may end us at once.
        with _on_signals(("SIGINT", *_ENDS), lambda number: interrupted.set()):
            _announce(emulator)
            interrupted.wait()
    return ExitStatus.FINE


def _announce(emulator: RunningEmulator) -> None:
    for name in emulator.foreign_variables:
        sys.stdout.write(f"unset {name}\n")
    for name, value in emulator.environment.items():
        sys.stdout.write(f"export {name}={shlex.quote(value)}\n")
    sys.stdout.flush()
    for node in emulator.nodes:
        say(f"node {node.name} ({node.node_id}) is up")


def _split(arguments: Sequence[str]) -> tuple[Sequence[str], Sequence[str]]:
    """Our words and, behind ``--``, the command's."""
    if "--" not in arguments:
        return arguments, ()
    at = list(arguments).index("--")
    command = arguments[at + 1 :]
    if not command:
        raise InvalidOption("there is no command behind --")
    return arguments[:at], command


def _parser() -> CommandParser:
    parser = CommandParser(
        prog="ssm-ssh emulator",
        usage="%(prog)s [options] [-- COMMAND …]",
        description="A stand-in of Session Manager and its nodes on localhost. Prints the variables that "
        "lead AWS programs to it and runs until it is interrupted, or runs COMMAND with them set.",
    )
    parser.add_argument(
        "--node",
        action="append",
        metavar="NAME[,KEY=VALUE…]",
        help="a node, with id=, tag:KEY=, platform=, agent= (its version) and user=; may be repeated",
    )
    parser.add_argument(
        "--authorized-key",
        action="append",
        default=[],
        metavar="FILE",
        help="a public key (.pub) that may log in to every node; may be repeated",
    )
    parser.add_argument(
        "--timing", choices=("real", "fast"), default="real", help="wait where the real agent waits, or not"
    )
    parser.add_argument(
        "--fault", default="", metavar="KEY=VALUE[,…]", help="such as loss=0.002,dup=2%%,cut=5s,seed=1"
    )
    parser.add_argument("--port", default="0", help="the port; any free one by default")
    return parser


@contextmanager
def _started(options: argparse.Namespace, port: int) -> Iterator[RunningEmulator]:
    try:
        from ssm_ssh.emulator.options import parse_faults, parse_node  # noqa: PLC0415 -- an extra, and heavy
        from ssm_ssh.emulator.start import start_emulator  # noqa: PLC0415
    except ModuleNotFoundError as error:
        hint = "install its extra 'emulator', in a checkout: pip install '.[emulator]'"
        raise UsageError(f"the emulator needs {error.name}, which is not installed", hint=hint) from error
    keys = [_read_key(file) for file in options.authorized_key]
    nodes = [replace(parse_node(text), authorized_keys=keys) for text in options.node or [_DEFAULT_NODE]]
    names = [node.name for node in nodes]
    if len(set(names)) < len(names):
        raise InvalidOption("two nodes have the same name")
    faults = parse_faults(options.fault)
    starting = start_emulator(nodes, timing=options.timing, faults=faults, port=port)
    try:
        emulator = starting.__enter__()
    except (ValueError, OSError) as error:
        raise UsageError(f"the emulator cannot start: {error}", hint=_START_HINT) from error
    try:
        yield emulator
    finally:
        starting.__exit__(None, None, None)


def _read_key(file: str) -> str:
    try:
        return Path(file).expanduser().read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        hint = "a public key is a file such as ~/.ssh/id_ed25519.pub"
        raise InvalidOption(f"{file!r} cannot be read as a public key", hint=hint) from error


def _run_command(command: Sequence[str], emulator: RunningEmulator) -> int:
    environment = {
        name: value for name, value in os.environ.items() if name not in emulator.foreign_variables
    }
    try:
        process = subprocess.Popen(command, env={**environment, **emulator.environment})
    except OSError as error:
        raise InvalidOption(f"{command[0]} cannot be run: {error.strerror}") from error
    # The terminal's Ctrl-C reaches the command by itself; it decides what that means.
    with _on_signals(("SIGINT",), lambda number: None), _on_signals(_ENDS, process.send_signal):
        status = process.wait()
    return status if status >= 0 else _SIGNALLED - status


@contextmanager
def _on_signals(names: Sequence[str], act: Callable[[int], None]) -> Iterator[None]:
    """Have ``act`` called on these signals, as far as this system has them, for the length of a block."""

    def answer(number: int, frame: FrameType | None) -> None:
        act(number)

    numbers = [getattr(signal, name) for name in names if hasattr(signal, name)]
    previous = {number: signal.signal(number, answer) for number in numbers}
    try:
        yield
    finally:
        for number, action in previous.items():
            signal.signal(number, action)
