"""A database or a cache by its AWS name, on a port of this machine, through a node of its VPC."""

from __future__ import annotations

import asyncio
import re
from contextlib import asynccontextmanager, closing
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from ssm_ssh.errors import ControlPlaneError, InvalidOption, InvalidTarget, TargetNotFound
from ssm_ssh.forward.spec import Listen, LocalForward, to_destination
from ssm_ssh.forward.tunnel import open_tunnel_to
from ssm_ssh.session.target import parse_target
from ssm_ssh.transport.database_api import Database, DatabaseApi, DatabaseKind
from ssm_ssh.transport.instance_api import InstanceApi
from ssm_ssh.transport.service_calls import ServiceCalls

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from ssm_ssh.forward.options import Account, TunnelOptions

# The kinds that an ARN names, by its service and the word before the identifier.
_ARN: Final = re.compile(r"arn:[\w-]+:(\w+):[\w-]*:\d*:(\w+):([\w-]+)")
_ARN_KINDS: Final = {
    ("rds", "cluster"): DatabaseKind.CLUSTER,
    ("rds", "db"): DatabaseKind.INSTANCE,
    ("elasticache", "replicationgroup"): DatabaseKind.REPLICATION_GROUP,
    ("elasticache", "cluster"): DatabaseKind.CACHE_CLUSTER,
}
_IDENTIFIER: Final = re.compile(r"[A-Za-z][A-Za-z0-9-]{0,62}")
_NAME_HINT: Final = "a database is its identifier, its ARN or tag:KEY=VALUE"
_VIA_HINT: Final = "name a node that reaches it: --via TARGET"


@dataclass(frozen=True, slots=True)
class DatabaseOptions:
    """What a user may choose about a database.

    Attributes:
        via: The node to go through; None for one in the database's VPC.
        is_reader: Go to the reader of a cluster.
        takes_iam: Refuse a database that takes no IAM tokens.
        local_port: 0 for any free one.
    """

    via: str | None = None
    is_reader: bool = False
    takes_iam: bool = False
    local_port: int = 0


class OpenDatabase:
    """A database that is on a local port; made by ``open_database``.

    Attributes:
        database: What AWS tells of it.
        host: Its real name: the one in its certificate.
        node_id: The node in the middle.
        local_host: Where to connect to.
        local_port: The port there.
    """

    def __init__(  # noqa: PLR0913 -- one place makes it
        self,
        database: Database,
        host: str,
        *,
        node_id: str,
        local_host: str,
        local_port: int,
        calls: ServiceCalls,
    ) -> None:
        self.database = database
        self.host = host
        self.node_id = node_id
        self.local_host = local_host
        self.local_port = local_port
        self._calls = calls

    def make_token(self, user: str) -> str:
        """A password for an IAM user, for 15 minutes, made for the real host and port. Blocks.

        Raises:
            ControlPlaneError: If there are no credentials now.
        """
        return self._calls.database_token(self.host, self.database.port, user)


@asynccontextmanager
async def open_database(
    name: str, account: Account, options: TunnelOptions, choice: DatabaseOptions
) -> AsyncIterator[OpenDatabase]:
    """Have a database on a local port for the length of a block.

    Args:
        name: Its identifier, its ARN, or ``tag:KEY=VALUE``.
        account: Whose.
        options: The user's choices about the tunnel.
        choice: The user's choices about the database.

    Raises:
        TargetNotFound: If there is no such database, there are several, or no node reaches its VPC.
        SsmSshError: Why it cannot be had.
    """
    if choice.via is not None:
        parse_target(choice.via)
    calls = await asyncio.to_thread(ServiceCalls.connect, profile=account.profile, region=account.region)
    with closing(calls):
        api = DatabaseApi(calls)
        database = await asyncio.to_thread(find_database, name, api)
        host = _endpoint(database, choice)
        target = choice.via
        if target is None:
            target = await asyncio.to_thread(_find_node, database, api, InstanceApi(calls))
        forward = LocalForward(Listen(port=choice.local_port), to_destination(host, database.port))
        async with open_tunnel_to(target, [forward], account, options) as tunnel:
            listener = tunnel.forwards[0].listener
            assert listener.port is not None
            yield OpenDatabase(
                database,
                host,
                node_id=tunnel.node_id,
                local_host=listener.host,
                local_port=listener.port,
                calls=calls,
            )


def find_database(name: str, api: DatabaseApi) -> Database:
    """The one database that ``name`` means.

    Raises:
        InvalidTarget: If it can be no name.
        TargetNotFound: If there is none, or there are several.
    """
    found = _search(name, api)
    if not found:
        raise TargetNotFound(
            "DescribeDBInstances",
            "",
            f"no database or cache is {name!r}",
            hint=f"{_NAME_HINT}; check the region",
        )
    if len(found) > 1:
        listed = ", ".join(f"{entry.kind} {entry.arn}" for entry in found)
        raise TargetNotFound(
            "DescribeDBInstances", "", f"{name!r} means several: {listed}", hint="use one's ARN"
        )
    return found[0]


def _search(name: str, api: DatabaseApi) -> list[Database]:
    if name.startswith("tag:"):
        key, sign, value = name.removeprefix("tag:").partition("=")
        if not (key and sign):
            raise InvalidTarget(name, _NAME_HINT)
        return api.tagged(key, value)
    if (arn := _ARN.fullmatch(name)) is not None and (arn[1], arn[2]) in _ARN_KINDS:
        return api.named(arn[3], [_ARN_KINDS[arn[1], arn[2]]])
    if not _IDENTIFIER.fullmatch(name):
        raise InvalidTarget(name, _NAME_HINT)
    return api.named(name)


def _endpoint(database: Database, choice: DatabaseOptions) -> str:
    """The host to go to. Raises for what the database cannot do."""
    name = f"{database.kind} {database.identifier}"
    if choice.is_reader and not database.reader_host:
        raise InvalidOption(f"{name} has no reader of its own", hint="leave --reader away")
    host = database.reader_host if choice.is_reader else database.host
    if not host or not database.port:
        raise ControlPlaneError(
            "DescribeDBInstances", "", f"{name} has no endpoint yet", hint="try again later"
        )
    if choice.takes_iam and not database.has_iam:
        raise InvalidOption(
            f"{name} takes no IAM tokens", hint="switch IAM authentication on, or leave --iam away"
        )
    return host


def _find_node(database: Database, databases: DatabaseApi, instances: InstanceApi) -> str:
    """A node in the database's VPC. Raises ``ControlPlaneError`` with a hint at ``--via``."""
    try:
        vpc_id = databases.vpc_of(database)
        nodes = instances.online_nodes(vpc_id) if vpc_id else []
    except ControlPlaneError as error:
        error.hint = _VIA_HINT
        raise
    if not nodes:
        raise TargetNotFound(
            "DescribeInstances",
            "",
            f"no node that is online is in the VPC of {database.identifier} ({vpc_id or 'unknown'})",
            hint=_VIA_HINT,
        )
    return nodes[0]
