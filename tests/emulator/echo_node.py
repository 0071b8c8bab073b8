"""A node whose agent says back what it hears: just enough of an agent to see the service work."""

from __future__ import annotations

import asyncio
import os
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from ssm_ssh.emulator.link import LinkCut, SessionOver, TaskComplete, TaskStatus
from ssm_ssh.emulator.placement import DEFAULT_PLACEMENT, Placement
from ssm_ssh.wire.agent_message import AgentMessage, Flags, MessageType, PayloadType
from ssm_ssh.wire.payload import AgentSessionState, OpenDataChannel

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ssm_ssh.emulator.link import AgentLink, Dial, SessionOrder
    from ssm_ssh.emulator.windows_launch import WindowsLaunch

FAREWELL = b"farewell"
FAILURE = b"failure"


def message(
    message_type: str, sequence_number: int, payload: bytes, payload_type: int = PayloadType.OUTPUT
) -> bytes:
    """One agent message with a random id."""
    return AgentMessage(
        message_type=message_type,
        sequence_number=sequence_number,
        payload=payload,
        payload_type=payload_type,
        message_id=os.urandom(16),
        created_date_ms=1_700_000_000_000,
    ).encode()


class EchoAgent:
    """Echoes data, ends on ``FAREWELL``, fails on ``FAILURE``, and remembers what the service told it.

    Attributes:
        orders: The sessions it was ordered to run.
        control: Types of the control messages it received, in order.
        received: Every binary message it received.
        first_words: Wrong first messages, one for each dial, before it opens its link properly.
        is_deaf: Takes nothing from its link.
        flood: Output payloads to send unasked, as soon as the link is open.
    """

    def __init__(self) -> None:
        self.orders: list[SessionOrder] = []
        self.control: list[str] = []
        self.received: list[bytes] = []
        self.flood: list[bytes] = []
        self.first_words: list[str | bytes] = []
        self.is_deaf = False
        self.cuts = 0
        self.sequence_number = 0

    async def run_session(self, order: SessionOrder, dial: Dial) -> TaskComplete:
        """See ``Agent``."""
        self.orders.append(order)
        self.sequence_number = 0
        while True:
            try:
                link = await dial()
                complete = await self._serve(order, link)
            except LinkCut:
                self.cuts += 1
                continue
            except SessionOver:
                return TaskComplete(TaskStatus.CANCELLED)
            await link.close()
            return complete

    async def _serve(self, order: SessionOrder, link: AgentLink) -> TaskComplete:
        if self.first_words:
            await link.send(self.first_words.pop(0))
        await link.send(OpenDataChannel(request_id="r", token="t").encode())
        state = AgentSessionState("Connected", order.session_id).encode()
        await link.send(
            AgentMessage(
                MessageType.AGENT_SESSION_STATE, 0, state, 0, os.urandom(16), 1_700_000_000_000, Flags.SYN
            ).encode()
        )
        for payload in self.flood:
            await self._say(link, payload)
        while True:
            if self.is_deaf:
                await asyncio.Event().wait()
            raw = await link.receive()
            assert isinstance(raw, bytes)
            heard = AgentMessage.decode(raw)
            self.received.append(raw)
            if heard.message_type == MessageType.CHANNEL_CLOSED:
                return TaskComplete(TaskStatus.CANCELLED)
            if heard.message_type != MessageType.INPUT_STREAM_DATA:
                self.control.append(heard.message_type)
            elif heard.payload == FAREWELL:
                await self._say(link, b"last words")
                return TaskComplete(TaskStatus.SUCCESS)
            elif heard.payload == FAILURE:
                return TaskComplete(TaskStatus.FAILED, "it went wrong")
            else:
                await self._say(link, heard.payload)

    async def _say(self, link: AgentLink, payload: bytes) -> None:
        await link.send(message(MessageType.OUTPUT_STREAM_DATA, self.sequence_number, payload))
        self.sequence_number += 1


@dataclass
class EchoNode:
    """See ``EmulatedNode``."""

    name: str = "web-1"
    node_id: str = "i-0123456789abcdef0"
    tags: Mapping[str, str] = field(default_factory=dict)
    platform: str = "Linux"
    agent_version: str = "3.3.987.0"
    ip_address: str = "10.0.1.2"
    placement: Placement = DEFAULT_PLACEMENT
    windows_launch: WindowsLaunch | None = None
    is_online: bool = True
    agent: EchoAgent = field(default_factory=EchoAgent)
    keys: list[tuple[str, str]] = field(default_factory=list)
    life: list[str] = field(default_factory=list)

    async def start(self) -> None:
        """See ``EmulatedNode``."""
        self.life.append("start")

    async def stop(self) -> None:
        """See ``EmulatedNode``."""
        self.life.append("stop")

    def authorize_key(self, os_user: str, public_key: str, *, seconds: float = 60.0) -> None:
        """See ``EmulatedNode``."""
        assert seconds == 60.0
        self.keys.append((os_user, public_key))
