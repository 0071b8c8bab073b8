"""Service and client in one, in memory, speaking to an agent as a test's lines say."""

# ruff: noqa: D102 -- the names of the methods are the sentences of the dialogue
from __future__ import annotations

import asyncio
import json
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import TYPE_CHECKING

from ssm_ssh.emulator.agent import SsmAgent
from ssm_ssh.emulator.link import LinkCut, SessionOrder, SessionOver, TaskComplete
from ssm_ssh.emulator.timing import FAST
from ssm_ssh.wire.agent_message import AgentMessage, MessageType, PayloadType
from ssm_ssh.wire.payload import (
    Acknowledge,
    ChannelClosed,
    HandshakeResponse,
    ProcessedAction,
    encode_flag,
)

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

    from ssm_ssh.emulator.room import Connect, Resolve
    from ssm_ssh.emulator.timing import Timing

NODE_ID = "i-0123456789abcdef0"
SSH_ORDER = SessionOrder(
    session_id="alice-0123456789abcdef0",
    document_name="AWS-StartSSHSession",
    session_type="Port",
    properties={"portNumber": "{{ portNumber }}"},
    parameters={"portNumber": "22"},
)
FORWARD_ORDER = replace(
    SSH_ORDER,
    document_name="AWS-StartPortForwardingSession",
    properties={
        "portNumber": "{{ portNumber }}",
        "localPortNumber": "0",
        "type": "LocalPortForwarding",
        "host": "{{ host }}",
    },
    parameters={"portNumber": "80", "host": ""},
)
CLIENT_VERSION = "1.2.764.0"
_CUT = object()


def client_message(
    sequence_number: int,
    payload: bytes,
    payload_type: int = PayloadType.OUTPUT,
    message_type: str = MessageType.INPUT_STREAM_DATA,
) -> bytes:
    """One message as the client sends it."""
    return AgentMessage(
        message_type=message_type,
        sequence_number=sequence_number,
        payload=payload,
        payload_type=payload_type,
        message_id=sequence_number.to_bytes(16, "big"),
        created_date_ms=1_700_000_000_000,
    ).encode()


def acknowledgement(sequence_number: int) -> bytes:
    """The client's acknowledgement of one of the agent's messages."""
    payload = Acknowledge(MessageType.OUTPUT_STREAM_DATA, "", sequence_number).encode()
    return client_message(0, payload, PayloadType.UNDEFINED, MessageType.ACKNOWLEDGE)


class MemoryLink:
    """One link to the scripted gateway."""

    def __init__(self) -> None:
        self.to_agent: asyncio.Queue[object] = asyncio.Queue()
        self.from_agent: asyncio.Queue[str | bytes] = asyncio.Queue()
        self.is_cut = False
        self.has_room = asyncio.Event()
        self.has_room.set()

    async def send(self, message: str | bytes) -> None:
        await self.has_room.wait()
        if self.is_cut:
            raise LinkCut("cut")
        self.from_agent.put_nowait(message)

    async def receive(self) -> str | bytes:
        message = await self.to_agent.get()
        if not isinstance(message, str | bytes):
            raise LinkCut("cut")
        return message

    async def close(self) -> None:
        self.cut()

    def cut(self) -> None:
        self.is_cut = True
        self.has_room.set()
        self.to_agent.put_nowait(_CUT)


class Port:
    """The node's port, whose far end the test holds."""

    def __init__(self) -> None:
        self.connections: list[tuple[str, int]] = []
        self.refuses = False
        self.delay_seconds = 0.0
        self.reader = asyncio.StreamReader()
        self.writer = PortWriter()

    async def connect(self, host: str, port: int) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        await asyncio.sleep(self.delay_seconds)
        self.connections.append((host, port))
        if self.refuses:
            raise ConnectionRefusedError
        self.writer.reader = self.reader
        return self.reader, self.writer  # type: ignore[return-value] # as much of a writer as sessions use


class PortWriter:
    """Keeps what the agent writes; ``takes`` is the kernel having room."""

    def __init__(self) -> None:
        self.written = bytearray()
        self.reader: asyncio.StreamReader | None = None
        self.takes = asyncio.Event()
        self.takes.set()
        self.is_broken = False
        self.transport = self

    def write(self, data: bytes) -> None:
        if self.is_broken:
            raise ConnectionResetError
        self.written += data

    async def drain(self) -> None:
        await self.takes.wait()

    def is_closing(self) -> bool:
        return self.reader is None

    def close(self) -> None:
        if self.reader is not None and not self.reader.at_eof():
            self.reader.feed_eof()
        self.reader = None

    abort = close

    async def wait_closed(self) -> None:
        await asyncio.sleep(0)

    def set_write_buffer_limits(self, high: int) -> None:
        assert high == 0

    def get_write_buffer_size(self) -> int:
        return 0


class Ports:
    """A port of the node that is dialled more than once; each connection has a far end of its own.

    Attributes:
        dialled: Every dial, answered or not.
        opened: The far ends, in the order of the dials that were answered.
        refused: Addresses that refuse.
    """

    def __init__(self) -> None:
        self.dialled: list[tuple[str, int]] = []
        self.opened: list[Port] = []
        self.refused: set[str] = set()
        self.delay_seconds = 0.0

    async def connect(self, host: str, port: int) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        self.dialled.append((host, port))
        await asyncio.sleep(self.delay_seconds)
        if host in self.refused:
            raise ConnectionRefusedError
        far_end = Port()
        self.opened.append(far_end)
        return await far_end.connect(host, port)


class Dialogue:
    """The script's hands: one session of one agent, and the test at the other end of everything."""

    def __init__(self, agent: SsmAgent, port: Port) -> None:
        self.agent = agent
        self.port = port
        self.links: list[MemoryLink] = []
        self.refused_dials = 0
        self.is_over = False
        self.session: asyncio.Task[TaskComplete]
        self._has_dialled = asyncio.Event()

    async def dial(self) -> MemoryLink:
        if self.is_over:
            raise SessionOver("Session is already terminated")
        if self.refused_dials:
            self.refused_dials -= 1
            raise LinkCut("refused")
        self.links.append(MemoryLink())
        self._has_dialled.set()
        return self.links[-1]

    @property
    def link(self) -> MemoryLink:
        return self.links[-1]

    # --- what the agent says ---

    async def hears(self) -> AgentMessage | str:
        """The agent's next message of any kind."""
        await self._has_dialled.wait()
        async with asyncio.timeout(100):
            raw = await self.link.from_agent.get()
        return raw if isinstance(raw, str) else AgentMessage.decode(raw)

    async def hears_type(self, message_type: MessageType) -> AgentMessage:
        message = await self.hears()
        assert isinstance(message, AgentMessage)
        assert message.message_type == message_type, message
        return message

    async def hears_data(self, payload_type: int = PayloadType.OUTPUT, *, number: int) -> bytes:
        message = await self.hears_type(MessageType.OUTPUT_STREAM_DATA)
        assert (message.payload_type, message.sequence_number) == (payload_type, number)
        return message.payload

    async def hears_acknowledge(self) -> int:
        message = await self.hears_type(MessageType.ACKNOWLEDGE)
        return Acknowledge.decode(message.payload).sequence_number

    async def hears_greeting(self) -> dict[str, str]:
        text = await self.hears()
        assert isinstance(text, str)
        fields: dict[str, str] = json.loads(text)
        return fields

    async def hears_nothing(self, seconds: float) -> None:
        """The agent is silent for ``seconds``."""
        await asyncio.sleep(seconds)
        assert self.link.from_agent.empty()

    # --- what the client and the service say ---

    def says(self, *raw: bytes) -> None:
        for message in raw:
            self.link.to_agent.put_nowait(message)

    def says_data(self, payload: bytes, *, number: int, payload_type: int = PayloadType.OUTPUT) -> None:
        self.says(client_message(number, payload, payload_type))

    def says_flag(self, flag: int, *, number: int) -> None:
        self.says_data(encode_flag(flag), number=number, payload_type=PayloadType.FLAG)

    def says_control(self, message_type: MessageType) -> None:
        payload = ChannelClosed().encode() if message_type is MessageType.CHANNEL_CLOSED else b""
        self.says(client_message(0, payload, PayloadType.UNDEFINED, message_type))

    def acknowledges(self, *numbers: int) -> None:
        self.says(*map(acknowledgement, numbers))

    def answers_handshake(
        self, *, status: int = 1, error: str = "", number: int = 0, client_version: str = CLIENT_VERSION
    ) -> None:
        response = HandshakeResponse(client_version, (ProcessedAction("SessionType", status, error=error),))
        self.says_data(response.encode(), number=number, payload_type=PayloadType.HANDSHAKE_RESPONSE)

    async def opens(self, *, client_version: str = CLIENT_VERSION) -> None:
        """Everything up to the moment the port is dialled, with all of the agent's messages acknowledged."""
        await self.hears_greeting()
        await self.hears_type(MessageType.AGENT_SESSION_STATE)
        await self.hears_data(PayloadType.HANDSHAKE_REQUEST, number=0)
        self.acknowledges(0)
        self.answers_handshake(client_version=client_version)
        for _ in range(2):
            await self.hears()
        self.acknowledges(1)
        await asyncio.sleep(self.agent.timing.ready_seconds + self.port.delay_seconds + 0.001)


@asynccontextmanager
async def dialogue(
    *,
    version: str = "3.3.987.0",
    timing: Timing = FAST,
    seed: int = 0,
    order: SessionOrder = SSH_ORDER,
    connect: Connect | None = None,
    resolve: Resolve = lambda host: (host,),
    vpc_networks: Sequence[str] = (),
) -> AsyncIterator[Dialogue]:
    """A session of an agent, started; cancelled at the end if it still runs."""
    port = Port()
    agent = SsmAgent(
        NODE_ID,
        connect or port.connect,
        resolve=resolve,
        vpc_networks=vpc_networks,
        version=version,
        timing=timing,
        seed=seed,
    )
    talk = Dialogue(agent, port)
    async with asyncio.TaskGroup() as tasks:
        talk.session = tasks.create_task(agent.run_session(order, talk.dial))
        try:
            yield talk
        finally:
            talk.session.cancel()
    assert all(link.is_cut for link in talk.links)


def forward_order(**parameters: str) -> SessionOrder:
    """A forwarding session's order with some parameters changed."""
    return replace(FORWARD_ORDER, parameters={**FORWARD_ORDER.parameters, **parameters})


def order_for(**changes: object) -> SessionOrder:
    """The SSH session's order with some fields changed."""
    return replace(SSH_ORDER, **changes)  # type: ignore[arg-type] # the fields' own types are checked by use
