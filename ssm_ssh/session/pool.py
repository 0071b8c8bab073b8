"""Several sessions to one port, used as one.

Sessions are started as they are needed, up to a number; a new stream goes to the healthy session that carries
least. A session that a destination holds up takes no new streams, and another one takes its place.
"""

from __future__ import annotations

import asyncio
import logging
from functools import partial
from typing import TYPE_CHECKING, Final

from ssm_ssh.errors import SsmSshError, StreamReset
from ssm_ssh.transport.byte_stream import READ_BYTES, ByteStream

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractAsyncContextManager

    from ssm_ssh.session.forward_session import ForwardSession

_log = logging.getLogger(__name__)

# Ours: a session without streams is ended after this, except for the last: to have one at hand.
IDLE_SECONDS: Final = 60.0
# Ours: an agent that has not acknowledged anything for so long is held up by a destination (protocol 7.6);
# and after so long the streams that wait behind that destination are broken, so that their users can go on.
STALLED_SECONDS: Final = 10.0
HOPELESS_SECONDS: Final = 60.0
# Ours: after a session could not be started, the others are used alone for so long.
_GROWTH_PAUSE_SECONDS: Final = 30.0


class _Member:
    """One place in the pool: a session that is starting, up, or on its way out."""

    def __init__(self) -> None:
        loop = asyncio.get_running_loop()
        self.ready: asyncio.Future[ForwardSession] = loop.create_future()
        self.changed = asyncio.Event()
        self.host: asyncio.Task[None] | None = None
        # Streams open or about to be, and since when there are none.
        self.load = 0
        self.idle_since = loop.time()
        self.is_leaving = False
        self.is_hopeless = False

    @property
    def forward(self) -> ForwardSession | None:
        """The session, once it is there."""
        is_there = self.ready.done() and not self.ready.cancelled() and self.ready.exception() is None
        return self.ready.result() if is_there else None

    @property
    def stalled_seconds(self) -> float:
        """For how long its agent has acknowledged nothing."""
        return 0.0 if self.forward is None else self.forward.stalled_seconds

    @property
    def is_usable(self) -> bool:
        """Whether a stream may be opened, now or once the session is there."""
        if self.is_leaving or self.stalled_seconds >= STALLED_SECONDS:
            return False
        return not self.ready.done() if self.forward is None else not self.forward.streams.is_over

    @property
    def is_useless(self) -> bool:
        """Whether it can go."""
        return self.is_hopeless or (self.is_leaving and self.load <= 0)

    def leave(self) -> None:
        """Take no more streams."""
        self.is_leaving = True
        self.changed.set()

    def take(self) -> None:
        """One stream more."""
        self.load += 1
        self.changed.set()

    def release(self) -> None:
        """One stream less."""
        self.load -= 1
        self.idle_since = asyncio.get_running_loop().time()
        if self.forward is not None and self.forward.streams.is_over:
            self.leave()
        self.changed.set()


class _PooledStream:
    """A stream that gives its place back when it is closed."""

    def __init__(self, stream: ByteStream, release: Callable[[], None]) -> None:
        self._stream = stream
        self._release: Callable[[], None] | None = release

    async def read(self, max_bytes: int = READ_BYTES) -> bytes:
        """See ``ByteStream``."""
        return await self._stream.read(max_bytes)

    async def write(self, data: bytes) -> None:
        """See ``ByteStream``."""
        await self._stream.write(data)

    async def end(self) -> None:
        """See ``ByteStream``."""
        await self._stream.end()

    async def close(self) -> None:
        """See ``ByteStream``."""
        release, self._release = self._release, None
        if release is not None:
            release()
            await self._stream.close()


class SessionPool:
    """Up to ``size`` sessions that serve streams to one destination.

    A stalled session does not count against ``size``: its place is taken, and it ends when its streams do.

    Attributes:
        last_end: Why a session last ended or could not be started, unless that was our doing.
    """

    last_end: str | None = None

    def __init__(
        self,
        open_one: Callable[[], AbstractAsyncContextManager[ForwardSession]],
        tasks: asyncio.TaskGroup,
        *,
        size: int = 1,
        keeps_one: bool = True,
    ) -> None:
        """Make a pool that has started nothing yet.

        Args:
            open_one: Starts one session, and ends it at the end of its block.
            tasks: Owns the sessions' tasks; who owns it calls ``close`` first.
            size: How many sessions to spread streams over.
            keeps_one: Have a session at hand even while nobody is connected.
        """
        self._open_one = open_one
        self._tasks = tasks
        self._size = size
        self._keeps_one = keeps_one
        self._members: list[_Member] = []
        self._has_place = asyncio.Event()
        self._grows_at = 0.0
        self._is_closed = False
        self._has_told_single = False
        self._past_resumes = 0

    @property
    def resumes(self) -> int:
        """How often a lost WebSocket was replaced, in sessions that have ended, too."""
        return self._past_resumes + sum(session.resumes for session in self.sessions)

    @property
    def sessions(self) -> list[ForwardSession]:
        """The sessions that are up."""
        return [member.forward for member in self._members if member.forward is not None]

    @property
    def is_empty(self) -> bool:
        """Whether no session is up, starting or on its way out."""
        return not self._members

    async def prepare(self) -> None:
        """Have one session up, so that what forbids it is told before anybody connects.

        Raises:
            SsmSshError: Why there is none.
        """
        if not self._members:
            self._add()
        await asyncio.shield(self._members[0].ready)

    async def open_stream(self) -> ByteStream:
        """Open a stream on the healthy session that carries least, starting one if there is a place.

        Waits while no session can take a further stream. The caller closes the stream, whatever happens, and
        so gives its place back.

        Raises:
            SsmSshError: Why there is no session, or no stream on it.
        """
        while True:
            if self._is_closed:
                raise StreamReset("the tunnel is closing")
            member = self._choose()
            if member is None:
                self._has_place.clear()
                await self._has_place.wait()
                continue
            member.take()
            try:
                stream = await self._open_on(member)
            except BaseException:
                self._release(member)
                raise
            if stream is not None:
                return _PooledStream(stream, partial(self._release, member))
            self._release(member)

    async def _open_on(self, member: _Member) -> ByteStream | None:
        """A stream of one session, or None if another one has to do."""
        try:
            forward = await asyncio.shield(member.ready)
        except SsmSshError:
            if any(other.is_usable for other in self._members):
                return None
            raise
        # It may have ended, or others may have taken what it had, while we waited for it.
        return forward.streams.open_stream() if member.is_usable else None

    def close(self) -> None:
        """End all sessions, whatever they carry, as soon as their tasks run."""
        self._is_closed = True
        self._has_place.set()
        for member in self._members:
            member.is_hopeless = True
            member.leave()
            if not member.ready.done() and member.host is not None:
                member.host.cancel()

    # --- inside ---

    def _release(self, member: _Member) -> None:
        member.release()
        self._has_place.set()

    def _choose(self) -> _Member | None:
        """Where the next stream goes; None while there is no place."""
        least = min(
            (member for member in self._members if member.is_usable),
            key=lambda member: member.load,
            default=None,
        )
        if least is not None and (least.load == 0 or not self._may_grow()):
            return least
        return self._add() if self._places_taken() < self._size else None

    def _places_taken(self) -> int:
        return sum(
            not member.is_leaving and member.stalled_seconds < STALLED_SECONDS for member in self._members
        )

    def _may_grow(self) -> bool:
        now = asyncio.get_running_loop().time()
        return self._places_taken() < self._size and now >= self._grows_at

    def _add(self) -> _Member:
        member = _Member()
        self._members.append(member)
        member.host = self._tasks.create_task(self._host(member))
        # Whoever was the only one is not any more.
        for other in self._members:
            other.changed.set()
        return member

    async def _host(self, member: _Member) -> None:
        """Keep one session up for as long as it is of use."""
        try:
            async with self._open_one() as forward, asyncio.TaskGroup() as tasks:
                self._tell_single(forward)
                member.ready.set_result(forward)
                watching = tasks.create_task(self._watch_end(member, forward))
                await self._wait_useless(member)
                watching.cancel()
        except SsmSshError as error:
            self._grows_at = asyncio.get_running_loop().time() + _GROWTH_PAUSE_SECONDS
            self.last_end = str(error)
            if member.ready.done():
                _log.info("a session of the tunnel ended badly: %s", error)
            else:
                member.ready.set_exception(error)
                # Whoever waits raises it; if nobody does, nobody misses it.
                member.ready.exception()
        finally:
            member.is_leaving = True
            self._members.remove(member)
            self._past_resumes += 0 if member.forward is None else member.forward.resumes
            if not member.ready.done():
                member.ready.set_exception(StreamReset("the tunnel is closing"))
                member.ready.exception()
            self._has_place.set()

    async def _wait_useless(self, member: _Member) -> None:
        loop = asyncio.get_running_loop()
        while not member.is_useless:
            member.changed.clear()
            try:
                async with asyncio.timeout_at(self._next_look(member, loop.time())):
                    await member.changed.wait()
            except TimeoutError:
                self._look(member, loop.time())

    def _next_look(self, member: _Member, now: float) -> float | None:
        """When ``_look`` can have something to do at the earliest, or None before something changes."""
        if member.load == 0:
            return member.idle_since + IDLE_SECONDS if self._is_spare(member) else None
        if member.is_leaving and member.load == 1:
            return None
        limit = HOPELESS_SECONDS if member.is_leaving else STALLED_SECONDS
        return now + max(limit - member.stalled_seconds, 0.0)

    def _look(self, member: _Member, now: float) -> None:
        assert member.forward is not None
        session_id, stalled_seconds = member.forward.session_id, member.stalled_seconds
        if stalled_seconds >= HOPELESS_SECONDS and member.load > 1:
            _log.warning(
                "session %s is still held up: its %d connections are broken", session_id, member.load
            )
            member.is_hopeless = True
        elif stalled_seconds >= STALLED_SECONDS and not member.is_leaving:
            _log.warning(
                "session %s is held up by a destination that does not read; new connections get another one",
                session_id,
            )
            member.leave()
            self._has_place.set()
        elif member.load == 0 and self._is_spare(member) and now >= member.idle_since + IDLE_SECONDS:
            _log.info("session %s was idle and is ended", session_id)
            member.leave()

    def _is_spare(self, member: _Member) -> bool:
        """Whether the pool can do without it, were it idle."""
        return not self._keeps_one or any(other is not member and other.is_usable for other in self._members)

    async def _watch_end(self, member: _Member, forward: ForwardSession) -> None:
        """Tell the session's end, unless it was ours."""
        failure = await forward.wait_over()
        if member.is_useless:
            return
        self.last_end = str(
            failure or "its idle limit or its longest time was reached, or somebody terminated it"
        )
        _log.warning(
            "session %s is over: %s; the next connection starts another", forward.session_id, self.last_end
        )
        member.leave()
        self._has_place.set()

    def _tell_single(self, forward: ForwardSession) -> None:
        if not forward.is_shared and not self._has_told_single:
            self._has_told_single = True
            _log.warning(
                "the agent on the node is older than 3.0.222.0 and carries one connection a session: at most "
                "%d at a time, further ones wait (--sessions allows more)",
                self._size,
            )
