"""``ssm-ssh db NAME [-- CMD …]``: a database by its AWS name, on localhost, and a client that is told so."""

from __future__ import annotations

import asyncio
import os
import sys
import tempfile
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Final

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
from ssm_ssh.cli.stoppable import run_stoppable
from ssm_ssh.errors import InvalidOption, SsmSshError
from ssm_ssh.forward.database import DatabaseOptions, open_database
from ssm_ssh.forward.database_client import ClientSettings, Login, client_settings, engine_family
from ssm_ssh.forward.options import Account, TunnelOptions
from ssm_ssh.session.settings import Settings, choose_target
from ssm_ssh.session.settings_file import load_settings

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterator, Sequence

    from ssm_ssh.cli.stop_signals import StopSignals
    from ssm_ssh.forward.database import OpenDatabase

_DESCRIPTION: Final = """\
Brings a database to a port of this machine, through a node of its VPC. NAME is the identifier of an RDS
instance or cluster, or of an ElastiCache cluster or replication group, its ARN, or tag:KEY=VALUE.

Prints a connection string. With COMMAND, sets its variables (PGHOST, MYSQL_HOST, REDIS_URL …), runs it, and
ends with its exit status; {host} and {port} in it become the local address.
"""
_PORTS: Final = range(65_536)
_SESSIONS: Final = range(1, 65)
_BUNDLE_URL: Final = "https://truststore.pki.rds.amazonaws.com/global/global-bundle.pem"
_LIBPQ_AUTHORITY: Final = Path("~", ".postgresql", "root.crt")


@dataclass(frozen=True, slots=True)
class _Order:
    """What one run of the command is asked for."""

    name: str
    account: Account
    options: TunnelOptions
    database: DatabaseOptions
    user: str
    database_name: str
    authority: Path | None
    has_tls: bool
    command: Sequence[str]


def run(arguments: Sequence[str]) -> int:
    """Run the command. Returns COMMAND's own status, or what a shell calls the end by a signal."""
    words, command = split_command(arguments)
    given = _parser().parse_args(words)
    show_log(given.verbosity)
    try:
        return run_stoppable(partial(_carry, _read(given, command)))
    except SsmSshError as error:
        report(error)
        show_traceback(error, given.verbosity)
        return error.exit_status


def _parser() -> CommandParser:
    parser = CommandParser(
        prog="ssm-ssh db",
        usage="%(prog)s NAME [options] [-- COMMAND …]",
        description=_DESCRIPTION,
        parents=[session_options()],
    )
    parser.add_argument("name", metavar="NAME", help="an identifier, an ARN, or tag:KEY=VALUE")
    parser.add_argument(
        "--via", metavar="TARGET", help="the node to go through, or an alias; any of the VPC by default"
    )
    parser.add_argument("--reader", action="store_true", help="the reader of a cluster, not its writer")
    parser.add_argument("--user", metavar="NAME", help="whom to log in as; the administrator by default")
    parser.add_argument("--database", metavar="NAME", help="the database in it")
    parser.add_argument(
        "--iam", action="store_true", help="log COMMAND in with an IAM token, made when it starts"
    )
    parser.add_argument("--no-tls", action="store_true", help="the database speaks no TLS")
    parser.add_argument(
        "--ca-file", metavar="FILE", help="the authorities of RDS, to check its certificate by"
    )
    parser.add_argument("--port", metavar="N", default="0", help="the local port; any free one by default")
    parser.add_argument(
        "--sessions", metavar="N", default="1", help="spread the connections over up to N sessions (1)"
    )
    parser.add_argument(
        "--keepalive", action="store_true", help="keep idle sessions from reaching the account's idle limit"
    )
    return parser


def _read(given: argparse.Namespace, command: Sequence[str]) -> _Order:
    if command:
        check_command(command)
    if given.iam and not command:
        raise InvalidOption(
            "--iam needs a command to give its token to", hint="write -- and the client, such as -- psql"
        )
    settings = load_settings() or Settings()
    # An alias is a node's, and may bring the account with it.
    chosen = choose_target(
        settings,
        given.via or "",
        profile=given.profile,
        region=given.region,
        document_name=read_document_name(given),
    )
    options = TunnelOptions(
        sessions=read_number("--sessions", given.sessions, _SESSIONS),
        keeps_alive=given.keepalive,
        document_name=chosen.document_name,
        parameters=read_parameters(given),
        reason=read_reason(given, "db"),
        session=read_session_options(given, settings.defaults),
    )
    return _Order(
        given.name,
        Account(chosen.profile, chosen.region, given.stream_endpoint),
        options,
        DatabaseOptions(
            chosen.target or None, given.reader, given.iam, read_number("--port", given.port, _PORTS)
        ),
        given.user or "",
        given.database or "",
        _authority(given.ca_file),
        not given.no_tls,
        command,
    )


def bundle_path() -> Path:
    """Where the bundle of RDS's authorities is looked for if no option names it."""
    # The XDG rule: a relative path there is to be ignored.
    configured = Path(os.environ.get("XDG_CONFIG_HOME", ""))
    folder = configured if configured.is_absolute() else Path.home() / ".config"
    return folder / "ssm-ssh" / "rds-bundle.pem"


def _authority(named: str | None) -> Path | None:
    path = bundle_path() if named is None else Path(named).expanduser()
    if path.is_file():
        return path.resolve()
    if named is not None:
        raise InvalidOption(f"there is no file {named}", hint=f"get it: curl -o {named} {_BUNDLE_URL}")
    return None


async def _carry(order: _Order, signals: StopSignals) -> int:
    async with open_database(order.name, order.account, order.options, order.database) as database:
        settings = await asyncio.to_thread(_settings, order, database)
        say(
            f"Listening on {database.local_host}:{database.local_port} → {database.host}:"
            f"{database.database.port} through {database.node_id}"
        )
        _warn(order, database)
        if not order.command:
            sys.stdout.write(f"{settings.connection_string}\n")
            sys.stdout.flush()
            await asyncio.get_running_loop().create_future()
        with _environment(settings, database) as environment:
            words = [_filled_in(word, database) for word in order.command]
            try:
                return await run_child(words, environment, signals)
            finally:
                # The end is under way, and short.
                signals.act(lambda _: None)


def _settings(order: _Order, opened: OpenDatabase) -> ClientSettings:
    database = opened.database
    is_postgres = engine_family(database.engine) == "postgres"
    # The user's own variable holds; without either, the one that the database was made with.
    user = order.user or (is_postgres and os.environ.get("PGUSER")) or database.user
    token = opened.make_token(user) if order.database.takes_iam else None
    login = Login(
        database.engine,
        opened.host,
        opened.local_host,
        opened.local_port,
        user,
        order.database_name or (is_postgres and os.environ.get("PGDATABASE")) or database.database_name,
        token,
        None if order.authority is None else str(order.authority),
        order.has_tls and database.has_tls,
    )
    return client_settings(login, os.environ)


def _warn(order: _Order, opened: OpenDatabase) -> None:
    """What the user should know before a client fails for it."""
    family = engine_family(opened.database.engine)
    if family == "redis":
        return
    has_own = family == "postgres" and (
        "PGSSLROOTCERT" in os.environ or _LIBPQ_AUTHORITY.expanduser().exists()
    )
    if order.has_tls and order.authority is None and not has_own:
        path = bundle_path()
        say(f"warning: the certificate cannot be checked without {path}")
        say(f"hint: curl --create-dirs -o {path} {_BUNDLE_URL}")


@contextmanager
def _environment(settings: ClientSettings, opened: OpenDatabase) -> Iterator[dict[str, str]]:
    """The command's variables; what an option file says is there while it runs, for its owner only."""
    environment = {
        **settings.environment,
        "SSM_SSH_TUNNEL_HOST": opened.local_host,
        "SSM_SSH_TUNNEL_PORT": str(opened.local_port),
    }
    if not settings.option_file:
        yield environment
        return
    with tempfile.TemporaryDirectory(prefix="ssm-ssh-db-") as folder:
        # Made 0700, so that nobody else reaches the file even before it is 0600.
        path = Path(folder, "my.cnf")
        path.touch(mode=0o600)
        path.write_text(settings.option_file, encoding="utf-8")
        yield {**environment, "MYSQL_HOME": folder}


def _filled_in(word: str, opened: OpenDatabase) -> str:
    return word.replace("{host}", opened.local_host).replace("{port}", str(opened.local_port))
