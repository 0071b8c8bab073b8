"""The client's end of a mux session as a test's lines say: frames spelled apart from the emulator's."""

# ruff: noqa: D102 -- the names of the methods are the sentences of the dialogue
from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ssm_ssh.emulator.timing import FAST
from ssm_ssh.wire.agent_message import AgentMessage, MessageType, PayloadType
from ssm_ssh.wire.payload import Acknowledge, decode_flag
from tests.emulator.scripted_peer import CLIENT_VERSION, FORWARD_ORDER, Ports, dialogue

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

    from ssm_ssh.emulator.link import SessionOrder
    from ssm_ssh.emulator.room import Resolve
    from ssm_ssh.emulator.timing import Timing
    from tests.emulator.scripted_peer import Dialogue

SYN, FIN, PSH, NOP = range(4)


def spell(command: int, stream_id: int, data: bytes = b"", *, version: int = 1) -> bytes:
    """One frame, little-endian."""
    length = len(data).to_bytes(2, "little")
    return bytes([version, command]) + length + stream_id.to_bytes(4, "little") + data


@dataclass(frozen=True)
class Frame:
    """One frame that was heard."""

    command: int
    stream_id: int
    data: bytes = b""


@dataclass(frozen=True)
class FlagHeard:
    """A flag between the frames."""

    flag: int


class MuxTalk:
    """A mux session, open; every message of the agent is acknowledged as it is heard.

    Attributes:
        acknowledged: Numbers of our messages that the agent acknowledged, as far as was listened.
        sizes: Payload lengths of the agent's output messages.
    """

    def __init__(self, talk: Dialogue, ports: Ports) -> None:
        self.talk = talk
        self.ports = ports
        self.acknowledged: list[int] = []
        self.sizes: list[int] = []
        self._number = 0
        self._expected = 2
        self._bytes = bytearray()

    def says(self, *frames: bytes) -> int:
        """All frames in one message; its number."""
        self._number += 1
        self.talk.says_data(b"".join(frames), number=self._number)
        return self._number

    def says_flag(self, flag: int) -> int:
        self._number += 1
        self.talk.says_flag(flag, number=self._number)
        return self._number

    async def hears(self) -> Frame | FlagHeard:
        """The next frame or flag, however many messages it takes."""
        while True:
            heard = self._next_frame()
            if heard is not None:
                return heard
            message = await self._hears_data()
            if message.payload_type == PayloadType.FLAG:
                assert not self._bytes, "a flag in the middle of a frame"
                return FlagHeard(decode_flag(message.payload))
            self.sizes.append(len(message.payload))
            self._bytes += message.payload

    async def hears_bytes(self, stream_id: int, count: int) -> bytes:
        """``count`` bytes of one stream, and nothing else meanwhile."""
        heard = b""
        while len(heard) < count:
            frame = await self.hears()
            assert isinstance(frame, Frame)
            assert (frame.command, frame.stream_id) == (PSH, stream_id)
            heard += frame.data
        return heard

    async def hears_nothing(self, seconds: float) -> None:
        """No data for ``seconds``; acknowledgements are noted."""
        try:
            async with asyncio.timeout(seconds):
                heard = await self.hears()
        except TimeoutError:
            return
        raise AssertionError(heard)

    async def _hears_data(self) -> AgentMessage:
        while True:
            message = await self.talk.hears()
            assert isinstance(message, AgentMessage)
            if message.message_type == MessageType.ACKNOWLEDGE:
                self.acknowledged.append(Acknowledge.decode(message.payload).sequence_number)
                continue
            self.talk.acknowledges(message.sequence_number)
            # The agent repeats what was acknowledged before it had noted it (protocol 4.4).
            if message.sequence_number == self._expected:
                self._expected += 1
                return message

    def _next_frame(self) -> Frame | None:
        if len(self._bytes) < 8:
            return None
        assert self._bytes[0] == 1
        end = 8 + int.from_bytes(self._bytes[2:4], "little")
        if len(self._bytes) < end:
            return None
        raw = bytes(self._bytes[:end])
        del self._bytes[:end]
        return Frame(raw[1], int.from_bytes(raw[4:8], "little"), raw[8:])


@asynccontextmanager
async def mux_talk(
    *,
    client_version: str = CLIENT_VERSION,
    version: str = "3.3.987.0",
    timing: Timing = FAST,
    order: SessionOrder = FORWARD_ORDER,
    resolve: Resolve = lambda host: (host,),
    vpc_networks: Sequence[str] = (),
) -> AsyncIterator[MuxTalk]:
    """A mux session with its handshake done."""
    ports = Ports()
    async with dialogue(
        version=version,
        timing=timing,
        order=order,
        connect=ports.connect,
        resolve=resolve,
        vpc_networks=vpc_networks,
    ) as talk:
        await talk.opens(client_version=client_version)
        yield MuxTalk(talk, ports)
