"""The sessions to one node: a pool for each destination."""

from __future__ import annotations

import asyncio
import logging
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Final

from ssm_ssh.errors import InvalidOption, TargetNotConnected
from ssm_ssh.session.document import Destination, find_own_document, forward_request
from ssm_ssh.session.forward_session import ForwardSession, open_forward_session
from ssm_ssh.session.pacing import Pacing
from ssm_ssh.session.path_memory import recall_limits, remember_limits
from ssm_ssh.session.pool import SessionPool
from ssm_ssh.transport.driver import single_cause

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from contextlib import AbstractAsyncContextManager

    from ssm_ssh.forward.options import TunnelOptions
    from ssm_ssh.session.document import OwnDocument, SessionRequest
    from ssm_ssh.transport.control_plane import ControlPlane

_log = logging.getLogger(__name__)

# The parameters that say where the node is to connect to.
_DESTINATION: Final = frozenset({"host", "portNumber"})


class NodePools:
    """Pools of sessions to one node; made by ``open_node_pools``.

    Attributes:
        node_id: The node, or the one that has taken its place under the name that was asked for.
    """

    def __init__(  # noqa: PLR0913 -- made in one place
        self,
        control_plane: ControlPlane,
        node_id: str,
        options: TunnelOptions,
        *,
        resolve: Callable[[], str],
        own_document: OwnDocument | None,
        tasks: asyncio.TaskGroup,
    ) -> None:
        self._control_plane = control_plane
        self.node_id = node_id
        self._resolve = resolve
        self._options = options
        self._own_document = own_document
        self._tasks = tasks
        self._limits = recall_limits(control_plane.region)
        self._pools: dict[Destination, SessionPool] = {}
        self._pacing = Pacing()

    def pool_to(self, destination: Destination, *, keeps_one: bool = True) -> SessionPool:
        """The pool of sessions to ``destination``; the same one for the same destination.

        Args:
            destination: Where the node connects to.
            keeps_one: Have a session at hand even while nobody is connected.

        Raises:
            InvalidOption: If the user gave a parameter that the document does not declare.
        """
        pool = self._pools.get(destination)
        if pool is None:
            request = self._request(destination)
            pool = self._pools[destination] = SessionPool(
                partial(self._open, request), self._tasks, size=self._options.sessions, keeps_one=keeps_one
            )
        return pool

    def check_any_destination(self) -> None:
        """Make sure that every destination can be had: document and parameters have to leave it open.

        Raises:
            InvalidOption: If they decide on it.
        """
        own = self._own_document
        decided = sorted(_DESTINATION & self._options.parameters.keys())
        if decided:
            raise InvalidOption(
                f"--parameters decides on {decided[0]}, which programs choose with -D", hint="use -L instead"
            )
        if own is not None and not (own.declared or frozenset()) >= _DESTINATION:
            raise InvalidOption(
                f"the document {own.name} does not let programs choose host and port, as -D has to",
                hint="use -L, or a document that declares the parameters host and portNumber",
            )

    def drop_pool(self, destination: Destination) -> None:
        """End the sessions to ``destination``, whatever they carry."""
        pool = self._pools.pop(destination, None)
        if pool is not None:
            pool.close()

    def close(self) -> None:
        """End all sessions."""
        for destination in list(self._pools):
            self.drop_pool(destination)

    def _request(self, destination: Destination) -> SessionRequest:
        own = self._own_document
        if own is not None and destination.host is not None and "host" not in (own.declared or ()):
            _log.warning("the document %s decides on the host: %s is not sent", own.name, destination.host)
        return forward_request(
            self.node_id,
            destination,
            own=own,
            parameters=self._options.parameters,
            reason=self._options.reason,
        )

    @asynccontextmanager
    async def _open(self, request: SessionRequest) -> AsyncIterator[ForwardSession]:
        await self._pacing.wait_turn()
        async with AsyncExitStack() as stack:
            try:
                forward = await stack.enter_async_context(self._session(request))
            except TargetNotConnected:
                if not await self._has_moved():
                    raise
                forward = await stack.enter_async_context(self._session(request))
            try:
                yield forward
            finally:
                if forward.limits != self._limits:
                    self._limits = forward.limits
                    remember_limits(self._control_plane.region, forward.limits)

    def _session(self, request: SessionRequest) -> AbstractAsyncContextManager[ForwardSession]:
        options = replace(self._options.session, limits=self._limits)
        return open_forward_session(
            self._control_plane,
            replace(request, target=self.node_id),
            options,
            keeps_alive=self._options.keeps_alive,
        )

    async def _has_moved(self) -> bool:
        """Whether the target means another node now, as after a replacement; that one is used from now on.

        Raises:
            ControlPlaneError: If it means none, or several.
        """
        before, self.node_id = self.node_id, await asyncio.to_thread(self._resolve)
        if self.node_id != before:
            _log.warning("the node %s has been replaced by %s", before, self.node_id)
        return self.node_id != before


@asynccontextmanager
async def open_node_pools(
    control_plane: ControlPlane, resolve: Callable[[], str], options: TunnelOptions
) -> AsyncIterator[NodePools]:
    """Pools that live for the length of a block; at its end their sessions are terminated.

    Args:
        control_plane: The account's and region's API.
        resolve: Says which node is meant, at the start and when that node has gone. Blocks.
        options: The user's choices.

    Raises:
        ControlPlaneError: If no node is meant, or the document of the options cannot be looked up.
    """
    node_id = await asyncio.to_thread(resolve)
    own_document = None
    if options.document_name is not None:
        own_document = await asyncio.to_thread(find_own_document, options.document_name, control_plane)
    try:
        async with asyncio.TaskGroup() as tasks:
            pools = NodePools(
                control_plane, node_id, options, resolve=resolve, own_document=own_document, tasks=tasks
            )
            try:
                yield pools
            finally:
                pools.close()
    except BaseExceptionGroup as group:
        cause = single_cause(group)
        raise cause from cause.__cause__
