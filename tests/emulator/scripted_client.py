"""A client of the message gateway that does what a test says and nothing else."""

# ruff: noqa: ANN401 -- botocore is untyped
from __future__ import annotations

import asyncio
import json
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl, urlsplit

import aiohttp
import botocore.session
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.config import Config
from botocore.credentials import Credentials
from yarl import URL

from ssm_ssh.wire.agent_message import AgentMessage, MessageType
from ssm_ssh.wire.payload import ChannelClosed, OpenDataChannel

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Coroutine, Mapping

    from ssm_ssh.emulator.emulator import Emulator

ENDS = {aiohttp.WSMsgType.CLOSE, aiohttp.WSMsgType.CLOSED, aiohttp.WSMsgType.CLOSING, aiohttp.WSMsgType.ERROR}


def run(scenario: Coroutine[Any, Any, None], seconds: float = 20.0) -> None:
    """Run one test's scenario in debug mode; no task may be left over."""

    async def bounded() -> None:
        async with asyncio.timeout(seconds):
            await scenario
        assert len(asyncio.all_tasks()) == 1

    asyncio.run(bounded(), debug=True)


def aws_client(environment: Mapping[str, str], service: str, **config: Any) -> Any:
    """A stock botocore client, led by the emulator's variables; without retries."""
    session = botocore.session.Session()
    session.set_config_variable("region", environment["AWS_REGION"])
    return session.create_client(
        service,
        endpoint_url=environment["AWS_ENDPOINT_URL"],
        aws_access_key_id=environment["AWS_ACCESS_KEY_ID"],
        aws_secret_access_key=environment["AWS_SECRET_ACCESS_KEY"],
        aws_session_token=environment["AWS_SESSION_TOKEN"],
        verify=environment.get("AWS_CA_BUNDLE"),
        config=Config(retries={"total_max_attempts": 1}, **config),
    )


async def call(emulator: Emulator, operation: str, **parameters: Any) -> dict[str, Any]:
    """One SSM call, in a thread because botocore blocks."""

    def work() -> dict[str, Any]:
        client = aws_client(emulator.environment, "ssm")
        try:
            return dict(getattr(client, operation)(**parameters))
        finally:
            client.close()

    return await asyncio.to_thread(work)


def upgrade_headers(emulator: Emulator, url: str) -> dict[str, str]:
    """The headers that sign a stream's upgrade, by botocore's own signer (protocol 2.1)."""
    parts = urlsplit(url)
    scheme = {"ws": "http", "wss": "https"}[parts.scheme]
    request = AWSRequest(
        "GET",
        f"{scheme}://{parts.netloc}{parts.path}",
        params=dict(parse_qsl(parts.query)),
        headers={"Host": parts.netloc},
    )
    keys = emulator.credentials
    credentials = Credentials(keys.access_key_id, keys.secret_access_key, keys.session_token)
    SigV4Auth(credentials, "ssmmessages", "eu-central-1").add_auth(request)
    return dict(request.headers.items())


class ScriptedClient:
    """One data channel, open or not."""

    def __init__(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        self.socket = socket
        self.sequence_number = 0

    async def open(self, token: str) -> None:
        """Send OpenDataChannel."""
        await self.socket.send_str(
            OpenDataChannel(request_id="r", token=token, client_id="c", client_version="1.2.764.0").encode()
        )

    async def say(self, payload: bytes) -> None:
        """Send one data message."""
        await self.socket.send_bytes(self.next_message(payload))

    def next_message(self, payload: bytes) -> bytes:
        """The next data message."""
        self.sequence_number += 1
        return AgentMessage(
            message_type=MessageType.INPUT_STREAM_DATA,
            sequence_number=self.sequence_number - 1,
            payload=payload,
            payload_type=1,
            message_id=bytes(16),
            created_date_ms=1_700_000_000_000,
        ).encode()

    async def hear(self) -> AgentMessage:
        """The next binary message."""
        received = await self.socket.receive()
        assert received.type is aiohttp.WSMsgType.BINARY, received
        return AgentMessage.decode(received.data)

    async def hear_output(self) -> bytes:
        """The payload of the next data message; pauses and starts before it are skipped."""
        while True:
            heard = await self.hear()
            if heard.message_type == MessageType.OUTPUT_STREAM_DATA:
                return heard.payload

    async def hear_end(self) -> ChannelClosed:
        """The ``channel_closed`` that is next; pauses before it are skipped: the agent leaves first."""
        heard = await self.hear()
        while heard.message_type == MessageType.PAUSE_PUBLICATION:
            heard = await self.hear()
        assert heard.message_type == MessageType.CHANNEL_CLOSED
        assert heard.payload_type is None, "the service's header stops at 112"
        return ChannelClosed.decode(heard.payload)

    async def lose(self) -> int | None:
        """Read until the WebSocket is gone and return its close code."""
        while (await self.socket.receive()).type not in ENDS:
            pass
        return self.socket.close_code


@asynccontextmanager
async def dial(
    emulator: Emulator, url: str, *, headers: Mapping[str, str] | None = None
) -> AsyncIterator[ScriptedClient]:
    """A WebSocket to ``url``, verbatim, signed unless ``headers`` are given."""
    if headers is None:
        headers = upgrade_headers(emulator, url)
    async with (
        aiohttp.ClientSession() as session,
        session.ws_connect(URL(url, encoded=True), headers=headers, autoping=False, max_msg_size=0) as socket,
    ):
        yield ScriptedClient(socket)


@asynccontextmanager
async def open_session(emulator: Emulator, **parameters: Any) -> AsyncIterator[ScriptedClient]:
    """A started session with its data channel open."""
    answer = await start(emulator, **parameters)
    async with dial(emulator, answer["StreamUrl"]) as client:
        await client.open(answer["TokenValue"])
        yield client


async def start(emulator: Emulator, **parameters: Any) -> dict[str, Any]:
    """StartSession on the first node."""
    parameters.setdefault("Target", next(iter(emulator.nodes)).node_id)
    parameters.setdefault("DocumentName", "AWS-StartSSHSession")
    return await call(emulator, "start_session", **parameters)


async def read_json(response: aiohttp.ClientResponse) -> Any:
    """The body as JSON, whatever its content type."""
    return json.loads(await response.read())
