"""Reading agent messages as the agent does, which is less careful than ``wire``.

The agent ignores the digest and the flags, and believes the header length: what ``wire`` calls malformed, the
agent may accept, may drop, or may die of (protocol 3.1).
"""

from __future__ import annotations

import struct
from typing import Final, NamedTuple

from ssm_ssh.wire.agent_message import HEADER_BYTES

# Header length, type, (schema version,) created date, sequence number, (flags,) id's two halves.
_HEADER = struct.Struct(">I32s4xQq8x8s8s")
assert _HEADER.size == 80
_UINT32 = struct.Struct(">I")
_SHORTEST_BYTES: Final = 116


class ReadLoopDied(Exception):
    """The message makes the agent's read loop panic: it recovers, and never reads again."""


class Incoming(NamedTuple):
    """What the agent keeps of a message."""

    message_type: str
    sequence_number: int
    payload_type: int
    message_id: bytes
    payload: bytes


def read_message(raw: str | bytes) -> Incoming | None:
    """Read one message; None if the agent drops it without a word.

    Raises:
        ReadLoopDied: If a length points outside the message.
    """
    # Text and binary messages are parsed alike (protocol 2.2).
    data = raw.encode("utf-8", "surrogatepass") if isinstance(raw, str) else raw
    if len(data) < _SHORTEST_BYTES:
        raise ReadLoopDied(f"{len(data)} bytes are shorter than any header")
    header_length, type_field, created_date_ms, sequence_number, id_low, id_high = _HEADER.unpack_from(data)
    if header_length == 0 or created_date_ms == 0:
        return None
    message_type = type_field.rstrip(b"\0").strip().decode("latin-1")
    if not message_type:
        return None
    if header_length + 4 > len(data):
        raise ReadLoopDied(f"a header length of {header_length} points outside the message")
    payload_type = _UINT32.unpack_from(data, 112)[0] if header_length >= HEADER_BYTES else 0
    return Incoming(message_type, sequence_number, payload_type, id_high + id_low, data[header_length + 4 :])
