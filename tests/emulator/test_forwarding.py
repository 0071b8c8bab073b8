"""Port sessions end to end: the API, the gateway, an agent and real sockets."""

from __future__ import annotations

import asyncio
import json
import socket
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from ssm_ssh.emulator.emulator import Emulator
from ssm_ssh.emulator.node import Node, NodeSpec
from ssm_ssh.emulator.session_document import SessionDocument
from ssm_ssh.emulator.settings import ServiceSettings
from ssm_ssh.wire.agent_message import AgentMessage, MessageType, PayloadType
from ssm_ssh.wire.payload import Acknowledge, HandshakeResponse, ProcessedAction
from tests.emulator.real_server import serving
from tests.emulator.scripted_client import ScriptedClient, call, open_session, run
from tests.emulator.smux_script import FIN, PSH, SYN, spell

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

OWN_DOCUMENT = SessionDocument(
    "Own-Orders",
    "Port",
    properties={"portNumber": "5432", "type": "LocalPortForwarding", "host": "orders.internal"},
)


class Ended(Exception):
    """The service said channel_closed."""


class ForwardingClient:
    """A client that speaks smux over a real WebSocket, as far as a loss-free loopback asks for it."""

    def __init__(self, client: ScriptedClient) -> None:
        self._client = client
        self._bytes = bytearray()
        self.properties: dict[str, Any] = {}

    async def shake_hands(self) -> None:
        """Answer the handshake and wait for its end."""
        request = await self._hear()
        self.properties = json.loads(request.payload)["RequestedClientActions"][0]["ActionParameters"]
        response = HandshakeResponse("1.2.764.0", (ProcessedAction("SessionType", 1),))
        await self._say(PayloadType.HANDSHAKE_RESPONSE, response.encode())
        complete = await self._hear()
        assert complete.payload_type == PayloadType.HANDSHAKE_COMPLETE
        # The plugin is ready a little later; a client proper would send again (protocol 5.3).
        await asyncio.sleep(0.05)

    async def say(self, *frames: bytes) -> None:
        """Send frames in one message."""
        await self._say(PayloadType.OUTPUT, b"".join(frames))

    async def hear(self) -> tuple[int, int, bytes]:
        """The next frame: command, stream id, data."""
        while len(self._bytes) < 8 or len(self._bytes) < 8 + self._length:
            message = await self._hear()
            if message.payload_type == PayloadType.OUTPUT:
                self._bytes += message.payload
        end = 8 + self._length
        raw = bytes(self._bytes[:end])
        del self._bytes[:end]
        return raw[1], int.from_bytes(raw[4:8], "little"), raw[8:]

    async def hear_to_the_end(self) -> int:
        """How many frames come before the session is over."""
        heard = 0
        with suppress(Ended):
            while await self.hear():
                heard += 1
        return heard

    @property
    def _length(self) -> int:
        return int.from_bytes(self._bytes[2:4], "little")

    async def _say(self, payload_type: int, payload: bytes) -> None:
        message = AgentMessage.decode(self._client.next_message(payload))
        await self._client.socket.send_bytes(replace(message, payload_type=payload_type).encode())

    async def _hear(self) -> AgentMessage:
        """The next sequenced message, acknowledged."""
        while True:
            heard = await self._client.hear()
            if heard.message_type == MessageType.CHANNEL_CLOSED:
                raise Ended
            if heard.message_type == MessageType.OUTPUT_STREAM_DATA:
                await self._client.socket.send_bytes(
                    AgentMessage(
                        message_type=MessageType.ACKNOWLEDGE,
                        sequence_number=0,
                        payload=Acknowledge(heard.message_type, "", heard.sequence_number).encode(),
                        payload_type=0,
                        message_id=bytes(16),
                        created_date_ms=1_700_000_000_000,
                    ).encode()
                )
                return heard


@asynccontextmanager
async def forwarding(emulator: Emulator, **parameters: Any) -> AsyncIterator[ForwardingClient]:  # noqa: ANN401
    """A forwarding session, its handshake done."""
    async with open_session(emulator, **parameters) as raw:
        client = ForwardingClient(raw)
        await client.shake_hands()
        yield client


async def shout(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Say everything back, in capitals."""
    while data := await reader.read(65_536):
        writer.write(data.upper())
        await writer.drain()


async def babble(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Talk without end."""
    while True:
        writer.write(b"blah ")
        await writer.drain()
        await asyncio.sleep(0.02)


@pytest.mark.parametrize(
    ("document", "parameters"),
    [
        ("AWS-StartPortForwardingSession", {"portNumber": ["5432"]}),
        (
            "AWS-StartPortForwardingSessionToRemoteHost",
            {"portNumber": ["5432"], "host": ["orders.internal"]},
        ),
        ("AWS-StartPortForwardingSessionToSocket", {"portNumber": ["5432"], "localUnixSocket": ["/tmp/x"]}),
        ("Own-Orders", {}),
    ],
)
def test_two_streams_in_each_kind_of_forwarding(document: str, parameters: dict[str, list[str]]) -> None:
    """The node itself, a host behind it, a document with everything fixed."""

    async def scenario() -> None:
        async with serving(shout) as real:
            ports = {(host, 5432): ("127.0.0.1", real) for host in ("localhost", "orders.internal")}
            node = Node(NodeSpec("web-1", ports=ports), embedded=True)
            async with Emulator([node], documents=[OWN_DOCUMENT]) as emulator:
                async with forwarding(emulator, DocumentName=document, Parameters=parameters) as client:
                    assert client.properties["SessionType"] == "Port"
                    assert client.properties["Properties"]["type"] == "LocalPortForwarding"
                    await client.say(spell(SYN, 3), spell(SYN, 5), spell(PSH, 5, b"five"))
                    assert await client.hear() == (PSH, 5, b"FIVE")
                    await client.say(spell(PSH, 3, b"three"))
                    assert await client.hear() == (PSH, 3, b"THREE")
                    await client.say(spell(FIN, 5))
                    assert await client.hear() == (FIN, 5, b"")
                    (shown,) = (await call(emulator, "describe_sessions", State="Active"))["Sessions"]
                    assert (shown["DocumentName"], shown["Status"]) == (document, "Connected")
                    await call(emulator, "terminate_session", SessionId=shown["SessionId"])
                await emulator.sessions.wait_for_live(0)

    run(scenario())


def test_several_sessions_of_one_node_are_apart() -> None:
    """A session stalled for good costs the others nothing, and can be terminated from outside."""

    async def scenario() -> None:
        # Its kernel takes the connection, nobody ever reads it.
        deaf = socket.create_server(("127.0.0.1", 0))
        async with serving(shout) as real:
            ports = {
                ("localhost", 1): ("127.0.0.1", deaf.getsockname()[1]),
                ("localhost", 2): ("127.0.0.1", real),
            }
            name = "AWS-StartPortForwardingSession"
            async with (
                Emulator([Node(NodeSpec("web-1", ports=ports), embedded=True)]) as emulator,
                forwarding(emulator, DocumentName=name, Parameters={"portNumber": ["1"]}) as stalled,
                forwarding(emulator, DocumentName=name, Parameters={"portNumber": ["2"]}) as lively,
            ):
                await stalled.say(spell(SYN, 3))
                for _ in range(400):
                    await stalled.say(spell(PSH, 3, b"x" * 32_768))
                await lively.say(spell(SYN, 3), spell(PSH, 3, b"hello"))
                assert await lively.hear() == (PSH, 3, b"HELLO")
                first = emulator.sessions.records[0]
                await call(emulator, "terminate_session", SessionId=first.session_id)
                await emulator.sessions.wait_for_live(1)
        deaf.close()

    run(scenario(), seconds=40.0)


@pytest.mark.parametrize(
    ("host", "words"),
    [
        ("nowhere.internal", "lookup nowhere.internal: no such host"),
        ("169.254.169.254", "Forwarding to IP address 169.254.169.254 is forbidden."),
        ("10.0.0.2", "Forwarding to IP address 10.0.0.2 is forbidden."),
    ],
)
def test_a_host_that_may_not_be_reached_ends_with_the_agents_words(host: str, words: str) -> None:
    """In channel_closed."""

    async def scenario() -> None:
        async with (
            Emulator([Node(NodeSpec("web-1"), embedded=True)]) as emulator,
            open_session(
                emulator,
                DocumentName="AWS-StartPortForwardingSessionToRemoteHost",
                Parameters={"host": [host]},
            ) as raw,
        ):
            client = ForwardingClient(raw)
            await client.shake_hands()
            assert (await raw.hear_end()).output == f"\n----------ERROR-------\n{words}"

    run(scenario())


def test_what_a_document_fixes_cannot_be_given() -> None:
    """And GetDocument tells what can."""

    async def scenario() -> None:
        async with Emulator([Node(NodeSpec("web-1"), embedded=True)], documents=[OWN_DOCUMENT]) as emulator:
            with pytest.raises(Exception, match="InvalidParameters"):
                async with open_session(
                    emulator, DocumentName="Own-Orders", Parameters={"portNumber": ["1"]}
                ):
                    pass
            for name, declared in (
                ("Own-Orders", None),
                ("AWS-StartPortForwardingSessionToRemoteHost", {"portNumber", "localPortNumber", "host"}),
                ("AWS-StartPortForwardingSessionToSocket", {"portNumber", "localUnixSocket"}),
            ):
                document = json.loads((await call(emulator, "get_document", Name=name))["Content"])
                assert document["sessionType"] == "Port"
                assert (set(document["parameters"]) if declared else document.get("parameters")) == declared

    run(scenario())


def test_only_the_clients_input_keeps_a_session() -> None:
    """A port that talks without end does not."""

    async def scenario() -> None:
        async with serving(babble) as real:
            ports = {("localhost", 1): ("127.0.0.1", real)}
            node = Node(NodeSpec("web-1", ports=ports), embedded=True)
            async with (
                Emulator([node], settings=ServiceSettings(idle_seconds=0.5)) as emulator,
                forwarding(
                    emulator,
                    DocumentName="AWS-StartPortForwardingSession",
                    Parameters={"portNumber": ["1"]},
                ) as client,
            ):
                await client.say(spell(SYN, 3))
                assert 10 < await client.hear_to_the_end() < 40

    run(scenario())
