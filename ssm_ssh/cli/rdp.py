"""``ssm-ssh rdp TARGET``: the remote desktop of a Windows node, opened with the client that there is."""

from __future__ import annotations

import asyncio
import json
import logging
import sys
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Final

from ssm_ssh.cli.child import run_child
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
from ssm_ssh.cli.question import ask_secret
from ssm_ssh.cli.stoppable import run_stoppable
from ssm_ssh.errors import ExitStatus, InvalidOption, SsmSshError
from ssm_ssh.forward.options import Account, TunnelOptions
from ssm_ssh.forward.rdp import DesktopOptions, open_remote_desktop
from ssm_ssh.forward.rdp_client import DesktopClient, PasswordWay, find_client
from ssm_ssh.forward.rdp_file import render_rdp_file, temporary_rdp_file
from ssm_ssh.forward.windows_password import load_rsa_key
from ssm_ssh.session.secret_store import SecretStore
from ssm_ssh.session.settings import Settings, choose_target
from ssm_ssh.session.settings_file import load_settings

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterator, Sequence

    from ssm_ssh.cli.stop_signals import StopSignals
    from ssm_ssh.forward.rdp import RemoteDesktop

_log = logging.getLogger(__name__)

_DESCRIPTION: Final = """\
Brings the remote desktop of the Windows node TARGET to a port of this machine and opens it with the remote
desktop client that is installed (mstsc, Windows App, FreeRDP, Remmina).

With --key the administrator's password is fetched from EC2 and opened with that key; the client gets it where
it takes one, and it is never shown without --show-password.
"""
_PORTS: Final = range(65_536)
_WAIT_SECONDS: Final = range(1, 3_601)
# The names under which secrets are in the keyring, for `keyring set`, too.
_KEPT_PASSWORD: Final = "ssm-ssh rdp"  # noqa: S105 -- a name
_KEPT_PASSPHRASE: Final = "ssm-ssh passphrase"  # noqa: S105 -- a name


@dataclass(frozen=True, slots=True)
class _Order:
    """What one run of the command is asked for.

    Attributes:
        client: What to start; None only to listen.
    """

    target: str
    account: Account
    options: TunnelOptions
    desktop: DesktopOptions
    client: DesktopClient | None
    saves_password: bool
    shows_password: bool
    store: SecretStore


def run(arguments: Sequence[str]) -> int:
    """Run the command. Returns 0, or the status of a client that failed."""
    given = _parser().parse_args(arguments)
    show_log(given.verbosity)
    try:
        return run_stoppable(partial(_open, _read(given)))
    except SsmSshError as error:
        report(error)
        show_traceback(error, given.verbosity)
        return error.exit_status


def _parser() -> CommandParser:
    parser = CommandParser(
        prog="ssm-ssh rdp",
        usage="%(prog)s TARGET [options]",
        description=_DESCRIPTION,
        parents=[session_options()],
    )
    parser.add_argument("target", metavar="TARGET", help="a node id (i-… or mi-…) or the Name tag of a node")
    parser.add_argument("--key", metavar="FILE", help="the private RSA key of the node's key pair")
    parser.add_argument(
        "--user", metavar="NAME", default="Administrator", help="whom to log in as (Administrator)"
    )
    parser.add_argument("--port", metavar="N", default="0", help="the local port; any free one by default")
    parser.add_argument(
        "--wait", metavar="SECONDS", default="60", help="how long the remote desktop may take to answer (60)"
    )
    parser.add_argument("--save-password", action="store_true", help="keep the password in the keyring")
    parser.add_argument("--show-password", action="store_true", help="write the password to stdout")
    parser.add_argument(
        "--print-only",
        action="store_true",
        help="start no client: write where to connect as one line of JSON, and listen until interrupted",
    )
    return parser


def _read(given: argparse.Namespace) -> _Order:
    if given.save_password and given.key is None:
        raise InvalidOption("there is no password to save", hint="give --key, too")
    # Told before anything is asked of AWS.
    render_rdp_file("", 0, given.user, is_verified=False)
    settings = load_settings() or Settings()
    chosen = choose_target(
        settings,
        given.target,
        profile=given.profile,
        region=given.region,
        document_name=read_document_name(given),
    )
    options = TunnelOptions(
        document_name=chosen.document_name,
        parameters=read_parameters(given),
        reason=read_reason(given, "rdp"),
        session=read_session_options(given, settings.defaults),
    )
    wait_seconds = read_number("--wait", given.wait, _WAIT_SECONDS)
    local_port = read_number("--port", given.port, _PORTS)
    client = None if given.print_only else find_client()
    store = SecretStore()
    key = None
    if given.key is not None:
        path = Path(given.key).expanduser()
        key = load_rsa_key(path, lambda: _passphrase(path, store))
    return _Order(
        chosen.target,
        Account(chosen.profile, chosen.region, given.stream_endpoint),
        options,
        DesktopOptions(given.user, local_port, key, wait_seconds),
        client,
        given.save_password,
        given.show_password,
        store,
    )


def _passphrase(path: Path, store: SecretStore) -> str:
    kept = _saved(store, _KEPT_PASSPHRASE, str(path.resolve()))
    return ask_secret(f"passphrase of {path}") if kept is None else kept


def _saved(store: SecretStore, service: str, account: str) -> str | None:
    """What the keyring has, if there is one that answers."""
    try:
        return store.read(service, account)
    except InvalidOption as error:
        _log.info("%s", error)
        return None


async def _open(order: _Order, signals: StopSignals) -> int:
    async with open_remote_desktop(order.target, order.account, order.options, order.desktop) as found:
        say(f"Listening on {found.host}:{found.port} → remote desktop of {found.node_id}")
        if found.is_verified:
            say("The certificate is the one that the node's console tells of")
        desktop = replace(found, password=await asyncio.to_thread(_password, order, found))
        content = render_rdp_file(
            desktop.host, desktop.port, desktop.os_user, is_verified=desktop.is_verified
        )
        with temporary_rdp_file(content) as file:
            if order.client is None:
                _print(desktop, file, shows_password=order.shows_password)
                await asyncio.get_running_loop().create_future()
            assert order.client is not None
            if order.shows_password:
                sys.stdout.write(f"{desktop.password}\n")
                sys.stdout.flush()
            with _lent_password(order.client, desktop, order.store):
                return await _run_client(order.client, desktop, file, signals)


def _password(order: _Order, desktop: RemoteDesktop) -> str | None:
    """The password, from EC2 or from the keyring; kept there if that is asked for."""
    account = f"{desktop.node_id} {desktop.os_user}"
    password = desktop.password
    if password is None:
        password = _saved(order.store, _KEPT_PASSWORD, account)
    elif order.saves_password:
        order.store.store(_KEPT_PASSWORD, account, password)
        say(f"The password is in the keyring ({_KEPT_PASSWORD!r}, {account!r})")
    if password is None and order.shows_password:
        raise InvalidOption("there is no password to show", hint="give --key, the private key of the node")
    return password


def _print(desktop: RemoteDesktop, file: Path, *, shows_password: bool) -> None:
    line: dict[str, object] = {
        "host": desktop.host,
        "port": desktop.port,
        "username": desktop.os_user,
        "rdp_file": str(file),
    }
    if shows_password:
        line["password"] = desktop.password
    sys.stdout.write(json.dumps(line) + "\n")
    sys.stdout.flush()


@contextmanager
def _lent_password(client: DesktopClient, desktop: RemoteDesktop, store: SecretStore) -> Iterator[None]:
    """The password in the system's credential store while the client runs, where it looks for it."""
    if desktop.password is None or client.password_way is not PasswordWay.CREDENTIAL_STORE:
        yield
        return
    service = f"TERMSRV/{desktop.host}"
    store.store(service, desktop.os_user, desktop.password)
    try:
        yield
    finally:
        store.delete(service, desktop.os_user)


async def _run_client(client: DesktopClient, desktop: RemoteDesktop, file: Path, signals: StopSignals) -> int:
    if desktop.password is not None and client.password_way is PasswordWay.NONE:
        say(f"{client.name} asks for the password itself; --show-password tells it")
    secret = desktop.password if client.password_way is PasswordWay.STDIN else None
    try:
        status = await run_child(client.words(desktop, file), {}, signals, secret=secret)
    finally:
        # The end is under way, and short.
        signals.act(lambda _: None)
    if status in client.fine_statuses:
        return ExitStatus.FINE
    say(f"error: {client.name} ended with status {status}")
    return status
