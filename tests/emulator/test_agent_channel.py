"""The agent's data channel: what it acknowledges, what it keeps, what it throws away."""

from __future__ import annotations

from random import Random
from typing import Final

import pytest

from ssm_ssh.emulator import agent_channel
from ssm_ssh.emulator.agent_channel import AgentChannel
from ssm_ssh.emulator.agent_version import AgentTraits
from ssm_ssh.emulator.incoming import Incoming, read_message
from ssm_ssh.wire.agent_message import AgentMessage, MessageType, PayloadType, uuid_text
from ssm_ssh.wire.payload import Acknowledge
from tests.emulator.scripted_peer import acknowledgement, client_message

NOW_MS: Final = 1_700_000_000_000


def channel_of(version: str = "3.3.987.0", *, is_handshake_done: bool = True) -> AgentChannel:
    """A channel with fixed dates, after its handshake if not said otherwise."""
    channel = AgentChannel(AgentTraits.of(version), random=Random(1), wall_clock_ms=lambda: NOW_MS)
    channel.is_handshake_done = is_handshake_done
    return channel


def incoming(number: int, payload: bytes = b"x", payload_type: int = PayloadType.OUTPUT) -> Incoming:
    """One of the client's messages, as the agent reads it."""
    message = read_message(client_message(number, payload, payload_type))
    assert message is not None
    return message


def control(message_type: MessageType) -> Incoming:
    """One of the service's messages."""
    return incoming(0)._replace(message_type=message_type, payload_type=0)


def acknowledged(channel: AgentChannel) -> list[int]:
    """The numbers the channel acknowledges now."""
    messages = [AgentMessage.decode(raw) for raw in channel.messages_to_send()]
    assert all(message.message_type == MessageType.ACKNOWLEDGE for message in messages)
    assert all((message.flags, message.sequence_number) == (3, 0) for message in messages)
    return [Acknowledge.decode(message.payload).sequence_number for message in messages]


def test_acknowledges_after_processing() -> None:
    """Nothing is said while the plugin works."""
    channel = channel_of()
    channel.receive(incoming(0), 0.0)
    message = channel.next_input()
    assert message is not None
    assert acknowledged(channel) == []
    channel.accept(message)
    assert acknowledged(channel) == [0]
    assert channel.next_input() is None


def test_an_acknowledgement_names_the_message() -> None:
    """Type, id and number are those of the message, the id as a canonical UUID."""
    channel = channel_of()
    channel.receive(message := incoming(0), 0.0)
    channel.accept(message)
    acknowledge = Acknowledge.decode(AgentMessage.decode(channel.messages_to_send()[0]).payload)
    assert acknowledge == Acknowledge("input_stream_data", uuid_text(message.message_id), 0)


def test_a_refused_message_is_not_acknowledged_and_comes_again() -> None:
    """The client's resending is what brings it back."""
    channel = channel_of()
    channel.receive(message := incoming(0), 0.0)
    channel.refuse(message)
    assert (acknowledged(channel), channel.next_input()) == ([], None)
    channel.receive(incoming(0), 0.1)
    again = channel.next_input()
    assert again is not None
    channel.accept(again)
    assert acknowledged(channel) == [0]
    assert (channel.counts.refused, channel.counts.received) == (1, 1)


def test_early_messages_are_acknowledged_at_once_and_processed_in_order() -> None:
    """2 and 1 wait for 0; nobody acknowledges them twice."""
    channel = channel_of()
    for number in (2, 1):
        channel.receive(incoming(number, b"%d" % number), 0.0)
    assert acknowledged(channel) == [2, 1]
    assert channel.next_input() is None
    channel.receive(incoming(0, b"0"), 0.0)
    taken = []
    while (message := channel.next_input()) is not None:
        taken.append(message.payload)
        channel.accept(message)
    assert taken == [b"0", b"1", b"2"]
    assert acknowledged(channel) == [0]


def test_an_early_message_refused_on_its_turn_stays_until_its_number_comes_again() -> None:
    """It was acknowledged, so that a client has no reason to repeat it: the channel is stuck there."""
    channel = channel_of()
    channel.receive(incoming(1), 0.0)
    channel.receive(first := incoming(0), 0.0)
    channel.accept(first)
    second = channel.next_input()
    assert second is not None
    channel.refuse(second)
    channel.receive(incoming(2), 0.0)
    assert channel.next_input() is None
    channel.receive(incoming(1), 0.0)
    numbers = []
    while (message := channel.next_input()) is not None:
        numbers.append(message.sequence_number)
        channel.accept(message)
    assert numbers == [1, 2]


def test_early_messages_beyond_the_capacity_are_dropped(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without an acknowledgement, so that the client repeats them."""
    monkeypatch.setattr(agent_channel, "EARLY_CAPACITY_MESSAGES", 2)
    channel = channel_of()
    for number in (1, 2, 3):
        channel.receive(incoming(number), 0.0)
    assert acknowledged(channel) == [1, 2]


@pytest.mark.parametrize(("version", "again"), [("3.2.1041.0", [0]), ("3.2.923.0", [])])
def test_duplicates_are_acknowledged_again_by_newer_agents(version: str, again: list[int]) -> None:
    """Older ones ignore them: a lost acknowledgement is lost for good."""
    channel = channel_of(version)
    channel.receive(message := incoming(0), 0.0)
    channel.accept(message)
    channel.messages_to_send()
    channel.receive(incoming(0), 0.1)
    assert channel.next_input() is None
    assert acknowledged(channel) == again
    assert channel.counts.duplicates == 1


def test_data_before_the_handshake_is_acknowledged_and_thrown_away() -> None:
    """Any type but the two answers, buffered messages included."""
    channel = channel_of(is_handshake_done=False)
    channel.receive(incoming(1, payload_type=PayloadType.FLAG), 0.0)
    channel.receive(incoming(0), 0.0)
    assert channel.next_input() is None
    assert acknowledged(channel) == [1, 0]
    assert channel.counts.discarded == 2
    channel.receive(incoming(2, payload_type=PayloadType.HANDSHAKE_RESPONSE), 0.0)
    assert channel.next_input() is not None


def test_only_the_first_message_carries_syn() -> None:
    """Numbers from 0, one to a message; ids differ and are version 4 UUIDs to look at."""
    channel = channel_of()
    raws = [channel.data(PayloadType.OUTPUT, b"x", 0.0) for _ in range(3)]
    messages = [AgentMessage.decode(raw) for raw in raws if raw is not None]
    assert [(message.sequence_number, message.flags) for message in messages] == [(0, 1), (1, 0), (2, 0)]
    assert len({message.message_id for message in messages}) == 3
    assert {(message.message_id[6] >> 4, message.message_id[8] >> 6) for message in messages} == {(4, 2)}
    assert {message.created_date_ms for message in messages} == {NOW_MS}


def test_never_sends_an_empty_payload() -> None:
    """The agent cannot."""
    with pytest.raises(AssertionError):
        channel_of().data(PayloadType.OUTPUT, b"", 0.0)


@pytest.mark.parametrize(
    "end", [MessageType.START_PUBLICATION, MessageType.INPUT_STREAM_DATA, MessageType.ACKNOWLEDGE]
)
def test_a_pause_ends_with_any_sign_of_life(end: MessageType) -> None:
    """While it lasts, messages are tracked but not sent, and nothing is sent again."""
    channel = channel_of()
    channel.receive(control(MessageType.PAUSE_PUBLICATION), 0.0)
    assert channel.data(PayloadType.OUTPUT, b"held", 0.0) is None
    assert channel.tick(10.0) is None
    channel.receive(control(end), 10.0)
    assert not channel.is_paused
    raw = channel.tick(10.0)
    assert raw is not None
    assert AgentMessage.decode(raw).payload == b"held"


def test_a_new_link_ends_a_pause() -> None:
    """And nothing else: what was not acknowledged waits for its tick."""
    channel = channel_of()
    channel.data(PayloadType.OUTPUT, b"x", 0.0)
    channel.receive(control(MessageType.PAUSE_PUBLICATION), 0.0)
    channel.reconnected()
    assert not channel.is_paused
    assert len(channel.unacknowledged) == 1


def test_channel_closed_and_unknown_types() -> None:
    """One ends the session, the others are nothing to an agent."""
    channel = channel_of()
    channel.receive(incoming(0)._replace(message_type="agent_job"), 0.0)
    assert not channel.is_closed
    channel.receive(control(MessageType.CHANNEL_CLOSED), 0.0)
    assert channel.is_closed
    assert channel.next_input() is None


def test_an_acknowledgement_removes_exactly_one_message() -> None:
    """They are not cumulative; one that cannot be read is ignored."""
    channel = channel_of()
    for _ in range(3):
        channel.data(PayloadType.OUTPUT, b"x", 0.0)
    message = read_message(acknowledgement(1))
    assert message is not None
    channel.receive(message, 0.05)
    assert len(channel.unacknowledged) == 2
    channel.receive(message._replace(payload=b"{"), 0.05)
    assert len(channel.unacknowledged) == 2


def test_a_resent_message_is_the_same_to_the_byte() -> None:
    """Its id and its date are those of the first time."""
    channel = channel_of()
    raw = channel.data(PayloadType.OUTPUT, b"x", 0.0)
    assert channel.tick(0.5) == raw
    assert channel.counts.resent == 1


def test_session_state_is_not_sequenced() -> None:
    """Flags 3, number 0, and the first data is still number 0."""
    channel = channel_of()
    state = AgentMessage.decode(channel.session_state("s-1", "Connected"))
    assert (state.message_type, state.flags, state.sequence_number) == ("agent_session_state", 3, 0)
    raw = channel.data(PayloadType.OUTPUT, b"x", 0.0)
    assert raw is not None
    assert AgentMessage.decode(raw).sequence_number == 0


def test_an_old_agent_discards_what_it_is_not_ready_for() -> None:
    """Acknowledged and lost, counted as such."""
    channel = channel_of("3.0.529.0")
    channel.receive(message := incoming(0), 0.0)
    channel.discard(message)
    assert acknowledged(channel) == [0]
    assert channel.counts.discarded == 1
