"""JSON payloads: the document's examples, what readers refuse, and no secret in any error."""

from __future__ import annotations

import traceback
from functools import partial
from typing import TYPE_CHECKING, Any, Final, Protocol, Self

import pytest

from ssm_ssh.errors import MalformedMessage
from ssm_ssh.wire.payload import (
    MESSAGE_SCHEMA_VERSION,
    Acknowledge,
    ActionStatus,
    ActionType,
    AgentSessionState,
    ChannelClosed,
    EncryptionChallenge,
    Flag,
    HandshakeComplete,
    HandshakeRequest,
    HandshakeResponse,
    OpenDataChannel,
    ProcessedAction,
    RequestedAction,
    SessionType,
    SessionTypeParameters,
    TerminalSize,
    decode_flag,
    encode_flag,
)

if TYPE_CHECKING:
    from collections.abc import Callable

SECRET: Final = "AAEAAbSecretToken"


class JsonPayload(Protocol):
    """What all dataclasses of the module have but the first, whose form is text."""

    @classmethod
    def decode(cls, payload: bytes) -> Self:
        """Read the payload."""

    def encode(self) -> bytes:
        """The payload."""


# --- the document's examples, both ways ------------------------------------------------------------------

PORT_PARAMETERS: Final[dict[str, Any]] = {
    "SessionType": "Port",
    "Properties": {"localPortNumber": "0", "portNumber": "8080", "type": "LocalPortForwarding"},
}
PORT_ACTION: Final = RequestedAction("SessionType", PORT_PARAMETERS)
EXAMPLES: Final[dict[str, tuple[JsonPayload, bytes]]] = {
    "acknowledge": (
        Acknowledge("output_stream_data", "11223344-5566-4788-99aa-bbccddeeff00", 0),
        (
            b'{"AcknowledgedMessageType":"output_stream_data",'
            b'"AcknowledgedMessageId":"11223344-5566-4788-99aa-bbccddeeff00",'
            b'"AcknowledgedMessageSequenceNumber":0,"IsSequentialMessage":true}'
        ),
    ),
    "handshake_request": (
        HandshakeRequest("3.3.987.0", (PORT_ACTION,)),
        (
            b'{"AgentVersion":"3.3.987.0","RequestedClientActions":[{"ActionType":"SessionType",'
            b'"ActionParameters":{"SessionType":"Port","Properties":{"localPortNumber":"0",'
            b'"portNumber":"8080","type":"LocalPortForwarding"}}}]}'
        ),
    ),
    "handshake_response": (
        HandshakeResponse("1.2.764.0", (ProcessedAction("SessionType", ActionStatus.SUCCESS),)),
        (
            b'{"ClientVersion":"1.2.764.0","ProcessedClientActions":[{"ActionType":"SessionType",'
            b'"ActionStatus":1,"ActionResult":null,"Error":""}],"Errors":null}'
        ),
    ),
    "handshake_response_with_errors": (
        HandshakeResponse(
            "1.2.764.0",
            (
                ProcessedAction("KMSEncryption", 2, {"KMSCipherTextKey": "a2V5"}, "denied"),
                ProcessedAction("Dance", ActionStatus.UNSUPPORTED, None, "unknown action"),
            ),
            ("denied", "unknown action"),
        ),
        (
            b'{"ClientVersion":"1.2.764.0","ProcessedClientActions":['
            b'{"ActionType":"KMSEncryption","ActionStatus":2,"ActionResult":{"KMSCipherTextKey":"a2V5"},'
            b'"Error":"denied"},'
            b'{"ActionType":"Dance","ActionStatus":3,"ActionResult":null,"Error":"unknown action"}],'
            b'"Errors":["denied","unknown action"]}'
        ),
    ),
    "handshake_complete": (
        HandshakeComplete(1_234_567, "This session is encrypted using AWS KMS."),
        b'{"HandshakeTimeToComplete":1234567,"CustomerMessage":"This session is encrypted using AWS KMS."}',
    ),
    "encryption_challenge": (EncryptionChallenge(b"\x00\xff\x10"), b'{"Challenge":"AP8Q"}'),
    "channel_closed": (
        ChannelClosed(
            session_id="alice-0123456789abcdef0",
            message_id="5566aabb-ccdd-4eef-8011-223344556677",
            destination_id="i-0123456789abcdef0",
            created_date="2023-11-14T22:13:20.003Z",
        ),
        (
            b'{"MessageType":"channel_closed","MessageId":"5566aabb-ccdd-4eef-8011-223344556677",'
            b'"DestinationId":"i-0123456789abcdef0","SessionId":"alice-0123456789abcdef0",'
            b'"SchemaVersion":1,"CreatedDate":"2023-11-14T22:13:20.003Z","Output":""}'
        ),
    ),
    "terminal_size": (TerminalSize(columns=80, rows=24), b'{"cols":80,"rows":24}'),
    "agent_session_state": (
        AgentSessionState("Connected", "alice-0123456789abcdef0"),
        b'{"SchemaVersion":1,"SessionState":"Connected","SessionId":"alice-0123456789abcdef0"}',
    ),
}


@pytest.mark.parametrize("name", EXAMPLES)
def test_example_decodes_to_its_fields(name: str) -> None:
    """The document's payload gives the document's fields."""
    value, payload = EXAMPLES[name]
    assert type(value).decode(payload) == value


@pytest.mark.parametrize("name", EXAMPLES)
def test_fields_encode_to_the_example(name: str) -> None:
    """The document's fields give the document's payload, byte for byte."""
    value, payload = EXAMPLES[name]
    assert value.encode() == payload


def test_open_data_channel_is_the_official_clients() -> None:
    """The text in clear, its fields in the official client's order."""
    text = (
        '{"MessageSchemaVersion":"1.0","RequestId":"942f","TokenValue":"tok","ClientId":"9c89",'
        '"ClientVersion":"1.2.0.0"}'
    )
    message = OpenDataChannel("942f", "tok", "9c89", "1.2.0.0")
    assert message.encode() == text
    assert OpenDataChannel.decode(text) == message


def test_open_data_channel_of_others_lacks_fields() -> None:
    """The agent sends no version, the independent client neither version nor id."""
    agent = '{"RequestId":"1","TokenValue":"t","ClientId":"","ClientInstanceId":"i-0123456789abcdef0"}'
    assert OpenDataChannel.decode(agent) == OpenDataChannel("1", "t")
    assert OpenDataChannel.decode('{"RequestId":"1","TokenValue":"t"}') == OpenDataChannel("1", "t")


@pytest.mark.parametrize("flag", Flag)
def test_flag_is_four_bytes_big_endian(flag: Flag) -> None:
    """Flags travel as a number, not as JSON."""
    assert encode_flag(flag) == bytes([0, 0, 0, flag])
    assert decode_flag(encode_flag(flag)) == flag


@pytest.mark.parametrize("flag", [-1, 2**32])
def test_flag_that_does_not_fit_is_a_value_error(flag: int) -> None:
    """Our bug, and the network never sees it."""
    with pytest.raises(ValueError, match="no such flag"):
        encode_flag(flag)


def test_codes_are_the_documents() -> None:
    """The numbers and names of sections 2.2, 3 and 5.2, each once more by hand."""
    assert MESSAGE_SCHEMA_VERSION == "1.0"
    assert [(flag.name, flag.value) for flag in Flag] == [
        ("DISCONNECT_TO_PORT", 1),
        ("TERMINATE_SESSION", 2),
        ("CONNECT_TO_PORT_ERROR", 3),
    ]
    assert [(status.name, status.value) for status in ActionStatus] == [
        ("SUCCESS", 1),
        ("FAILED", 2),
        ("UNSUPPORTED", 3),
    ]
    assert [kind.value for kind in ActionType] == ["SessionType", "KMSEncryption"]
    assert [kind.value for kind in SessionType] == [
        "Standard_Stream",
        "InteractiveCommands",
        "NonInteractiveCommands",
        "Port",
    ]


# --- what readers forgive and what they do not -----------------------------------------------------------


@pytest.mark.parametrize(
    ("payload", "value"),
    [
        (b'{"AcknowledgedMessageSequenceNumber":7}', Acknowledge("", "", 7)),
        (b'{"AcknowledgedMessageSequenceNumber":9223372036854775807}', Acknowledge("", "", 2**63 - 1)),
        (b' {"AcknowledgedMessageSequenceNumber" : 7 }\n', Acknowledge("", "", 7)),
        (b"{}", ChannelClosed()),
        (b'{"Output":null,"New":{"a":[1]}}', ChannelClosed()),
        (b'{"Output":"a","Output":"b"}', ChannelClosed(output="b")),
        (b'{"Output":"\\ud83d\\ude00 \\\\ud83d"}', ChannelClosed(output="😀 \\ud83d")),
        ('{"Output":"köln 東京"}'.encode(), ChannelClosed(output="köln 東京")),
        (b"{}", HandshakeComplete(0)),
        (b'{"HandshakeTimeToComplete":-1}', HandshakeComplete(-1)),
        (b'{"RequestedClientActions":[]}', HandshakeRequest("", ())),
        (
            (
                b'{"RequestedClientActions":[{"ActionType":"KMSEncryption"},'
                b'{"ActionType":"x","ActionParameters":[]}]}'
            ),
            HandshakeRequest("", (RequestedAction("KMSEncryption", {}), RequestedAction("x", {}))),
        ),
        (
            b'{"ProcessedClientActions":[{"ActionType":"x","ActionStatus":0,"ActionResult":3}]}',
            HandshakeResponse("", (ProcessedAction("x", 0),)),
        ),
        (b'{"SessionState":"Terminating"}', AgentSessionState("Terminating", "")),
        (b'{"cols":4294967295,"rows":0}', TerminalSize(2**32 - 1, 0)),
        (b'{"Challenge":""}', EncryptionChallenge(b"")),
    ],
)
def test_unknown_missing_and_repeated_fields_are_forgiven(payload: bytes, value: JsonPayload) -> None:
    """Unknown fields are ignored, null is absence, the last of two counts, escapes are read."""
    assert type(value).decode(payload) == value


REFUSED: Final[list[tuple[type[JsonPayload], bytes]]] = [
    (Acknowledge, b"{}"),
    (Acknowledge, b'{"AcknowledgedMessageSequenceNumber":true}'),
    (Acknowledge, b'{"AcknowledgedMessageSequenceNumber":7.0}'),
    (Acknowledge, b'{"AcknowledgedMessageSequenceNumber":"7"}'),
    (Acknowledge, b'{"AcknowledgedMessageSequenceNumber":-1}'),
    (Acknowledge, b'{"AcknowledgedMessageSequenceNumber":9223372036854775808}'),
    (Acknowledge, b'{"AcknowledgedMessageSequenceNumber":7,"AcknowledgedMessageType":7}'),
    (Acknowledge, b'{"AcknowledgedMessageSequenceNumber":7,"Other":NaN}'),
    (Acknowledge, b'{"AcknowledgedMessageSequenceNumber":7,"Other":-Infinity}'),
    (Acknowledge, b'{"AcknowledgedMessageSequenceNumber":7,"Other":' + b"9" * 5000 + b"}"),
    (Acknowledge, '{"AcknowledgedMessageSequenceNumber":7}'.encode("utf-16")),
    (Acknowledge, '{"AcknowledgedMessageSequenceNumber":7}'.encode("utf-8-sig")),
    (ChannelClosed, b""),
    (ChannelClosed, b"null"),
    (ChannelClosed, b"[]"),
    (ChannelClosed, b"{} {}"),
    (ChannelClosed, b'{"Output":"\xff"}'),
    (ChannelClosed, b'{"Output":"\xed\xa0\x80"}'),
    (ChannelClosed, b'{"Output":"\\ud800"}'),
    (ChannelClosed, b'{"Other":"\\uDFFF"}'),
    (ChannelClosed, b'{"\\ud800":""}'),
    (ChannelClosed, b'{"Output":["text"]}'),
    (ChannelClosed, b'{"Output":"line\nbreak"}'),
    (ChannelClosed, b'{"Output":' + b"[" * 200_000 + b"]" * 200_000 + b"}"),
    (HandshakeComplete, b'{"HandshakeTimeToComplete":18446744073709551616}'),
    (HandshakeComplete, b'{"CustomerMessage":false}'),
    (HandshakeRequest, b"{}"),
    (HandshakeRequest, b'{"RequestedClientActions":{}}'),
    (HandshakeRequest, b'{"RequestedClientActions":[null]}'),
    (HandshakeRequest, b'{"RequestedClientActions":[{}]}'),
    (HandshakeRequest, b'{"RequestedClientActions":[],"AgentVersion":3}'),
    (HandshakeResponse, b"{}"),
    (HandshakeResponse, b'{"ProcessedClientActions":[3]}'),
    (HandshakeResponse, b'{"ProcessedClientActions":[{"ActionType":"x"}]}'),
    (HandshakeResponse, b'{"ProcessedClientActions":[{"ActionType":"x","ActionStatus":true}]}'),
    (HandshakeResponse, b'{"ProcessedClientActions":[],"Errors":"x"}'),
    (HandshakeResponse, b'{"ProcessedClientActions":[],"Errors":[1]}'),
    (EncryptionChallenge, b"{}"),
    (EncryptionChallenge, b'{"Challenge":"AP8"}'),
    (EncryptionChallenge, b'{"Challenge":"A P8Q"}'),
    (EncryptionChallenge, '{"Challenge":"äöü="}'.encode()),
    (TerminalSize, b'{"cols":80}'),
    (TerminalSize, b'{"cols":80,"rows":-1}'),
    (TerminalSize, b'{"cols":4294967296,"rows":1}'),
    (AgentSessionState, b"{}"),
]


@pytest.mark.parametrize(("kind", "payload"), REFUSED, ids=lambda value: repr(value)[:60])
def test_what_matters_must_be_there_and_right(kind: type[JsonPayload], payload: bytes) -> None:
    """A missing or mistyped field, or what Go would not take for JSON, is a MalformedMessage."""
    with pytest.raises(MalformedMessage):
        kind.decode(payload)


@pytest.mark.parametrize("payload", [b"", b"\0\0\2", b"\0\0\0\0\2"])
def test_flag_of_another_length_is_malformed(payload: bytes) -> None:
    """A flag has four bytes."""
    with pytest.raises(MalformedMessage, match="4 bytes"):
        decode_flag(payload)


def test_a_str_with_half_a_surrogate_pair_is_malformed() -> None:
    """The one reader of str takes nothing that UTF-8 could not have brought."""
    with pytest.raises(MalformedMessage):
        OpenDataChannel.decode('{"RequestId":"1","TokenValue":"\ud800"}')


@pytest.mark.parametrize(
    ("properties", "expected"),
    [
        (PORT_PARAMETERS["Properties"], PORT_PARAMETERS["Properties"]),
        ({"portNumber": 22, "on": True, "off": False}, {"portNumber": "22", "on": "true", "off": "false"}),
        ({"linux": {"commands": "ls"}, "list": [], "half": 0.5, "nothing": None}, {}),
        (None, {}),
        ("text", {}),
    ],
)
def test_properties_are_flat_texts(properties: object, expected: dict[str, str]) -> None:
    """Texts, integers and booleans of the document's properties become JSON's text, the rest is left out."""
    action = RequestedAction("SessionType", {"SessionType": "Port", "Properties": properties})
    assert SessionTypeParameters.from_action(action) == SessionTypeParameters("Port", expected)


def test_a_session_type_action_without_a_type_is_malformed() -> None:
    """There is no default session type."""
    with pytest.raises(MalformedMessage, match="SessionType"):
        SessionTypeParameters.from_action(RequestedAction("SessionType", {}))


def test_what_is_not_json_is_not_encoded() -> None:
    """NaN in parameters is our bug: a ValueError, and no text that nobody can read."""
    with pytest.raises(ValueError, match="JSON"):
        HandshakeRequest("1", (RequestedAction("x", {"y": float("nan")}),)).encode()


# --- secrets ---------------------------------------------------------------------------------------------


def all_that_shows(error: BaseException) -> str:
    """Everything a log, a traceback or a crash reporter would take from an error and its chain."""
    shown = [*traceback.format_exception(error)]
    link: BaseException | None = error
    while link is not None:
        shown += [
            str(link),
            repr(link),
            repr(link.args),
            repr(vars(link)),
            repr(getattr(link, "__notes__", "")),
        ]
        shown += [repr(getattr(link, name, "")) for name in ("doc", "object")]
        link = link.__cause__ or link.__context__
    return "".join(shown)


@pytest.mark.parametrize(
    "damage",
    [
        lambda text: text[:-1],
        lambda text: text + "}",
        lambda text: f"[{text}]",
        lambda text: text.replace("RequestId", "Request"),
        lambda text: text.replace("TokenValue", SECRET),
        lambda text: text.replace(f'"{SECRET}"', f'["{SECRET}"]'),
        lambda text: text.replace(SECRET, SECRET + "\ud800"),
        lambda text: text.replace(SECRET, SECRET + "\\ud800"),
        lambda text: text.replace(SECRET, SECRET + "\n"),
        lambda text: text.replace('"1.0"', "NaN"),
        lambda text: text.replace('"1.0"', "9" * 5000),
        lambda text: text.replace('"1.0"', "[" * 100_000),
    ],
)
def test_a_malformed_message_never_shows_the_token(damage: Callable[[str], str]) -> None:
    """Neither an error's words, nor its attributes, nor what it was caused by hold any of the payload."""
    text = damage(OpenDataChannel("1", SECRET).encode())
    assert SECRET in text
    with pytest.raises(MalformedMessage) as caught:
        OpenDataChannel.decode(text)
    assert SECRET not in all_that_shows(caught.value)


@pytest.mark.parametrize("payload", [b'{"Challenge":"%s*"}', b'{"Challenge":"%s\xc3\xa4"}', b"%s", b"%s\xff"])
def test_a_malformed_challenge_is_not_shown(payload: bytes) -> None:
    """The same for the readers of bytes, whose decoders have errors of their own."""
    with pytest.raises(MalformedMessage) as caught:
        EncryptionChallenge.decode(payload % SECRET.encode())
    assert SECRET not in all_that_shows(caught.value)


@pytest.mark.parametrize(
    "make", [partial(OpenDataChannel, "1"), lambda secret: EncryptionChallenge(secret.encode())]
)
def test_secrets_stay_out_of_repr(make: Callable[[str], object]) -> None:
    """A value that holds a secret prints without it."""
    value = make(SECRET)
    for shown in (str(value), repr(value), f"{value}", f"{[value]}"):
        assert SECRET not in shown
