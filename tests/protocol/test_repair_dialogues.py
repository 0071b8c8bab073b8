"""Losses, stalls, pauses and resumes, one at a time."""

from __future__ import annotations

import pytest

from ssm_ssh.protocol.event import FlagReceived
from ssm_ssh.wire.agent_message import PayloadType
from ssm_ssh.wire.payload import Flag
from tests.protocol.dialogue import RESUME_SECONDS, Dialogue, Link


def opened(
    *, up: Link | None = None, down: Link | None = None, seed: int = 0, payload_bytes: int | None = None
) -> Dialogue:
    """A port session whose first data is behind it."""
    talk = Dialogue(up=up, down=down, seed=seed, payload_bytes=payload_bytes)
    talk.open()
    talk.client_sends(b"!")
    talk.advance(1.0)
    talk.said.clear()
    return talk


def test_a_lost_message_is_sent_again_in_time() -> None:
    """With nothing behind it there is no evidence, only time."""
    talk = opened()
    talk.drop(1)
    talk.client_sends(b"x")
    talk.advance(0.15)
    assert len(talk.transmissions(2)) == 1
    talk.advance(0.15)
    talk.expect_retransmit(sequence_number=2)
    talk.expect_taken(b"!x")


def test_evidence_repairs_a_loss_in_two_round_trips() -> None:
    """And sends nothing else twice."""
    talk = opened(payload_bytes=100)
    talk.drop(1)
    talk.client_sends(bytes(1000))
    talk.advance(0.02)
    talk.client_sends(bytes(1000))
    talk.advance(0.06)
    assert len(talk.transmissions(2)) == 2
    assert talk.transmissions(2)[1] - talk.transmissions(2)[0] < 0.06
    assert len(talk.said) == 21
    talk.advance(0.1)
    talk.expect_taken(b"!" + bytes(2000))


def test_a_burst_loss_is_repaired_without_waiting_for_each() -> None:
    """Thirty in a row: the official client needs three seconds."""
    talk = opened(payload_bytes=100)
    talk.drop(30)
    talk.client_sends(bytes(10_000))
    assert talk.advance_until_quiet(at_most=2) < 0.5
    assert len(talk.said) <= 100 + 30


def test_a_stalled_agent_is_hardly_bothered() -> None:
    """Ten seconds without an acknowledgement, a full window out: a handful of repeats; then all is taken."""
    talk = opened()
    data = bytes(range(256)) * 2000
    talk.agent.is_stalled = True
    talk.client_sends(data)
    talk.advance(10)
    assert (
        2 <= sum(len(talk.transmissions(number)) - 1 for number in {said.number for said in talk.said}) <= 8
    )
    talk.agent.is_stalled = False
    talk.advance_until_quiet(at_most=20)
    talk.expect_taken(b"!" + data)


def test_a_resume_replays_the_whole_window_at_once() -> None:
    """In order, before anything new, in one go."""
    talk = opened(payload_bytes=1000)
    talk.client_sends(bytes(30_000))
    talk.cut()
    talk.advance(RESUME_SECONDS + 0.001)
    replayed = [said for said in talk.said if said.at >= talk.now - 0.01]
    assert [said.number for said in replayed] == list(range(2, 32))
    talk.advance(0.1)
    talk.expect_taken(b"!" + bytes(30_000))


def test_a_resume_says_the_last_acknowledgements_again() -> None:
    """Symptom without it: the agent repairs what is whole, one in 100 ms, and real losses wait behind."""
    talk = opened()
    talk.agent_sends(bytes(60 * 1024))
    talk.advance(0.016)
    assert len(talk.received) == 60 * 1024
    talk.cut()
    assert len(talk.agent.unacknowledged) == 60
    talk.advance(RESUME_SECONDS + 0.05)
    assert talk.agent.is_drained


def test_a_stream_lost_while_opening_again() -> None:
    """Twice, and nothing of either stream is missed."""
    talk = opened()
    talk.client_sends(b"a" * 5000)
    talk.cut()
    talk.advance(RESUME_SECONDS + 0.001)
    talk.cut()
    talk.agent_sends(b"b" * 5000)
    talk.advance_until_quiet(at_most=30)
    talk.expect_taken(b"!" + b"a" * 5000)
    assert talk.received == b"b" * 5000


def test_duplicates_are_acknowledged_again() -> None:
    """Or the agent goes on for ever."""
    talk = opened(down=Link(duplication=1.0), up=Link(loss=0.5), seed=3)
    talk.agent_sends(bytes(5000))
    talk.advance_until_quiet(at_most=30)
    assert talk.received == bytes(5000)
    assert talk.agent.is_drained


def test_a_pause_holds_everything_and_is_no_loss() -> None:
    """Nothing leaves meanwhile but acknowledgements, nothing is repeated afterwards."""
    talk = opened()
    talk.client_sends(b"a" * 3000)
    talk.advance(0.005)
    talk.service_sends("pause_publication", b"anything")
    talk.agent.is_stalled = True
    talk.advance(0.016)
    said = len(talk.said)
    talk.client_sends(b"b" * 3000)
    talk.advance(30)
    assert len(talk.said) == said
    talk.agent.is_stalled = False
    talk.service_sends("start_publication")
    talk.advance_until_quiet(at_most=5)
    talk.expect_taken(b"!" + b"a" * 3000 + b"b" * 3000)


def test_flags_stay_behind_the_data_before_them() -> None:
    """And in front of the data after them."""
    talk = opened(up=Link(reordering=0.5, loss=0.1), seed=5)
    talk.channel.send(b"a" * 5000)
    talk.channel.send_flag(Flag.DISCONNECT_TO_PORT)
    talk.channel.send(b"b" * 5000)
    talk.advance_until_quiet(at_most=20)
    assert talk.agent.flags == [(1, 5001)]
    talk.expect_taken(b"!" + b"a" * 5000 + b"b" * 5000)


def test_terminate_drops_what_has_not_left() -> None:
    """The flag is the next message."""
    talk = opened()
    talk.channel.send(b"never")
    talk.channel.terminate()
    talk.advance(0.2)
    assert talk.agent.flags == [(2, 1)]
    talk.expect_taken(b"!")


def test_the_agents_flags_are_reported() -> None:
    """In mux sessions: the port could not be reached."""
    talk = opened()
    talk.agent.say(PayloadType.FLAG, b"\0\0\0\3", talk.now)
    talk.advance(0.1)
    assert talk.expect_event(FlagReceived) == FlagReceived(3)


@pytest.mark.parametrize("way_seconds", [0.15, 0.4])
def test_a_way_that_became_longer_is_learned(way_seconds: float) -> None:
    """Symptom without it: every keystroke is sent twice for ever."""
    talk = opened()
    talk.up = talk.down = Link(delay_seconds=way_seconds)
    for _ in range(20):
        talk.client_sends(b"k")
        talk.advance(2.0)
    assert talk.channel.retransmissions <= 6
    last = [said.number for said in talk.said][-5:]
    assert all(len(talk.transmissions(number)) == 1 for number in last)


def test_an_hourly_bye_is_a_resume_without_blame() -> None:
    """Neither size nor rate is limited afterwards, and all bytes arrive."""
    talk = opened()
    data = bytes(range(256)) * 20_000
    talk.client_sends(data)
    talk.advance(0.2)
    talk.cut(is_orderly=True)
    talk.advance_until_quiet(at_most=20)
    talk.expect_taken(b"!" + data)
    assert talk.channel.limits.messages_per_second is None
    assert talk.channel.limits.payload_cap_bytes is None
