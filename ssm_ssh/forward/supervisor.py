"""All tunnels of one user that are up in the background, and what is asked of them."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

from ssm_ssh import __version__
from ssm_ssh.forward.control_line import FIRST_TRY_SECONDS
from ssm_ssh.forward.supervised import Order, SupervisedTunnel

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

_log = logging.getLogger(__name__)

# Ours: a supervisor whose tunnels never come, because their ``up`` was interrupted, ends after this.
UNUSED_SECONDS: Final = 60.0


@dataclass(slots=True)
class _Kept:
    tunnel: SupervisedTunnel
    task: asyncio.Task[None]


class Supervisor:
    """Keeps tunnels up until ``down``; it is over when the last one was taken down.

    Attributes:
        is_over: Whether the last tunnel was taken down: no further one can be brought up.
    """

    def __init__(
        self,
        tasks: asyncio.TaskGroup,
        *,
        supervise: Callable[[Order], SupervisedTunnel] = SupervisedTunnel,
    ) -> None:
        """Start with no tunnel.

        Args:
            tasks: Owns the tunnels' tasks; who owns it calls ``close`` first.
            supervise: Makes what keeps one tunnel up.
        """
        self.is_over = False
        self._tasks = tasks
        self._supervise = supervise
        self._kept: dict[str, _Kept] = {}
        # Up and down one after another: a tunnel that is on its way down still has its ports.
        self._changing = asyncio.Lock()
        self._used = asyncio.Event()
        self._over = asyncio.Event()
        self._since = datetime.now(UTC).isoformat(timespec="seconds")

    async def up(self, orders: Sequence[Order]) -> list[SupervisedTunnel]:
        """Keep these up, too; one that is up with another order is taken down first.

        Returns:
            The tunnels, each after its first try; none if the supervisor is over. One whose try takes too
            long is still starting.
        """
        async with self._changing:
            if self.is_over:
                return []
            self._used.set()
            changed = [order.name for order in orders if not self._is_kept(order)]
            await self._end([name for name in changed if name in self._kept])
            for order in orders:
                if order.name not in self._kept:
                    tunnel = self._supervise(order)
                    self._kept[order.name] = _Kept(tunnel, self._tasks.create_task(tunnel.keep_up()))
            tunnels = [self._kept[order.name].tunnel for order in orders]
        try:
            async with asyncio.timeout(FIRST_TRY_SECONDS):
                for tunnel in tunnels:
                    await tunnel.wait_tried()
        except TimeoutError:
            _log.warning("a tunnel is still being opened after %.0f seconds", FIRST_TRY_SECONDS)
        return tunnels

    async def down(self, names: Sequence[str]) -> list[str]:
        """Take these down, all of them where no name is given; returns those that were up.

        Their sessions are terminated and nobody listens for them any more when this returns.
        """
        async with self._changing:
            ended = [name for name in (names or list(self._kept)) if name in self._kept]
            await self._end(ended)
            self._end_unless_kept()
            return ended

    async def wait_over(self) -> None:
        """Wait until the last tunnel was taken down, or none was asked for in time."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(UNUSED_SECONDS):
                await self._used.wait()
        async with self._changing:
            self._end_unless_kept()
        await self._over.wait()

    def close(self) -> None:
        """Have all tunnels end as soon as their tasks run."""
        self.is_over = True
        for kept in self._kept.values():
            kept.task.cancel()

    def status(self) -> dict[str, Any]:
        """About the supervisor itself, as JSON has it."""
        return {"process_id": os.getpid(), "since": self._since, "version": __version__}

    def tunnel_status(self) -> list[dict[str, Any]]:
        """About each tunnel, as JSON has it; by name."""
        return [self._kept[name].tunnel.status() for name in sorted(self._kept)]

    def _end_unless_kept(self) -> None:
        if not self._kept:
            self.is_over = True
            self._over.set()

    def _is_kept(self, order: Order) -> bool:
        return order.name in self._kept and self._kept[order.name].tunnel.order == order

    async def _end(self, names: Sequence[str]) -> None:
        ending = [self._kept.pop(name).task for name in names]
        for task in ending:
            task.cancel()
        if ending:
            await asyncio.wait(ending)
