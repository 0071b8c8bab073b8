"""A tunnel: any number of forwards to and beyond one node, for the length of a block."""

from __future__ import annotations

import asyncio
import logging
from contextlib import ExitStack, asynccontextmanager, closing, contextmanager
from functools import partial
from typing import TYPE_CHECKING, TypeAlias, assert_never

from ssm_ssh.errors import AccessDenied, InvalidForward, TargetNotConnected
from ssm_ssh.forward.destination_pools import DestinationPools
from ssm_ssh.forward.dynamic import OpenDynamicForward
from ssm_ssh.forward.listener import open_listener
from ssm_ssh.forward.local import OpenForward
from ssm_ssh.forward.node_pools import open_node_pools
from ssm_ssh.forward.spec import DynamicForward, LocalForward
from ssm_ssh.session.target import parse_target, resolve_target
from ssm_ssh.transport.control_plane import ControlPlane
from ssm_ssh.transport.driver import single_cause

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator, Sequence

    from ssm_ssh.forward.listener import Listener
    from ssm_ssh.forward.node_pools import NodePools
    from ssm_ssh.forward.options import Account, DynamicOptions, TunnelOptions

_log = logging.getLogger(__name__)

Forward: TypeAlias = LocalForward | DynamicForward


class Tunnel:
    """A tunnel that is up; made by ``open_tunnel_to``.

    Attributes:
        forwards: In the order in which they were asked for.
    """

    def __init__(self, pools: NodePools, forwards: Sequence[OpenForward | OpenDynamicForward]) -> None:
        self.forwards = tuple(forwards)
        self._pools = pools

    @property
    def node_id(self) -> str:
        """The node in the middle; another one once that was replaced."""
        return self._pools.node_id

    @property
    def local_forwards(self) -> list[OpenForward]:
        """Those that lead to one destination."""
        return [forward for forward in self.forwards if isinstance(forward, OpenForward)]

    async def prepare(self) -> None:
        """Have a session up for every ``-L``, so that what forbids one is told before anybody connects.

        Raises:
            SsmSshError: Why one of them could not be had.
        """
        try:
            async with asyncio.TaskGroup() as tasks:
                for forward in self.local_forwards:
                    tasks.create_task(forward.prepare())
        except BaseExceptionGroup as group:
            cause = single_cause(group)
            raise cause from cause.__cause__


@contextmanager
def open_listeners(forwards: Sequence[Forward], options: TunnelOptions) -> Iterator[list[Listener]]:
    """Listen for all forwards, for the length of a block; nothing is accepted yet.

    Raises:
        InvalidForward: If one of the local ports, addresses or paths cannot be had, or would let other
            machines in where that was not asked for.
    """
    with ExitStack() as stack:
        listeners = [stack.enter_context(closing(open_listener(forward.listen))) for forward in forwards]
        for forward, listener in zip(forwards, listeners, strict=True):
            if isinstance(forward, DynamicForward):
                _check_remote_reach(listener, options.dynamic)
        yield listeners


@asynccontextmanager
async def open_tunnel_to(
    target: str, forwards: Sequence[Forward], account: Account, options: TunnelOptions
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
    with open_listeners(forwards, options) as listeners:
        control_plane = await asyncio.to_thread(
            ControlPlane.connect,
            profile=account.profile,
            region=account.region,
            stream_endpoint=account.stream_endpoint,
        )
        with closing(control_plane):
            resolve = partial(resolve_target, parsed, control_plane)
            async with open_node_pools(control_plane, resolve, options) as pools:
                tunnel = Tunnel(pools, _forwards(forwards, listeners, pools, options))
                if not tunnel.local_forwards:
                    await asyncio.to_thread(_check_connected, control_plane, tunnel.node_id)
                await tunnel.prepare()
                async with _serving(tunnel):
                    yield tunnel


def _check_remote_reach(listener: Listener, options: DynamicOptions) -> None:
    """Raises ``InvalidForward`` if other machines could go where the node goes, and nobody asked for that."""
    who = listener.remote_reach
    if who is None or (options.allows_remote and options.login is not None):
        return
    raise InvalidForward(
        f"-D on {listener.addresses[0]} would let {who} go wherever the node can",
        hint="leave BIND out; or give --allow-remote, and USER:PASSWORD in a file by --socks-login",
    )


def _forwards(
    forwards: Sequence[Forward],
    listeners: Sequence[Listener],
    pools: NodePools,
    options: TunnelOptions,
) -> list[OpenForward | OpenDynamicForward]:
    fixed = [forward.destination for forward in forwards if isinstance(forward, LocalForward)]
    chosen = DestinationPools(partial(pools.pool_to, keeps_one=False), pools.drop_pool, kept=fixed)
    opened: list[OpenForward | OpenDynamicForward] = []
    for forward, listener in zip(forwards, listeners, strict=True):
        match forward:
            case LocalForward(destination=destination):
                pool = pools.pool_to(destination)
                opened.append(
                    OpenForward(listener, destination, pool, allows_other_users=options.allows_other_users)
                )
            case DynamicForward():
                pools.check_any_destination()
                opened.append(
                    OpenDynamicForward(
                        listener, chosen, options.dynamic, allows_other_users=options.allows_other_users
                    )
                )
            case _:
                assert_never(forward)
    return opened


def _check_connected(control_plane: ControlPlane, node_id: str) -> None:
    """Tell at the start what else the first program would be told. Blocks.

    Raises:
        TargetNotConnected: If the node's agent is away.
        ControlPlaneError: Why nothing can be asked of AWS.
    """
    try:
        is_connected = control_plane.connection_status(node_id)
    except AccessDenied as denied:
        # Nothing else needs this right.
        _log.debug("%s", denied)
        return
    if not is_connected:
        raise TargetNotConnected("GetConnectionStatus", "", f"{node_id} is not connected")


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
