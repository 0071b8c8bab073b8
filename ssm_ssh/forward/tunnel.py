"""A tunnel: any number of forwards to and beyond one node, for the length of a block."""

from __future__ import annotations

import asyncio
import logging
from contextlib import ExitStack, asynccontextmanager, closing, contextmanager
from typing import TYPE_CHECKING

from ssm_ssh.forward.listener import open_listener
from ssm_ssh.forward.local import OpenForward
from ssm_ssh.forward.node_pools import open_node_pools
from ssm_ssh.session.target import parse_target, resolve_target
from ssm_ssh.transport.control_plane import ControlPlane
from ssm_ssh.transport.driver import single_cause

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator, Sequence

    from ssm_ssh.forward.listener import Listener
    from ssm_ssh.forward.node_pools import NodePools
    from ssm_ssh.forward.options import Account, TunnelOptions
    from ssm_ssh.forward.spec import LocalForward

_log = logging.getLogger(__name__)


class Tunnel:
    """A tunnel that is up; made by ``open_tunnel_to``.

    Attributes:
        node_id: The node in the middle.
        forwards: In the order in which they were asked for.
    """

    def __init__(self, node_id: str, forwards: Sequence[OpenForward]) -> None:
        self.node_id = node_id
        self.forwards = tuple(forwards)

    async def prepare(self) -> None:
        """Have a session up for every forward, so that what forbids one is told before anybody connects.

        Raises:
            SsmSshError: Why one of them could not be had.
        """
        try:
            async with asyncio.TaskGroup() as tasks:
                for forward in self.forwards:
                    tasks.create_task(forward.prepare())
        except BaseExceptionGroup as group:
            cause = single_cause(group)
            raise cause from cause.__cause__


@contextmanager
def open_listeners(forwards: Sequence[LocalForward]) -> Iterator[list[Listener]]:
    """Listen for all forwards, for the length of a block; nothing is accepted yet.

    Raises:
        InvalidForward: If one of the local ports, addresses or paths cannot be had.
    """
    with ExitStack() as stack:
        yield [stack.enter_context(closing(open_listener(forward.listen))) for forward in forwards]


@asynccontextmanager
async def open_tunnel_to(
    target: str, forwards: Sequence[LocalForward], account: Account, options: TunnelOptions
) -> AsyncIterator[Tunnel]:
    """Listen, start the sessions and carry connections for the length of a block.

    Local ports are taken first: one that is busy is told before anything is asked of AWS.

    Args:
        target: As the user typed it.
        forwards: What to listen on, and where it leads to.
        account: Whose nodes.
        options: The user's choices.

    Raises:
        SsmSshError: Why the tunnel cannot be had.
    """
    parsed = parse_target(target)
    with open_listeners(forwards) as listeners:
        control_plane = await asyncio.to_thread(
            ControlPlane.connect,
            profile=account.profile,
            region=account.region,
            stream_endpoint=account.stream_endpoint,
        )
        with closing(control_plane):
            node_id = await asyncio.to_thread(resolve_target, parsed, control_plane)
            async with open_node_pools(control_plane, node_id, options) as pools:
                tunnel = Tunnel(node_id, _forwards(forwards, listeners, pools, options))
                await tunnel.prepare()
                async with _serving(tunnel):
                    yield tunnel


def _forwards(
    forwards: Sequence[LocalForward],
    listeners: Sequence[Listener],
    pools: NodePools,
    options: TunnelOptions,
) -> list[OpenForward]:
    return [
        OpenForward(
            listener,
            forward.destination,
            pools.pool_to(forward.destination),
            allows_other_users=options.allows_other_users,
        )
        for forward, listener in zip(forwards, listeners, strict=True)
    ]


@asynccontextmanager
async def _serving(tunnel: Tunnel) -> AsyncIterator[None]:
    """Carry local connections while the body runs."""
    try:
        async with asyncio.TaskGroup() as tasks:
            serving = [tasks.create_task(forward.serve()) for forward in tunnel.forwards]
            try:
                yield
            finally:
                for task in serving:
                    task.cancel()
    except BaseExceptionGroup as group:
        cause = single_cause(group)
        raise cause from cause.__cause__
