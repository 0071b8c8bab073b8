"""A port session's bytes: the contract of every stream, and the bounds of this one."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from ssm_ssh.errors import SessionEnded
from ssm_ssh.protocol.client_stream import QUEUE_BYTES
from ssm_ssh.protocol.outbox import OUTBOX_MESSAGES
from ssm_ssh.protocol.window import MAX_WINDOW_BYTES
from ssm_ssh.session.port_stream import UNREAD_BYTES
from tests.session.stage import Stage
from tests.transport.contract import LAWS, Rig, law_name
from tests.virtual_loop import run_virtually

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from ssm_ssh.session.session import Session
    from ssm_ssh.transport.byte_stream import ByteStream


class PortRig:
    """A port stream over an agent in memory."""

    accepted_bytes = QUEUE_BYTES + MAX_WINDOW_BYTES

    def __init__(self, stage: Stage, session: Session) -> None:
        self._agent = stage.agent
        self._session = session

    @property
    def stream(self) -> ByteStream:
        """As ``Rig``."""
        return self._session.stream

    async def peer_says(self, data: bytes) -> None:
        """As ``Rig``."""
        self._agent.say(data)

    async def peer_ends(self) -> None:
        """As ``Rig``."""
        self._agent.end()

    def peer_stalls(self) -> None:
        """As ``Rig``."""
        self._agent.accepts_data = False

    async def peer_hears(self, count: int) -> bytes:
        """As ``Rig``."""
        self._agent.accepts_data = True
        await self._session._driver.wait_for(lambda: len(self._agent.received) >= count)
        return bytes(self._agent.received)

    async def settle(self) -> None:
        """As ``Rig``."""
        await asyncio.sleep(5)


@pytest.mark.parametrize("law", LAWS, ids=law_name)
def test_contract(law: Callable[[Rig], Awaitable[None]]) -> None:
    """A port stream keeps every law of byte streams."""

    async def scenario() -> None:
        stage = Stage()
        async with stage.session() as session:
            await session.wait_port()
            await law(PortRig(stage, session))

    run_virtually(scenario())


def test_unread_bytes_are_bounded() -> None:
    """Above the limit nothing is received, and the first read below it lets more in."""

    async def scenario() -> None:
        stage = Stage()
        async with stage.session() as session:
            await session.wait_port()
            for _ in range(8):
                stage.agent.say(bytes(UNREAD_BYTES // 4))
                await asyncio.sleep(1)
            assert session.stream._unread.size_bytes == UNREAD_BYTES
            assert not session._driver._is_listening
            await session.stream.read()
            await asyncio.sleep(1)
            assert UNREAD_BYTES < session.stream._unread.size_bytes <= UNREAD_BYTES * 2

    run_virtually(scenario())


def test_unsent_bytes_are_bounded() -> None:
    """A stalled agent stops the writer within the limits of queue and window."""

    async def scenario() -> None:
        stage = Stage()
        async with stage.session() as session:
            await session.wait_port()
            stage.agent.accepts_data = False
            writing = asyncio.ensure_future(session.stream.write(bytes(10_000_000)))
            await asyncio.sleep(10)
            assert not writing.done()
            assert len(session._channel._client_stream._outbox) <= OUTBOX_MESSAGES
            assert session._channel.room_bytes == 0
            writing.cancel()

    run_virtually(scenario())


def test_many_small_messages_are_read_at_once() -> None:
    """One write to the local side is cheaper than sixty."""

    async def scenario() -> None:
        stage = Stage()
        async with stage.session() as session:
            await session.wait_port()
            stage.agent.say(bytes(60 * 1024))
            await asyncio.sleep(1)
            assert len(await session.stream.read()) == 60 * 1024

    run_virtually(scenario())


def test_a_waiting_reader_is_woken_by_close() -> None:
    """Closing is for whoever waits as well, and is not the peer's end."""

    async def scenario() -> None:
        stage = Stage()
        async with stage.session() as session:
            await session.wait_port()
            reading = asyncio.ensure_future(session.stream.read())
            await asyncio.sleep(1)
            await session.stream.close()
            with pytest.raises(SessionEnded):
                await reading

    run_virtually(scenario())
