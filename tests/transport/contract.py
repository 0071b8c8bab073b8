"""What every byte stream must keep: laws to run on each implementation.

A test of an implementation makes a ``Rig`` and runs each of ``LAWS`` on it.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final, Protocol

import pytest

from ssm_ssh.errors import SsmSshError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from ssm_ssh.transport.byte_stream import ByteStream


class Rig(Protocol):
    """A stream and its peer.

    Attributes:
        accepted_bytes: How much the stream accepts, at most, from a writer while the peer takes nothing.
    """

    accepted_bytes: int

    @property
    def stream(self) -> ByteStream:
        """The stream under test."""

    async def peer_says(self, data: bytes) -> None:
        """The peer sends a little."""

    async def peer_ends(self) -> None:
        """The peer ends its side."""

    def peer_stalls(self) -> None:
        """The peer takes nothing from now on."""

    async def peer_hears(self, count: int) -> bytes:
        """What the peer took, all the ``count`` bytes; it takes again if it had stalled."""

    async def settle(self) -> None:
        """Let whatever can happen happen."""


async def _what_the_peer_says_is_read_once_and_in_order(rig: Rig) -> None:
    said = bytes(range(256)) * 8
    await rig.peer_says(said)
    heard = b""
    while len(heard) < len(said):
        heard += await rig.stream.read()
    assert heard == said


async def _a_read_returns_at_most_what_was_asked_for(rig: Rig) -> None:
    await rig.peer_says(b"abcdefghij")
    heard = b""
    for max_bytes in (1, 3, 2, 100):
        data = await rig.stream.read(max_bytes)
        assert 1 <= len(data) <= max_bytes
        heard += data
    assert b"abcdefghij".startswith(heard)


async def _nothing_is_the_end_and_the_end_is_nothing(rig: Rig) -> None:
    reading = asyncio.ensure_future(rig.stream.read())
    await rig.settle()
    assert not reading.done()
    await rig.peer_says(b"x")
    assert await reading == b"x"
    await rig.peer_says(b"last")
    await rig.peer_ends()
    assert await rig.stream.read() == b"last"
    assert await rig.stream.read() == b""
    assert await rig.stream.read() == b""


async def _what_is_written_arrives_once_and_in_order(rig: Rig) -> None:
    for piece in (b"a", b"\n", b"", bytes(range(256)), b"z" * 5000):
        await rig.stream.write(piece)
    await rig.stream.end()
    expected = b"a\n" + bytes(range(256)) + b"z" * 5000
    assert await rig.peer_hears(len(expected)) == expected


async def _after_its_end_the_stream_reads_on(rig: Rig) -> None:
    await rig.stream.write(b"question")
    await rig.stream.end()
    await rig.stream.end()
    await rig.peer_says(b"answer")
    assert await rig.stream.read() == b"answer"


async def _a_closed_stream_is_closed(rig: Rig) -> None:
    await rig.peer_says(b"unread")
    await rig.settle()
    await rig.stream.close()
    await rig.stream.close()
    await rig.stream.end()
    with pytest.raises(SsmSshError):
        await rig.stream.read()
    with pytest.raises(SsmSshError):
        await rig.stream.write(b"x")


async def _a_writer_waits_for_a_peer_that_takes_nothing(rig: Rig) -> None:
    rig.peer_stalls()
    data = bytes(range(256)) * (rig.accepted_bytes // 256 + 2)
    writing = asyncio.ensure_future(rig.stream.write(data))
    await rig.settle()
    assert not writing.done()
    hearing = asyncio.ensure_future(rig.peer_hears(len(data)))
    await writing
    assert await hearing == data


async def _a_cancelled_read_takes_nothing(rig: Rig) -> None:
    heard = b""
    for piece in (b"one", b"two", b"three"):
        reading = asyncio.ensure_future(rig.stream.read())
        await rig.settle()
        heard += await _cancelled(reading)
        # And once more, with the bytes on their way and the reader not yet told.
        await rig.peer_says(piece)
        reading = asyncio.ensure_future(rig.stream.read())
        await asyncio.sleep(0)
        heard += await _cancelled(reading)
    while len(heard) < len(b"onetwothree"):
        heard += await rig.stream.read()
    assert heard == b"onetwothree"


async def _cancelled(reading: asyncio.Future[bytes]) -> bytes:
    """Cancel a read; returns what it had read before it could be cancelled."""
    reading.cancel()
    await asyncio.wait([reading])
    return b"" if reading.cancelled() else reading.result()


async def _a_cancelled_end_can_be_asked_again(rig: Rig) -> None:
    rig.peer_stalls()
    await rig.stream.write(b"x" * 1000)
    ending = asyncio.ensure_future(rig.stream.end())
    await asyncio.sleep(0)
    ending.cancel()
    await asyncio.wait([ending])
    assert await rig.peer_hears(1000) == b"x" * 1000
    await rig.stream.end()


LAWS: Final[tuple[Callable[[Rig], Awaitable[None]], ...]] = (
    _what_the_peer_says_is_read_once_and_in_order,
    _a_read_returns_at_most_what_was_asked_for,
    _nothing_is_the_end_and_the_end_is_nothing,
    _what_is_written_arrives_once_and_in_order,
    _after_its_end_the_stream_reads_on,
    _a_closed_stream_is_closed,
    _a_writer_waits_for_a_peer_that_takes_nothing,
    _a_cancelled_read_takes_nothing,
    _a_cancelled_end_can_be_asked_again,
)


def law_name(law: Callable[[Rig], Awaitable[None]]) -> str:
    """For the test's id."""
    return law.__name__.strip("_")
