"""Who may end the conversation, and that nothing of it is cut off: two ends in memory, a virtual clock."""

from __future__ import annotations

import asyncio
import logging
from collections import deque

import pytest

from ssm_ssh.errors import SessionEnded, SessionFailed, SessionTimeout, SsmSshError, StreamError, StreamReset
from ssm_ssh.ssh.exchange import LINGER_SECONDS, SILENCE_SECONDS, SILENCE_TOLD_SECONDS, Exchange
from tests.virtual_loop import run_virtually, virtual_loop


class End:
    """One end in memory: what it will read, what was written to it, and what happens when.

    Attributes:
        written: What arrived.
        write_seconds: How long each write takes.
        write_failure: What writing meets.
        has_ended: Whether it was told the end.
        is_abandoned: Set once nobody reads what is written.
    """

    def __init__(self) -> None:
        self.written = b""
        self.write_seconds = 0.0
        self.end_seconds = 0.0
        self.write_failure: SsmSshError | None = None
        self.has_ended = False
        self.is_abandoned = asyncio.Event()
        self._to_read: deque[bytes | SsmSshError] = deque()
        self._news = asyncio.Event()

    def gives(self, *items: bytes | SsmSshError) -> None:
        """What the next reads meet; b"" is the end."""
        self._to_read.extend(items)
        self._news.set()

    def gives_at(self, moment: float, *items: bytes | SsmSshError) -> None:
        """The same, later."""
        virtual_loop().call_at(moment, self.gives, *items)

    async def read(self, _max_bytes: int = 0) -> bytes:
        """As ``ByteStream``."""
        while not self._to_read:
            self._news.clear()
            await self._news.wait()
        item = self._to_read[0]
        if isinstance(item, SsmSshError):
            raise item
        if item:
            self._to_read.popleft()
        return item

    async def write(self, data: bytes) -> None:
        """As ``ByteStream``."""
        await asyncio.sleep(self.write_seconds)
        if self.write_failure is not None:
            raise self.write_failure
        self.written += data

    async def end(self) -> None:
        """As ``ByteStream``."""
        await asyncio.sleep(self.end_seconds)
        self.has_ended = True

    async def close(self) -> None:
        """As ``ByteStream``."""

    async def wait_abandoned(self, seconds: float) -> bool:
        """As ``LocalEnd``."""
        try:
            async with asyncio.timeout(seconds):
                return await self.is_abandoned.wait()
        except TimeoutError:
            return False


class Pair:
    """A local and a remote end, and the exchange between them."""

    def __init__(self) -> None:
        self.local = End()
        self.remote = End()

    async def run(self) -> float:
        """Exchange to the end; returns when that was."""
        await Exchange(self.local, self.remote).run()
        return virtual_loop().time()


def test_the_server_s_end_delivers_its_last_bytes() -> None:
    """And ends the local side, at once."""

    async def scenario() -> None:
        pair = Pair()
        pair.remote.gives(b"SSH-2.0-x\r\n", b"last", b"")
        assert await pair.run() == 0
        assert pair.local.written == b"SSH-2.0-x\r\nlast"
        assert pair.local.has_ended

    run_virtually(scenario())


def test_the_end_of_stdin_waits_for_what_is_in_flight_and_for_answers() -> None:
    """Everything arrives; then what comes back is delivered until nothing has come for a while."""

    async def scenario() -> None:
        pair = Pair()
        pair.remote.end_seconds = 30
        pair.local.gives(b"question", b"")
        pair.remote.gives_at(31.0, b"one")
        pair.remote.gives_at(32.5, b"two")
        assert await pair.run() == pytest.approx(32.5 + LINGER_SECONDS)
        assert pair.remote.written == b"question"
        assert pair.remote.has_ended
        assert pair.local.written == b"onetwo"

    run_virtually(scenario())


def test_nobody_lingers_for_nobody() -> None:
    """With stdin at its end and nobody there to read, it is over as soon as all has arrived."""

    async def scenario() -> None:
        pair = Pair()
        pair.remote.end_seconds = 5
        pair.local.is_abandoned.set()
        pair.local.gives(b"question", b"")
        assert await pair.run() == pytest.approx(5)

    run_virtually(scenario())


def test_a_slow_local_reader_is_no_silence() -> None:
    """Symptom: after the end of stdin, a reader slower than the linger time lost what had arrived for it."""

    async def scenario() -> None:
        pair = Pair()
        pair.local.write_seconds = 5 * LINGER_SECONDS
        pair.local.gives(b"")
        pair.remote.gives(b"one", b"two")
        pair.remote.gives_at(21.5, b"three", b"")
        await pair.run()
        assert pair.local.written == b"onetwothree"

    run_virtually(scenario())


def test_a_reader_that_is_gone_ends_it() -> None:
    """Broken stdout is the local program's right, and no error."""

    async def scenario() -> None:
        pair = Pair()
        pair.local.write_failure = StreamReset("nobody reads")
        pair.remote.gives_at(3.0, b"x")
        assert await pair.run() == pytest.approx(3)

    run_virtually(scenario())


def test_a_stdout_that_cannot_be_written_is_an_error() -> None:
    """Symptom: a full disk behind stdout was taken for a reader that had gone, and nobody was told."""

    async def scenario() -> None:
        pair = Pair()
        pair.local.write_failure = StreamError("stdout cannot be written: No space left on device")
        pair.remote.gives(b"x")
        with pytest.raises(StreamError, match="No space left"):
            await pair.run()

    run_virtually(scenario())


@pytest.mark.parametrize("failure", [SessionEnded(), SessionFailed("id", "gone")])
def test_an_end_met_by_the_upload_first_loses_no_last_byte(failure: SsmSshError) -> None:
    """Symptom: the upload's error ended all, while the download still had bytes to deliver.

    Whether the session ended normally or not: first the bytes, then the word.
    """

    async def scenario() -> None:
        pair = Pair()
        pair.local.gives(b"too late")
        pair.local.write_seconds = 1
        pair.remote.write_failure = failure
        pair.remote.gives(b"last ", b"bytes", b"" if isinstance(failure, SessionEnded) else failure)
        if isinstance(failure, SessionEnded):
            await pair.run()
        else:
            with pytest.raises(SessionFailed):
                await pair.run()
        assert pair.local.written == b"last bytes"

    run_virtually(scenario())


def test_why_the_session_ended_comes_out_with_its_cause() -> None:
    """One exception, no group, its cause kept."""

    async def scenario() -> None:
        pair = Pair()
        failure = SessionFailed("id", "gone")
        failure.__cause__ = OSError("why")
        pair.remote.gives(b"x", failure)
        with pytest.raises(SessionFailed) as raised:
            await pair.run()
        assert raised.value is failure
        assert isinstance(raised.value.__cause__, OSError)
        assert pair.local.written == b"x"
        assert not pair.local.has_ended

    run_virtually(scenario())


def test_silence_is_told_and_then_ends_it(caplog: pytest.LogCaptureFixture) -> None:
    """After ten seconds a word, after 75 an error that says what it most often is."""

    async def scenario() -> None:
        pair = Pair()
        virtual_loop().call_at(SILENCE_TOLD_SECONDS - 0.1, lambda: told.append(len(caplog.records)))
        virtual_loop().call_at(SILENCE_TOLD_SECONDS + 0.1, lambda: told.append(len(caplog.records)))
        with pytest.raises(SessionTimeout) as failure:
            await pair.run()
        assert virtual_loop().time() == pytest.approx(SILENCE_SECONDS)
        assert failure.value.hint is not None
        assert "sshd" in failure.value.hint

    told: list[int] = []
    run_virtually(scenario())
    assert told == [0, 1]
    assert [record.levelno for record in caplog.records] == [logging.WARNING]


def test_a_long_upload_may_be_listened_to_in_silence() -> None:
    """Symptom: an upload that was being taken was ended after 75 seconds because nothing had come back."""

    async def scenario() -> None:
        pair = Pair()
        for number in range(1, 5):
            pair.local.gives_at(50.0 * number, b"more")
        pair.remote.gives_at(210.0, b"done", b"")
        await pair.run()
        assert pair.remote.written == b"more" * 4
        assert pair.local.written == b"done"

    run_virtually(scenario())


def test_one_byte_breaks_the_silence(caplog: pytest.LogCaptureFixture) -> None:
    """Who has spoken once may be silent for ever."""

    async def scenario() -> None:
        pair = Pair()
        pair.remote.gives_at(9.0, b"S")
        pair.remote.gives_at(5000.0, b"")
        assert await pair.run() == pytest.approx(5000)

    run_virtually(scenario())
    assert caplog.records == []


def test_the_agent_s_text_wins_over_the_silence() -> None:
    """The agent tells of a closed port after a minute: that is the error then."""

    async def scenario() -> None:
        pair = Pair()
        pair.remote.gives_at(61.0, SessionFailed("id", "document process failed unexpectedly"))
        with pytest.raises(SessionFailed):
            await pair.run()

    run_virtually(scenario())


@pytest.mark.parametrize("moment", [0.0, 1.0, 3.0, 6.0, 11.0])
def test_cancellation_leaves_no_task(moment: float) -> None:
    """Whatever is waited for."""

    async def scenario() -> None:
        pair = Pair()
        pair.local.gives_at(2.0, b"x", b"")
        pair.remote.end_seconds = 3
        pair.remote.gives_at(5.5, b"y")
        pair.local.write_seconds = 10
        running = asyncio.ensure_future(pair.run())
        virtual_loop().call_at(moment, running.cancel)
        with pytest.raises(asyncio.CancelledError):
            await running
        assert asyncio.all_tasks() == {asyncio.current_task()}

    run_virtually(scenario())
