"""Laws of all JSON payloads: any bytes and any JSON can be read without harm, any value can be written."""

from __future__ import annotations

import base64
import json
import struct
from typing import TYPE_CHECKING, Any, Final

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from ssm_ssh.errors import MalformedMessage
from ssm_ssh.wire.payload import (
    Acknowledge,
    AgentSessionState,
    ChannelClosed,
    EncryptionChallenge,
    HandshakeComplete,
    HandshakeRequest,
    HandshakeResponse,
    OpenDataChannel,
    ProcessedAction,
    RequestedAction,
    SessionTypeParameters,
    TerminalSize,
    decode_flag,
    encode_flag,
)

if TYPE_CHECKING:
    from collections.abc import Callable
    from uuid import UUID

    from tests.wire.test_payload import JsonPayload

# --- any JSON, any bytes ---------------------------------------------------------------------------------

READERS: Final[dict[str, Callable[[bytes], object]]] = {
    **{
        kind.__name__: kind.decode
        for kind in (
            Acknowledge,
            HandshakeResponse,
            HandshakeComplete,
            EncryptionChallenge,
            ChannelClosed,
            TerminalSize,
            AgentSessionState,
        )
    },
    "OpenDataChannel": lambda payload: OpenDataChannel.decode(payload.decode("utf-8", "surrogateescape")),
    "HandshakeRequest": lambda payload: [
        SessionTypeParameters.from_action(action) for action in HandshakeRequest.decode(payload).actions
    ],
    "decode_flag": decode_flag,
}
NAMES: Final = [
    "RequestId",
    "TokenValue",
    "ClientId",
    "ClientVersion",
    "AcknowledgedMessageType",
    "AcknowledgedMessageId",
    "AcknowledgedMessageSequenceNumber",
    "AgentVersion",
    "RequestedClientActions",
    "ActionType",
    "ActionParameters",
    "SessionType",
    "Properties",
    "ProcessedClientActions",
    "ActionStatus",
    "ActionResult",
    "Error",
    "Errors",
    "HandshakeTimeToComplete",
    "CustomerMessage",
    "Challenge",
    "SessionId",
    "Output",
    "MessageId",
    "cols",
    "rows",
    "SessionState",
]
any_text = st.text(st.characters())
lone_surrogates = st.text(st.characters(categories=["Cs"]), min_size=1, max_size=2)
scalars = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.integers(2**62, 2**70),
    st.floats(),
    any_text,
    lone_surrogates,
    st.binary(max_size=9).map(lambda value: base64.b64encode(value).decode()),
)


def containers(values: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    """Lists, and objects whose keys are often those that a reader looks for."""
    keys = st.one_of(st.sampled_from(NAMES), any_text, lone_surrogates)
    return st.one_of(st.lists(values, max_size=4), st.dictionaries(keys, values, max_size=6))


any_json = st.recursive(scalars, containers, max_leaves=12)
json_objects = st.dictionaries(st.sampled_from(NAMES), any_json, max_size=len(NAMES))


def read_with_all(payload: bytes) -> None:
    """Let every reader read; anything but a value or a MalformedMessage escapes."""
    for reader in READERS.values():
        try:
            reader(payload)
        except MalformedMessage as error:
            # Some of them may succeed, so pytest.raises is no help.
            assert "\n" not in str(error)  # noqa: PT017


@given(payload=st.binary(max_size=200))
@example(payload=b"\xff\xfe{\0}\0")
@example(payload=b"[" * 100_000)
@example(payload=b'{"Errors":' * 50_000)
@example(payload=b"9" * 5_000)
def test_any_bytes(payload: bytes) -> None:
    """Any bytes: MalformedMessage or a value, never anything else."""
    read_with_all(payload)


@given(fields=json_objects, ensure_ascii=st.booleans())
def test_any_json(fields: dict[str, Any], ensure_ascii: bool) -> None:  # noqa: FBT001 -- drawn by name
    """Any JSON object: MalformedMessage or a value, never anything else."""
    text = json.dumps(fields, ensure_ascii=ensure_ascii)
    read_with_all(text.encode("utf-8", "surrogatepass"))


@pytest.mark.parametrize("field", ["Errors", "RequestedClientActions", "ProcessedClientActions", "Output"])
@pytest.mark.parametrize(("start", "end"), [("[", "]"), ('{"Properties":', "}"), ('[{"ActionResult":', "}]")])
def test_any_depth(field: str, start: str, end: str) -> None:
    """Nesting of any depth, also just below what the JSON reader takes: MalformedMessage or a value."""
    for depth in (1, 100, *range(300, 1000, 20), 5_000, 100_000):
        read_with_all(f'{{"{field}":[{start * depth}1{end * depth}]}}'.encode())


@given(fields=json_objects)
def test_texts_that_were_read_can_be_written(fields: dict[str, Any]) -> None:
    """No reader lets half a surrogate pair through: every text it gives has a UTF-8 form."""
    try:
        closed = ChannelClosed.decode(json.dumps(fields).encode())
    except MalformedMessage:
        return
    for text in (closed.session_id, closed.output, closed.message_id):
        text.encode("utf-8")
    assert ChannelClosed.decode(closed.encode()) == closed


# --- round trips -----------------------------------------------------------------------------------------

texts = st.text(st.characters(exclude_categories=["Cs"]))
int64 = st.integers(-(2**63), 2**63 - 1)
finite_json = st.recursive(
    st.one_of(
        st.none(), st.booleans(), st.integers(), st.floats(allow_nan=False, allow_infinity=False), texts
    ),
    lambda values: st.one_of(st.lists(values, max_size=3), st.dictionaries(texts, values, max_size=3)),
    max_leaves=6,
)
objects = st.dictionaries(texts, finite_json, max_size=4)
uint32 = st.integers(0, 2**32 - 1)
values = st.one_of(
    st.builds(Acknowledge, texts, texts, st.integers(0, 2**63 - 1)),
    st.builds(
        HandshakeRequest,
        texts,
        st.lists(st.builds(RequestedAction, texts, objects), max_size=3).map(tuple),
    ),
    st.builds(
        HandshakeResponse,
        texts,
        st.lists(
            st.builds(ProcessedAction, texts, int64, st.one_of(st.none(), objects), texts), max_size=3
        ).map(tuple),
        st.lists(texts, max_size=3).map(tuple),
    ),
    st.builds(HandshakeComplete, int64, texts),
    st.builds(EncryptionChallenge, st.binary(max_size=100)),
    st.builds(ChannelClosed, texts, texts, texts, texts, texts),
    st.builds(TerminalSize, uint32, uint32),
    st.builds(AgentSessionState, texts, texts),
)


@given(value=values)
@example(value=Acknowledge('say "hi"\\', "line\nbreak\0", 3))
def test_every_value_survives_the_wire(value: JsonPayload) -> None:
    """Decoding what was encoded gives the value back, and encoding that gives the bytes back."""
    payload = value.encode()
    assert type(value).decode(payload) == value
    assert type(value).decode(payload).encode() == payload


@given(message=st.builds(OpenDataChannel, texts, texts, texts, texts))
def test_every_first_message_survives_the_wire(message: OpenDataChannel) -> None:
    """The same law for the one that travels as text."""
    assert OpenDataChannel.decode(message.encode()) == message


@given(message_id=st.uuids(), sequence_number=st.integers(0, 2**63 - 1))
def test_the_acknowledges_template_is_json(message_id: UUID, sequence_number: int) -> None:
    """The template writes what the standard library would write."""
    payload = Acknowledge("output_stream_data", str(message_id), sequence_number).encode()
    expected = {
        "AcknowledgedMessageType": "output_stream_data",
        "AcknowledgedMessageId": str(message_id),
        "AcknowledgedMessageSequenceNumber": sequence_number,
        "IsSequentialMessage": True,
    }
    assert payload == json.dumps(expected, separators=(",", ":")).encode()


@given(flag=uint32)
def test_every_flag_survives_the_wire(flag: int) -> None:
    """Also a number that this version has no name for."""
    assert decode_flag(encode_flag(flag)) == flag
    assert encode_flag(flag) == struct.pack(">I", flag)


@given(columns=uint32, rows=uint32, padded_to=st.integers(0, 4096))
def test_a_padded_size_is_the_same_size(columns: int, rows: int, padded_to: int) -> None:
    """A probe is a size message of the asked length, or of its own where that is more, and still JSON."""
    size = TerminalSize(columns, rows)
    payload = size.encode(padded_to=padded_to)
    assert len(payload) == max(padded_to, len(size.encode()))
    assert TerminalSize.decode(payload) == size
