"""The WebSocket against independent peers: batches, bounds, ends and refusals."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from typing import TYPE_CHECKING

import pytest
from aiohttp import WSMsgType, web
from websockets.asyncio.server import ServerConnection, serve
from websockets.frames import Frame, Opcode

from ssm_ssh.errors import DataChannelLost, DataChannelRefused, EndpointUnreachable
from ssm_ssh.transport import websocket as module
from ssm_ssh.transport.connection import Route, open_connection
from ssm_ssh.transport.stream_url import StreamAddress, address_of_host
from ssm_ssh.transport.trust import client_context
from ssm_ssh.transport.websocket import INCOMING_LIMIT_BYTES, WebSocket, open_websocket
from tests.transport.peers import Answer, Authority, ConnectProxy, Service, raw_server, run, until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable
    from pathlib import Path

PATH = "/v1/data-channel/jane-0"
QUERY = "role=publish_subscribe&cell-number=AAE+x/y=="
DIRECT = Route(None)


def at(port: int) -> StreamAddress:
    """A stream's address on this machine."""
    return StreamAddress(f"ws://127.0.0.1:{port}{PATH}?{QUERY}", "127.0.0.1", port, False, PATH, QUERY)  # noqa: FBT003


@contextlib.asynccontextmanager
async def connected(
    on_socket: Callable[[web.WebSocketResponse], Awaitable[None]],
) -> AsyncIterator[WebSocket]:
    """A WebSocket whose other end does ``on_socket``."""
    service = Service()
    service.on_socket = on_socket
    async with service.serving():
        socket = await open_websocket(at(service.port), DIRECT, headers={})
        try:
            yield socket
        finally:
            await socket.close()


@contextlib.asynccontextmanager
async def connected_to_raw(
    frames: bytes | None, *, and_then: Callable[[asyncio.StreamWriter], None] | None = None
) -> AsyncIterator[WebSocket]:
    """A WebSocket whose other end writes ``frames`` right behind its upgrade."""
    from websockets.utils import accept_key  # noqa: PLC0415 -- of one peer

    async def served(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        key = head.split("Sec-WebSocket-Key: ")[1].split("\r\n")[0]
        writer.write(
            b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            b"Sec-WebSocket-Accept: " + accept_key(key).encode() + b"\r\n\r\n" + (frames or b"")
        )
        if and_then is not None:
            and_then(writer)
        await reader.read()

    async with raw_server(served) as port:
        socket = await open_websocket(at(port), DIRECT, headers={})
        try:
            yield socket
        finally:
            await socket.close()


def frame(opcode: Opcode, data: bytes, *, fin: bool = True) -> bytes:
    """A server's frame."""
    return Frame(opcode, data, fin).serialize(mask=False)


async def receive_all(socket: WebSocket) -> tuple[list[str | bytes], DataChannelLost]:
    """Everything that arrives until the connection is lost, and how it was."""
    messages: list[str | bytes] = []
    try:
        while True:
            messages += await socket.receive()
    except DataChannelLost as lost:
        return messages, lost


def test_the_upgrade_goes_out_verbatim() -> None:
    """Path and query to the byte, the signature's headers, no extension and no subprotocol."""

    async def on_socket(socket: web.WebSocketResponse) -> None:
        await socket.receive()

    async def scenario() -> None:
        service = Service()
        service.on_socket = on_socket
        async with service.serving():
            socket = await open_websocket(
                at(service.port), DIRECT, headers={"Authorization": "AWS4 x", "User-Agent": "ssm-ssh/1"}
            )
            await socket.close()
        (request,) = service.requests
        assert request.path == f"{PATH}?{QUERY}"
        assert request.headers["Authorization"] == "AWS4 x"
        assert request.headers["User-Agent"] == "ssm-ssh/1"
        assert request.headers["Host"] == f"127.0.0.1:{service.port}"
        assert not {"Sec-WebSocket-Extensions", "Sec-WebSocket-Protocol", "Origin"} & set(request.headers)

    run(scenario())


def test_messages_both_ways() -> None:
    """Text stays text, bytes stay bytes, in order, of every size of length field."""
    sent: list[str | bytes] = ["hello \u00e4", b"", b"x" * 125, b"y" * 126, b"z" * 70_000, "", "end"]

    async def echo(socket: web.WebSocketResponse) -> None:
        async for message in socket:
            if message.type is WSMsgType.TEXT:
                await socket.send_str(message.data)
            else:
                await socket.send_bytes(message.data)

    async def scenario() -> None:
        async with connected(echo) as socket:
            await socket.send([])
            await socket.send(sent)
            received: list[str | bytes] = []
            while len(received) < len(sent):
                received += await socket.receive()
            assert received == sent
            assert all(type(message) in {str, bytes} for message in received)

    run(scenario())


def test_a_batch_is_one_write() -> None:
    """What is sent together leaves together."""

    async def drain(socket: web.WebSocketResponse) -> None:
        async for _ in socket:
            pass

    async def scenario() -> None:
        async with connected(drain) as socket:
            writes: list[bytes] = []
            transport = socket._wire.transport
            write, transport.write = transport.write, writes.append  # type: ignore[method-assign,assignment]
            await socket.send([b"a", "b", b"c" * 1000])
            transport.write = write  # type: ignore[method-assign]
            assert len(writes) == 1

    run(scenario())


def test_fragments_are_joined() -> None:
    """The official peers cut long messages into frames of 4096 bytes."""

    async def fragmenting(connection: ServerConnection) -> None:
        await connection.send([b"a" * 4096, b"b" * 4096, b"c"])
        await connection.send(["d", "\u00e4", "f"])
        await connection.wait_closed()

    async def scenario() -> None:
        async with serve(fragmenting, "127.0.0.1", 0) as server:
            port = next(iter(server.sockets)).getsockname()[1]
            socket = await open_websocket(at(port), DIRECT, headers={})
            received: list[str | bytes] = []
            while len(received) < 2:
                received += await socket.receive()
            assert received == [b"a" * 4096 + b"b" * 4096 + b"c", "d\u00e4f"]
            assert socket.frames_heard >= 6
            await socket.close()

    run(scenario())


def test_text_cut_inside_a_character() -> None:
    """Fragments may part a character; what is no UTF-8 at all still arrives as text."""

    async def scenario() -> None:
        halves = (
            frame(Opcode.TEXT, b"\xc3", fin=False) + frame(Opcode.PING, b"") + frame(Opcode.CONT, b"\xa4")
        )
        async with connected_to_raw(halves + frame(Opcode.TEXT, b"\xff")) as socket:
            received: list[str | bytes] = []
            while len(received) < 2:
                received += await socket.receive()
            assert received == ["\u00e4", "\ufffd"]

    run(scenario())


def test_pings_are_heard_and_answered() -> None:
    """Both sides see that the other lives."""
    answered = asyncio.Event()

    async def pinging(connection: ServerConnection) -> None:
        await (await connection.ping())
        answered.set()
        await connection.wait_closed()

    async def scenario() -> None:
        async with serve(pinging, "127.0.0.1", 0) as server:
            socket = await open_websocket(at(next(iter(server.sockets)).getsockname()[1]), DIRECT, headers={})
            await answered.wait()
            heard = socket.frames_heard
            assert heard >= 1
            socket.ping()
            await until(lambda: socket.frames_heard > heard)
            await socket.close()
            socket.ping()

    run(scenario())


def test_the_services_hourly_bye() -> None:
    """What was sent before the close frame is delivered, then the code is told (protocol 2.4)."""

    async def bye(socket: web.WebSocketResponse) -> None:
        await socket.send_bytes(b"last")
        await socket.close(code=1000, message=b"Bye")

    async def scenario() -> None:
        async with connected(bye) as socket:
            messages, lost = await receive_all(socket)
            assert messages == [b"last"]
            assert lost.close_code == 1000
            assert "Bye" in str(lost)
            with pytest.raises(DataChannelLost):
                await socket.send([b"late"])

    run(scenario())


def test_a_close_frame_right_behind_the_upgrade() -> None:
    """It is an open connection that was lost, not a refused one."""

    async def scenario() -> None:
        async with connected_to_raw(frame(Opcode.CLOSE, b"\x03\xf1big")) as socket:
            _, lost = await receive_all(socket)
            assert lost.close_code == 1009

    run(scenario())


def test_a_cut() -> None:
    """A connection that just breaks has no code; what had arrived is delivered."""

    async def scenario() -> None:
        async with connected_to_raw(
            frame(Opcode.BINARY, b"x"), and_then=lambda writer: writer.transport.close()
        ) as socket:
            messages, lost = await receive_all(socket)
            assert messages == [b"x"]
            assert lost.close_code is None
        async with connected_to_raw(None, and_then=lambda writer: writer.transport.abort()) as socket:
            assert (await receive_all(socket))[1].close_code is None

    run(scenario())


@pytest.mark.parametrize(
    ("frames", "text"),
    [
        (b"\xc1\x00", "reserved"),
        (b"\x83\x00", "opcode"),
        (frame(Opcode.CONT, b"x"), "continuation"),
        (b"\x82\x7f" + (module.MAX_MESSAGE_BYTES + 1).to_bytes(8, "big"), "limit"),
        (b"\x82\x85abcdhello", "mask"),
    ],
)
def test_peers_that_break_the_rules(frames: bytes, text: str) -> None:
    """Garbage and messages beyond all measure end the connection; what came before them is delivered."""

    async def scenario() -> None:
        async with connected_to_raw(frame(Opcode.BINARY, b"good") + frames) as socket:
            messages, lost = await receive_all(socket)
            assert messages == [b"good"]
            assert "protocol" in str(lost)
            assert text in str(lost).lower()
            assert lost.close_code is None
            assert lost.__cause__ is not None

    run(scenario())


def test_who_does_not_receive_is_not_sent_more() -> None:
    """The queue of what arrived is bounded, and nothing of it is lost."""
    message, count = bytes(64 * 1024), 4 * INCOMING_LIMIT_BYTES // (64 * 1024)

    async def flood(socket: web.WebSocketResponse) -> None:
        for _ in range(count):
            await socket.send_bytes(message)
        await socket.close()

    async def scenario() -> None:
        async with connected(flood) as socket:
            wire = socket._wire
            await until(lambda: not wire._is_reading)
            assert INCOMING_LIMIT_BYTES < wire._queued_bytes < 2 * INCOMING_LIMIT_BYTES
            messages, _ = await receive_all(socket)
            assert len(messages) == count

    run(scenario())


def test_a_peer_that_does_not_read_makes_the_sender_wait() -> None:
    """And a sender that gives up waiting has sent all or nothing."""
    batch, may_read, read = [bytes(64 * 1024)] * 16, asyncio.Event(), 0

    async def slow(socket: web.WebSocketResponse) -> None:
        nonlocal read
        await may_read.wait()
        async for message in socket:
            read += len(message.data)

    async def scenario() -> None:
        sent = 0
        async with connected(slow) as socket:
            with contextlib.suppress(TimeoutError):
                while True:
                    sent += sum(map(len, batch))
                    async with asyncio.timeout(0.2):
                        await socket.send(batch)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(0.01):
                    await socket.send([b"never"])
            may_read.set()
            await socket.send([b"end"])
            await until(lambda: read == sent + 3)
        assert read == sent + 3

    run(scenario())


def test_pings_to_a_peer_that_does_not_read_are_bounded() -> None:
    """Of the pongs owed to somebody who does not take them only the last is kept."""

    async def deaf(socket: web.WebSocketResponse) -> None:
        await socket.receive()

    async def scenario() -> None:
        async with connected(deaf) as socket:
            wire = socket._wire
            wire.pause_writing()
            for number in range(3):
                wire.data_received(frame(Opcode.PING, bytes([number])))
            owed = wire._owed_pong
            assert owed
            wire.resume_writing()
            assert not wire._owed_pong
            assert len(owed) == 7

    run(scenario())


def test_losing_the_peer_wakes_the_sender() -> None:
    """Who waits for room is told that there will be none."""

    async def vanish(socket: web.WebSocketResponse) -> None:
        await socket.receive()

    async def scenario() -> None:
        async with connected(vanish) as socket:
            socket._wire.pause_writing()
            waiting = asyncio.ensure_future(socket.send([b"x"]))
            await asyncio.sleep(0)
            assert not waiting.done()
            socket._wire.connection_lost(ConnectionResetError("gone"))
            with pytest.raises(DataChannelLost, match="gone"):
                await waiting

    run(scenario())


def test_a_cancelled_receive_loses_nothing() -> None:
    """Whoever waits next gets what the cancelled one would have got."""
    may_send = asyncio.Event()

    async def late(socket: web.WebSocketResponse) -> None:
        await may_send.wait()
        await socket.send_bytes(b"late")
        await socket.receive()

    async def scenario() -> None:
        async with connected(late) as socket:
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.01):
                    await socket.receive()
            may_send.set()
            assert await socket.receive() == [b"late"]

    run(scenario())


def test_closing_flushes_and_ends() -> None:
    """The last batch still leaves, closing twice is fine, and afterwards all is lost."""
    heard: list[object] = []

    async def listen(socket: web.WebSocketResponse) -> None:
        heard.append(await socket.receive_bytes())
        await socket.receive()

    async def scenario() -> None:
        async with connected(listen) as socket:
            await socket.send([b"terminate"])
            await socket.close()
            await socket.close()
            with pytest.raises(DataChannelLost, match="here"):
                await socket.receive()

    run(scenario())
    assert heard == [b"terminate"]


def test_closing_while_the_peer_does_not_read(monkeypatch: pytest.MonkeyPatch) -> None:
    """Bytes that nobody takes do not hold the end up."""
    monkeypatch.setattr(module, "_CLOSE_SECONDS", 0.02)
    may_end = asyncio.Event()

    async def deaf(_socket: web.WebSocketResponse) -> None:
        await may_end.wait()

    async def scenario() -> None:
        async with connected(deaf) as socket:
            while socket._wire.writable.is_set():
                socket._wire.write([bytes(1024 * 1024)])
            await socket.close()
            may_end.set()

    run(scenario())


@pytest.mark.parametrize(
    ("answer", "status", "hint"),
    [
        (Answer("", 403, {"x-amzn-errortype": "AccessDeniedException:http://x"}), 403, "OpenDataChannel"),
        (Answer("", 401), 401, "clock"),
        (Answer("", 404), 404, "session"),
        (Answer("", 429), 429, "slow down"),
        (Answer("", 503), 503, "minute"),
        (Answer("", 307, {"Location": "wss://evil.example/"}), 307, "redirect"),
    ],
)
def test_refusals(answer: Answer, status: int, hint: str) -> None:
    """Each refusal has its hint; a redirect is one; what a body says stays unread."""
    answer.body = "x-amz-security-token:SECRET"

    async def scenario() -> None:
        service = Service()
        service.answers = [answer]
        async with service.serving():
            with pytest.raises(DataChannelRefused) as caught:
                await open_websocket(at(service.port), DIRECT, headers={})
            assert caught.value.status == status
            assert hint in str(caught.value.hint)
            assert "SECRET" not in f"{caught.value} {caught.value!r} {caught.value.__cause__}"
            assert len(service.requests) == 1

    run(scenario())


@pytest.mark.parametrize(
    "answer", [b"SSH-2.0-x\r\n", b"HTTP/1.1 101 x\r\n\r\n", b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"]
)
def test_answers_that_are_no_upgrade(answer: bytes) -> None:
    """Whatever else speaks on the port is refused with a hint or a status."""

    async def served(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(answer)
        await reader.read()

    async def scenario() -> None:
        async with raw_server(served) as port:
            with pytest.raises(DataChannelRefused) as caught:
                await open_websocket(at(port), DIRECT, headers={})
            assert caught.value.status in {None, 200}

    run(scenario())


@pytest.mark.parametrize("is_silent", [True, False])
def test_gateways_that_accept_and_say_nothing(*, is_silent: bool) -> None:
    """Silence ends after the time given, hanging up at once."""

    async def served(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await (reader.read() if is_silent else reader.readuntil(b"\r\n\r\n"))

    async def scenario() -> None:
        seconds, text = (0.1, "not answered") if is_silent else (10, "closed")
        async with raw_server(served) as port:
            with pytest.raises(DataChannelRefused, match=text):
                await open_websocket(at(port), DIRECT, headers={}, timeout_seconds=seconds)

    run(scenario())


def test_nobody_there() -> None:
    """No connection is no refusal."""

    async def scenario() -> None:
        with pytest.raises(EndpointUnreachable):
            await open_websocket(at(9), DIRECT, headers={})

    run(scenario())


def test_a_connection_opened_ahead() -> None:
    """It is used where it fits, replaced where it died, and dropped where the stream goes elsewhere."""

    async def wait(socket: web.WebSocketResponse) -> None:
        await socket.receive()

    async def scenario() -> None:
        service, elsewhere = Service(), Service()
        service.on_socket = wait
        async with service.serving(), elsewhere.serving():
            address = at(service.port)
            ahead = await open_connection(address, DIRECT)
            used = ahead._transport.get_extra_info("sockname")
            socket = await open_websocket(address, DIRECT, headers={}, ahead=ahead)
            assert socket._wire.transport.get_extra_info("sockname") == used
            await socket.close()

            foreign = await open_connection(at(elsewhere.port), DIRECT)
            socket = await open_websocket(address, DIRECT, headers={}, ahead=foreign)
            assert not foreign.fits(at(elsewhere.port))
            await socket.close()
            assert elsewhere.requests == []

            stale = await open_connection(address, DIRECT)
            # As when the gateway hung up and nobody has noticed yet.
            stale._transport.get_extra_info("socket")._sock.shutdown(2)
            assert stale.fits(address)
            socket = await open_websocket(address, DIRECT, headers={}, ahead=stale)
            await socket.close()

    run(scenario())


def test_through_a_proxy_with_a_private_authority(tmp_path: Path) -> None:
    """The whole way of a company's network: CONNECT, TLS by a private CA, upgrade under the real name."""
    authority, service = Authority(tmp_path), Service()
    gateway = address_of_host("ssmmessages.eu-central-1.api.aws")

    async def echo(socket: web.WebSocketResponse) -> None:
        async for message in socket:
            await socket.send_bytes(message.data)

    async def scenario() -> None:
        service.on_socket = echo
        async with (
            service.serving(authority.server_context(gateway.host)),
            ConnectProxy(service.port).serving() as proxy,
        ):
            route = Route(client_context(str(authority.bundle)), f"http://127.0.0.1:{proxy.port}")
            socket = await open_websocket(gateway, route, headers={})
            await socket.send([b"through"])
            assert await socket.receive() == [b"through"]
            await socket.close()
        assert service.requests[0].headers["Host"] == gateway.host

    run(scenario())


def test_nothing_of_the_library_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    """The library would log tokens and signatures."""
    caplog.set_level(logging.DEBUG)

    async def listen(socket: web.WebSocketResponse) -> None:
        await socket.receive()

    async def scenario() -> None:
        service = Service()
        service.on_socket = listen
        async with service.serving():
            socket = await open_websocket(at(service.port), DIRECT, headers={"Authorization": "SECRET"})
            await socket.send(["SECRET"])
            await socket.close()

    run(scenario())
    assert "SECRET" not in caplog.text
