"""The client's end of a data channel: who may speak when, composed of the two streams and the rest.

The caller drives it through four doors and never lends it a clock or a socket:

    the caller speaks     open · send · send_flag · terminate · close
    the network speaks    receive_message · connection_lost · reopen
    the clock speaks      handle_deadline
    the caller collects   events_received · messages_to_send · next_deadline · room_bytes
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from ssm_ssh.errors import LocalProtocolError, RemoteProtocolError
from ssm_ssh.protocol.acknowledgements import Acknowledgements
from ssm_ssh.protocol.agent_stream import AgentStream
from ssm_ssh.protocol.client_stream import ClientStream, PathLimits
from ssm_ssh.protocol.composer import Composer, random_message_ids
from ssm_ssh.protocol.event import ChannelEnded, DataReceived, Event, SessionReady
from ssm_ssh.wire.agent_message import AgentMessage, MessageType
from ssm_ssh.wire.payload import Acknowledge, ChannelClosed, Flag, SessionType

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["DataChannel", "PathLimits"]

# Specification: from this version on an agent that is not ready yet leaves what comes too early
# unacknowledged; older ones acknowledge it and throw it away (protocol 1.4).
_CAREFUL_AGENT_VERSION: Final = (3, 0, 655, 0)
# Ours: an older agent gets our first data when it has sent some of its own, as an SSH server does at once, or
# after so long; it needs a few milliseconds to reach its port.
OLD_AGENT_SECONDS: Final = 0.5


class DataChannel:
    """A reliable, ordered byte stream each way, plus flags, over agent messages.

    Memory is bounded by the limits of the two streams and of the acknowledgements, if the caller collects the
    events after each received message.
    """

    def __init__(
        self,
        *,
        client_id: str,
        wall_clock_ms: Callable[[], int],
        limits: PathLimits | None = None,
        payload_bytes: int | None = None,
        new_message_id: Callable[[], bytes] | None = None,
    ) -> None:
        """Make a channel that has said nothing yet.

        Args:
            client_id: A UUID's text, kept over all resumes.
            wall_clock_ms: Milliseconds since the Unix epoch, for the headers' dates.
            limits: What an earlier session learned about the way.
            payload_bytes: A fixed payload size; None searches for the largest that passes.
            new_message_id: Makes a message's 16 bytes; None for random ones.
        """
        self._composer = Composer(
            client_id=client_id,
            wall_clock_ms=wall_clock_ms,
            new_message_id=new_message_id or random_message_ids().__next__,
        )
        self._client_stream = ClientStream(self._composer, limits or PathLimits(), payload_bytes)
        self._agent_stream = AgentStream()
        self._acknowledgements = Acknowledgements()
        self._events: list[Event] = []
        self._opening: str | None = None
        self._is_opened = False
        self._is_connected = False
        self._is_held = False
        self._is_ended = False

    # --- the caller speaks ---

    def open(self, token: str) -> None:
        """A WebSocket is there: open the channel on it."""
        if self._is_opened or self._is_ended:
            raise LocalProtocolError("a data channel is opened once and then reopened")
        self._is_opened = True
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
            self._client_stream.add(data)

    def send_flag(self, flag: Flag) -> None:
        """Accept a flag, behind all data accepted so far."""
        if not self._is_ended:
            self._client_stream.add_flag(flag)

    def terminate(self) -> None:
        """Ask the agent to end the session, ahead of all data that has not left yet; that data is dropped."""
        if not self._is_ended:
            self._client_stream.drop_unsent()
            self._client_stream.add_flag(Flag.TERMINATE_SESSION)

    def close(self) -> None:
        """Say nothing more, and report nothing but what has happened. Twice is fine."""
        self._is_ended = True
        self._is_connected = False

    # --- the network speaks ---

    def receive_message(self, raw: bytes | str, now: float) -> None:
        """Take in one WebSocket message, binary or text.

        Raises:
            RemoteProtocolError: If it breaks the protocol; the channel has ended then. Nothing else is ever
                raised, whatever the bytes.
        """
        if self._is_ended:
            return
        if isinstance(raw, str):
            # Protocol 2.2: both sides accept text and read it the same way.
            raw = raw.encode("utf-8", "surrogatepass")
        try:
            self._receive(AgentMessage.decode(raw), now)
        except RemoteProtocolError:
            # Half of it may have been acted on: there is no way back to a state that both sides share.
            self.close()
            raise

    def connection_lost(self, now: float, *, is_orderly: bool = False) -> None:
        """The WebSocket is gone; everything waits for ``reopen``.

        Args:
            now: When.
            is_orderly: The service closed it as it does every hour, so neither rate nor size is to blame.
        """
        was_connected, self._is_connected = self._is_connected, False
        if was_connected and not is_orderly:
            self._client_stream.lose_connection(now)

    def reopen(self, token: str, now: float) -> None:
        """A WebSocket of the resumed session is there: go on where the channel was."""
        if not self._is_opened or self._is_connected or self._is_ended:
            raise LocalProtocolError("only a lost data channel can be reopened")
        self._is_held = False
        self._connect(token)
        # Protocol 2.4: sequence numbers live on, and there is no resync; both sides just repeat.
        self._acknowledgements.repeat()
        self._client_stream.replay(now)

    # --- the clock speaks ---

    def handle_deadline(self, now: float) -> None:
        """Do what was due at ``next_deadline``; harmless at any other time."""
        if not self._is_silent:
            self._client_stream.handle_deadline(now)

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
        messages += self._acknowledgements.take()
        if not self._is_held:
            messages += self._client_stream.messages_to_send(now)
        return messages

    def next_deadline(self) -> float | None:
        """When to call ``handle_deadline`` and ``messages_to_send`` if nothing else happens, or None."""
        return None if self._is_silent else self._client_stream.next_deadline()

    @property
    def room_bytes(self) -> int:
        """How much data ``send`` accepts now; 0 once the channel has ended."""
        return 0 if self._is_ended else self._client_stream.room_bytes

    def stalled_seconds(self, now: float) -> float:
        """For how long the agent has acknowledged nothing, although a WebSocket is there and data on its way.

        Protocol 7.6: that is how an agent looks that a destination of its own holds up.
        """
        return 0.0 if self._is_silent or self._is_ended else self._client_stream.waited_seconds(now)

    @property
    def is_drained(self) -> bool:
        """Whether everything accepted has been acknowledged."""
        return self._client_stream.is_drained

    @property
    def is_ended(self) -> bool:
        """Whether the channel was closed, by the service or by us."""
        return self._is_ended

    @property
    def limits(self) -> PathLimits:
        """What is known about the way by now."""
        return self._client_stream.limits

    @property
    def round_trip_seconds(self) -> float | None:
        """The smoothed time from a message to its acknowledgement, or None before the first."""
        return self._client_stream.round_trip_seconds

    @property
    def retransmissions(self) -> int:
        """How many messages were sent again so far."""
        return self._client_stream.retransmissions

    # --- inside ---

    @property
    def _is_silent(self) -> bool:
        """Whether nothing may leave but acknowledgements."""
        return not self._is_connected or self._is_held

    def _connect(self, token: str) -> None:
        self._is_connected = True
        self._opening = self._composer.opening(token)

    def _receive(self, message: AgentMessage, now: float) -> None:
        match message.message_type:
            case MessageType.OUTPUT_STREAM_DATA:
                self._release(now)
                self._receive_sequenced(message, now)
            case MessageType.ACKNOWLEDGE:
                self._release(now)
                self._client_stream.acknowledge(Acknowledge.decode(message.payload).sequence_number, now)
            case MessageType.CHANNEL_CLOSED:
                output = ChannelClosed.decode(message.payload).output
                self._events.append(ChannelEnded(output, self._agent_stream.is_whole))
                self.close()
            case MessageType.PAUSE_PUBLICATION:
                self._is_held = True
            case MessageType.START_PUBLICATION:
                self._release(now)
            case _:
                # Protocol 3: nothing else is for a client; what a newer service adds is not ours to judge.
                pass

    def _release(self, now: float) -> None:
        """End a pause. Protocol 4.6: whoever speaks is there, so data and acknowledgements end it as well."""
        if self._is_held:
            self._is_held = False
            self._client_stream.restart_timers(now)

    def _receive_sequenced(self, message: AgentMessage, now: float) -> None:
        if not self._acknowledgements.has_room:
            # Whoever does not take acknowledgements repeats, so this message will come again.
            return
        is_kept, events = self._agent_stream.receive(message)
        response = self._agent_stream.take_response()
        if response is not None:
            self._client_stream.respond(response)
        for event in events:
            if isinstance(event, SessionReady):
                self._client_stream.allow_data(
                    may_probe=event.session_type == SessionType.PORT,
                    at=now + OLD_AGENT_SECONDS if _loses_early_data(event.agent_version) else now,
                )
            elif isinstance(event, DataReceived):
                self._client_stream.hear_data()
            self._events.append(event)
        # Protocol 4.3: deliver, then acknowledge, so that a cut here costs a duplicate and not a loss.
        if is_kept:
            self._acknowledgements.add(self._composer.acknowledgement(message))


def _loses_early_data(agent_version: str) -> bool:
    parts = agent_version.split(".")
    return all(part.isdecimal() for part in parts) and tuple(map(int, parts)) < _CAREFUL_AGENT_VERSION
