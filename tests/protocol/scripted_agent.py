"""An agent to talk to: what the protocol says of one, protocol 4.3's agent column above all.

It shares the wire floor with the client and nothing else, so that a mistake cannot stand on both sides.
"""

from __future__ import annotations

from collections import Counter, OrderedDict
from typing import Final

from ssm_ssh.wire.agent_message import AgentMessage, Flags, MessageType, PayloadType
from ssm_ssh.wire.payload import (
    Acknowledge,
    HandshakeComplete,
    HandshakeRequest,
    HandshakeResponse,
    OpenDataChannel,
    RequestedAction,
    decode_flag,
)

# Specification (protocol 4.3, 4.5).
EARLY_MESSAGES: Final = 100_000
TICK_SECONDS: Final = 0.1
PAYLOAD_BYTES: Final = 1024

# Ours: dates and ids mean nothing to the client.
DATE_MS: Final = 1_700_000_000_000
PORT: Final = RequestedAction("SessionType", {"SessionType": "Port", "Properties": {"portNumber": "22"}})


class _Unacknowledged:
    __slots__ = ("last_sent_at", "raw")

    def __init__(self, raw: bytes, now: float) -> None:
        self.raw = raw
        self.last_sent_at = now


class ScriptedAgent:
    """One agent with one session.

    Attributes:
        refuses: How many more data messages are refused without an acknowledgement: the port is not ready.
        is_stalled: The port takes nothing: the agent reads, but neither processes nor acknowledges.
        completes_by_itself: Whether HandshakeComplete follows the response at once.
        acknowledges_late: Acknowledges the response only after HandshakeComplete.
        openings: The OpenDataChannel messages heard, one for each stream.
        taken: The bytes that reached the port.
        discarded: Payloads that came before HandshakeComplete: acknowledged and thrown away.
        arrivals: How often each sequence number has arrived.
        to_client: What it wants to send now.
    """

    def __init__(
        self,
        *,
        actions: tuple[RequestedAction, ...] = (PORT,),
        has_handshake: bool = True,
        version: str = "3.3.987.0",
    ) -> None:
        self.refuses = 0
        self.is_stalled = False
        self.completes_by_itself = True
        self.acknowledges_late = False
        self.openings: list[OpenDataChannel] = []
        self.responses: list[HandshakeResponse] = []
        self.taken = bytearray()
        self.flags: list[tuple[int, int]] = []
        self.sizes: list[int] = []
        self.discarded: list[AgentMessage] = []
        self.arrivals: Counter[int] = Counter()
        self.to_client: list[bytes] = []
        self.is_handshaken = not has_handshake
        self.resends = 0
        self._actions = actions
        self._version = version
        self._expected = 0
        self._early: dict[int, AgentMessage] = {}
        self._next_number = 0
        self._unacknowledged: OrderedDict[int, _Unacknowledged] = OrderedDict()
        self._is_paused = False
        self._rtt = 0.1
        self._variation = 0.0

    @property
    def is_drained(self) -> bool:
        """Whether the client has acknowledged everything."""
        return not self._unacknowledged

    @property
    def unacknowledged(self) -> list[int]:
        """The numbers that the client has not acknowledged."""
        return list(self._unacknowledged)

    # --- its own stream ---

    def say(self, payload_type: int, payload: bytes, now: float) -> int:
        """Send one sequenced message; returns its number."""
        number = self._next_number
        self._next_number += 1
        flags = Flags.SYN if number == 0 else Flags.NONE
        raw = AgentMessage(
            MessageType.OUTPUT_STREAM_DATA,
            number,
            payload,
            payload_type,
            number.to_bytes(16, "big"),
            DATE_MS,
            flags,
        ).encode()
        self._unacknowledged[number] = _Unacknowledged(raw, now)
        if not self._is_paused:
            self.to_client.append(raw)
        return number

    def say_data(self, data: bytes, now: float) -> None:
        """Send bytes as the port's reader does."""
        for start in range(0, len(data), PAYLOAD_BYTES):
            self.say(PayloadType.OUTPUT, data[start : start + PAYLOAD_BYTES], now)

    def request_handshake(self, now: float) -> None:
        """Send what every port session begins with."""
        self.say(PayloadType.HANDSHAKE_REQUEST, HandshakeRequest(self._version, self._actions).encode(), now)

    def complete_handshake(self, now: float, customer_message: str = "") -> None:
        """Allow data."""
        self.is_handshaken = True
        self.say(PayloadType.HANDSHAKE_COMPLETE, HandshakeComplete(2_000_000, customer_message).encode(), now)

    def tick(self, now: float) -> None:
        """The resend loop's look at the oldest message, every 100 ms (protocol 4.5)."""
        if self._is_paused or not self._unacknowledged:
            return
        oldest = next(iter(self._unacknowledged.values()))
        if now - oldest.last_sent_at > min(1.0, self._rtt + max(0.01, 4 * self._variation)):
            oldest.last_sent_at = now
            self.resends += 1
            self.to_client.append(oldest.raw)

    # --- what arrives ---

    def receive(self, raw: bytes | str, now: float) -> None:
        """Take in one WebSocket message."""
        if isinstance(raw, str):
            self.openings.append(OpenDataChannel.decode(raw))
            if len(self.openings) == 1 and not self.is_handshaken:
                self.request_handshake(now)
            return
        message = AgentMessage.decode(raw)
        match message.message_type:
            case MessageType.INPUT_STREAM_DATA:
                self._is_paused = False
                self.arrivals[message.sequence_number] += 1
                self._receive_data(message, now)
            case MessageType.ACKNOWLEDGE:
                self._is_paused = False
                self._receive_acknowledge(Acknowledge.decode(message.payload), now)
            case MessageType.PAUSE_PUBLICATION:
                self._is_paused = True
            case MessageType.START_PUBLICATION:
                self._is_paused = False
            case kind:
                raise AssertionError(f"an agent never hears {kind}")

    def _receive_data(self, message: AgentMessage, now: float) -> None:
        assert message.payload, "an empty payload cannot be sent (protocol 3.1)"
        number = message.sequence_number
        if number < self._expected:
            self._acknowledge(message)
        elif self.is_stalled:
            pass
        elif number > self._expected:
            if len(self._early) < EARLY_MESSAGES:
                self._early[number] = message
                self._acknowledge(message)
        elif self._process(message, now):
            self._acknowledge(message)
            self._expected += 1
            while self._expected in self._early and self._process(self._early[self._expected], now):
                del self._early[self._expected]
                self._expected += 1

    def _process(self, message: AgentMessage, now: float) -> bool:
        """Whether the message was taken."""
        if message.payload_type == PayloadType.HANDSHAKE_RESPONSE:
            self.responses.append(HandshakeResponse.decode(message.payload))
            if self.completes_by_itself:
                self._complete(message, now)
            return True
        if not self.is_handshaken:
            self.discarded.append(message)
            return True
        if self.refuses:
            self.refuses -= 1
            return False
        match message.payload_type:
            case PayloadType.OUTPUT:
                self.taken += message.payload
            case PayloadType.FLAG:
                self.flags.append((decode_flag(message.payload), len(self.taken)))
            case PayloadType.SIZE:
                self.sizes.append(len(message.payload))
            case kind:
                raise AssertionError(f"no client says {kind}")
        return True

    def _complete(self, response: AgentMessage, now: float) -> None:
        if not self.acknowledges_late:
            # Both are sent within one callback; the acknowledgement leaves first nearly always.
            self._acknowledge(response)
        self.complete_handshake(now)

    def _acknowledge(self, message: AgentMessage) -> None:
        acknowledge = Acknowledge("input_stream_data", str(message.sequence_number), message.sequence_number)
        self.to_client.append(
            AgentMessage(
                MessageType.ACKNOWLEDGE,
                0,
                acknowledge.encode(),
                PayloadType.UNDEFINED,
                bytes(16),
                DATE_MS,
                Flags.SYN | Flags.FIN,
            ).encode()
        )

    def _receive_acknowledge(self, acknowledge: Acknowledge, now: float) -> None:
        message = self._unacknowledged.pop(acknowledge.sequence_number, None)
        if message is not None:
            sample = now - message.last_sent_at
            self._variation += (abs(self._rtt - sample) - self._variation) / 4
            self._rtt += (sample - self._rtt) / 8
