"""``ssm-ssh down [NAME …]``: ends tunnels that are up in the background."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from ssm_ssh.cli.message import report, say
from ssm_ssh.cli.parser import CommandParser
from ssm_ssh.errors import ExitStatus, InvalidOption, SsmSshError
from ssm_ssh.forward.control_client import ask_supervisor
from ssm_ssh.forward.control_place import find_place, hold_lock

if TYPE_CHECKING:
    from collections.abc import Sequence

_DESCRIPTION: Final = """\
Ends tunnels that `ssm-ssh up` brought up, all of them where no NAME is given: nobody listens any more, and
their sessions are terminated. With the last tunnel the process in the background ends.
"""


def run(arguments: Sequence[str]) -> int:
    """Run the command. Returns 2 if a NAME is not up."""
    given = _parser().parse_args(arguments)
    try:
        return _take_down(given.names)
    except SsmSshError as error:
        report(error)
        return error.exit_status


def _parser() -> CommandParser:
    parser = CommandParser(prog="ssm-ssh down", usage="%(prog)s [NAME …]", description=_DESCRIPTION)
    parser.add_argument("names", metavar="NAME", nargs="*", help="a tunnel that is up")
    return parser


def _take_down(names: Sequence[str]) -> int:
    place = find_place()
    answer = ask_supervisor(place, {"verb": "down", "names": list(names)})
    ended = [] if answer is None else answer["ended"]
    for name in ended:
        say(f"{name}: down")
    if answer is not None and answer["is_over"]:
        # Its process has ended when it lets go of this.
        with hold_lock(place.running_lock):
            pass
    missing = [name for name in names if name not in ended]
    if missing:
        raise InvalidOption(f"{missing[0]} is not up", hint="`ssm-ssh status` shows what is")
    if not ended:
        say("no tunnel is up")
    return ExitStatus.FINE
