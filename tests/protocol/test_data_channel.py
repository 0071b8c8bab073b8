"""The doors of a data channel: who may speak when, and what comes out."""

from __future__ import annotations

import json
import uuid
from typing import Final

import pytest

from ssm_ssh.errors import LocalProtocolError, MalformedMessage, RemoteProtocolError
from ssm_ssh.protocol import acknowledgements
from ssm_ssh.protocol.data_channel import DataChannel, PathLimits
from ssm_ssh.protocol.event import ChannelEnded, DataReceived, FlagReceived, SessionReady
from ssm_ssh.wire.agent_message import AgentMessage, MessageType, PayloadType
from ssm_ssh.wire.payload import Acknowledge, ChannelClosed, Flag

NOW: Final = 1000.0


def agent_says(number: int, payload: bytes, payload_type: int = PayloadType.OUTPUT) -> bytes:
    """A sequenced message of the agent."""
    message = AgentMessage(MessageType.OUTPUT_STREAM_DATA, number, payload, payload_type, bytes(16), 1)
    return message.encode()


def control(message_type: str, payload: bytes = b"", payload_type: int | None = 0) -> bytes:
    """A message without a number."""
    return AgentMessage(message_type, 0, payload, payload_type, bytes(16), 1).encode()


def acknowledge(number: int) -> bytes:
    """The agent's acknowledgement."""
    return control(MessageType.ACKNOWLEDGE, Acknowledge("input_stream_data", "", number).encode())


def new_channel(limits: PathLimits | None = None) -> DataChannel:
    """One that has said nothing."""
    return DataChannel(client_id="id", wall_clock_ms=lambda: 1, limits=limits)


def shell() -> DataChannel:
    """The shortest way to a channel over which data may flow: a session without handshake."""
    channel = new_channel()
    channel.open("token")
    channel.receive_message(agent_says(0, b"$ "), NOW)
    channel.messages_to_send(NOW)
    channel.events_received()
    return channel


def decoded(messages: list[bytes | str]) -> list[AgentMessage]:
    """The binary ones, all of them."""
    assert all(isinstance(message, bytes) for message in messages)
    return [AgentMessage.decode(message) for message in messages if isinstance(message, bytes)]


# --- opening ---


def test_it_opens_with_a_text_once() -> None:
    """The token is in it; a second stream is for reopen."""
    channel = new_channel()
    assert channel.messages_to_send(NOW) == []
    channel.open("secret")
    (opening,) = channel.messages_to_send(NOW)
    assert isinstance(opening, str)
    assert json.loads(opening)["TokenValue"] == "secret"
    assert channel.messages_to_send(NOW) == []
    with pytest.raises(LocalProtocolError):
        channel.open("again")


def test_only_a_lost_channel_is_reopened() -> None:
    """Not a new one, not a connected one, not an ended one."""
    channel = new_channel()
    with pytest.raises(LocalProtocolError):
        channel.reopen("token", NOW)
    channel.open("token")
    with pytest.raises(LocalProtocolError):
        channel.reopen("token", NOW)
    channel.connection_lost(NOW)
    channel.close()
    with pytest.raises(LocalProtocolError):
        channel.reopen("token", NOW)
    with pytest.raises(LocalProtocolError):
        channel.open("token")


def test_ids_are_random_unless_given() -> None:
    """Version 4, as everybody's."""
    channel = new_channel()
    channel.open("token")
    (opening,) = channel.messages_to_send(NOW)
    assert uuid.UUID(json.loads(opening)["RequestId"]).version == 4


# --- sending ---


def test_no_more_than_there_is_room_for() -> None:
    """Back-pressure is not optional; nothing is no message."""
    channel = shell()
    room = channel.room_bytes
    channel.send(b"")
    assert channel.messages_to_send(NOW) == []
    with pytest.raises(LocalProtocolError):
        channel.send(bytes(room + 1))
    channel.send(bytes(room))
    assert channel.room_bytes == 0
    assert not channel.is_drained


def test_data_and_flags_in_order() -> None:
    """A flag never overtakes."""
    channel = shell()
    channel.send(b"ls\n")
    channel.send_flag(Flag.DISCONNECT_TO_PORT)
    first, second = decoded(channel.messages_to_send(NOW))
    assert (first.payload, second.payload) == (b"ls\n", b"\0\0\0\1")
    channel.receive_message(acknowledge(0), NOW + 0.1)
    channel.receive_message(acknowledge(1), NOW + 0.1)
    assert channel.is_drained


def test_terminate_goes_ahead_of_what_has_not_left() -> None:
    """That data is dropped."""
    channel = shell()
    channel.send(b"unsent")
    channel.terminate()
    (flag,) = decoded(channel.messages_to_send(NOW))
    assert (flag.payload_type, flag.payload) == (PayloadType.FLAG, b"\0\0\0\2")


# --- receiving ---


def test_every_message_is_acknowledged_again_and_again() -> None:
    """And reported once."""
    channel = shell()
    for _ in range(3):
        channel.receive_message(agent_says(1, b"x"), NOW)
    assert channel.events_received() == [DataReceived(b"x")]
    assert channel.events_received() == []
    assert [each.message_type for each in decoded(channel.messages_to_send(NOW))] == ["acknowledge"] * 3


def test_text_is_read_like_binary() -> None:
    """Protocol 2.2. No agent message is valid text, so what comes is an error of the right kind."""
    with pytest.raises(MalformedMessage):
        shell().receive_message("garbage \ud800", NOW)


def test_an_inbox_without_room_acknowledges_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """It will come again."""
    monkeypatch.setattr("ssm_ssh.protocol.inbox.INBOX_MESSAGES", 1)
    channel = shell()
    channel.receive_message(agent_says(2, b"y"), NOW)
    channel.receive_message(agent_says(3, b"z"), NOW)
    assert len(channel.messages_to_send(NOW)) == 1


def test_a_peer_that_takes_no_acknowledgements_is_not_listened_to(monkeypatch: pytest.MonkeyPatch) -> None:
    """Memory is bounded; when it takes them again the message comes again."""
    monkeypatch.setattr(acknowledgements, "PENDING_ACKNOWLEDGEMENTS", 1)
    channel = shell()
    channel.receive_message(agent_says(1, b"x"), NOW)
    channel.receive_message(agent_says(2, b"y"), NOW)
    assert channel.events_received() == [DataReceived(b"x")]
    assert len(channel.messages_to_send(NOW)) == 1
    channel.receive_message(agent_says(2, b"y"), NOW)
    assert channel.events_received() == [DataReceived(b"y")]


@pytest.mark.parametrize("message_type", ["agent_session_state", "input_stream_data", "brand_new"])
def test_what_is_not_for_a_client_is_passed_over(message_type: str) -> None:
    """A newer service may say more."""
    channel = shell()
    channel.receive_message(control(message_type, b"?"), NOW)
    assert channel.events_received() == []
    assert channel.messages_to_send(NOW) == []


def test_a_broken_rule_ends_the_channel() -> None:
    """Half of it may have been acted on; nothing is said or heard afterwards."""
    channel = new_channel()
    channel.open("token")
    with pytest.raises(RemoteProtocolError):
        channel.receive_message(agent_says(0, b"{}", PayloadType.HANDSHAKE_COMPLETE), NOW)
    assert channel.is_ended
    assert channel.messages_to_send(NOW) == []
    channel.receive_message(b"garbage", NOW)


# --- the end ---


@pytest.mark.parametrize("payload_type", [None, 0])
@pytest.mark.parametrize("output", ["", "Plugin with name Port is not supported"])
def test_the_service_ends_the_session(output: str, payload_type: int | None) -> None:
    """With the service's short header or the usual one; everything before it is still reported."""
    channel = shell()
    channel.receive_message(agent_says(1, b"last words"), NOW)
    closed = ChannelClosed("session", output).encode()
    channel.receive_message(control(MessageType.CHANNEL_CLOSED, closed, payload_type), NOW)
    assert channel.events_received() == [DataReceived(b"last words"), ChannelEnded(output)]
    assert channel.is_ended
    assert channel.messages_to_send(NOW) == []


def test_after_the_end_there_is_silence() -> None:
    """Whatever is called, and however often."""
    channel = shell()
    channel.send(b"unsent")
    channel.close()
    channel.close()
    channel.send_flag(Flag.TERMINATE_SESSION)
    channel.terminate()
    channel.receive_message(agent_says(1, b"x"), NOW)
    channel.handle_deadline(NOW + 60)
    channel.connection_lost(NOW)
    assert channel.room_bytes == 0
    assert channel.messages_to_send(NOW) == []
    assert channel.next_deadline() is None
    assert channel.events_received() == []
    assert not channel.is_drained, "what was accepted has not arrived"
    with pytest.raises(LocalProtocolError):
        channel.send(b"x")


# --- resume and pause ---


def test_a_resume_repeats_both_ways() -> None:
    """The opening first, then the last acknowledgements, then what is unacknowledged."""
    channel = shell()
    channel.send(b"ls\n")
    channel.messages_to_send(NOW)
    channel.connection_lost(NOW, is_orderly=True)
    channel.connection_lost(NOW)
    assert channel.messages_to_send(NOW) == []
    assert channel.next_deadline() is None
    channel.reopen("new", NOW + 1)
    opening, *rest = channel.messages_to_send(NOW + 1)
    assert isinstance(opening, str)
    assert json.loads(opening)["TokenValue"] == "new"
    assert [each.message_type for each in decoded(rest)] == ["acknowledge", "input_stream_data"]
    assert channel.retransmissions == 1


@pytest.mark.parametrize("is_ended_by", [acknowledge(0), agent_says(1, b"x"), control("start_publication")])
def test_a_pause_holds_and_drops_nothing(is_ended_by: bytes) -> None:
    """Acknowledgements still leave; whatever is heard of the agent ends the pause (protocol 4.6)."""
    channel = shell()
    channel.receive_message(control("pause_publication"), NOW)
    channel.send(b"ls\n")
    channel.receive_message(control("agent_session_state", b"{}"), NOW)
    assert channel.messages_to_send(NOW) == []
    assert channel.next_deadline() is None
    channel.handle_deadline(NOW + 60)
    channel.receive_message(is_ended_by, NOW + 60)
    assert [each.payload for each in decoded(channel.messages_to_send(NOW + 60))][-1] == b"ls\n"
    assert channel.retransmissions == 0
    channel.handle_deadline(NOW + 60)
    assert channel.next_deadline() is not None


def test_what_is_known() -> None:
    """Of the way and of the session."""
    limits = PathLimits(16384, 16384, 900.0)
    channel = new_channel(limits)
    assert channel.limits == limits
    assert channel.round_trip_seconds is None
    channel.open("token")
    channel.receive_message(agent_says(0, b"$"), NOW)
    assert channel.events_received() == [SessionReady("Standard_Stream", {}, "", ""), DataReceived(b"$")]
    channel.send(b"x")
    channel.messages_to_send(NOW)
    channel.receive_message(acknowledge(0), NOW + 0.004)
    assert channel.round_trip_seconds == pytest.approx(0.004)


def test_the_handshake_is_answered() -> None:
    """Once, and data waits for its completion. More in the dialogues."""
    channel = new_channel()
    channel.open("token")
    channel.send(b"early")
    action = {
        "ActionType": "SessionType",
        "ActionParameters": {"SessionType": "Port", "Properties": {"portNumber": "22"}},
    }
    request = json.dumps({"AgentVersion": "3.3.987.0", "RequestedClientActions": [action]}).encode()
    channel.receive_message(agent_says(0, request, PayloadType.HANDSHAKE_REQUEST), NOW)
    _, *rest = channel.messages_to_send(NOW)
    assert [each.payload_type for each in decoded(rest)] == [0, PayloadType.HANDSHAKE_RESPONSE]
    channel.receive_message(agent_says(1, b"{}", PayloadType.HANDSHAKE_COMPLETE), NOW)
    assert [each.payload_type for each in decoded(channel.messages_to_send(NOW))] == [0, PayloadType.OUTPUT]
    assert channel.events_received() == [SessionReady("Port", {"portNumber": "22"}, "3.3.987.0", "")]


@pytest.mark.parametrize(
    ("version", "is_held"),
    [("2.3.672.0", True), ("3.0.654.9", True), ("3.0.655.0", False), ("3.3.987.0", False), ("odd", False)],
)
def test_an_old_agent_is_given_time(version: str, *, is_held: bool) -> None:
    """Before 3.0.655 an agent acknowledges what comes too early and loses it: data waits for its own."""
    channel = new_channel()
    channel.open("token")
    action = {"ActionType": "SessionType", "ActionParameters": {"SessionType": "Port", "Properties": {}}}
    request = json.dumps({"AgentVersion": version, "RequestedClientActions": [action]}).encode()
    channel.receive_message(agent_says(0, request, PayloadType.HANDSHAKE_REQUEST), NOW)
    channel.receive_message(agent_says(1, b"{}", PayloadType.HANDSHAKE_COMPLETE), NOW)
    channel.send(b"data")
    early = [each.payload for each in decoded(channel.messages_to_send(NOW)[1:])]
    assert (b"data" in early) is not is_held
    channel.receive_message(agent_says(2, b"banner"), NOW)
    late = [each.payload for each in decoded(channel.messages_to_send(NOW))]
    assert (b"data" in late) is is_held


def test_an_end_with_bytes_missing_is_told() -> None:
    """Later data had arrived than was reported."""
    channel = shell()
    channel.receive_message(agent_says(2, b"later"), NOW)
    closed = json.dumps({"MessageType": "channel_closed", "Output": ""}).encode()
    channel.receive_message(control(MessageType.CHANNEL_CLOSED, closed), NOW)
    assert channel.events_received() == [ChannelEnded("", is_whole=False)]


def test_a_flag_of_the_agent_is_reported() -> None:
    """As an event beside the data."""
    channel = shell()
    channel.receive_message(agent_says(1, b"\0\0\0\1", PayloadType.FLAG), NOW)
    assert channel.events_received() == [FlagReceived(1)]


def test_an_agent_that_acknowledges_nothing_is_stalled() -> None:
    """But not one that cannot be reached, or that is not sent anything."""
    channel = shell()
    assert channel.stalled_seconds(NOW) == 0.0
    channel.send(b"x")
    channel.messages_to_send(NOW)
    assert channel.stalled_seconds(NOW + 3) == 3.0
    channel.receive_message(control("pause_publication"), NOW + 3)
    assert channel.stalled_seconds(NOW + 60) == 0.0
    channel.receive_message(control("start_publication"), NOW + 60)
    assert channel.stalled_seconds(NOW + 62) == 2.0
    channel.connection_lost(NOW + 62)
    assert channel.stalled_seconds(NOW + 90) == 0.0
    channel.reopen("token", NOW + 90)
    assert channel.stalled_seconds(NOW + 91) == 1.0
    channel.close()
    assert channel.stalled_seconds(NOW + 99) == 0.0
