"""The few agent messages that the service itself writes, and what it looks at in those of others."""

from __future__ import annotations

import os
import time
import uuid
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

from ssm_ssh.wire.agent_message import HEADER_BYTES, AgentMessage, MessageType
from ssm_ssh.wire.payload import ChannelClosed

if TYPE_CHECKING:
    from ssm_ssh.emulator.session_record import SessionRecord

_TYPE_AT: Final = 4
_HEADER_LENGTH: Final = HEADER_BYTES.to_bytes(4, "big")
# Specification: header and payload length; a payload is never empty (protocol 3.1).
_SHORTEST_BYTES: Final = HEADER_BYTES + 4 + 1
# With its padding's first space, so that no longer type passes for it.
_INPUT: Final = f"{MessageType.INPUT_STREAM_DATA} ".encode()
_ACKNOWLEDGE: Final = f"{MessageType.ACKNOWLEDGE} ".encode()
_SESSION_STATE: Final = f"{MessageType.AGENT_SESSION_STATE} ".encode()


def channel_closed(record: SessionRecord, output: str) -> bytes:
    """The end of a session, with the short header that the service uses (protocol 3)."""
    message_id = os.urandom(16)
    payload = ChannelClosed(
        session_id=record.session_id,
        output=output,
        message_id=str(uuid.UUID(bytes=message_id)),
        destination_id=record.target,
        created_date=datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z"),
    )
    return _message(MessageType.CHANNEL_CLOSED, payload.encode(), message_id, payload_type=None)


def publication(message_type: MessageType) -> bytes:
    """A pause or a start of publication; its contents mean nothing (protocol 4.6)."""
    return _message(message_type, b"", os.urandom(16), payload_type=0)


def is_client_message(raw: bytes) -> bool:
    """Whether a client may send this: data or an acknowledgement, with its full header and a payload."""
    return (
        len(raw) >= _SHORTEST_BYTES
        and raw.startswith(_HEADER_LENGTH)
        and (raw.startswith(_INPUT, _TYPE_AT) or raw.startswith(_ACKNOWLEDGE, _TYPE_AT))
    )


def is_input(raw: bytes) -> bool:
    """Whether this is a client's sequenced data: what keeps a session from being idle (protocol 8.4)."""
    return raw.startswith(_INPUT, _TYPE_AT)


def is_for_service(raw: bytes) -> bool:
    """Whether an agent says this to the service alone."""
    return raw.startswith(_SESSION_STATE, _TYPE_AT)


def _message(
    message_type: MessageType, payload: bytes, message_id: bytes, *, payload_type: int | None
) -> bytes:
    return AgentMessage(
        message_type=message_type,
        sequence_number=0,
        payload=payload,
        payload_type=payload_type,
        message_id=message_id,
        created_date_ms=time.time_ns() // 1_000_000,
    ).encode()
