"""JSON payloads ⇄ dataclasses: the only file of the package that sees the protocol's untyped JSON.

Readers are strict about what they need and silent about what they do not know: a missing or mistyped field
that matters is a ``MalformedMessage``, an unknown field is ignored. JSON is what Go, on the other side, takes
for it: UTF-8, no ``NaN``, integers of 64 bits, null as good as absent; texts can always be written again.
The layouts are those of protocol 2.2, 3.2, 4.2, 5.2, 6.2 and 6.3.

A payload may hold a token or a key, so no error shows any of it, carries it or has a cause that does.
"""

from __future__ import annotations

import base64
import json
import struct
from dataclasses import dataclass, field
from enum import IntEnum, StrEnum
from json.encoder import encode_basestring_ascii
from typing import Any, Final, NoReturn

from ssm_ssh.errors import MalformedMessage

_FLAG = struct.Struct(">I")
# Specification: numbers are Go's signed 64 bits, a terminal's size has 32 without sign.
_HIGHEST_INT64: Final = 2**63 - 1
_HIGHEST_UINT32: Final = 2**32 - 1

# Specification: the only schema of the messages that carry one.
MESSAGE_SCHEMA_VERSION: Final = "1.0"


class ActionType(StrEnum):
    """What the agent may ask for in its handshake request."""

    SESSION_TYPE = "SessionType"
    KMS_ENCRYPTION = "KMSEncryption"


class ActionStatus(IntEnum):
    """How a requested action went; anything but success fails the session."""

    SUCCESS = 1
    FAILED = 2
    UNSUPPORTED = 3


class SessionType(StrEnum):
    """The kinds of session a document can ask for."""

    STANDARD_STREAM = "Standard_Stream"
    INTERACTIVE_COMMANDS = "InteractiveCommands"
    NON_INTERACTIVE_COMMANDS = "NonInteractiveCommands"
    PORT = "Port"


class Flag(IntEnum):
    """The contents of a ``PayloadType.FLAG`` message."""

    DISCONNECT_TO_PORT = 1
    TERMINATE_SESSION = 2
    CONNECT_TO_PORT_ERROR = 3


@dataclass(frozen=True, slots=True)
class OpenDataChannel:
    """The first message on a fresh WebSocket, sent as text."""

    request_id: str
    # A secret until the channel is open, and useless after.
    token: str = field(repr=False)
    client_id: str = ""
    client_version: str = ""

    @classmethod
    def decode(cls, text: str) -> OpenDataChannel:
        """Read the text form. Raises ``MalformedMessage`` for anything else."""
        fields = _json_object(text)
        return cls(
            request_id=_text(fields, "RequestId"),
            token=_text(fields, "TokenValue"),
            client_id=_text(fields, "ClientId", ""),
            client_version=_text(fields, "ClientVersion", ""),
        )

    def encode(self) -> str:
        """The text form, the token in clear."""
        return _dump(
            {
                "MessageSchemaVersion": MESSAGE_SCHEMA_VERSION,
                "RequestId": self.request_id,
                "TokenValue": self.token,
                "ClientId": self.client_id,
                "ClientVersion": self.client_version,
            }
        )


@dataclass(frozen=True, slots=True)
class Acknowledge:
    """Says that one sequenced message arrived. Matched by its sequence number alone, never cumulative."""

    message_type: str
    message_id: str
    sequence_number: int

    @classmethod
    def decode(cls, payload: bytes) -> Acknowledge:
        """Read the payload. Raises ``MalformedMessage`` for anything else."""
        fields = _json_object(payload)
        return cls(
            message_type=_text(fields, "AcknowledgedMessageType", ""),
            message_id=_text(fields, "AcknowledgedMessageId", ""),
            sequence_number=_number(fields, "AcknowledgedMessageSequenceNumber", lowest=0),
        )

    def encode(self) -> bytes:
        """The payload, written by a template because one is sent for every message received."""
        message_type = encode_basestring_ascii(self.message_type)
        message_id = encode_basestring_ascii(self.message_id)
        return (
            f'{{"AcknowledgedMessageType":{message_type},"AcknowledgedMessageId":{message_id},'
            f'"AcknowledgedMessageSequenceNumber":{self.sequence_number},"IsSequentialMessage":true}}'
        ).encode("ascii")


@dataclass(frozen=True, slots=True)
class RequestedAction:
    """One action of a handshake request, its parameters still as they came."""

    action_type: str
    parameters: dict[str, Any]


@dataclass(frozen=True, slots=True)
class SessionTypeParameters:
    """The parameters of the action ``SessionType``.

    Attributes:
        session_type: A ``SessionType`` or a text this version does not know.
        properties: The document's texts, integers and booleans, all as JSON's text; empty for shells.
    """

    session_type: str
    properties: dict[str, str] = field(default_factory=dict)

    @classmethod
    def from_action(cls, action: RequestedAction) -> SessionTypeParameters:
        """Read an action's parameters. Raises ``MalformedMessage`` where there is no session type."""
        properties = action.parameters.get("Properties")
        scalars = properties.items() if isinstance(properties, dict) else ()
        return cls(
            session_type=_text(action.parameters, "SessionType"),
            properties={
                key: value if isinstance(value, str) else _dump(value)
                for key, value in scalars
                if isinstance(value, str | int)
            },
        )


@dataclass(frozen=True, slots=True)
class HandshakeRequest:
    """The agent's first message where there is a handshake."""

    agent_version: str
    actions: tuple[RequestedAction, ...]

    @classmethod
    def decode(cls, payload: bytes) -> HandshakeRequest:
        """Read the payload. Raises ``MalformedMessage`` for anything else."""
        fields = _json_object(payload)
        actions = fields.get("RequestedClientActions")
        if not isinstance(actions, list):
            raise MalformedMessage("RequestedClientActions is no list")
        return cls(
            agent_version=_text(fields, "AgentVersion", ""),
            actions=tuple(_requested_action(action) for action in actions),
        )

    def encode(self) -> bytes:
        """The payload, with the parameters as they stand."""
        return _dump(
            {
                "AgentVersion": self.agent_version,
                "RequestedClientActions": [
                    {"ActionType": action.action_type, "ActionParameters": action.parameters}
                    for action in self.actions
                ],
            }
        ).encode()


def _requested_action(fields: object) -> RequestedAction:
    if not isinstance(fields, dict):
        raise MalformedMessage("a requested action is no object")
    parameters = fields.get("ActionParameters")
    return RequestedAction(
        action_type=_text(fields, "ActionType"),
        parameters=parameters if isinstance(parameters, dict) else {},
    )


@dataclass(frozen=True, slots=True)
class ProcessedAction:
    """The answer to one requested action."""

    action_type: str
    status: int
    result: dict[str, Any] | None = None
    error: str = ""


@dataclass(frozen=True, slots=True)
class HandshakeResponse:
    """The client's one answer to a handshake request."""

    client_version: str
    actions: tuple[ProcessedAction, ...]
    errors: tuple[str, ...] = ()

    @classmethod
    def decode(cls, payload: bytes) -> HandshakeResponse:
        """Read the payload. Raises ``MalformedMessage`` for anything else."""
        fields = _json_object(payload)
        actions = fields.get("ProcessedClientActions")
        errors = fields.get("Errors")
        if not isinstance(actions, list):
            raise MalformedMessage("ProcessedClientActions is no list")
        if errors is None:
            errors = []
        if not isinstance(errors, list) or not all(isinstance(error, str) for error in errors):
            raise MalformedMessage("Errors is no list of texts")
        return cls(
            client_version=_text(fields, "ClientVersion", ""),
            actions=tuple(_processed_action(action) for action in actions),
            errors=tuple(errors),
        )

    def encode(self) -> bytes:
        """The payload."""
        return _dump(
            {
                "ClientVersion": self.client_version,
                "ProcessedClientActions": [
                    {
                        "ActionType": action.action_type,
                        "ActionStatus": int(action.status),
                        "ActionResult": action.result,
                        "Error": action.error,
                    }
                    for action in self.actions
                ],
                "Errors": list(self.errors) or None,
            }
        ).encode()


def _processed_action(fields: object) -> ProcessedAction:
    if not isinstance(fields, dict):
        raise MalformedMessage("a processed action is no object")
    result = fields.get("ActionResult")
    return ProcessedAction(
        action_type=_text(fields, "ActionType"),
        status=_number(fields, "ActionStatus"),
        result=result if isinstance(result, dict) else None,
        error=_text(fields, "Error", ""),
    )


@dataclass(frozen=True, slots=True)
class HandshakeComplete:
    """The agent's word that data may be sent now."""

    time_to_complete_ns: int
    customer_message: str = ""

    @classmethod
    def decode(cls, payload: bytes) -> HandshakeComplete:
        """Read the payload. Raises ``MalformedMessage`` for anything else."""
        fields = _json_object(payload)
        return cls(
            time_to_complete_ns=_number(fields, "HandshakeTimeToComplete", 0),
            customer_message=_text(fields, "CustomerMessage", ""),
        )

    def encode(self) -> bytes:
        """The payload."""
        return _dump(
            {
                "HandshakeTimeToComplete": self.time_to_complete_ns,
                "CustomerMessage": self.customer_message,
            }
        ).encode()


@dataclass(frozen=True, slots=True)
class EncryptionChallenge:
    """Request and response of the encryption challenge: the same layout both ways."""

    challenge: bytes = field(repr=False)

    @classmethod
    def decode(cls, payload: bytes) -> EncryptionChallenge:
        """Read the payload. Raises ``MalformedMessage`` for anything else."""
        text = _text(_json_object(payload), "Challenge")
        challenge: bytes | None
        try:
            challenge = base64.b64decode(text, validate=True)
        except ValueError:
            challenge = None
        # Outside the except, as in _json_object: the decoder's error may hold the text.
        if challenge is None:
            raise MalformedMessage("Challenge is no base64")
        return cls(challenge)

    def encode(self) -> bytes:
        """The payload."""
        return _dump({"Challenge": base64.b64encode(self.challenge).decode("ascii")}).encode()


@dataclass(frozen=True, slots=True)
class ChannelClosed:
    """The service's word that the session is over.

    Attributes:
        output: Empty for a normal end, else the text to show.
    """

    session_id: str = ""
    output: str = ""
    message_id: str = ""
    destination_id: str = ""
    created_date: str = ""

    @classmethod
    def decode(cls, payload: bytes) -> ChannelClosed:
        """Read the payload. Raises ``MalformedMessage`` for anything else."""
        fields = _json_object(payload)
        return cls(
            session_id=_text(fields, "SessionId", ""),
            output=_text(fields, "Output", ""),
            message_id=_text(fields, "MessageId", ""),
            destination_id=_text(fields, "DestinationId", ""),
            created_date=_text(fields, "CreatedDate", ""),
        )

    def encode(self) -> bytes:
        """The payload."""
        return _dump(
            {
                "MessageType": "channel_closed",
                "MessageId": self.message_id,
                "DestinationId": self.destination_id,
                "SessionId": self.session_id,
                "SchemaVersion": 1,
                "CreatedDate": self.created_date,
                "Output": self.output,
            }
        ).encode()


@dataclass(frozen=True, slots=True)
class TerminalSize:
    """A terminal's size in characters; in port sessions ignored, which makes it a harmless probe."""

    columns: int
    rows: int

    @classmethod
    def decode(cls, payload: bytes) -> TerminalSize:
        """Read the payload. Raises ``MalformedMessage`` for anything else."""
        fields = _json_object(payload)
        return cls(
            columns=_number(fields, "cols", lowest=0, highest=_HIGHEST_UINT32),
            rows=_number(fields, "rows", lowest=0, highest=_HIGHEST_UINT32),
        )

    def encode(self, *, padded_to: int = 0) -> bytes:
        """The payload, padded at its end with spaces to ``padded_to`` bytes where that is more."""
        return _dump({"cols": self.columns, "rows": self.rows}).encode().ljust(padded_to)


@dataclass(frozen=True, slots=True)
class AgentSessionState:
    """What an agent tells the service about its session; clients never see it."""

    state: str
    session_id: str

    @classmethod
    def decode(cls, payload: bytes) -> AgentSessionState:
        """Read the payload. Raises ``MalformedMessage`` for anything else."""
        fields = _json_object(payload)
        return cls(state=_text(fields, "SessionState"), session_id=_text(fields, "SessionId", ""))

    def encode(self) -> bytes:
        """The payload."""
        return _dump({"SchemaVersion": 1, "SessionState": self.state, "SessionId": self.session_id}).encode()


def decode_flag(payload: bytes) -> int:
    """The number in a ``PayloadType.FLAG`` message. Raises ``MalformedMessage`` if it is not 4 bytes long."""
    if len(payload) != _FLAG.size:
        raise MalformedMessage(f"a flag has {_FLAG.size} bytes, not {len(payload)}")
    (flag,) = _FLAG.unpack(payload)
    return int(flag)


def encode_flag(flag: int) -> bytes:
    """The payload of a ``PayloadType.FLAG`` message. Raises ``ValueError`` if it does not fit 4 bytes."""
    try:
        return _FLAG.pack(flag)
    except struct.error as error:
        raise ValueError(f"no such flag can be sent: {flag}") from error


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")


# Made once: the shortcuts json.loads and json.dumps make a new one for every call with options.
_DECODER: Final = json.JSONDecoder(parse_constant=_refuse_constant)
_ENCODER: Final = json.JSONEncoder(separators=(",", ":"), allow_nan=False)


def _dump(value: object) -> str:
    return _ENCODER.encode(value)


def _json_object(payload: bytes | str) -> dict[str, Any]:
    fields: object
    try:
        # Both ways, because a str may hold half a surrogate pair, too.
        text = str(payload.encode("utf-8") if isinstance(payload, str) else payload, "utf-8")
        fields = _DECODER.decode(text)
        if "\\ud" in text or "\\uD" in text:
            # An escaped half of a surrogate pair gives a text that nothing can write; pairs are fine.
            json.dumps(fields, ensure_ascii=False).encode("utf-8")
    except (ValueError, RecursionError):
        fields = None
    # Outside the except: the decoder's error holds the whole payload, also as a mere context.
    if not isinstance(fields, dict):
        raise MalformedMessage("the payload is no JSON object")
    return fields


def _text(fields: dict[str, Any], name: str, default: str | None = None) -> str:
    value = fields.get(name)
    if value is None:
        value = default
    if not isinstance(value, str):
        raise MalformedMessage(f"{name} is missing or no text")
    return value


def _number(
    fields: dict[str, Any],
    name: str,
    default: int | None = None,
    *,
    lowest: int = -_HIGHEST_INT64 - 1,
    highest: int = _HIGHEST_INT64,
) -> int:
    value = fields.get(name)
    if value is None:
        value = default
    # JSON's true is an int to Python.
    if not isinstance(value, int) or isinstance(value, bool):
        raise MalformedMessage(f"{name} is missing or no integer")
    if not lowest <= value <= highest:
        raise MalformedMessage(f"{name} is out of range")
    return value
