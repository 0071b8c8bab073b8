"""``ssm-ssh tunnel TARGET -L … -D … [-- CMD …]``: ports of a node, or of what it reaches, on localhost."""

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
from ssm_ssh.cli.socks_login import LOGIN_VARIABLE, read_socks_login
from ssm_ssh.cli.stop_signals import StopSignals
from ssm_ssh.errors import ExitStatus, InvalidForward, SsmSshError
from ssm_ssh.forward.local import OpenForward
from ssm_ssh.forward.options import Account, DynamicOptions, TunnelOptions
from ssm_ssh.forward.reach import Reach, parse_allowance
from ssm_ssh.forward.spec import parse_dynamic_forward, parse_local_forward
from ssm_ssh.forward.tunnel import open_tunnel_to
from ssm_ssh.session.limits import SESSIONS
from ssm_ssh.session.settings import Settings, choose_target
from ssm_ssh.session.settings_file import load_settings

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterator, Sequence

    from ssm_ssh.forward.dynamic import OpenDynamicForward
    from ssm_ssh.forward.tunnel import Forward, Tunnel
    from ssm_ssh.session.document import Destination

_DESCRIPTION: Final = """\
Listens on this machine and carries connections to TARGET, or to what TARGET reaches, through Session Manager.

  -L PORT:HOSTPORT             a port of TARGET itself
  -L PORT:HOST:HOSTPORT        a port of HOST, as TARGET reaches it
  -L BIND:PORT:HOST:HOSTPORT   the same, listening on the address BIND; * means every address
  -L /PATH:HOST:HOSTPORT       the same, listening on a Unix socket
  -D PORT, -D BIND:PORT        SOCKS5 and HTTP CONNECT to whatever TARGET reaches

PORT 0 takes any free one. With COMMAND, runs it once everything is up and ends with its exit status;
{host} and {port} in it become the local address of the first -L.
"""


@dataclass(frozen=True, slots=True)
class _Order:
    """What one run of the command is asked for."""

    target: str
    forwards: Sequence[Forward]
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
        usage="%(prog)s TARGET {-L FORWARD | -D PORT}… [options] [-- COMMAND …]",
        description=_DESCRIPTION,
        parents=[session_options()],
    )
    parser.add_argument(
        "target", metavar="TARGET", help="a node id (i-… or mi-…), the Name tag of a node, or an alias"
    )
    parser.add_argument(
        "-L",
        dest="forwards",
        metavar="FORWARD",
        action="append",
        type=parse_local_forward,
        default=[],
        help="may be repeated",
    )
    parser.add_argument(
        "-D",
        dest="forwards",
        metavar="[BIND:]PORT",
        action="append",
        type=parse_dynamic_forward,
        help="may be repeated",
    )
    parser.add_argument(
        "--socks-allow",
        metavar="GLOB|CIDR",
        action="append",
        type=parse_allowance,
        default=[],
        help="where -D may lead to, and then nowhere else; TARGET itself has to be named; may be repeated",
    )
    parser.add_argument(
        "--socks-login",
        metavar="FILE",
        help=f"a file with the USER:PASSWORD that -D asks for (else {LOGIN_VARIABLE} has it)",
    )
    parser.add_argument(
        "--allow-remote",
        action="store_true",
        help="let -D listen on addresses that other machines reach; only with a login",
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
    if not given.forwards:
        raise InvalidForward("there is nothing to forward")
    if command:
        check_command(command)
    settings = load_settings() or Settings()
    chosen = choose_target(
        settings,
        given.target,
        profile=given.profile,
        region=given.region,
        document_name=read_document_name(given),
    )
    options = TunnelOptions(
        sessions=read_number("--sessions", given.sessions, SESSIONS),
        keeps_alive=given.keepalive,
        allows_other_users=given.allow_other_users,
        document_name=chosen.document_name,
        parameters=read_parameters(given),
        reason=read_reason(given, "tunnel"),
        session=read_session_options(given, settings.defaults),
        dynamic=DynamicOptions(
            reach=Reach(given.socks_allow),
            login=read_socks_login(given.socks_login),
            allows_remote=given.allow_remote,
        ),
    )
    account = Account(chosen.profile, chosen.region, given.stream_endpoint)
    return _Order(chosen.target, given.forwards, account, options, command, is_json=given.json)


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
        words = [_filled_in(word, tunnel.local_forwards[:1]) for word in order.command]
        try:
            return await run_child(words, dict(_environment(tunnel)), signals)
        finally:
            # The end is under way, and short.
            signals.act(lambda _: None)


def _announce(tunnel: Tunnel, *, is_json: bool) -> None:
    for forward in tunnel.forwards:
        where = "whatever the node reaches" if _destination(forward) is None else str(_destination(forward))
        say(f"Listening on {' and '.join(forward.listener.addresses)} → {where}")
        if (reach := forward.listener.remote_reach) is not None:
            say(f"warning: {reach} can connect to {where} through this")
        if is_json:
            sys.stdout.write(json.dumps(_as_json(forward)) + "\n")
    sys.stdout.flush()


def _destination(forward: OpenForward | OpenDynamicForward) -> Destination | None:
    """Where it leads to; None if that is for programs to say."""
    return forward.destination if isinstance(forward, OpenForward) else None


def _as_json(forward: OpenForward | OpenDynamicForward) -> dict[str, Any]:
    destination = _destination(forward)
    return {
        "local_address": forward.listener.host,
        "local_port": forward.listener.port,
        "remote_host": None if destination is None else destination.host or "localhost",
        "remote_port": None if destination is None else destination.port,
        "session_ids": [session.session_id for session in forward.sessions],
    }


def _filled_in(word: str, forwards: Sequence[OpenForward]) -> str:
    """The word with the address of the first of ``forwards``, if there is one."""
    for forward in forwards:
        port = forward.listener.port
        word = word.replace("{host}", forward.listener.host)
        return word.replace("{port}", "" if port is None else str(port))
    return word


def _environment(tunnel: Tunnel) -> Iterator[tuple[str, str]]:
    """The variables that tell a command where to connect, in the order of the forwards."""
    for number, forward in enumerate(tunnel.forwards, start=1):
        suffix = "" if number == 1 else f"_{number}"
        yield f"SSM_SSH_TUNNEL_HOST{suffix}", forward.listener.host
        port = forward.listener.port
        yield f"SSM_SSH_TUNNEL_PORT{suffix}", "" if port is None else str(port)
