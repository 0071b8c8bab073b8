"""``ssm-ssh tunnel TARGET -L … [-- CMD …]``: ports of a node, or of what it reaches, on localhost."""

from __future__ import annotations

import asyncio
import json
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from ssm_ssh.cli.child import check_command, run_child, split_command
from ssm_ssh.cli.log import show_log, show_traceback
from ssm_ssh.cli.message import report, say
from ssm_ssh.cli.parser import (
    CommandParser,
    read_document_name,
    read_number,
    read_parameters,
    read_reason,
    read_session_options,
    session_options,
)
from ssm_ssh.cli.stop_signals import StopSignals
from ssm_ssh.errors import ExitStatus, InvalidForward, SsmSshError
from ssm_ssh.forward.options import Account, TunnelOptions
from ssm_ssh.forward.spec import parse_local_forward
from ssm_ssh.forward.tunnel import open_tunnel_to

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterator, Sequence

    from ssm_ssh.forward.local import OpenForward
    from ssm_ssh.forward.spec import LocalForward
    from ssm_ssh.forward.tunnel import Tunnel

_DESCRIPTION: Final = """\
Listens on this machine and carries connections to TARGET, or to what TARGET reaches, through Session Manager.

  -L PORT:HOSTPORT             a port of TARGET itself
  -L PORT:HOST:HOSTPORT        a port of HOST, as TARGET reaches it
  -L BIND:PORT:HOST:HOSTPORT   the same, listening on the address BIND; * means every address
  -L /PATH:HOST:HOSTPORT       the same, listening on a Unix socket

PORT 0 takes any free one. With COMMAND, runs it once everything is up and ends with its exit status;
{host} and {port} in it become the local address of the first -L.
"""
# Ours: each session is a process on the node, and an event in CloudTrail.
_SESSIONS: Final = range(1, 65)


@dataclass(frozen=True, slots=True)
class _Order:
    """What one run of the command is asked for."""

    target: str
    forwards: Sequence[LocalForward]
    account: Account
    options: TunnelOptions
    command: Sequence[str]
    is_json: bool


def run(arguments: Sequence[str]) -> int:
    """Run the command. Returns COMMAND's own status, or what a shell calls the end by a signal."""
    words, command = split_command(arguments)
    given = _parser().parse_args(words)
    show_log(given.verbosity)
    try:
        return _run(_read(given, command))
    except SsmSshError as error:
        report(error)
        show_traceback(error, given.verbosity)
        return error.exit_status


def _parser() -> CommandParser:
    parser = CommandParser(
        prog="ssm-ssh tunnel",
        usage="%(prog)s TARGET -L FORWARD… [options] [-- COMMAND …]",
        description=_DESCRIPTION,
        parents=[session_options()],
    )
    parser.add_argument("target", metavar="TARGET", help="a node id (i-… or mi-…) or the Name tag of a node")
    parser.add_argument(
        "-L", dest="local", metavar="FORWARD", action="append", default=[], help="may be repeated"
    )
    parser.add_argument(
        "--sessions",
        metavar="N",
        default="1",
        help="spread the connections to one destination over up to N sessions (1)",
    )
    parser.add_argument(
        "--keepalive", action="store_true", help="keep idle sessions from reaching the account's idle limit"
    )
    parser.add_argument(
        "--allow-other-users", action="store_true", help="serve other users of this machine, too"
    )
    parser.add_argument(
        "--json", action="store_true", help="one line of JSON for each forward on stdout, once all are up"
    )
    return parser


def _read(given: argparse.Namespace, command: Sequence[str]) -> _Order:
    forwards = [parse_local_forward(text) for text in given.local]
    if not forwards:
        raise InvalidForward("there is nothing to forward")
    if command:
        check_command(command)
    options = TunnelOptions(
        sessions=read_number("--sessions", given.sessions, _SESSIONS),
        keeps_alive=given.keepalive,
        allows_other_users=given.allow_other_users,
        document_name=read_document_name(given),
        parameters=read_parameters(given),
        reason=read_reason(given, "tunnel"),
        session=read_session_options(given),
    )
    account = Account(given.profile, given.region, given.stream_endpoint)
    return _Order(given.target, forwards, account, options, command, is_json=given.json)


def _run(order: _Order) -> int:
    with StopSignals() as signals:
        try:
            return asyncio.run(_carry(order, signals))
        except asyncio.CancelledError:
            return signals.exit_status or ExitStatus.INTERRUPTED


async def _carry(order: _Order, signals: StopSignals) -> int:
    loop, task = asyncio.get_running_loop(), asyncio.current_task()
    assert task is not None
    cancel = task.cancel
    # A signal does not wake the loop; this does.
    signals.act(lambda _: loop.call_soon_threadsafe(cancel))
    async with open_tunnel_to(order.target, order.forwards, order.account, order.options) as tunnel:
        _announce(tunnel, is_json=order.is_json)
        if not order.command:
            await loop.create_future()
        words = [_filled_in(word, tunnel.forwards[0]) for word in order.command]
        try:
            return await run_child(words, dict(_environment(tunnel)), signals)
        finally:
            # The end is under way, and short.
            signals.act(lambda _: None)


def _announce(tunnel: Tunnel, *, is_json: bool) -> None:
    for forward in tunnel.forwards:
        say(f"Listening on {' and '.join(forward.listener.addresses)} → {forward.destination}")
        if (reach := forward.listener.remote_reach) is not None:
            say(f"warning: {reach} can connect to {forward.destination} through this")
        if is_json:
            sys.stdout.write(json.dumps(_as_json(forward)) + "\n")
    sys.stdout.flush()


def _as_json(forward: OpenForward) -> dict[str, Any]:
    return {
        "local_address": forward.listener.host,
        "local_port": forward.listener.port,
        "remote_host": forward.destination.host or "localhost",
        "remote_port": forward.destination.port,
        "session_ids": [session.session_id for session in forward.sessions],
    }


def _filled_in(word: str, forward: OpenForward) -> str:
    port = forward.listener.port
    return word.replace("{host}", forward.listener.host).replace("{port}", "" if port is None else str(port))


def _environment(tunnel: Tunnel) -> Iterator[tuple[str, str]]:
    """The variables that tell a command where to connect, in the order of the forwards."""
    for number, forward in enumerate(tunnel.forwards, start=1):
        suffix = "" if number == 1 else f"_{number}"
        yield f"SSM_SSH_TUNNEL_HOST{suffix}", forward.listener.host
        port = forward.listener.port
        yield f"SSM_SSH_TUNNEL_PORT{suffix}", "" if port is None else str(port)
