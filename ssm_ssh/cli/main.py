"""From the words of a command line to one command's ``run``.

Every command is a module with ``run(arguments) -> int`` that is imported only when it is named: ``proxy``
pays for nothing but itself.
"""

from __future__ import annotations

import gc
import importlib
from typing import TYPE_CHECKING, Final, NamedTuple, Protocol, cast

from ssm_ssh import __version__
from ssm_ssh.errors import ExitStatus, SsmSshError, UsageError

if TYPE_CHECKING:
    from collections.abc import Sequence


class _Command(NamedTuple):
    """A row of the table; ``extra`` names the optional dependencies that the module needs, if any."""

    module: str
    summary: str
    extra: str = ""


class _CommandModule(Protocol):
    def run(self, arguments: Sequence[str]) -> int:
        """Do it and return the exit status."""


COMMANDS: Final[dict[str, _Command]] = {
    "proxy": _Command("ssm_ssh.cli.proxy", "stdin and stdout to a node's port: OpenSSH's ProxyCommand"),
    "tunnel": _Command("ssm_ssh.cli.tunnel", "ports of a node, or of what it reaches, on localhost"),
    "up": _Command("ssm_ssh.cli.up", "tunnels of the config file, in the background"),
    "down": _Command("ssm_ssh.cli.down", "ends tunnels that are up in the background"),
    "status": _Command("ssm_ssh.cli.status", "the tunnels in the background, as a table or as JSON"),
    "db": _Command("ssm_ssh.cli.db", "a database by its AWS name, on localhost"),
    "eks": _Command("ssm_ssh.cli.eks", "a kubeconfig for a private EKS cluster, through a node"),
    "rdp": _Command("ssm_ssh.cli.rdp", "the remote desktop of a Windows node, password included"),
    "emulator": _Command("ssm_ssh.cli.emulator", "a stand-in of Session Manager and its nodes, on localhost"),
    "demo": _Command(
        "ssm_ssh.cli.demo", "the main jobs, by the system's ssh, on a stand-in of AWS", "emulator"
    ),
}


def run(arguments: Sequence[str]) -> int:
    """Run one command line, without the program's name, and return its exit status."""
    if not arguments or arguments[0] in {"-h", "--help", "help"}:
        return _show(_overview(), ExitStatus.FINE if arguments else ExitStatus.USAGE)
    if arguments[0] == "--version":
        return _show(f"ssm-ssh {__version__}\n", ExitStatus.FINE)
    name, *rest = arguments
    command = COMMANDS.get(name)
    if command is None:
        return _unknown_command(name)
    try:
        return _load(name, command).run(rest)
    except SsmSshError as error:
        from ssm_ssh.cli.message import report  # noqa: PLC0415 -- only paid for on failure

        report(error)
        return error.exit_status
    except KeyboardInterrupt:
        return ExitStatus.INTERRUPTED


def _show(text: str, status: ExitStatus) -> int:
    from ssm_ssh.cli.message import show  # noqa: PLC0415 -- proxy does not pay for it here

    show(text)
    return status


def _load(name: str, command: _Command) -> _CommandModule:
    # Modules live until the end: looking for garbage among them costs proxy 8 ms of its start, and the
    # process the same again at every full collection.
    gc.disable()
    try:
        return cast("_CommandModule", importlib.import_module(command.module))
    except ModuleNotFoundError as error:
        if not command.extra:
            raise
        hint = f"install its extra {command.extra!r}, in a checkout: pip install '.[{command.extra}]'"
        raise UsageError(f"{name} needs {error.name}, which is not installed", hint=hint) from error
    finally:
        gc.freeze()
        gc.enable()


def _overview() -> str:
    width = max((len(name) for name in COMMANDS), default=0)
    lines = [
        "usage: ssm-ssh COMMAND …",
        "",
        *(f"  {name:<{width}}  {command.summary}" for name, command in COMMANDS.items()),
        "",
        "ssm-ssh COMMAND --help tells more; --version prints the version.",
    ]
    return "\n".join(lines) + "\n"


def _unknown_command(name: str) -> int:
    from difflib import get_close_matches  # noqa: PLC0415 -- only paid for on failure

    from ssm_ssh.cli.message import say  # noqa: PLC0415

    near = get_close_matches(name, COMMANDS, n=1)
    say(f"error: there is no command {name!r}")
    say(f"hint: did you mean {near[0]!r}?" if near else "hint: `ssm-ssh --help` lists the commands")
    return ExitStatus.USAGE
