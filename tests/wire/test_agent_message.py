"""Agent messages: the document's vectors, every change of a byte, and any bytes at all."""

from __future__ import annotations

import hashlib
from dataclasses import FrozenInstanceError, replace
from typing import Final
from uuid import UUID

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from ssm_ssh.errors import MalformedMessage
from ssm_ssh.wire.agent_message import (
    HEADER_BYTES,
    SCHEMA_VERSION,
    SHORT_HEADER_BYTES,
    AgentMessage,
    Flags,
    MessageType,
    PayloadType,
    uuid_text,
)
from tests.wire.vector import VECTORS, Vector

NOON_MS: Final = 1_700_000_000_000  # 0x18bcfe56800, the vectors' first CreatedDate
TYPE_FIELD: Final = range(4, 36)

# The fields of every vector that can be read, spelled from the document's words and not from its bytes.
DOCUMENT_MESSAGES: Final = {
    "v1_input_stream_data": AgentMessage(
        "input_stream_data",
        sequence_number=5,
        payload=b"ls -la\r",
        payload_type=1,
        message_id=UUID("0f1e2d3c-4b5a-4697-8879-a1b2c3d4e5f6").bytes,
        created_date_ms=NOON_MS,
    ),
    "v2_acknowledge": AgentMessage(
        "acknowledge",
        sequence_number=0,
        payload=(
            b'{"AcknowledgedMessageType":"output_stream_data",'
            b'"AcknowledgedMessageId":"11223344-5566-4788-99aa-bbccddeeff00",'
            b'"AcknowledgedMessageSequenceNumber":0,"IsSequentialMessage":true}'
        ),
        payload_type=0,
        message_id=UUID("a0b1c2d3-e4f5-4061-8293-a4b5c6d7e8f9").bytes,
        created_date_ms=NOON_MS + 1,
        flags=3,
    ),
    "v3_handshake_request": AgentMessage(
        "output_stream_data",
        sequence_number=0,
        payload=(
            b'{"AgentVersion":"3.3.987.0","RequestedClientActions":[{"ActionType":"SessionType",'
            b'"ActionParameters":{"SessionType":"Port","Properties":{"localPortNumber":"0",'
            b'"portNumber":"8080","type":"LocalPortForwarding"}}}]}'
        ),
        payload_type=5,
        message_id=UUID("11223344-5566-4788-99aa-bbccddeeff00").bytes,
        created_date_ms=NOON_MS,
        flags=1,
    ),
    "v4_terminate_session_flag": AgentMessage(
        "input_stream_data",
        sequence_number=7,
        payload=b"\x00\x00\x00\x02",
        payload_type=10,
        message_id=UUID("00112233-4455-4677-8899-aabbccddeeff").bytes,
        created_date_ms=NOON_MS + 2,
    ),
    "v5_channel_closed": AgentMessage(
        "channel_closed",
        sequence_number=0,
        payload=(
            b'{"MessageType":"channel_closed","MessageId":"5566aabb-ccdd-4eef-8011-223344556677",'
            b'"DestinationId":"i-0123456789abcdef0","SessionId":"alice-0123456789abcdef0",'
            b'"SchemaVersion":1,"CreatedDate":"2023-11-14T22:13:20.003Z","Output":""}'
        ),
        payload_type=None,
        message_id=UUID("5566aabb-ccdd-4eef-8011-223344556677").bytes,
        created_date_ms=NOON_MS + 3,
    ),
    "v6_handshake_response": AgentMessage(
        "input_stream_data",
        sequence_number=0,
        payload=(
            b'{"ClientVersion":"1.2.764.0","ProcessedClientActions":[{"ActionType":"SessionType",'
            b'"ActionStatus":1,"ActionResult":null,"Error":""}],"Errors":null}'
        ),
        payload_type=6,
        message_id=UUID("22334455-6677-4899-aabb-ccddeeff0011").bytes,
        created_date_ms=NOON_MS + 1,
    ),
}
ONE: Final = DOCUMENT_MESSAGES["v1_input_stream_data"]
MESSAGES: Final = DOCUMENT_MESSAGES | {
    "header_length_with_extension": replace(ONE, extension=bytes.fromhex("c0ffee00")),
    "empty_payload_any_digest": replace(ONE, payload=b""),
    "type_padded_with_nul": ONE,
    "unknown_type_and_payload_type": replace(ONE, message_type="interactive_shell", payload_type=77),
    "pause_publication_any_header": replace(
        ONE, message_type="pause_publication", payload=b"", payload_type=None
    ),
    "start_publication_any_digest": replace(
        ONE, message_type="start_publication", payload=b"", payload_type=None
    ),
}
# Of these the bytes are not what we would send: nothing checks the padding or the digest.
ONE_WAY: Final = {
    "empty_payload_any_digest",
    "type_padded_with_nul",
    "pause_publication_any_header",
    "start_publication_any_digest",
}
GOOD: Final = [vector for vector in VECTORS.values() if not vector.is_malformed]
BAD: Final = [vector for vector in VECTORS.values() if vector.is_malformed]
DOCUMENT: Final = [vector for vector in GOOD if vector.stem in DOCUMENT_MESSAGES]

message_types = st.one_of(
    st.sampled_from([name.value for name in MessageType if "publication" not in name]),
    st.text(st.characters(min_codepoint=0x20, max_codepoint=0x7E), min_size=1, max_size=32).filter(
        lambda text: text == text.strip() and "publication" not in text
    ),
)
uint32 = st.integers(0, 2**32 - 1)
uint64 = st.integers(0, 2**64 - 1)
long_headers = st.builds(
    AgentMessage,
    message_type=message_types,
    sequence_number=st.integers(-(2**63), 2**63 - 1),
    payload=st.binary(max_size=2048),
    payload_type=uint32,
    message_id=st.binary(min_size=16, max_size=16),
    created_date_ms=uint64,
    flags=uint64,
    schema_version=uint32,
    extension=st.binary(max_size=8),
)
messages = st.one_of(
    long_headers, long_headers.map(lambda message: replace(message, payload_type=None, extension=b""))
)


def test_every_readable_vector_has_its_fields_spelled_here() -> None:
    """No vector is forgotten, and there are both kinds."""
    assert {vector.stem for vector in GOOD} == MESSAGES.keys()
    assert len(DOCUMENT) == 6
    assert len(BAD) > 20


@pytest.mark.parametrize("vector", GOOD, ids=str)
def test_vector_decodes_to_its_fields(vector: Vector) -> None:
    """The document's bytes give the document's fields."""
    assert AgentMessage.decode(vector.raw) == MESSAGES[vector.stem]


@pytest.mark.parametrize("vector", [vector for vector in GOOD if vector.stem not in ONE_WAY], ids=str)
def test_fields_encode_to_the_vector(vector: Vector) -> None:
    """The document's fields give the document's bytes."""
    assert MESSAGES[vector.stem].encode() == vector.raw


@pytest.mark.parametrize("vector", BAD, ids=str)
def test_malformed_vector_is_refused_where_it_is_wrong(vector: Vector) -> None:
    """Each kind of damage is a MalformedMessage that names the damaged place."""
    with pytest.raises(MalformedMessage) as caught:
        AgentMessage.decode(vector.raw)
    assert caught.value.offset == vector.offset


@pytest.mark.parametrize("vector", DOCUMENT, ids=str)
def test_no_prefix_is_a_message(vector: Vector) -> None:
    """A message that is cut anywhere, or longer by a byte, is malformed."""
    for raw in (*(vector.raw[:end] for end in range(len(vector.raw))), vector.raw + b"\0"):
        with pytest.raises(MalformedMessage):
            AgentMessage.decode(raw)


@pytest.mark.parametrize("vector", DOCUMENT, ids=str)
def test_no_changed_byte_is_overlooked(vector: Vector) -> None:
    """With one byte changed a message is malformed or says so in its fields; only padding may be tidied."""
    for offset in range(len(vector.raw)):
        for change in (0x01, 0x04, 0x20, 0x80, 0xFF):
            raw = bytearray(vector.raw)
            raw[offset] ^= change
            try:
                message = AgentMessage.decode(raw)
            except MalformedMessage:
                continue
            if message.encode() != raw:
                assert offset in TYPE_FIELD
                assert AgentMessage.decode(message.encode()) == message


@given(raw=st.binary(max_size=300))
@example(raw=b"")
@example(raw=bytes(116))
@example(raw=b"\xff" * 400)
def test_any_bytes(raw: bytes) -> None:
    """Any bytes: MalformedMessage or a message, never anything else."""
    try:
        message = AgentMessage.decode(raw)
    except MalformedMessage as error:
        assert "\n" not in str(error)  # noqa: PT017 -- most bytes are malformed, some are not: both are fine
    else:
        assert AgentMessage.decode(message.encode()) == message


@given(
    vector=st.sampled_from(GOOD + BAD),
    header_length=st.one_of(st.integers(100, 140), uint32),
    field=st.binary(min_size=1, max_size=40),
    offset=st.integers(0, 360),
)
def test_nearly_right_bytes(vector: Vector, header_length: int, field: bytes, offset: int) -> None:
    """Any bytes that begin like a message: MalformedMessage or a message, never anything else."""
    raw = header_length.to_bytes(4, "big") + vector.raw[4:offset] + field + vector.raw[offset + len(field) :]
    try:
        message = AgentMessage.decode(raw)
    except MalformedMessage:
        return
    assert AgentMessage.decode(message.encode()) == message


@given(message=messages)
@example(message=replace(ONE, payload=b""))
def test_every_message_survives_the_wire(message: AgentMessage) -> None:
    """Decoding what was encoded gives the message back, and encoding that gives the bytes back."""
    raw = message.encode()
    assert AgentMessage.decode(raw) == message
    assert AgentMessage.decode(raw).encode() == raw


@given(message=messages, payload=st.binary(min_size=1))
def test_a_payload_under_a_foreign_digest_is_refused(message: AgentMessage, payload: bytes) -> None:
    """The digest is the payload's SHA-256 and no other's."""
    raw = replace(message, payload=payload).encode()
    foreign = hashlib.sha256(payload + b".").digest()
    assert raw[80:112] == hashlib.sha256(payload).digest()
    with pytest.raises(MalformedMessage, match="digest"):
        AgentMessage.decode(raw[:80] + foreign + raw[112:])


@given(
    name=st.sampled_from([MessageType.PAUSE_PUBLICATION, MessageType.START_PUBLICATION]),
    header_length=st.one_of(st.sampled_from([0, 112, 116, 120]), uint32),
    rest=st.binary(min_size=4, max_size=64),
    digest=st.binary(min_size=32, max_size=32),
)
def test_publication_messages_need_nothing_but_their_type(
    name: MessageType, header_length: int, rest: bytes, digest: bytes
) -> None:
    """Whatever the service puts around it, a pause is a pause and a start is a start."""
    fixed = header_length.to_bytes(4, "big") + name.value.encode().ljust(32) + bytes(44) + digest
    message = AgentMessage.decode(fixed + rest)
    assert (message.message_type, message.payload) == (name, b"")


@given(message_id=st.uuids(), message=messages)
def test_the_halves_of_the_message_id_are_swapped(message_id: UUID, message: AgentMessage) -> None:
    """On the wire the UUID's second half comes first; above it the order is the canonical one."""
    raw = replace(message, message_id=message_id.bytes).encode()
    assert raw[64:80] == message_id.bytes[8:] + message_id.bytes[:8]
    assert AgentMessage.decode(raw).message_id == message_id.bytes


@given(message_id=st.uuids())
def test_uuid_text_is_the_canonical_text(message_id: UUID) -> None:
    """The cheap way to the text gives the standard library's."""
    assert uuid_text(message_id.bytes) == str(message_id)


@pytest.mark.parametrize("view", [bytearray, memoryview])
def test_a_message_does_not_share_the_buffer_it_was_read_from(
    view: type[bytearray | memoryview],
) -> None:
    """A WebSocket library may hand out its own buffer and reuse it: the message stays what it was."""
    buffer = bytearray(VECTORS["header_length_with_extension"].raw)
    message = AgentMessage.decode(buffer if view is bytearray else view(buffer))
    buffer[:] = bytes(len(buffer))
    assert message == MESSAGES["header_length_with_extension"]
    assert type(message.payload) is bytes
    assert hash(message) == hash(MESSAGES["header_length_with_extension"])


def test_a_message_is_frozen() -> None:
    """Retransmissions are identical because nobody can change what was sent."""
    with pytest.raises(FrozenInstanceError):
        ONE.payload = b""  # type: ignore[misc]  # the point of the test


@pytest.mark.parametrize(
    "message",
    [
        replace(ONE, message_type=""),
        replace(ONE, message_type="   "),
        replace(ONE, message_type="x" * 33),
        replace(ONE, message_type="eingäbe"),
        replace(ONE, message_type=" leading"),
        replace(ONE, message_type="trailing "),
        replace(ONE, message_type="nul\0"),
        replace(ONE, message_type="line\nbreak"),
        replace(ONE, message_id=b"short"),
        replace(ONE, message_id=bytes(17)),
        replace(ONE, payload_type=None, extension=b"x"),
        replace(ONE, payload_type=-1),
        replace(ONE, payload_type=2**32),
        replace(ONE, sequence_number=2**63),
        replace(ONE, created_date_ms=-1),
        replace(ONE, flags=2**64),
        replace(ONE, schema_version=-1),
    ],
    ids=lambda message: str(message)[:24],
)
def test_what_no_reader_could_get_back_is_not_encoded(message: AgentMessage) -> None:
    """A field that does not fit the layout is a ValueError, and the error does not show the payload."""
    with pytest.raises(ValueError, match=r"be sent|ascii") as caught:
        message.encode()
    assert "ls -la" not in str(caught.value)


@pytest.mark.parametrize(
    ("message", "line"),
    [
        (ONE, "input_stream_data 5 output [7 B]"),
        (MESSAGES["v5_channel_closed"], "channel_closed 0 [230 B]"),
        (MESSAGES["v6_handshake_response"], "input_stream_data 0 handshake_response [147 B]"),
        (MESSAGES["unknown_type_and_payload_type"], "interactive_shell 5 payload type 77 [7 B]"),
    ],
)
def test_the_log_line_says_what_and_how_much(message: AgentMessage, line: str) -> None:
    """A log line tells type, number, kind and size."""
    assert str(message) == line


@given(payload=st.binary(min_size=8, max_size=64))
def test_neither_log_line_nor_repr_shows_the_payload(payload: bytes) -> None:
    """What a payload holds depends on its size alone for everyone who reads a log."""
    message = replace(ONE, payload=payload)
    zeros = replace(ONE, payload=bytes(len(payload)))
    assert (str(message), repr(message)) == (str(zeros), repr(zeros))


def test_codes_are_the_documents() -> None:
    """The numbers and names of section 3, each once more by hand."""
    assert [kind.value for kind in PayloadType] == list(range(13))
    assert PayloadType(5).name == "HANDSHAKE_REQUEST"
    assert PayloadType(10).name == "FLAG"
    assert (Flags.SYN | Flags.FIN).value == 3
    assert (SHORT_HEADER_BYTES, HEADER_BYTES, SCHEMA_VERSION) == (112, 116, 1)
    assert {name.value for name in MessageType} == {
        "input_stream_data",
        "output_stream_data",
        "acknowledge",
        "channel_closed",
        "start_publication",
        "pause_publication",
        "agent_session_state",
    }
