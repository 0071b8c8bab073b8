"""An agent in memory: enough of protocol 4, 5 and 12 for a session to live on."""

from __future__ import annotations

import itertools
import uuid
from typing import TYPE_CHECKING, Final

from ssm_ssh.wire.agent_message import AgentMessage, MessageType, PayloadType, uuid_text
from ssm_ssh.wire.payload import (
    Acknowledge,
    ActionType,
    ChannelClosed,
    Flag,
    HandshakeComplete,
    HandshakeRequest,
    OpenDataChannel,
    RequestedAction,
    decode_flag,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.session.memory_socket import MemorySocket

# Specification: what an agent puts into one message.
_CHUNK_BYTES: Final = 1024


class ScriptedAgent:
    """One session's agent, over as many sockets as the client opens.

    Attributes:
        session_type: What it announces in its handshake.
        properties: Likewise.
        speaks: Whether it says anything at all.
        customer_message: What it tells at the end of its handshake.
        heeds_flag: Whether it ends the session at the TerminateSession flag.
        accepts_data: Whether it acknowledges data; it does not while its port is not connected.
        on_data: Told of each message's data.
        received: The bytes that arrived.
        tokens: Those that data channels were opened with.
        flags: Those that arrived.
        has_ended: Whether it has ended the session.
    """

    def __init__(self, version: str = "3.3.987.0") -> None:
        self.version = version
        self.session_type = "Port"
        self.properties: dict[str, str] = {"portNumber": "22"}
        self.speaks = True
        self.customer_message = ""
        self.heeds_flag = True
        self.accepts_data = True
        self.on_data: Callable[[bytes], None] = lambda _data: None
        self.received = bytearray()
        self.tokens: list[str] = []
        self.flags: list[int] = []
        self.has_ended = False
        self._socket: MemorySocket | None = None
        self._numbers = itertools.count()
        self._unacknowledged: dict[int, bytes] = {}
        self._expected = 0
        self._early: dict[int, AgentMessage] = {}

    # --- what the test makes it do ---

    def attach(self, socket: MemorySocket) -> None:
        """The client has opened a new socket."""
        self._socket = socket

    def say(self, data: bytes) -> None:
        """Send what its port's server said."""
        for start in range(0, len(data), _CHUNK_BYTES):
            self._send(PayloadType.OUTPUT, data[start : start + _CHUNK_BYTES])

    def lose(self) -> None:
        """Send a message that never arrives."""
        next(self._numbers)

    def end(self, output: str = "") -> None:
        """End the session; the service tells the client."""
        self.has_ended = True
        assert self._socket is not None
        closed = ChannelClosed(session_id="session-1", output=output)
        self._socket.deliver(_message(MessageType.CHANNEL_CLOSED, 0, closed.encode(), 0))

    def cut(self, close_code: int | None = None) -> None:
        """Break the client's stream."""
        assert self._socket is not None
        self._socket.lose("cut", close_code)

    @property
    def socket(self) -> MemorySocket:
        """The client's stream."""
        assert self._socket is not None
        return self._socket

    # --- what the client's messages do ---

    def receive(self, raw: str | bytes) -> None:
        """One message of the client's."""
        if isinstance(raw, str):
            self._open(OpenDataChannel.decode(raw))
            return
        message = AgentMessage.decode(raw)
        if message.message_type == MessageType.ACKNOWLEDGE:
            self._unacknowledged.pop(Acknowledge.decode(message.payload).sequence_number, None)
        elif message.sequence_number < self._expected:
            self._acknowledge(message)
        else:
            self._early[message.sequence_number] = message
            while (following := self._early.get(self._expected)) is not None and self._process(following):
                del self._early[self._expected]
                self._expected += 1
                self._acknowledge(following)

    def _open(self, opening: OpenDataChannel) -> None:
        is_first = not self.tokens
        self.tokens.append(opening.token)
        for raw in self._unacknowledged.values():
            self.socket.deliver(raw)
        if is_first and self.speaks:
            action = RequestedAction(
                ActionType.SESSION_TYPE, {"SessionType": self.session_type, "Properties": self.properties}
            )
            request = HandshakeRequest(self.version, (action,))
            self._send(PayloadType.HANDSHAKE_REQUEST, request.encode())

    def _process(self, message: AgentMessage) -> bool:
        """Act on the client's next message; False if it is refused."""
        match message.payload_type:
            case PayloadType.HANDSHAKE_RESPONSE:
                self._send(
                    PayloadType.HANDSHAKE_COMPLETE, HandshakeComplete(1, self.customer_message).encode()
                )
            case PayloadType.OUTPUT:
                if not self.accepts_data:
                    return False
                self.received += message.payload
                self.on_data(message.payload)
            case PayloadType.FLAG:
                self.flags.append(decode_flag(message.payload))
                if self.heeds_flag and self.flags[-1] == Flag.TERMINATE_SESSION:
                    self.end()
            case _:
                pass
        return True

    def _send(self, payload_type: PayloadType, payload: bytes) -> None:
        number = next(self._numbers)
        raw = _message(MessageType.OUTPUT_STREAM_DATA, number, payload, payload_type)
        self._unacknowledged[number] = raw
        self.socket.deliver(raw)

    def _acknowledge(self, message: AgentMessage) -> None:
        acknowledge = Acknowledge(
            MessageType.INPUT_STREAM_DATA, uuid_text(message.message_id), message.sequence_number
        )
        self.socket.deliver(_message(MessageType.ACKNOWLEDGE, 0, acknowledge.encode(), 0))


def _message(message_type: MessageType, number: int, payload: bytes, payload_type: int) -> bytes:
    return AgentMessage(
        message_type, number, payload, payload_type, uuid.UUID(int=number).bytes, 1_700_000_000_000
    ).encode()
