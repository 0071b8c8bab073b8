"""The API server of an EKS cluster behind a node: the SOCKS port that leads there."""

from __future__ import annotations

import asyncio
import re
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

from ssm_ssh.errors import InvalidOption, InvalidTarget
from ssm_ssh.forward.options import DynamicOptions
from ssm_ssh.forward.reach import Reach, parse_allowance
from ssm_ssh.forward.spec import DynamicForward, Listen
from ssm_ssh.forward.tunnel import open_tunnel_to

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from ssm_ssh.forward.options import Account, TunnelOptions
    from ssm_ssh.transport.cluster_api import Cluster

# Specification: CreateCluster's rule. It keeps names from leading out of a folder, too.
_NAME: Final = re.compile(r"[0-9A-Za-z][0-9A-Za-z_-]{0,99}")
# RFC 1928 section 3: version 5, one method, no login; and the answer to it.
_GREETING: Final = bytes((5, 1, 0))
_WELCOME: Final = bytes((5, 0))
_GREETING_SECONDS: Final = 5.0


def check_cluster_name(name: str) -> None:
    """Raises ``InvalidTarget`` if no cluster can have the name."""
    if not _NAME.fullmatch(name):
        raise InvalidTarget(name, "a cluster's name has letters, digits, - and _, at most 100")


@asynccontextmanager
async def open_cluster(
    cluster: Cluster, target: str, account: Account, options: TunnelOptions, *, local_port: int
) -> AsyncIterator[int]:
    """Have a SOCKS port that leads to the cluster's API server, and nowhere else, for the length of a block.

    Args:
        cluster: What EKS tells of it.
        target: The node to go through.
        account: Whose node.
        options: The user's choices.
        local_port: 0 for any free one.

    Raises:
        SsmSshError: Why it cannot be had.
    """
    host = urlsplit(cluster.endpoint).hostname or ""
    options = replace(options, dynamic=DynamicOptions(reach=Reach([parse_allowance(host)])))
    async with open_tunnel_to(target, [DynamicForward(Listen(port=local_port))], account, options) as tunnel:
        port = tunnel.forwards[0].listener.port
        assert port is not None
        yield port


async def check_socks_port(port: int) -> None:
    """Make sure that a tunnel's SOCKS port is up.

    Raises:
        InvalidOption: If it is not.
    """
    try:
        async with asyncio.timeout(_GREETING_SECONDS):
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            try:
                writer.write(_GREETING)
                answer = await reader.readexactly(len(_WELCOME))
            finally:
                writer.transport.abort()
    except (OSError, EOFError):
        # A time-out is an OSError, too.
        answer = b""
    if answer != _WELCOME:
        raise InvalidOption(
            f"no tunnel's SOCKS port answers on 127.0.0.1:{port}",
            hint=f"`ssm-ssh tunnel TARGET -D {port}` opens one; or give --via TARGET",
        )
