"""One data channel's WebSocket: frames by ``websockets``, sockets by asyncio, batches in between.

The library's sans-I/O core frames and parses; this file moves its bytes. What arrives in one read is
delivered as one batch, and a batch to send is framed into one write, which is one TLS record instead of many:
that is where the throughput of a stream of 1 KiB messages comes from.
"""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Final

from websockets.client import ClientProtocol
from websockets.exceptions import InvalidStatus
from websockets.frames import Frame, Opcode
from websockets.protocol import State
from websockets.uri import WebSocketURI

from ssm_ssh.errors import DataChannelLost, DataChannelRefused
from ssm_ssh.transport.connection import OPEN_TIMEOUT_SECONDS, abort, open_connection
from ssm_ssh.transport.refusal import bare_code

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from ssm_ssh.transport.connection import Connection, Route
    from ssm_ssh.transport.stream_url import StreamAddress

# Ours: sixteen times the largest message an agent was seen to accept is no message (protocol 2.5).
MAX_MESSAGE_BYTES: Final = 16 * 1024 * 1024
# Ours: of messages that nobody has received yet; above it the socket is not read, and the peer waits.
INCOMING_LIMIT_BYTES: Final = 4 * 1024 * 1024
# Ours: enough to keep a fast line busy, little enough that a keystroke does not wait long behind an upload.
_OUTGOING_LIMIT_BYTES: Final = 128 * 1024
# Ours: what a message costs beside its bytes, so that empty ones are bounded as well.
_MESSAGE_COST_BYTES: Final = 128
# Ours: how long bytes already written may take to leave when we close.
_CLOSE_SECONDS: Final = 0.5
# Specification: what the official client sends (protocol 2.3).
_PING_PAYLOAD: Final = b"keepalive"

_REFUSAL_HINTS: Final = {
    401: "check this machine's clock, and that the credentials are still valid",
    403: "the caller needs ssmmessages:OpenDataChannel on the session, and a clock that is right",
    404: "the service does not know this session: it may have ended, or belong to another region",
    429: "the service asks to slow down: start fewer sessions at once",
}
_REDIRECT_HINT: Final = (
    "redirects are not followed: check the network's login page, HTTPS_PROXY and --stream-endpoint"
)
_SERVER_HINT: Final = "AWS, or what stands before it, has trouble; try again in a minute"
_SILENCE_HINT: Final = "the gateway, or a proxy before it, accepts connections and does not speak WebSocket"

# The library's own log lines hold the token and the signature, so it has no logger to write them to.
_SILENT: Final = logging.Logger("ssm_ssh.silent")
_SILENT.disabled = True


class WebSocket:
    """An open WebSocket that carries a data channel's messages.

    Incoming messages are bounded by ``INCOMING_LIMIT_BYTES`` and outgoing ones by asyncio's high-water mark;
    who is too fast waits. One task receives and one sends; both may be cancelled at any moment, and no
    message is lost by it. Made by ``open_websocket``.
    """

    def __init__(self, wire: _Wire) -> None:
        self._wire = wire

    @property
    def frames_heard(self) -> int:
        """How many frames have arrived, pings and pongs included: it grows while the peer lives."""
        return self._wire.frames_heard

    async def send(self, messages: Sequence[str | bytes]) -> None:
        """Send messages, ``str`` as text and ``bytes`` as binary, in one write; return when more may be sent.

        A cancelled call has sent either all of them or none.

        Raises:
            DataChannelLost: If the connection is gone.
        """
        wire = self._wire
        await wire.writable.wait()
        wire.write(messages)
        await wire.writable.wait()
        wire.raise_if_lost()

    async def receive(self) -> Sequence[str | bytes]:
        """Wait for messages and return all that have arrived, at least one.

        Raises:
            DataChannelLost: If the connection is gone and its last message was received.
        """
        wire = self._wire
        while not wire.messages:
            wire.raise_if_lost()
            wire.arrived.clear()
            await wire.arrived.wait()
        return wire.take()

    def ping(self) -> None:
        """Ask the peer for a sign of life; without effect on a connection that is gone."""
        self._wire.ping()

    async def close(self) -> None:
        """Close the connection, without a close frame as the official client does; twice is fine."""
        await self._wire.close()


async def open_websocket(
    address: StreamAddress,
    route: Route,
    *,
    headers: Mapping[str, str],
    ahead: Connection | None = None,
    timeout_seconds: float = OPEN_TIMEOUT_SECONDS,
) -> WebSocket:
    """Open the WebSocket at ``address``.

    Args:
        address: A checked address: the token will go there.
        route: How to get there.
        headers: To be sent with the upgrade: the signature.
        ahead: A connection opened ahead; used if it fits and still lives, dropped otherwise.
        timeout_seconds: For all of it.

    Raises:
        EndpointUnreachable: If there is no connection.
        DataChannelRefused: If the upgrade is refused, redirected or not answered.
    """
    deadline = asyncio.get_running_loop().time() + timeout_seconds
    if ahead is not None:
        if ahead.fits(address):
            wire = await _upgrade(ahead, address, headers, deadline)
            if wire is not None:
                return WebSocket(wire)
        else:
            ahead.drop()
    remaining = max(deadline - asyncio.get_running_loop().time(), 0.0)
    connection = await open_connection(address, route, timeout_seconds=remaining)
    wire = await _upgrade(connection, address, headers, deadline)
    if wire is None:
        raise DataChannelRefused("the connection was closed instead of an answer", hint=_SILENCE_HINT)
    return WebSocket(wire)


async def _upgrade(
    connection: Connection, address: StreamAddress, headers: Mapping[str, str], deadline: float
) -> _Wire | None:
    """Upgrade a connection; None if it ended before the first byte of an answer."""
    wire = _Wire(address)
    wire.transport = connection.hand_over(wire)
    wire.transport.set_write_buffer_limits(high=_OUTGOING_LIMIT_BYTES)
    try:
        wire.ask_for_upgrade(headers)
        async with asyncio.timeout_at(deadline):
            await wire.answered.wait()
    except TimeoutError as error:
        raise DataChannelRefused("the upgrade was not answered in time", hint=_SILENCE_HINT) from error
    finally:
        if not wire.is_upgraded:
            abort(wire.transport)
    if wire.is_upgraded:
        return wire
    if not wire.has_heard:
        return None
    failure = wire.machine.handshake_exc
    raise _refused(failure) from failure


def _refused(failure: Exception | None) -> DataChannelRefused:
    if not isinstance(failure, InvalidStatus):
        return DataChannelRefused(f"the answer is no upgrade: {failure}", hint=_SILENCE_HINT)
    # The body stays unread: a signature error quotes the signed request, security token included.
    response = failure.response
    code = response.headers.get("x-amzn-errortype", "")
    reason = f"HTTP {response.status_code} {bare_code(code) or response.reason_phrase}".rstrip()
    if 300 <= response.status_code < 400:
        hint: str | None = _REDIRECT_HINT
    elif response.status_code >= 500:
        hint = _SERVER_HINT
    else:
        hint = _REFUSAL_HINTS.get(response.status_code)
    return DataChannelRefused(reason, status=response.status_code, hint=hint)


class _Wire(asyncio.Protocol):
    """The asyncio side of a ``WebSocket``: what the transport calls, and what has arrived."""

    transport: asyncio.Transport

    def __init__(self, address: StreamAddress) -> None:
        uri = WebSocketURI(address.is_tls, address.host, address.port, address.path, address.query)
        self.machine = ClientProtocol(uri, max_size=MAX_MESSAGE_BYTES, logger=_SILENT)
        self.messages: list[str | bytes] = []
        self.frames_heard = 0
        self.has_heard = False
        self.is_upgraded = False
        self.answered = asyncio.Event()
        self.arrived = asyncio.Event()
        self.writable = asyncio.Event()
        self.writable.set()
        self._ended = asyncio.Event()
        self._loss: tuple[str, int | None] | None = None
        self._queued_bytes = 0
        self._is_reading = True
        self._owed_pong = b""
        self._fragments: list[bytes] = []
        self._is_text = False

    # --- what the WebSocket asks for ---------------------------------------------------------------------

    def ask_for_upgrade(self, headers: Mapping[str, str]) -> None:
        request = self.machine.connect()
        request.headers.update(headers)
        self.machine.send_request(request)
        self._flush()

    def write(self, messages: Sequence[str | bytes]) -> None:
        self.raise_if_lost()
        machine = self.machine
        for message in messages:
            if isinstance(message, str):
                machine.send_text(message.encode())
            else:
                machine.send_binary(message)
        self.transport.write(b"".join(machine.data_to_send()))

    def take(self) -> list[str | bytes]:
        messages, self.messages = self.messages, []
        self._queued_bytes = 0
        self._read_on()
        return messages

    def ping(self) -> None:
        if self._loss is None:
            self.machine.send_ping(_PING_PAYLOAD)
            self.transport.write(b"".join(self.machine.data_to_send()))

    def raise_if_lost(self) -> None:
        if self._loss is not None:
            reason, close_code = self._loss
            raise DataChannelLost(reason, close_code=close_code) from self.machine.parser_exc

    async def close(self) -> None:
        self._lose("it was closed here")
        self.messages.clear()
        self._read_on()  # else the peer's end of TLS would never be seen
        self.transport.close()
        try:
            async with asyncio.timeout(_CLOSE_SECONDS):
                await self._ended.wait()
        except TimeoutError:
            pass
        finally:
            abort(self.transport)
        await self._ended.wait()

    # --- what the transport calls ------------------------------------------------------------------------

    def data_received(self, data: bytes) -> None:
        if self._loss is not None:
            return
        self.has_heard = True
        machine = self.machine
        machine.receive_data(data)
        for event in machine.events_received():
            if isinstance(event, Frame):
                self._hear(event)
            else:
                self.is_upgraded = machine.handshake_exc is None
        self._flush()
        if self.messages:
            self.arrived.set()
            if self._queued_bytes > INCOMING_LIMIT_BYTES and self._is_reading:
                self._is_reading = False
                self.transport.pause_reading()
        if self.is_upgraded or machine.handshake_exc is not None:
            self.answered.set()
        if machine.state is State.CLOSING:
            self._end()

    def eof_received(self) -> None:
        self.machine.receive_eof()
        self._lose("the connection was closed without a close frame")

    def connection_lost(self, exc: Exception | None) -> None:
        self.machine.receive_eof()
        self._lose(
            f"the connection broke: {exc}" if exc else "the connection was closed without a close frame"
        )
        self._ended.set()

    def pause_writing(self) -> None:
        self.writable.clear()

    def resume_writing(self) -> None:
        self.writable.set()
        if self._owed_pong:
            self.transport.write(self._owed_pong)
            self._owed_pong = b""

    # --- inside ------------------------------------------------------------------------------------------

    def _hear(self, frame: Frame) -> None:
        self.frames_heard += 1
        opcode = frame.opcode
        if opcode is Opcode.BINARY and frame.fin:
            self._deliver(bytes(frame.data))
        elif opcode is Opcode.TEXT or opcode is Opcode.BINARY or opcode is Opcode.CONT:
            if opcode is not Opcode.CONT:
                self._is_text = opcode is Opcode.TEXT
            self._fragments.append(bytes(frame.data))
            if frame.fin:
                whole = b"".join(self._fragments)
                self._fragments.clear()
                # Text that is no UTF-8 is told apart by whoever reads it, as any other malformed message is.
                self._deliver(whole.decode(errors="replace") if self._is_text else whole)

    def _deliver(self, message: str | bytes) -> None:
        self.messages.append(message)
        self._queued_bytes += len(message) + _MESSAGE_COST_BYTES

    def _flush(self) -> None:
        writes = [data for data in self.machine.data_to_send() if data]
        if not writes:
            return
        if self.writable.is_set():
            self.transport.write(b"".join(writes))
        else:
            # RFC 6455 section 5.5.3: answering the latest ping is enough, which bounds what we owe a peer
            # that sends pings and does not read.
            self._owed_pong = writes[-1]

    def _read_on(self) -> None:
        if not self._is_reading:
            self._is_reading = True
            self.transport.resume_reading()

    def _end(self) -> None:
        """The peer sent a close frame, or broke the protocol and was told so: nothing more will come."""
        received = self.machine.close_rcvd
        if self.machine.parser_exc is not None:
            self._lose(f"the gateway broke the WebSocket protocol: {self.machine.parser_exc}")
        elif received is not None:
            self._lose(f"the gateway closed it: {received}", received.code)
        self.transport.close()

    def _lose(self, reason: str, close_code: int | None = None) -> None:
        if self._loss is None:
            self._loss = reason, close_code
        self.answered.set()
        self.arrived.set()
        self.writable.set()
