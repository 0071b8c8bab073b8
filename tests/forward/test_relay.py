"""One connection to both its ends: who ended, who broke, and what still arrives."""

from __future__ import annotations

import asyncio

import pytest

from ssm_ssh.errors import DestinationRefused, SessionLost, SsmSshError, StreamReset
from ssm_ssh.forward.relay import HALF_OPEN_SECONDS, Relay
from tests.virtual_loop import run_virtually, virtual_loop


class FakeStream:
    """A ``LocalConnection`` whose other side is the test.

    Attributes:
        heard: What was written to it.
        has_ended: Whether our side was ended.
        is_closed: Whether it was closed.
        was_reset: Whether it was broken off.
        write_failure: What a write meets.
    """

    def __init__(self) -> None:
        self.heard = bytearray()
        self.has_ended = False
        self.is_closed = False
        self.was_reset = False
        self.write_failure: SsmSshError | None = None
        self._arriving: asyncio.Queue[bytes | SsmSshError] = asyncio.Queue()

    def says(self, *items: bytes | SsmSshError) -> None:
        """The other side sends, ends (empty bytes) or breaks the connection."""
        for item in items:
            self._arriving.put_nowait(item)

    async def read(self, _max_bytes: int = 0) -> bytes:
        """As ``ByteStream``."""
        item = await self._arriving.get()
        if isinstance(item, SsmSshError):
            raise item
        return item

    async def write(self, data: bytes) -> None:
        """As ``ByteStream``."""
        if self.write_failure is not None:
            raise self.write_failure
        self.heard += data

    async def end(self) -> None:
        """As ``ByteStream``."""
        self.has_ended = True

    async def close(self) -> None:
        """As ``ByteStream``."""
        self.is_closed = True

    def reset(self) -> None:
        """As ``LocalConnection``."""
        self.was_reset = True


class Pair:
    """A relay and both its sides.

    Attributes:
        is_gone: What the relay is told about the local program.
    """

    def __init__(self) -> None:
        self.local = FakeStream()
        self.remote = FakeStream()
        self.is_gone = False
        self.relay = Relay(self.local, lambda: self.is_gone)

    async def run(self) -> None:
        """Run the relay; both sides are closed at its end."""
        try:
            await self.relay.run(self.remote)
        finally:
            assert self.local.is_closed
            assert self.remote.is_closed


def test_bytes_go_both_ways_and_the_server_s_end_is_the_end() -> None:
    """Everything that the server sent arrives before the end does; bytes are counted."""

    async def scenario() -> None:
        pair = Pair()
        pair.local.says(b"question")
        running = asyncio.ensure_future(pair.run())
        await asyncio.sleep(1)
        pair.remote.says(b"answ", b"er", b"")
        pair.local.says(b"")
        await running
        assert bytes(pair.remote.heard) == b"question"
        assert bytes(pair.local.heard) == b"answer"
        assert pair.local.has_ended
        assert not pair.local.was_reset
        assert (pair.relay.sent_bytes, pair.relay.received_bytes) == (8, 6)

    run_virtually(scenario())


def test_what_is_sent_after_the_server_s_end_does_not_break_the_last_bytes() -> None:
    """The local program may go on for a moment; then the connection is closed."""

    async def scenario() -> None:
        pair = Pair()
        pair.remote.says(b"bye", b"")
        pair.local.says(b"more", b"and more")
        await pair.run()
        assert virtual_loop().time() == pytest.approx(2.0)
        assert bytes(pair.local.heard) == b"bye"
        assert pair.local.has_ended

    run_virtually(scenario())


def test_a_late_answer_after_half_close_is_waited_for() -> None:
    """As long as something comes in every half minute."""

    async def scenario() -> None:
        pair = Pair()
        pair.local.says(b"request", b"")
        running = asyncio.ensure_future(pair.run())
        for _ in range(3):
            await asyncio.sleep(HALF_OPEN_SECONDS - 1)
            assert not running.done()
            pair.remote.says(b"part")
        await asyncio.sleep(1)
        pair.remote.says(b"")
        await running
        assert bytes(pair.local.heard) == b"partpartpart"
        assert pair.remote.has_ended

    run_virtually(scenario())


def test_a_server_that_waits_for_an_end_gets_one_in_time() -> None:
    """It is never told of half a close: after half a minute of silence it is told of a whole one."""

    async def scenario() -> None:
        pair = Pair()
        pair.local.says(b"request", b"")
        await pair.run()
        assert virtual_loop().time() == pytest.approx(HALF_OPEN_SECONDS)

    run_virtually(scenario())


def test_a_program_that_is_gone_is_not_waited_for() -> None:
    """Whoever closed the whole connection reads no answer."""

    async def scenario() -> None:
        pair = Pair()
        pair.is_gone = True
        pair.local.says(b"bye", b"")
        await pair.run()
        assert virtual_loop().time() == 0.0
        assert bytes(pair.remote.heard) == b"bye"

    run_virtually(scenario())


def test_a_program_that_goes_while_it_is_waited_for_is_missed_soon() -> None:
    """Within a second or so: nothing but asking tells."""

    async def scenario() -> None:
        pair = Pair()
        pair.local.says(b"")
        running = asyncio.ensure_future(pair.run())
        await asyncio.sleep(10)
        pair.is_gone = True
        await running
        assert virtual_loop().time() < 11.5

    run_virtually(scenario())


@pytest.mark.parametrize("failure", [DestinationRefused("no"), SessionLost("gone"), StreamReset("cut")])
def test_what_broke_the_node_s_side_is_raised_and_resets_the_local_one(failure: SsmSshError) -> None:
    """The local program sees a break, not an end that it could take for all there was."""

    async def scenario() -> None:
        pair = Pair()
        pair.remote.says(b"some", failure)
        with pytest.raises(type(failure)) as caught:
            await pair.run()
        assert caught.value is failure
        assert bytes(pair.local.heard) == b"some"
        assert pair.local.was_reset
        assert not pair.local.has_ended

    run_virtually(scenario())


@pytest.mark.parametrize("is_reading", [True, False])
def test_a_program_that_breaks_its_connection_is_nobody_s_failure(*, is_reading: bool) -> None:
    """It may; the node's side is closed."""

    async def scenario() -> None:
        pair = Pair()
        if is_reading:
            pair.local.write_failure = StreamReset("broken")
            pair.remote.says(b"for nobody")
        else:
            pair.local.says(StreamReset("broken"))
        await pair.run()

    run_virtually(scenario())


def test_a_failed_write_waits_for_what_the_node_still_said() -> None:
    """The reason comes behind the last bytes, from the other direction."""

    async def scenario() -> None:
        pair = Pair()
        pair.remote.write_failure = StreamReset("the node's port closed the connection")
        pair.local.says(b"too late")
        running = asyncio.ensure_future(pair.run())
        await asyncio.sleep(1)
        pair.remote.says(b"last words", b"")
        await running
        assert bytes(pair.local.heard) == b"last words"
        assert pair.local.has_ended

    run_virtually(scenario())


def test_a_cancelled_relay_breaks_both_sides() -> None:
    """The tunnel closes: the local program must not take that for the end of the data."""

    async def scenario() -> None:
        pair = Pair()
        running = asyncio.ensure_future(pair.run())
        await asyncio.sleep(1)
        running.cancel()
        with pytest.raises(asyncio.CancelledError):
            await running
        assert pair.local.was_reset

    run_virtually(scenario())
