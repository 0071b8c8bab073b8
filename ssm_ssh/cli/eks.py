"""``ssm-ssh eks CLUSTER``: a kubeconfig context that reaches a private EKS cluster through a node."""

from __future__ import annotations

import asyncio
import json
import sys
import tempfile
from contextlib import closing, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
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
from ssm_ssh.errors import ExitStatus, InvalidOption, SsmSshError
from ssm_ssh.forward.eks import check_cluster_name, check_socks_port, open_cluster
from ssm_ssh.forward.kubeconfig import (
    context_name,
    kubeconfig_path,
    remove_kubeconfig,
    render_kubeconfig,
    write_kubeconfig,
)
from ssm_ssh.forward.options import Account, TunnelOptions
from ssm_ssh.session.settings import Settings, choose_target
from ssm_ssh.session.settings_file import load_settings
from ssm_ssh.transport.cluster_api import describe_cluster
from ssm_ssh.transport.service_calls import ServiceCalls

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterator, Sequence

    from ssm_ssh.cli.stop_signals import StopSignals
    from ssm_ssh.transport.cluster_api import Cluster

_DESCRIPTION: Final = """\
Writes a kubeconfig for the EKS cluster CLUSTER whose API server only its VPC reaches: to go through the SOCKS
port of a tunnel that is up (`ssm-ssh tunnel TARGET -D 1080`), or, with --via, through a tunnel of its own,
until it is interrupted. With --via and COMMAND, runs that with KUBECONFIG set and ends with its status.
"""
_PORTS: Final = range(1, 65_536)
_SOCKS_PORT: Final = 1080
# Specification: a cluster takes a token for 15 minutes. A minute less, as the AWS CLI has it.
_TOKEN_LIFE: Final = timedelta(minutes=14)


@dataclass(frozen=True, slots=True)
class _Order:
    """What one run of the command is asked for.

    Attributes:
        via: The node to go through; None for the port of another tunnel.
        port: None where the user named none.
    """

    cluster: str
    account: Account
    options: TunnelOptions
    via: str | None
    port: int | None
    command: Sequence[str]


def run(arguments: Sequence[str]) -> int:
    """Run the command. Returns COMMAND's own status, or what a shell calls the end by a signal."""
    words, command = split_command(arguments)
    given = _parser().parse_args(words)
    show_log(given.verbosity)
    try:
        check_cluster_name(given.cluster)
        if given.remove:
            return _remove(given.cluster)
        order = _read(given, command)
        if given.token:
            return _print_token(order)
        return run_stoppable(
            partial(_reach, order) if order.via is None else partial(_carry, order, order.via)
        )
    except SsmSshError as error:
        report(error)
        show_traceback(error, given.verbosity)
        return error.exit_status


def _parser() -> CommandParser:
    parser = CommandParser(
        prog="ssm-ssh eks",
        usage="%(prog)s CLUSTER [options] [-- COMMAND …]",
        description=_DESCRIPTION,
        parents=[session_options()],
    )
    parser.add_argument("cluster", metavar="CLUSTER", help="the cluster's name")
    parser.add_argument("--via", metavar="TARGET", help="open a tunnel through this node, or alias")
    parser.add_argument(
        "--port", metavar="N", help="the SOCKS port: of the tunnel that is up (1080), or to open"
    )
    parser.add_argument("--remove", action="store_true", help="take the kubeconfig away again")
    parser.add_argument(
        "--token", action="store_true", help="print a token, as kubectl asks for it by itself, and end"
    )
    return parser


def _read(given: argparse.Namespace, command: Sequence[str]) -> _Order:
    if command:
        if given.via is None:
            raise InvalidOption("a command needs a tunnel of its own", hint="give --via TARGET")
        check_command(command)
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
        document_name=chosen.document_name,
        parameters=read_parameters(given),
        reason=read_reason(given, "eks"),
        session=read_session_options(given, settings.defaults),
    )
    return _Order(
        given.cluster,
        Account(chosen.profile, chosen.region, given.stream_endpoint),
        options,
        chosen.target or None,
        None if given.port is None else read_number("--port", given.port, _PORTS),
        command,
    )


def _remove(cluster: str) -> int:
    if remove_kubeconfig(cluster):
        say(f"Removed {kubeconfig_path(cluster)}")
    else:
        say(f"There is no {kubeconfig_path(cluster)}")
    return ExitStatus.FINE


def _print_token(order: _Order) -> int:
    account = order.account
    with closing(ServiceCalls.connect(profile=account.profile, region=account.region)) as calls:
        token = calls.cluster_token(order.cluster)
    credential = {
        "apiVersion": "client.authentication.k8s.io/v1beta1",
        "kind": "ExecCredential",
        "spec": {},
        "status": {
            "expirationTimestamp": (datetime.now(UTC) + _TOKEN_LIFE).strftime("%Y-%m-%dT%H:%M:%SZ"),
            "token": token,
        },
    }
    sys.stdout.write(json.dumps(credential) + "\n")
    return ExitStatus.FINE


async def _reach(order: _Order, signals: StopSignals) -> int:
    """Write the kubeconfig for the port of a tunnel that is up."""
    del signals
    port = order.port or _SOCKS_PORT
    await check_socks_port(port)
    cluster, token_command = await asyncio.to_thread(_describe, order)
    path = kubeconfig_path(order.cluster)
    write_kubeconfig(path, render_kubeconfig(cluster, socks_port=port, token_command=token_command))
    _announce(path, order.cluster)
    return ExitStatus.FINE


async def _carry(order: _Order, via: str, signals: StopSignals) -> int:
    """Have the kubeconfig for as long as a tunnel of our own."""
    cluster, token_command = await asyncio.to_thread(_describe, order)
    async with open_cluster(cluster, via, order.account, order.options, local_port=order.port or 0) as port:
        text = render_kubeconfig(cluster, socks_port=port, token_command=token_command)
        with _kubeconfig(order, text) as path:
            if not order.command:
                _announce(path, order.cluster)
                await asyncio.get_running_loop().create_future()
            try:
                return await run_child(order.command, {"KUBECONFIG": str(path)}, signals)
            finally:
                # The end is under way, and short.
                signals.act(lambda _: None)


def _describe(order: _Order) -> tuple[Cluster, list[str]]:
    """The cluster, and what prints its tokens to the very same account. Blocks."""
    account = order.account
    with closing(ServiceCalls.connect(profile=account.profile, region=account.region)) as calls:
        cluster = describe_cluster(calls, order.cluster)
        # -P: nothing in the folder where kubectl is called passes for a module.
        command = [sys.executable, "-P", "-m", "ssm_ssh", "eks", order.cluster, "--token"]
        command += ["--region", calls.region]
    if account.profile is not None:
        command += ["--profile", account.profile]
    return cluster, command


@contextmanager
def _kubeconfig(order: _Order, text: str) -> Iterator[Path]:
    """The file: for a command one that nobody else meets, else in its usual place."""
    if order.command:
        with tempfile.TemporaryDirectory(prefix="ssm-ssh-eks-") as folder:
            path = Path(folder, "config.json")
            write_kubeconfig(path, text)
            yield path
        return
    path = kubeconfig_path(order.cluster)
    write_kubeconfig(path, text)
    try:
        yield path
    finally:
        remove_kubeconfig(order.cluster)


def _announce(path: Path, cluster: str) -> None:
    say(f"The context {context_name(cluster)} is in {path}; kubectl joins the files that KUBECONFIG lists")
    sys.stdout.write(f"{path}\n")
    sys.stdout.flush()
