"""The client's end of a data channel: who may speak when, composed of outbox, inbox, handshake and the rest.

The caller drives it through four doors and never lends it a clock or a socket:

    the caller speaks     open · send · send_flag · terminate · close
    the network speaks    receive_message · connection_lost · reopen
    the clock speaks      handle_deadline
    the caller collects   events_received · messages_to_send · next_deadline · room_bytes
"""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from enum import Enum, auto
from typing import TYPE_CHECKING, Final

from ssm_ssh.errors import LocalProtocolError, RemoteProtocolError
from ssm_ssh.protocol.event import ChannelEnded, DataReceived, Event, FlagReceived, SessionReady
from ssm_ssh.protocol.handshake import CLIENT_VERSION, answer_handshake
from ssm_ssh.protocol.inbox import Inbox
from ssm_ssh.protocol.outbox import Outbox
from ssm_ssh.protocol.pace import Pace
from ssm_ssh.protocol.payload_size import SAFE_PAYLOAD_BYTES, PayloadSize
from ssm_ssh.protocol.send_queue import SendQueue
from ssm_ssh.wire.agent_message import AgentMessage, Flags, MessageType, PayloadType, uuid_text
from ssm_ssh.wire.payload import (
    Acknowledge,
    ChannelClosed,
    Flag,
    HandshakeComplete,
    HandshakeRequest,
    OpenDataChannel,
    SessionType,
    SessionTypeParameters,
    TerminalSize,
    decode_flag,
)

if TYPE_CHECKING:
    from collections.abc import Callable

# Ours: so many bytes of new messages leave at a time, so that acknowledgements get their turn between.
_BATCH_BYTES: Final = 256 * 1024
# Ours: what a probe says; in port sessions nobody reads it.
_PROBE: Final = TerminalSize(columns=80, rows=24)


def random_message_id() -> bytes:
    """A version-4 UUID's 16 bytes."""
    digits = bytearray(secrets.token_bytes(16))
    digits[6] = digits[6] & 0x0F | 0x40
    digits[8] = digits[8] & 0x3F | 0x80
    return bytes(digits)


@dataclass(frozen=True, slots=True)
class PathLimits:
    """What was learned about the way to a region, for the next session.

    Attributes:
        payload_bytes: The largest payload that passed.
        payload_cap_bytes: The largest payload still worth a try.
        messages_per_second: A rate to stay below, or None.
    """

    payload_bytes: int = SAFE_PAYLOAD_BYTES
    payload_cap_bytes: int | None = None
    messages_per_second: float | None = None


class _Phase(Enum):
    """How far the channel is."""

    NEW = auto()
    OPENING = auto()  # the token was sent, the agent has not spoken
    HANDSHAKING = auto()  # the agent's request was answered
    READY = auto()  # data may flow
    ENDED = auto()  # nothing is sent or reported any more


class DataChannel:
    """A reliable, ordered byte stream each way, plus flags, over agent messages.

    Memory is bounded by the limits of send queue, outbox and inbox, if the caller collects the events after
    each received message.
    """

    def __init__(
        self,
        *,
        client_id: str,
        wall_clock_ms: Callable[[], int],
        limits: PathLimits | None = None,
        payload_bytes: int | None = None,
        new_message_id: Callable[[], bytes] = random_message_id,
    ) -> None:
        """Make a channel that has said nothing yet.

        Args:
            client_id: A UUID's text, kept over all resumes.
            wall_clock_ms: Milliseconds since the Unix epoch, for the headers' dates.
            limits: What an earlier session learned about the way.
            payload_bytes: A fixed payload size; None searches for the largest that passes.
            new_message_id: Makes a message's 16 bytes.
        """
        limits = limits or PathLimits()
        self._client_id = client_id
        self._wall_clock_ms = wall_clock_ms
        self._new_message_id = new_message_id
        self._phase = _Phase.NEW
        self._is_connected = False
        self._is_held = False
        self._opening: str | None = None
        self._announced: tuple[str, SessionTypeParameters] | None = None
        self._inbox = Inbox()
        self._outbox = Outbox()
        self._pace = Pace(limits.messages_per_second)
        self._payload_size = PayloadSize(
            fixed=payload_bytes, known=limits.payload_bytes, cap=limits.payload_cap_bytes
        )
        self._probe_number: int | None = None
        self._next_number = 0
        self._has_sent_data = False
        self._is_port = False
        self._queue = SendQueue()
        self._acknowledgements: list[bytes] = []
        self._events: list[Event] = []

    # --- the caller speaks ---

    def open(self, token: str) -> None:
        """A WebSocket is there: open the channel on it."""
        if self._phase is not _Phase.NEW:
            raise LocalProtocolError("a data channel is opened once and then reopened")
        self._phase = _Phase.OPENING
        self._connect(token)

    def send(self, data: bytes) -> None:
        """Accept data; it leaves when the handshake, the window and the pace allow.

        Raises:
            LocalProtocolError: If it is more than ``room_bytes``.
        """
        if len(data) > self.room_bytes:
            raise LocalProtocolError(f"{len(data)} bytes were sent where {self.room_bytes} had room")
        # Protocol 3.1: an empty payload cannot be sent, and says nothing.
        if data:
            self._queue.add(data)

    def send_flag(self, flag: Flag) -> None:
        """Accept a flag, behind all data accepted so far."""
        if self._phase is not _Phase.ENDED:
            self._queue.add_flag(flag)

    def terminate(self) -> None:
        """Ask the agent to end the session, ahead of all data that has not left yet; that data is dropped."""
        self._queue.clear()
        self.send_flag(Flag.TERMINATE_SESSION)

    def close(self) -> None:
        """Say and report nothing more. Twice is fine."""
        self._phase = _Phase.ENDED
        self._queue.clear()
        self._is_connected = False

    # --- the network speaks ---

    def receive_message(self, raw: bytes | str, now: float) -> None:
        """Take in one WebSocket message, binary or text.

        Raises:
            RemoteProtocolError: If it breaks the protocol. Nothing else is ever raised, whatever the bytes.
        """
        if self._phase is _Phase.ENDED:
            return
        if isinstance(raw, str):
            # Protocol 2.2: both sides accept text and read it the same way.
            raw = raw.encode("utf-8", "surrogatepass")
        message = AgentMessage.decode(raw)
        match message.message_type:
            case MessageType.OUTPUT_STREAM_DATA:
                # Protocol 4.6: whoever speaks is there; the same for an acknowledgement.
                self._is_held = False
                self._receive_sequenced(message, now)
            case MessageType.ACKNOWLEDGE:
                self._is_held = False
                self._receive_acknowledge(Acknowledge.decode(message.payload), now)
            case MessageType.CHANNEL_CLOSED:
                self._events.append(ChannelEnded(ChannelClosed.decode(message.payload).output))
                self.close()
            case MessageType.PAUSE_PUBLICATION:
                self._is_held = True
            case MessageType.START_PUBLICATION:
                self._is_held = False
            case _:
                # Protocol 3: nothing else is for a client; what a newer service adds is not ours to judge.
                pass

    def connection_lost(self, now: float, *, is_orderly: bool = False) -> None:
        """The WebSocket is gone; everything waits for ``reopen``.

        Args:
            now: When.
            is_orderly: The service closed it as it does every hour, so neither rate nor size is to blame.
        """
        self._is_connected = False
        self._acknowledgements.clear()
        if is_orderly or self._phase is _Phase.ENDED:
            return
        if self._probe_number is not None:
            self._payload_size.probe_broke_stream()
            self._give_up_probe()
        elif self._queue or len(self._outbox):
            self._pace.torn_down(now)

    def reopen(self, token: str, now: float) -> None:
        """A WebSocket of the resumed session is there: go on where the channel was."""
        if self._phase is _Phase.NEW or self._is_connected:
            raise LocalProtocolError("only a lost data channel can be reopened")
        self._is_held = False
        self._connect(token)
        # Protocol 2.4: sequence numbers live on, and there is no resync; both sides just repeat.
        self._outbox.replay(now)

    # --- the clock speaks ---

    def handle_deadline(self, now: float) -> None:
        """Do what was due at ``next_deadline``; harmless at any other time."""
        if self._is_silent:
            return
        overdue = self._outbox.handle_deadline(now)
        if self._probe_number is not None and self._probe_number in overdue:
            self._payload_size.probe_vanished()
            self._give_up_probe()

    # --- the caller collects ---

    def events_received(self) -> list[Event]:
        """What happened since the last call, in order."""
        events, self._events = self._events, []
        return events

    def messages_to_send(self, now: float) -> list[bytes | str]:
        """What must go out now, in this order; text is the channel's opening, everything else binary.

        Call until it is empty: a large window leaves in several batches.
        """
        if not self._is_connected:
            return []
        messages: list[bytes | str] = []
        if self._opening is not None:
            messages.append(self._opening)
            self._opening = None
        messages += self._acknowledgements
        self._acknowledgements.clear()
        if not self._is_held:
            if self._phase is _Phase.READY:
                self._cut_queue(now)
            sequenced = self._outbox.messages_to_send()
            if sequenced:
                self._pace.sent(len(sequenced), now)
            messages += sequenced
        return messages

    def next_deadline(self) -> float | None:
        """When to call ``handle_deadline`` and ``messages_to_send`` if nothing else happens, or None."""
        if self._is_silent:
            return None
        deadline = self._outbox.next_deadline()
        if self._phase is _Phase.READY and self._queue and self._outbox.has_room:
            paced = self._pace.next_allowance_at()
            if paced is not None:
                deadline = paced if deadline is None else min(deadline, paced)
        return deadline

    @property
    def room_bytes(self) -> int:
        """How much data ``send`` accepts now; 0 once the channel has ended."""
        return 0 if self._phase is _Phase.ENDED else self._queue.room_bytes

    @property
    def is_drained(self) -> bool:
        """Whether everything accepted has been acknowledged."""
        return not self._queue and not len(self._outbox)

    @property
    def is_ended(self) -> bool:
        """Whether the channel was closed, by the service or by us."""
        return self._phase is _Phase.ENDED

    @property
    def limits(self) -> PathLimits:
        """What is known about the way by now."""
        return PathLimits(self._payload_size.data_bytes, self._payload_size.cap_bytes, self._pace.limit)

    @property
    def round_trip_seconds(self) -> float | None:
        """The smoothed time from a message to its acknowledgement, or None before the first."""
        return self._outbox.round_trip_seconds

    @property
    def retransmissions(self) -> int:
        """How many messages were sent again so far."""
        return self._outbox.retransmissions

    # --- inside ---

    @property
    def _is_silent(self) -> bool:
        return not self._is_connected or self._is_held or self._phase is _Phase.ENDED

    def _connect(self, token: str) -> None:
        self._is_connected = True
        self._opening = OpenDataChannel(
            request_id=uuid_text(self._new_message_id()),
            token=token,
            client_id=self._client_id,
            client_version=CLIENT_VERSION,
        ).encode()

    def _receive_sequenced(self, message: AgentMessage, now: float) -> None:
        is_kept, in_order = self._inbox.receive(message)
        for arrived in in_order:
            self._process(arrived, now)
        # Protocol 4.3: deliver, then acknowledge, so that a cut here costs a duplicate and not a loss.
        if is_kept:
            self._acknowledge(message)

    def _acknowledge(self, message: AgentMessage) -> None:
        acknowledge = Acknowledge(
            MessageType.OUTPUT_STREAM_DATA.value, uuid_text(message.message_id), message.sequence_number
        )
        self._acknowledgements.append(
            AgentMessage(
                MessageType.ACKNOWLEDGE,
                0,
                acknowledge.encode(),
                PayloadType.UNDEFINED,
                self._new_message_id(),
                self._wall_clock_ms(),
                # Protocol 3.1: agents on Windows were seen to stall on other flags here.
                Flags.SYN | Flags.FIN,
            ).encode()
        )

    def _receive_acknowledge(self, acknowledge: Acknowledge, now: float) -> None:
        number = acknowledge.sequence_number
        if self._outbox.acknowledge(number, now) and number == self._probe_number:
            self._payload_size.probe_passed()
            self._probe_number = None

    def _process(self, message: AgentMessage, now: float) -> None:
        """Act on the agent's next message in order."""
        match self._phase, message.payload_type:
            case _Phase.READY, PayloadType.OUTPUT:
                self._events.append(DataReceived(message.payload))
            case _Phase.READY, PayloadType.FLAG:
                self._events.append(FlagReceived(decode_flag(message.payload)))
            case _Phase.OPENING, PayloadType.HANDSHAKE_REQUEST:
                request = HandshakeRequest.decode(message.payload)
                response, announced = answer_handshake(request)
                self._announced = request.agent_version, announced
                self._phase = _Phase.HANDSHAKING
                # Nothing else may leave before the handshake is complete: the agent would acknowledge it and
                # throw it away (protocol 4.3).
                self._add(PayloadType.HANDSHAKE_RESPONSE, response.encode(), now)
            case _Phase.HANDSHAKING, PayloadType.HANDSHAKE_COMPLETE:
                assert self._announced is not None
                agent_version, announced = self._announced
                complete = HandshakeComplete.decode(message.payload)
                self._become_ready(announced, agent_version, complete.customer_message)
            case _Phase.OPENING, PayloadType.OUTPUT:
                # Protocol 5.1: output without any handshake is a plain shell's.
                self._become_ready(SessionTypeParameters(SessionType.STANDARD_STREAM), "", "")
                self._events.append(DataReceived(message.payload))
            case _Phase.READY, payload_type if payload_type not in _HANDSHAKE_TYPES:
                # A payload type of a newer agent: acknowledged, so that the stream goes on.
                pass
            case phase, _:
                raise RemoteProtocolError(f"the agent sent {message} while {phase.name.lower()}")

    def _become_ready(
        self, announced: SessionTypeParameters, agent_version: str, customer_message: str
    ) -> None:
        self._phase = _Phase.READY
        self._is_port = announced.session_type == SessionType.PORT
        self._events.append(
            SessionReady(announced.session_type, announced.properties, agent_version, customer_message)
        )

    def _cut_queue(self, now: float) -> None:
        """Turn what is queued into messages as far as window and pace allow."""
        batch_bytes = 0
        allowance = self._pace.allowance(now)
        while self._queue and batch_bytes < _BATCH_BYTES and allowance >= 1:
            if not self._outbox.has_room:
                self._outbox.window.note_full()
                return
            allowance -= 1
            payload_type, payload = self._queue.take(self._payload_size.data_bytes)
            batch_bytes += len(payload)
            self._add(payload_type, payload, now, is_eager=not self._has_sent_data)
            self._has_sent_data = True
            # Protocol 11.3: in port sessions the agent acknowledges a size of any length and ignores it.
            if self._is_port:
                self._probe(now)

    def _probe(self, now: float) -> None:
        """Try a larger payload if there is enough to send to make it worth while."""
        size = self._payload_size.next_probe(self._queue.backlog_bytes)
        if size is not None:
            self._probe_number = self._next_number
            self._add(PayloadType.SIZE, _PROBE.encode(padded_to=size), now)

    def _give_up_probe(self) -> None:
        """Send something short under the probe's number from now on: the agent waits for that number."""
        assert self._probe_number is not None
        self._outbox.replace(
            self._probe_number, self._sequenced(self._probe_number, PayloadType.SIZE, _PROBE.encode())
        )
        self._probe_number = None

    def _add(self, payload_type: PayloadType, payload: bytes, now: float, *, is_eager: bool = False) -> None:
        encoded = self._sequenced(self._next_number, payload_type, payload)
        self._outbox.add(self._next_number, encoded, now, is_eager=is_eager)
        self._next_number += 1

    def _sequenced(self, number: int, payload_type: PayloadType, payload: bytes) -> bytes:
        # Protocol 3.1: the official client sends no flags here, not even on its first message.
        return AgentMessage(
            MessageType.INPUT_STREAM_DATA,
            number,
            payload,
            payload_type,
            self._new_message_id(),
            self._wall_clock_ms(),
            Flags.NONE,
        ).encode()


_HANDSHAKE_TYPES: Final = frozenset(
    {
        PayloadType.HANDSHAKE_REQUEST,
        PayloadType.HANDSHAKE_COMPLETE,
        PayloadType.ENCRYPTION_CHALLENGE_REQUEST,
    }
)
