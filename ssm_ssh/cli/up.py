"""``ssm-ssh up [NAME …]``: tunnels of the config file, up in the background."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from ssm_ssh.cli.log import show_log, show_traceback
from ssm_ssh.cli.message import report, say
from ssm_ssh.cli.parser import CommandParser
from ssm_ssh.errors import ExitStatus, SsmSshError, SupervisorUnreachable
from ssm_ssh.forward.control_client import ask_supervisor
from ssm_ssh.forward.control_line import account_digests
from ssm_ssh.forward.control_place import find_place, hold_lock
from ssm_ssh.forward.order import order_tunnels
from ssm_ssh.session.settings import Settings
from ssm_ssh.session.settings_file import load_settings

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ssm_ssh.forward.order import TunnelOrder

_DESCRIPTION: Final = """\
Brings up tunnels of the config file, all of them where no NAME is given, and leaves them up in the
background: one process a user, started if it is not there, keeps them up until `ssm-ssh down`. A tunnel that
is up already stays; one whose settings have changed is opened again.
"""
# Ours: a supervisor may be ending, its last tunnel just taken down, when we come; the next one stays for us.
_TRIES: Final = 3


def run(arguments: Sequence[str]) -> int:
    """Run the command. Returns 0 if every tunnel is up, else the status of the first that is not."""
    given = _parser().parse_args(arguments)
    show_log(given.verbosity)
    try:
        orders = order_tunnels(load_settings() or Settings(), given.names)
        if given.foreground:
            from ssm_ssh.cli.supervise import run_in_foreground  # noqa: PLC0415 -- the background's needs less

            return run_in_foreground(orders)
        return _tell(_bring_up(orders))
    except SsmSshError as error:
        report(error)
        show_traceback(error, given.verbosity)
        return error.exit_status


def _parser() -> CommandParser:
    parser = CommandParser(prog="ssm-ssh up", usage="%(prog)s [options] [NAME …]", description=_DESCRIPTION)
    parser.add_argument(
        "names", metavar="NAME", nargs="*", help="a tunnel: [tunnels.NAME] in the config file"
    )
    parser.add_argument(
        "--foreground", action="store_true", help="be that process, for a service manager or to watch it work"
    )
    parser.add_argument("-v", dest="verbosity", action="count", default=0, help="tell more; -vv still more")
    return parser


def _bring_up(orders: Sequence[TunnelOrder]) -> list[dict[str, Any]]:
    """Have the tunnels kept up, by a new supervisor if there is none; returns their states."""
    place = find_place()
    request = {
        "verb": "up",
        "tunnels": [order.as_json() for order in orders],
        "variables": account_digests(),
    }
    for _ in range(_TRIES):
        with hold_lock(place.starting_lock):
            if ask_supervisor(place, {"verb": "status"}) is None:
                from ssm_ssh.cli.supervise import start_supervisor  # noqa: PLC0415 -- only where there is none

                start_supervisor()
        answer = ask_supervisor(place, request)
        if answer is not None and not answer["is_over"]:
            tunnels: list[dict[str, Any]] = answer["tunnels"]
            return tunnels
    raise SupervisorUnreachable("the supervisor was ended, again and again, while tunnels were brought up")


def _tell(tunnels: Sequence[dict[str, Any]]) -> int:
    status: int = ExitStatus.FINE
    for tunnel in tunnels:
        name, failure = tunnel["name"], tunnel["failure"]
        for listener in tunnel["listeners"]:
            leads_to = listener["destination"] or "whatever the node reaches"
            say(f"{name}: listening on {' and '.join(listener['addresses'])} → {leads_to}")
        if failure is not None:
            say(f"error: {name}: {failure['text']}")
            hint = failure["hint"] or "`ssm-ssh status` tells more"
            say(f"hint: {hint}; it is tried again until `ssm-ssh down {name}`")
            status = status or int(failure["exit_status"])
        elif not tunnel["listeners"]:
            say(f"{name}: not up yet; `ssm-ssh status` tells when it is")
            status = status or ExitStatus.TIMED_OUT
    return status
