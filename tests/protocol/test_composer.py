"""The client's messages, field by field."""

from __future__ import annotations

import itertools
import json
import uuid

from ssm_ssh.protocol.composer import Composer, random_message_ids
from ssm_ssh.wire.agent_message import AgentMessage, MessageType, PayloadType


def composer() -> Composer:
    """One with ids 1, 2, 3 … and a fixed date."""
    ids = itertools.count(1)
    return Composer(
        client_id="9c89f3a0-0000-4000-8000-000000000000",
        wall_clock_ms=lambda: 1_700_000_000_000,
        new_message_id=lambda: next(ids).to_bytes(16, "big"),
    )


def test_the_opening() -> None:
    """Text, with the token; protocol 2.2."""
    assert json.loads(composer().opening("secret")) == {
        "MessageSchemaVersion": "1.0",
        "RequestId": "00000000-0000-0000-0000-000000000001",
        "TokenValue": "secret",
        "ClientId": "9c89f3a0-0000-4000-8000-000000000000",
        "ClientVersion": "1.2.764.0",
    }


def test_an_acknowledgement() -> None:
    """Sequence number 0, flags 3, payload type 0; what it is about stands in the JSON; protocol 4.2."""
    received = AgentMessage("output_stream_data", 41, b"x", 1, uuid.UUID(int=7).bytes, 5)
    message = AgentMessage.decode(composer().acknowledgement(received))
    assert message.message_type == MessageType.ACKNOWLEDGE
    assert (message.sequence_number, message.flags, message.payload_type) == (0, 3, 0)
    assert message.created_date_ms == 1_700_000_000_000
    assert json.loads(message.payload) == {
        "AcknowledgedMessageType": "output_stream_data",
        "AcknowledgedMessageId": str(uuid.UUID(int=7)),
        "AcknowledgedMessageSequenceNumber": 41,
        "IsSequentialMessage": True,
    }


def test_sequenced_messages() -> None:
    """No flags, not even on the first; protocol 3.1."""
    message = AgentMessage.decode(composer().sequenced(0, PayloadType.OUTPUT, b"ls\n"))
    assert message.message_type == MessageType.INPUT_STREAM_DATA
    assert (message.sequence_number, message.flags, message.payload_type) == (0, 0, PayloadType.OUTPUT)
    assert message.payload == b"ls\n"


def test_random_ids_are_version_4_uuids_without_repeats() -> None:
    """More of them than are made at a time."""
    ids = list(itertools.islice(random_message_ids(), 1000))
    assert len(set(ids)) == 1000
    for each in ids:
        assert uuid.UUID(bytes=each).version == 4
        assert uuid.UUID(bytes=each).variant == uuid.RFC_4122
