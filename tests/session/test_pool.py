"""Several sessions used as one: where streams go, when sessions start and end, and what is told."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, cast

import pytest

from ssm_ssh.errors import SessionFailed, SsmSshError, StreamReset, TargetNotConnected, Throttled
from ssm_ssh.session.pool import HOPELESS_SECONDS, IDLE_SECONDS, STALLED_SECONDS, SessionPool
from tests.virtual_loop import run_virtually, virtual_loop

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from ssm_ssh.session.forward_session import ForwardSession
    from ssm_ssh.transport.byte_stream import ByteStream

START_SECONDS = 1.0


class FakeStream:
    """A stream that only knows whether it was closed."""

    def __init__(self, session: FakeSession) -> None:
        self.session = session

    async def read(self, _max_bytes: int = 0) -> bytes:
        """As ``ByteStream``."""
        return self.session.session_id.encode()

    async def write(self, data: bytes) -> None:
        """As ``ByteStream``."""

    async def end(self) -> None:
        """As ``ByteStream``."""

    async def close(self) -> None:
        """As ``ByteStream``."""
        self.session.open_streams -= 1


class FakeSession:
    """A ``ForwardSession`` and its streams, as a pool sees them.

    Attributes:
        open_streams: How many were opened and not closed.
        stalled_since: When its agent stopped to acknowledge, or None.
    """

    def __init__(self, number: int, *, is_shared: bool) -> None:
        self.session_id = f"session-{number}"
        self.is_shared = is_shared
        self.open_streams = 0
        self.opened = 0
        self.resumes = 0
        self.stalled_since: float | None = None
        self.failure: SsmSshError | None = None
        self.is_over = False
        self._has_ended = asyncio.Event()

    @property
    def streams(self) -> FakeSession:
        """As ``ForwardSession``."""
        return self

    @property
    def stalled_seconds(self) -> float:
        """As ``ForwardSession``."""
        return 0.0 if self.stalled_since is None else virtual_loop().time() - self.stalled_since

    def open_stream(self) -> FakeStream:
        """As ``Streams``."""
        assert not self.is_over
        self.open_streams += 1
        self.opened += 1
        self.is_over = not self.is_shared
        return FakeStream(self)

    def end(self, failure: SsmSshError | None = None) -> None:
        """The service ends it."""
        self.is_over = True
        self.failure = failure
        self._has_ended.set()

    async def wait_over(self) -> SsmSshError | None:
        """As ``ForwardSession``."""
        await self._has_ended.wait()
        return self.failure


class Service:
    """Starts sessions, each in a second, and remembers them.

    Attributes:
        started: All that were started, in order.
        live: Those whose block has not ended.
        failures: What the next starts meet.
    """

    def __init__(self, *, is_shared: bool = True) -> None:
        self.is_shared = is_shared
        self.started: list[FakeSession] = []
        self.live: list[FakeSession] = []
        self.failures: list[SsmSshError] = []

    @asynccontextmanager
    async def open_one(self) -> AsyncIterator[ForwardSession]:
        """As ``open_forward_session``."""
        await asyncio.sleep(START_SECONDS)
        if self.failures:
            raise self.failures.pop(0)
        session = FakeSession(len(self.started), is_shared=self.is_shared)
        self.started.append(session)
        self.live.append(session)
        try:
            yield cast("ForwardSession", session)
        finally:
            self.live.remove(session)

    @asynccontextmanager
    async def pool(self, size: int = 1, *, keeps_one: bool = True) -> AsyncIterator[SessionPool]:
        """A pool of these; nothing of it is left at the end."""
        async with asyncio.TaskGroup() as tasks:
            pool = SessionPool(self.open_one, tasks, size=size, keeps_one=keeps_one)
            try:
                yield pool
            finally:
                pool.close()
        assert not self.live


async def settle() -> None:
    """Let everybody have a turn."""
    for _ in range(10):
        await asyncio.sleep(0)


def test_all_streams_share_one_session_by_default() -> None:
    """Each session is an event in the account's trail: there is one as long as one does."""

    async def scenario() -> None:
        service = Service()
        async with service.pool() as pool:
            await pool.prepare()
            for _ in range(50):
                await pool.open_stream()
            assert [session.open_streams for session in service.started] == [50]
            assert [session.session_id for session in pool.sessions] == ["session-0"]

    run_virtually(scenario())


def test_streams_spread_over_sessions_that_start_as_they_are_needed() -> None:
    """A second session starts with the second stream at once, not before; then the least loaded is taken."""

    async def scenario() -> None:
        service = Service()
        async with service.pool(3) as pool:
            await pool.prepare()
            await pool.prepare()
            for expected in ([1], [1, 1], [1, 1, 1], [2, 1, 1], [2, 2, 1]):
                await pool.open_stream()
                assert [session.open_streams for session in service.started] == expected

    run_virtually(scenario())


def test_streams_opened_at_once_do_not_wait_for_each_other() -> None:
    """Six at the same moment over three sessions: two each, all within one start."""

    async def scenario() -> None:
        service = Service()
        async with service.pool(3) as pool:
            await asyncio.gather(*(pool.open_stream() for _ in range(6)))
            assert virtual_loop().time() == pytest.approx(START_SECONDS)
            assert [session.open_streams for session in service.started] == [2, 2, 2]

    run_virtually(scenario())


def test_a_closed_stream_gives_its_place_back_once() -> None:
    """Closing twice does not make a session look idler than it is."""

    async def scenario() -> None:
        service = Service()
        async with service.pool(2) as pool:
            first, second = await pool.open_stream(), await pool.open_stream()
            await first.close()
            await first.close()
            third = await pool.open_stream()
            assert await third.read() == await first.read()
            assert await third.read() != await second.read()

    run_virtually(scenario())


def test_idle_sessions_end_but_for_the_last() -> None:
    """A minute after its last stream; one stays at hand for the next connection."""

    async def scenario() -> None:
        service = Service()
        async with service.pool(3) as pool:
            streams = [await pool.open_stream() for _ in range(3)]
            for stream in streams:
                await stream.close()
            await asyncio.sleep(IDLE_SECONDS - 1)
            assert len(service.live) == 3
            await asyncio.sleep(2)
            assert len(service.live) == 1
            await asyncio.sleep(10 * IDLE_SECONDS)
            assert len(service.live) == 1

    run_virtually(scenario())


def test_a_pool_may_keep_none() -> None:
    """Where a destination was asked for once, its session ends, too."""

    async def scenario() -> None:
        service = Service()
        async with service.pool(keeps_one=False) as pool:
            await (await pool.open_stream()).close()
            await asyncio.sleep(IDLE_SECONDS + 1)
            assert not service.live
            await pool.open_stream()
            assert len(service.started) == 2

    run_virtually(scenario())


def test_a_stalled_session_gets_no_new_streams(caplog: pytest.LogCaptureFixture) -> None:
    """Another one takes its place, beyond the number; it is told once, and ends with its last stream."""

    async def scenario() -> None:
        service = Service()
        async with service.pool() as pool:
            await pool.open_stream()
            service.started[0].stalled_since = virtual_loop().time()
            assert await (await pool.open_stream()).read() == b"session-0"
            await asyncio.sleep(STALLED_SECONDS + 0.1)
            fresh = await pool.open_stream()
            assert await fresh.read() == b"session-1"
            assert service.started[0] in service.live

    run_virtually(scenario())
    assert [record.message for record in caplog.records if "held up" in record.message] == [
        "session session-0 is held up by a destination that does not read; new connections get another one"
    ]


def test_streams_behind_a_stalled_one_are_let_go(caplog: pytest.LogCaptureFixture) -> None:
    """After a minute the session is ended, so that those who only wait behind the stalled one can go on."""

    async def scenario() -> None:
        service = Service()
        async with service.pool() as pool:
            for _ in range(2):
                await pool.open_stream()
            service.started[0].stalled_since = virtual_loop().time()
            await asyncio.sleep(HOPELESS_SECONDS - 0.1)
            assert len(service.live) == 1
            await asyncio.sleep(1)
            assert not service.live

    run_virtually(scenario())
    assert "session session-0 is still held up: its 2 connections are broken" in caplog.messages


def test_a_session_that_was_idle_is_watched_too(caplog: pytest.LogCaptureFixture) -> None:
    """It was told only when the next connection came, if nobody was connected before the stalled one."""

    async def scenario() -> None:
        service = Service()
        async with service.pool() as pool:
            await pool.prepare()
            await asyncio.sleep(IDLE_SECONDS)
            await pool.open_stream()
            service.started[0].stalled_since = virtual_loop().time()
            await asyncio.sleep(2 * STALLED_SECONDS)

    run_virtually(scenario())
    assert "session session-0 is held up" in caplog.text


def test_a_stalled_stream_that_holds_up_nobody_is_left_alone() -> None:
    """A server may take its time over what only one program sends."""

    async def scenario() -> None:
        service = Service()
        async with service.pool() as pool:
            stream = await pool.open_stream()
            service.started[0].stalled_since = virtual_loop().time()
            await asyncio.sleep(10 * HOPELESS_SECONDS)
            assert len(service.live) == 1
            await stream.close()
            await settle()
            assert not service.live

    run_virtually(scenario())


@pytest.mark.parametrize(
    ("failure", "says"),
    [(None, "its idle limit or its longest time was reached"), (SessionFailed("session-0", "boom"), "boom")],
)
def test_a_session_that_is_over_is_replaced(
    failure: SsmSshError | None, says: str, caplog: pytest.LogCaptureFixture
) -> None:
    """It is told why, and the next stream starts another."""

    async def scenario() -> None:
        service = Service()
        async with service.pool() as pool:
            stream = await pool.open_stream()
            service.started[0].end(failure)
            await settle()
            assert await (await pool.open_stream()).read() == b"session-1"
            await stream.close()
            await settle()
            assert [session.session_id for session in pool.sessions] == ["session-1"]

    run_virtually(scenario())
    (line,) = [message for message in caplog.messages if "session-0 is over" in message]
    assert says in line


def test_what_happened_to_sessions_is_remembered() -> None:
    """Resumes of those that have ended, too, and why the last one ended, unless that was our doing."""

    async def scenario() -> None:
        service = Service()
        async with service.pool() as pool:
            await pool.prepare()
            assert (pool.resumes, pool.last_end) == (0, None)
            service.started[0].resumes = 2
            assert pool.resumes == 2
            service.started[0].end(SessionFailed("session-0", "a reason"))
            await settle()
            service.failures.append(TargetNotConnected("StartSession", "", "it is off"))
            assert (pool.resumes, pool.last_end) == (2, "session session-0 was ended: a reason")
            with pytest.raises(TargetNotConnected):
                await pool.open_stream()
            assert pool.last_end == "StartSession failed: it is off"

    run_virtually(scenario())


def test_what_forbids_a_session_is_told() -> None:
    """By ``prepare`` and by each stream, and the next one tries again."""

    async def scenario() -> None:
        service = Service()
        service.failures = [Throttled("StartSession", "ThrottlingException", "slow down") for _ in range(2)]
        async with service.pool() as pool:
            with pytest.raises(Throttled):
                await pool.prepare()
            with pytest.raises(Throttled):
                await pool.open_stream()
            await pool.open_stream()

    run_virtually(scenario())


def test_where_no_further_session_starts_the_others_do() -> None:
    """A stream that was to get a session of its own shares one; growth is tried again later."""

    async def scenario() -> None:
        service = Service()
        async with service.pool(2) as pool:
            await pool.open_stream()
            service.failures = [Throttled("StartSession", "ThrottlingException", "slow down")]
            for _ in range(2):
                assert await (await pool.open_stream()).read() == b"session-0"
            await asyncio.sleep(60)
            assert await (await pool.open_stream()).read() == b"session-1"

    run_virtually(scenario())


def test_sessions_that_carry_one_stream_are_used_once_and_waited_for(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Old agents: as many at a time as there may be sessions, the rest waits; told once."""

    async def scenario() -> None:
        service = Service(is_shared=False)
        async with service.pool(2) as pool:
            streams = await asyncio.gather(pool.open_stream(), pool.open_stream())
            third = asyncio.ensure_future(pool.open_stream())
            await asyncio.sleep(10)
            assert not third.done()
            await streams[0].close()
            assert await (await third).read() == b"session-2"
            assert [session.opened for session in service.started] == [1, 1, 1]
            assert len(service.live) == 2

    run_virtually(scenario())
    assert sum("carries one connection a session" in message for message in caplog.messages) == 1


def test_the_end_ends_everything() -> None:
    """A session that is starting, a stream that waits, streams that are open: nothing holds the end up."""

    async def scenario() -> None:
        service = Service(is_shared=False)
        waiting: list[asyncio.Future[ByteStream]] = []
        async with service.pool(2) as pool:
            await pool.open_stream()
            waiting += [asyncio.ensure_future(pool.open_stream()) for _ in range(2)]
            await asyncio.sleep(START_SECONDS / 2)
        assert virtual_loop().time() == pytest.approx(1.5 * START_SECONDS)
        for outcome in await asyncio.gather(*waiting, return_exceptions=True):
            assert isinstance(outcome, StreamReset)
        with pytest.raises(StreamReset):
            await pool.open_stream()

    run_virtually(scenario())


def test_whoever_gives_up_waiting_leaves_nothing_behind() -> None:
    """A local program that goes while the session starts: its place is free again."""

    async def scenario() -> None:
        service = Service()
        async with service.pool(2) as pool:
            waiting = asyncio.ensure_future(pool.open_stream())
            await asyncio.sleep(START_SECONDS / 2)
            waiting.cancel()
            await asyncio.sleep(START_SECONDS)
            await pool.open_stream()
            assert [session.open_streams for session in service.started] == [1]

    run_virtually(scenario())
