"""The agent's end of a data channel: numbering, acknowledging, buffering, pausing. No I/O and no clock.

Written from protocol 4, with every habit that makes a client's life hard: the
agent acknowledges only what its plugin has processed, throws away what comes before the handshake is done,
and repairs its own losses one message at a time.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from ssm_ssh.emulator.unacknowledged import Unacknowledged
from ssm_ssh.errors import MalformedMessage
from ssm_ssh.wire.agent_message import AgentMessage, Flags, MessageType, PayloadType, uuid_text
from ssm_ssh.wire.payload import Acknowledge, AgentSessionState

if TYPE_CHECKING:
    from collections.abc import Callable
    from random import Random

    from ssm_ssh.emulator.agent_version import AgentTraits
    from ssm_ssh.emulator.incoming import Incoming

# Specification: how many early messages the agent keeps; more are dropped without an acknowledgement.
EARLY_CAPACITY_MESSAGES: Final = 100_000

_HANDSHAKE_TYPES: Final = frozenset(
    {PayloadType.HANDSHAKE_RESPONSE, PayloadType.ENCRYPTION_CHALLENGE_RESPONSE}
)


@dataclass(slots=True)
class ChannelCounts:
    """What happened on an agent's data channels so far.

    Attributes:
        received: Sequenced messages the plugins took.
        discarded: Messages thrown away because the handshake was not done, or the plugin of an old agent
            not ready.
        refused: Messages a plugin did not take, left unacknowledged.
        duplicates: Messages that had been taken before.
        sent: Sequenced messages sent for the first time.
        resent: Messages sent again.
    """

    received: int = 0
    discarded: int = 0
    refused: int = 0
    duplicates: int = 0
    sent: int = 0
    resent: int = 0


class AgentChannel:
    """One data channel, over all the links that carry it in turn.

    The caller feeds ``receive``, then works off ``next_input``: process the message, then ``accept`` or
    ``refuse`` it. ``messages_to_send`` are the acknowledgements this caused.
    """

    def __init__(
        self,
        traits: AgentTraits,
        *,
        random: Random,
        wall_clock_ms: Callable[[], int],
        counts: ChannelCounts | None = None,
    ) -> None:
        self._traits = traits
        self._wall_clock_ms = wall_clock_ms
        self.counts = counts or ChannelCounts()
        self.unacknowledged = Unacknowledged(random)
        self.is_handshake_done = False
        self.is_paused = False
        self.is_closed = False
        self._id_prefix = random.randbytes(6) + b"\x4e\x55"
        self._ids = 0
        self._next_sequence_number = 0
        self._expected = 0
        self._due: Incoming | None = None
        self._is_due_acknowledged = False
        self._early: dict[int, Incoming] = {}
        self._replies: list[bytes] = []

    # --- sending -----------------------------------------------------------------------------------------

    def data(self, payload_type: int, payload: bytes, now: float) -> bytes | None:
        """Number and track one message; the bytes to send, or None while publication is paused.

        A message held back leaves only through ``tick``. Empty payloads cannot be sent (protocol 3.1).
        """
        assert payload, "the agent cannot send an empty payload"
        sequence_number = self._next_sequence_number
        self._next_sequence_number += 1
        flags = Flags.SYN if sequence_number == 0 else Flags.NONE
        raw = self._message(
            MessageType.OUTPUT_STREAM_DATA,
            payload,
            payload_type,
            flags=flags,
            sequence_number=sequence_number,
        )
        self.unacknowledged.add(sequence_number, raw, now)
        if self.is_paused:
            return None
        self.counts.sent += 1
        return raw

    def session_state(self, session_id: str, state: str) -> bytes:
        """An ``agent_session_state`` for the service; clients never see it."""
        payload = AgentSessionState(state, session_id).encode()
        return self._message(MessageType.AGENT_SESSION_STATE, payload, PayloadType.UNDEFINED)

    def tick(self, now: float) -> bytes | None:
        """The one message that is to be sent again now, if any; to be called each 100 ms."""
        if self.is_paused:
            return None
        raw = self.unacknowledged.due(now)
        if raw is not None:
            self.counts.resent += 1
        return raw

    def messages_to_send(self) -> list[bytes]:
        """The acknowledgements not yet collected, in their order."""
        replies, self._replies = self._replies, []
        return replies

    # --- receiving ---------------------------------------------------------------------------------------

    def reconnected(self) -> None:
        """A new link carries the channel; everything else stays as it is."""
        self.is_paused = False

    def receive(self, message: Incoming, now: float) -> None:
        """Take in one message of any type; types the agent does not know are ignored."""
        match message.message_type:
            case MessageType.INPUT_STREAM_DATA:
                self.is_paused = False
                self._receive_data(message)
            case MessageType.ACKNOWLEDGE:
                self.is_paused = False
                self._receive_acknowledge(message.payload, now)
            case MessageType.PAUSE_PUBLICATION:
                self.is_paused = True
            case MessageType.START_PUBLICATION:
                self.is_paused = False
            case MessageType.CHANNEL_CLOSED:
                self.is_closed = True
            case _:
                pass

    def next_input(self) -> Incoming | None:
        """The message whose turn it is, to be accepted or refused; None if there is none."""
        while (message := self._due) is not None:
            if self.is_handshake_done or message.payload_type in _HANDSHAKE_TYPES:
                return message
            self.counts.discarded += 1
            self._advance(message)
        return None

    def accept(self, message: Incoming) -> None:
        """The message is processed: acknowledge it and turn to its successor."""
        self.counts.received += 1
        self._advance(message)

    def discard(self, message: Incoming) -> None:
        """The message is acknowledged and lost, as agents before 3.0.655.0 do while not ready."""
        self.counts.discarded += 1
        self._advance(message)

    def refuse(self, message: Incoming) -> None:
        """The message is not taken: no acknowledgement, and only the client's resending brings it back.

        An early message was acknowledged when it came; refused on its turn it stays buffered, and is looked
        at again only once a message with its number arrives.
        """
        assert message is self._due
        self.counts.refused += 1
        self._due = None

    # --- inside ------------------------------------------------------------------------------------------

    def _receive_data(self, message: Incoming) -> None:
        if message.sequence_number == self._expected:
            self._due = message
            self._is_due_acknowledged = False
        elif message.sequence_number > self._expected:
            if len(self._early) < EARLY_CAPACITY_MESSAGES:
                self._acknowledge(message)
                self._early[message.sequence_number] = message
        else:
            self.counts.duplicates += 1
            if self._traits.acknowledges_duplicates:
                self._acknowledge(message)

    def _receive_acknowledge(self, payload: bytes, now: float) -> None:
        try:
            acknowledge = Acknowledge.decode(payload)
        except MalformedMessage:
            return
        self.unacknowledged.acknowledge(acknowledge.sequence_number, now)

    def _advance(self, message: Incoming) -> None:
        assert message is self._due
        if not self._is_due_acknowledged:
            self._acknowledge(message)
        self._early.pop(self._expected, None)
        self._expected += 1
        self._due = self._early.get(self._expected)
        self._is_due_acknowledged = True

    def _acknowledge(self, message: Incoming) -> None:
        payload = Acknowledge(
            message.message_type, uuid_text(message.message_id), message.sequence_number
        ).encode()
        self._replies.append(self._message(MessageType.ACKNOWLEDGE, payload, PayloadType.UNDEFINED))

    def _message(
        self,
        message_type: MessageType,
        payload: bytes,
        payload_type: int,
        *,
        flags: Flags = Flags.SYN | Flags.FIN,
        sequence_number: int = 0,
    ) -> bytes:
        self._ids += 1
        return AgentMessage(
            message_type=message_type,
            sequence_number=sequence_number,
            payload=payload,
            payload_type=payload_type,
            # A version 4 UUID to look at, cheaper than a random one for every message.
            message_id=self._id_prefix + b"\x80" + self._ids.to_bytes(7, "big"),
            created_date_ms=self._wall_clock_ms(),
            flags=flags,
        ).encode()
