"""Agent messages: the binary unit of a data channel, one to a WebSocket message.

Layout, big-endian (protocol 3):

    offset  bytes  field
         0      4  header length   offset of the payload length: 116, or 112 without a payload type
         4     32  message type    ASCII, padded on the right with spaces
        36      4  schema version  1
        40      8  created date    milliseconds since the Unix epoch
        48      8  sequence number signed; 0 for acknowledgements and control messages
        56      8  flags           bit 0 SYN, bit 1 FIN
        64     16  message id      a UUID with its two halves swapped
        80     32  payload digest  SHA-256 of the payload as transmitted
       112      4  payload type    only if the header length is at least 116
        hl      4  payload length
      hl+4      n  payload
"""

from __future__ import annotations

import hashlib
import struct
from dataclasses import dataclass, field
from enum import IntEnum, IntFlag, StrEnum
from typing import Final

from ssm_ssh.errors import MalformedMessage

_FIXED = struct.Struct(">I32sIQqQ8s8s32s")
assert _FIXED.size == 112
_UINT32 = struct.Struct(">I")
_TYPE_AND_LENGTH = struct.Struct(">II")

# Specification: the service's own messages may stop before the payload type, everybody else's do not.
SHORT_HEADER_BYTES: Final = 112
HEADER_BYTES: Final = 116
# Specification: what the agent, the service and the official plugin send.
SCHEMA_VERSION: Final = 1
_TYPE_BYTES: Final = 32


class MessageType(StrEnum):
    """The message types of a data channel."""

    INPUT_STREAM_DATA = "input_stream_data"
    OUTPUT_STREAM_DATA = "output_stream_data"
    ACKNOWLEDGE = "acknowledge"
    CHANNEL_CLOSED = "channel_closed"
    START_PUBLICATION = "start_publication"
    PAUSE_PUBLICATION = "pause_publication"
    AGENT_SESSION_STATE = "agent_session_state"


class PayloadType(IntEnum):
    """What a sequenced message's payload is."""

    UNDEFINED = 0
    OUTPUT = 1
    ERROR = 2
    SIZE = 3
    PARAMETER = 4
    HANDSHAKE_REQUEST = 5
    HANDSHAKE_RESPONSE = 6
    HANDSHAKE_COMPLETE = 7
    ENCRYPTION_CHALLENGE_REQUEST = 8
    ENCRYPTION_CHALLENGE_RESPONSE = 9
    FLAG = 10
    STD_ERR = 11
    EXIT_CODE = 12


class Flags(IntFlag):
    """The header's flags. Nobody reads them; senders still set what their peers always saw."""

    NONE = 0
    SYN = 1
    FIN = 2


# Specification: the service sends these two with whatever header contents; the official client checks none.
_UNCHECKED_TYPES: Final = frozenset(
    {MessageType.START_PUBLICATION.value, MessageType.PAUSE_PUBLICATION.value}
)

# The known types as they stand in a header, and back: nearly every message takes this short cut.
_TYPE_FIELDS: Final = {name.value: name.encode("ascii").ljust(_TYPE_BYTES) for name in MessageType}
_TYPE_NAMES: Final = {type_field: name for name, type_field in _TYPE_FIELDS.items()}


@dataclass(frozen=True, slots=True)
class AgentMessage:
    """One agent message.

    Attributes:
        message_type: One of ``MessageType``, or a text this version does not know: printable ASCII.
        sequence_number: Position in its direction's stream, from 0; 0 where the message is not sequenced.
        payload: The payload as transmitted; kept out of ``repr`` because it may be anybody's secret.
        payload_type: A ``PayloadType`` or a number this version does not know; None for the short header.
        message_id: The UUID's 16 bytes in canonical order.
        created_date_ms: Milliseconds since the Unix epoch.
        flags: See ``Flags``; unknown bits are kept.
        schema_version: 1 so far.
        extension: Header bytes between the payload type and the payload length; none are known.
    """

    message_type: str
    sequence_number: int
    payload: bytes = field(repr=False)
    payload_type: int | None
    message_id: bytes
    created_date_ms: int
    flags: int = 0
    schema_version: int = SCHEMA_VERSION
    extension: bytes = b""

    @classmethod
    def decode(cls, raw: bytes | bytearray | memoryview) -> AgentMessage:
        """Read one message from exactly ``raw``; the message keeps no reference to it.

        ``decode(raw).encode() == raw``, except where nothing checks what is there: the padding of the type,
        the digest of an empty payload, and all but the fixed fields of the two publication messages. Those
        the service fills as it likes; their payload is given as empty.

        Raises:
            MalformedMessage: If the layout above does not hold, the type is empty or not printable ASCII, or
                the digest is not the payload's. Nothing else is ever raised, whatever the bytes.
        """
        # WebSocket libraries hand out their own buffers; a frozen message must not change under its reader.
        raw = bytes(raw)
        size = len(raw)
        if size < SHORT_HEADER_BYTES + 4:
            raise MalformedMessage(f"{size} bytes are shorter than any header", offset=0)
        (
            header_length,
            type_field,
            schema_version,
            created_date_ms,
            sequence_number,
            flags,
            id_low,
            id_high,
            digest,
        ) = _FIXED.unpack_from(raw)
        message_type = _TYPE_NAMES.get(type_field) or _decode_type(type_field)
        payload_type: int | None
        if message_type in _UNCHECKED_TYPES:
            payload_type, extension, payload = None, b"", b""
        else:
            payload_type, extension, payload = _variable_part(raw, header_length)
            if payload and hashlib.sha256(payload).digest() != digest:
                raise MalformedMessage("the payload digest does not match", offset=80)
        return cls(
            message_type,
            sequence_number,
            payload,
            payload_type,
            id_high + id_low,
            created_date_ms,
            flags,
            schema_version,
            extension,
        )

    def encode(self) -> bytes:
        """The message as bytes.

        Raises:
            ValueError: If a field does not fit the layout (our bug, never the network's).
        """
        if len(self.message_id) != 16 or (self.extension and self.payload_type is None):
            raise ValueError(f"no such message can be sent: {self}")
        try:
            middle = b"" if self.payload_type is None else _UINT32.pack(self.payload_type) + self.extension
            fixed = _FIXED.pack(
                SHORT_HEADER_BYTES + len(middle),
                _TYPE_FIELDS.get(self.message_type) or _encode_type(self.message_type),
                self.schema_version,
                self.created_date_ms,
                self.sequence_number,
                self.flags,
                self.message_id[8:],
                self.message_id[:8],
                hashlib.sha256(self.payload).digest(),
            )
            return b"".join((fixed, middle, _UINT32.pack(len(self.payload)), self.payload))
        except struct.error as error:
            raise ValueError(f"no such message can be sent: {self}") from error

    def __str__(self) -> str:
        """A log line: what it is and how much, never what is in it."""
        kind = "" if self.payload_type is None else f" {_payload_type_name(self.payload_type)}"
        return f"{self.message_type} {self.sequence_number}{kind} [{len(self.payload)} B]"


def _variable_part(raw: bytes, header_length: int) -> tuple[int | None, bytes, bytes]:
    """Payload type, extension and payload: what follows the digest."""
    payload_type: int | None
    if header_length == HEADER_BYTES:
        if len(raw) < HEADER_BYTES + 4:
            raise MalformedMessage("ends inside the payload length", offset=HEADER_BYTES)
        payload_type, payload_length = _TYPE_AND_LENGTH.unpack_from(raw, SHORT_HEADER_BYTES)
        extension = b""
    elif header_length == SHORT_HEADER_BYTES:
        (payload_length,) = _UINT32.unpack_from(raw, SHORT_HEADER_BYTES)
        payload_type, extension = None, b""
    elif HEADER_BYTES < header_length <= len(raw) - 4:
        (payload_type,) = _UINT32.unpack_from(raw, SHORT_HEADER_BYTES)
        (payload_length,) = _UINT32.unpack_from(raw, header_length)
        extension = raw[HEADER_BYTES:header_length]
    else:
        raise MalformedMessage(f"a header length of {header_length} is impossible", offset=0)
    payload = raw[header_length + 4 :]
    if payload_length != len(payload):
        raise MalformedMessage(
            f"payload length says {payload_length}, {len(payload)} bytes follow", offset=header_length
        )
    return payload_type, extension, payload


def _decode_type(type_field: bytes) -> str:
    """The text of a type field that is not a known type with its padding."""
    # Specification: readers trim NUL, then white space.
    text = type_field.strip(b"\0").strip().decode("latin-1")
    # Printable, because message types stand in log lines.
    if not (text and text.isascii() and text.isprintable()):
        raise MalformedMessage("the message type is empty or not printable ASCII", offset=4)
    return text


def _encode_type(message_type: str) -> bytes:
    """The type field of a type without a name here. Raises ``ValueError`` if no reader could get it back."""
    type_field = message_type.encode("ascii")
    is_clean = message_type.isprintable() and message_type == message_type.strip()
    if not is_clean or not 0 < len(type_field) <= _TYPE_BYTES:
        raise ValueError(f"no such message type can be sent: {message_type!r}")
    return type_field.ljust(_TYPE_BYTES)


def _payload_type_name(payload_type: int) -> str:
    try:
        return PayloadType(payload_type).name.lower()
    except ValueError:
        return f"payload type {payload_type}"


def uuid_text(message_id: bytes) -> str:
    """The canonical text of a UUID's 16 bytes: what ``str(UUID(bytes=…))`` gives, only cheaper."""
    digits = message_id.hex()
    return f"{digits[:8]}-{digits[8:12]}-{digits[12:16]}-{digits[16:20]}-{digits[20:]}"
