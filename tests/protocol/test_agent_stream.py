"""The agent's messages become events."""

from __future__ import annotations

import pytest

from ssm_ssh.errors import MalformedMessage, RemoteProtocolError
from ssm_ssh.protocol.agent_stream import AgentStream
from ssm_ssh.protocol.event import DataReceived, Event, FlagReceived, SessionReady
from ssm_ssh.wire.agent_message import AgentMessage, MessageType, PayloadType
from ssm_ssh.wire.payload import HandshakeComplete, HandshakeRequest, HandshakeResponse, RequestedAction

REQUEST = HandshakeRequest(
    "3.3.987.0",
    (RequestedAction("SessionType", {"SessionType": "Port", "Properties": {"portNumber": "22"}}),),
).encode()
COMPLETE = HandshakeComplete(1, "This session is encrypted using AWS KMS.").encode()
READY = SessionReady("Port", {"portNumber": "22"}, "3.3.987.0", "This session is encrypted using AWS KMS.")
SHELL = SessionReady("Standard_Stream", {}, "", "")


def message(number: int, payload_type: int | None, payload: bytes) -> AgentMessage:
    """One of the agent's sequenced messages."""
    return AgentMessage(MessageType.OUTPUT_STREAM_DATA, number, payload, payload_type, bytes(16), 1)


def said(stream: AgentStream, *messages: tuple[int | None, bytes]) -> list[Event]:
    """What these messages, in order from the first, report."""
    events: list[Event] = []
    for number, (payload_type, payload) in enumerate(messages):
        kept, reported = stream.receive(message(number, payload_type, payload))
        assert kept
        events += reported
    return events


def test_handshake_and_data() -> None:
    """One response, given once; ready only when complete."""
    stream = AgentStream()
    assert said(stream, (PayloadType.HANDSHAKE_REQUEST, REQUEST)) == []
    response = stream.take_response()
    assert response is not None
    assert HandshakeResponse.decode(response).actions[0].status == 1
    assert stream.take_response() is None
    assert stream.receive(message(1, PayloadType.HANDSHAKE_COMPLETE, COMPLETE)) == (True, [READY])
    assert stream.receive(message(2, PayloadType.OUTPUT, b"SSH-2.0")) == (True, [DataReceived(b"SSH-2.0")])
    assert stream.receive(message(3, PayloadType.FLAG, b"\0\0\0\3")) == (True, [FlagReceived(3)])
    assert stream.take_response() is None


def test_a_plain_shell_has_no_handshake() -> None:
    """It begins with its first output, which is not lost."""
    assert said(AgentStream(), (PayloadType.OUTPUT, b"$ ")) == [SHELL, DataReceived(b"$ ")]


def test_early_messages_wait_for_the_handshake() -> None:
    """In whatever order they come."""
    stream = AgentStream()
    assert stream.receive(message(2, PayloadType.OUTPUT, b"x")) == (True, [])
    assert stream.receive(message(1, PayloadType.HANDSHAKE_COMPLETE, COMPLETE)) == (True, [])
    assert stream.take_response() is None
    assert stream.receive(message(0, PayloadType.HANDSHAKE_REQUEST, REQUEST)) == (
        True,
        [READY, DataReceived(b"x")],
    )
    assert stream.take_response() is not None


def test_empty_output_is_no_end() -> None:
    """Symptom without it: a reader that takes empty bytes for the end of the stream."""
    assert said(AgentStream(), (PayloadType.OUTPUT, b""), (PayloadType.OUTPUT, b"x")) == [
        SHELL,
        DataReceived(b"x"),
    ]


@pytest.mark.parametrize("payload_type", [PayloadType.STD_ERR, PayloadType.EXIT_CODE, 4711, None])
def test_what_is_not_known_is_passed_over(payload_type: int | None) -> None:
    """A newer agent's word; the stream goes on."""
    events = said(AgentStream(), (PayloadType.OUTPUT, b"a"), (payload_type, b"?"), (PayloadType.OUTPUT, b"b"))
    assert events == [SHELL, DataReceived(b"a"), DataReceived(b"b")]


@pytest.mark.parametrize(
    "messages",
    [
        [(PayloadType.HANDSHAKE_COMPLETE, COMPLETE)],
        [(PayloadType.FLAG, b"\0\0\0\1")],
        [(None, b"x")],
        [(PayloadType.HANDSHAKE_REQUEST, REQUEST), (PayloadType.HANDSHAKE_REQUEST, REQUEST)],
        [(PayloadType.HANDSHAKE_REQUEST, REQUEST), (PayloadType.OUTPUT, b"x")],
        [(PayloadType.OUTPUT, b"x"), (PayloadType.HANDSHAKE_REQUEST, REQUEST)],
        [(PayloadType.OUTPUT, b"x"), (PayloadType.ENCRYPTION_CHALLENGE_REQUEST, b"{}")],
    ],
)
def test_what_is_out_of_turn_breaks_the_protocol(messages: list[tuple[int | None, bytes]]) -> None:
    """A second request above all: a second response would hang the agent."""
    with pytest.raises(RemoteProtocolError, match="while"):
        said(AgentStream(), *messages)


@pytest.mark.parametrize(
    "messages",
    [
        [(PayloadType.HANDSHAKE_REQUEST, b"{")],
        [(PayloadType.HANDSHAKE_REQUEST, b'{"RequestedClientActions":[]}')],
        [(PayloadType.HANDSHAKE_REQUEST, REQUEST), (PayloadType.HANDSHAKE_COMPLETE, b"[]")],
        [(PayloadType.OUTPUT, b"x"), (PayloadType.FLAG, b"\1")],
    ],
)
def test_what_cannot_be_read_is_malformed(messages: list[tuple[int | None, bytes]]) -> None:
    """Nothing else is raised."""
    with pytest.raises(MalformedMessage):
        said(AgentStream(), *messages)


def test_duplicates_are_kept_and_say_nothing() -> None:
    """So that they are acknowledged again."""
    stream = AgentStream()
    said(stream, (PayloadType.OUTPUT, b"x"))
    assert stream.receive(message(0, PayloadType.OUTPUT, b"x")) == (True, [])


def test_a_gap_is_not_whole() -> None:
    """What came after a message that is missing has not been said."""
    stream = AgentStream()
    assert stream.is_whole
    assert stream.receive(message(1, PayloadType.OUTPUT, b"y")) == (True, [])
    assert not stream.is_whole
    stream.receive(message(0, PayloadType.OUTPUT, b"x"))
    assert stream.is_whole
