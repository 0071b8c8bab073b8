"""What the agent says in its sequenced messages, in order: a handshake or none, then data and flags."""

from __future__ import annotations

from enum import Enum, auto
from typing import TYPE_CHECKING, Final

from ssm_ssh.errors import RemoteProtocolError
from ssm_ssh.protocol.event import DataReceived, Event, FlagReceived, SessionReady
from ssm_ssh.protocol.handshake import answer_handshake
from ssm_ssh.protocol.inbox import Inbox
from ssm_ssh.wire.agent_message import PayloadType
from ssm_ssh.wire.payload import (
    HandshakeComplete,
    HandshakeRequest,
    SessionType,
    SessionTypeParameters,
    decode_flag,
)

if TYPE_CHECKING:
    from ssm_ssh.wire.agent_message import AgentMessage


class _Phase(Enum):
    """How far the agent has come."""

    SILENT = auto()
    HANDSHAKING = auto()  # it has sent its request
    READY = auto()  # data may flow, both ways


# What an agent that is ready must not send; other types, a newer one may.
_HANDSHAKE_TYPES: Final = frozenset(
    {
        PayloadType.HANDSHAKE_REQUEST,
        PayloadType.HANDSHAKE_COMPLETE,
        PayloadType.ENCRYPTION_CHALLENGE_REQUEST,
    }
)


class AgentStream:
    """Puts the agent's messages in order and turns them into events. Memory: the inbox's limits."""

    def __init__(self) -> None:
        self._inbox = Inbox()
        self._phase = _Phase.SILENT
        self._agent_version = ""
        self._announced = SessionTypeParameters(SessionType.STANDARD_STREAM)
        self._response: bytes | None = None
        self._events: list[Event] = []

    def receive(self, message: AgentMessage) -> tuple[bool, list[Event]]:
        """Take in one message, in whatever order they come.

        Returns:
            Whether to acknowledge it, and what it and those that had waited for it have to say.

        Raises:
            RemoteProtocolError: If one of them breaks the protocol.
        """
        is_kept, in_order = self._inbox.receive(message)
        for arrived in in_order:
            self._process(arrived)
        events, self._events = self._events, []
        return is_kept, events

    @property
    def is_whole(self) -> bool:
        """Whether nothing that arrived still waits for something before it."""
        return self._inbox.is_empty

    def take_response(self) -> bytes | None:
        """The handshake response if it is due: given once, or the agent would hang (protocol 5.3)."""
        response, self._response = self._response, None
        return response

    def _process(self, message: AgentMessage) -> None:
        match self._phase, message.payload_type:
            case _Phase.READY, PayloadType.OUTPUT:
                self._report_data(message.payload)
            case _Phase.READY, PayloadType.FLAG:
                self._events.append(FlagReceived(decode_flag(message.payload)))
            case _Phase.SILENT, PayloadType.HANDSHAKE_REQUEST:
                request = HandshakeRequest.decode(message.payload)
                response, self._announced = answer_handshake(request)
                self._agent_version = request.agent_version
                self._response = response.encode()
                self._phase = _Phase.HANDSHAKING
            case _Phase.HANDSHAKING, PayloadType.HANDSHAKE_COMPLETE:
                self._become_ready(HandshakeComplete.decode(message.payload).customer_message)
            case _Phase.SILENT, PayloadType.OUTPUT:
                # Protocol 5.1: output without any handshake is a plain shell's.
                self._become_ready("")
                self._report_data(message.payload)
            case _Phase.READY, payload_type if payload_type not in _HANDSHAKE_TYPES:
                # A payload type of a newer agent: acknowledged, so that the stream goes on.
                pass
            case _:
                raise RemoteProtocolError(f"the agent sent {message} while {self._phase.name.lower()}")

    def _report_data(self, data: bytes) -> None:
        # Empty bytes mean an end everywhere above, and an agent has no way to say that here.
        if data:
            self._events.append(DataReceived(data))

    def _become_ready(self, customer_message: str) -> None:
        self._phase = _Phase.READY
        session_type, properties = self._announced.session_type, self._announced.properties
        self._events.append(SessionReady(session_type, properties, self._agent_version, customer_message))
