"""The pools of sessions that ``-D`` uses: one for each destination that is asked for, and not too many."""

from __future__ import annotations

import asyncio
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator

    from ssm_ssh.session.document import Destination
    from ssm_ssh.session.forward_session import ForwardSession
    from ssm_ssh.session.pool import SessionPool

# Ours: each is at least one session, which is a process on the node; a page of a web application with all it
# loads asks for a dozen.
DESTINATIONS: Final = 32


class _Entry:
    def __init__(self, pool: SessionPool) -> None:
        self.pool = pool
        self.users = 0
        self.idle_since = 0.0

    @property
    def is_idle(self) -> bool:
        return self.users == 0

    @property
    def is_over(self) -> bool:
        return self.is_idle and self.pool.is_empty


class DestinationPools:
    """At most ``limit`` pools at a time: for a further one, that which was idle longest is ended.

    A pool that is not used ends its sessions by itself after ``pool.IDLE_SECONDS``.
    """

    def __init__(
        self,
        open_pool: Callable[[Destination], SessionPool],
        drop_pool: Callable[[Destination], None],
        *,
        kept: Collection[Destination] = (),
        limit: int = DESTINATIONS,
    ) -> None:
        """Start with none.

        Args:
            open_pool: The pool of a destination, made where there is none.
            drop_pool: Ends the pool's sessions.
            kept: Destinations whose pools are there for somebody else: neither counted nor ended.
            limit: How many there may be.
        """
        self._open_pool = open_pool
        self._drop_pool = drop_pool
        self._kept = frozenset(kept)
        self._limit = limit
        self._entries: dict[Destination, _Entry] = {}
        self._past_resumes = 0
        self._past_end: str | None = None

    @property
    def resumes(self) -> int:
        """How often a lost WebSocket was replaced, in all pools there were."""
        return self._past_resumes + sum(entry.pool.resumes for entry in self._entries.values())

    @property
    def last_end(self) -> str | None:
        """Why a session of one of the pools last ended or could not be started, as far as it can be told."""
        ends = [entry.pool.last_end for entry in self._entries.values()]
        return next((end for end in reversed(ends) if end is not None), self._past_end)

    @property
    def sessions(self) -> list[ForwardSession]:
        """The sessions that are up, but for those of ``kept`` destinations."""
        return [session for entry in self._entries.values() for session in entry.pool.sessions]

    @contextmanager
    def use(self, destination: Destination) -> Iterator[SessionPool | None]:
        """The pool of ``destination``, which stays for the length of the block.

        None if all places are taken and all are in use.
        """
        if destination in self._kept:
            yield self._open_pool(destination)
        elif (entry := self._find(destination)) is None:
            yield None
        else:
            entry.users += 1
            try:
                yield entry.pool
            finally:
                entry.users -= 1
                entry.idle_since = asyncio.get_running_loop().time()

    def _find(self, destination: Destination) -> _Entry | None:
        entry = self._entries.get(destination)
        if entry is None and self._make_place():
            entry = self._entries[destination] = _Entry(self._open_pool(destination))
        return entry

    def _make_place(self) -> bool:
        """Whether there is a place for one more."""
        for destination in [place for place, entry in self._entries.items() if entry.is_over]:
            self._drop(destination)
        if len(self._entries) < self._limit:
            return True
        idle = {place: entry.idle_since for place, entry in self._entries.items() if entry.is_idle}
        if idle:
            self._drop(min(idle, key=lambda place: idle[place]))
        return bool(idle)

    def _drop(self, destination: Destination) -> None:
        pool = self._entries.pop(destination).pool
        self._past_resumes += pool.resumes
        self._past_end = pool.last_end or self._past_end
        self._drop_pool(destination)
