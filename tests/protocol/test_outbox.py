"""Every message is kept until it is acknowledged, and sent again neither too late nor too often."""

from __future__ import annotations

import pytest

from ssm_ssh.protocol.outbox import (
    EAGER_SECONDS,
    EAGER_TRANSMISSIONS,
    OUTBOX_MESSAGES,
    Outbox,
)
from ssm_ssh.protocol.round_trip import INITIAL_RETRANSMIT_SECONDS, MIN_LATENESS_SECONDS
from ssm_ssh.protocol.window import INITIAL_WINDOW_BYTES

WAY_SECONDS = 0.03
ALL = 1 << 30


def raw(number: int) -> bytes:
    """A message that says its number."""
    return b"%d" % number


def outbox_with(*numbers: int, at: float = 0.0) -> Outbox:
    """One with these messages on their way since ``at``."""
    outbox = Outbox()
    for number in numbers:
        outbox.add(number, raw(number))
    assert outbox.messages_to_send(at, ALL) == [raw(number) for number in numbers]
    return outbox


def measured_outbox(*numbers: int, at: float) -> Outbox:
    """The same, on a way that is known to take 30 ms."""
    outbox = outbox_with(1000, at=at - WAY_SECONDS)
    outbox.acknowledge(1000, at)
    for number in numbers:
        outbox.add(number, raw(number))
        outbox.messages_to_send(at, ALL)
    return outbox


# --- sending and acknowledging ---


def test_a_message_leaves_once_and_is_kept() -> None:
    """Until its acknowledgement, which counts once."""
    outbox = outbox_with(0, 1)
    assert outbox.messages_to_send(0.0, ALL) == []
    assert len(outbox) == 2
    assert outbox.round_trip_seconds is None
    assert outbox.acknowledge(1, 0.1)
    assert not outbox.acknowledge(1, 0.1)
    assert len(outbox) == 1
    assert outbox.round_trip_seconds == pytest.approx(0.1)
    assert outbox.acknowledge(0, 0.1)
    assert outbox.next_deadline() is None
    assert outbox.handle_deadline(9.0) == []


def test_no_more_leave_than_asked_for() -> None:
    """The rest waits in its order, and is not timed before it has left."""
    outbox = Outbox()
    for number in range(3):
        outbox.add(number, raw(number))
    assert outbox.leaving == 3
    assert outbox.next_deadline() is None
    assert outbox.messages_to_send(5.0, 2) == [b"0", b"1"]
    assert outbox.leaving == 1
    assert outbox.next_deadline() == 5.0 + INITIAL_RETRANSMIT_SECONDS
    assert outbox.messages_to_send(6.0, 2) == [b"2"]


def test_what_has_not_left_cannot_be_acknowledged() -> None:
    """Symptom without it: a peer that guesses numbers loses us a message."""
    outbox = Outbox()
    outbox.add(0, b"0")
    assert not outbox.acknowledge(0, 1.0)
    assert outbox.messages_to_send(1.0, ALL) == [b"0"]


def test_room_is_bounded_by_bytes_and_by_messages() -> None:
    """Bytes by the window, messages by a number."""
    outbox = Outbox()
    outbox.add(0, bytes(INITIAL_WINDOW_BYTES - 1))
    assert outbox.has_room
    outbox.add(1, b"x")
    assert not outbox.has_room
    tiny = Outbox()
    for number in range(OUTBOX_MESSAGES):
        assert tiny.has_room
        tiny.add(number, b"x")
    assert not tiny.has_room


def test_other_bytes_under_the_same_number() -> None:
    """What leaves from now on; and they count for the room."""
    outbox = outbox_with(0)
    outbox.replace(0, bytes(INITIAL_WINDOW_BYTES))
    assert not outbox.has_room
    outbox.replace(0, b"short")
    assert outbox.has_room
    outbox.handle_deadline(9.0)
    assert outbox.messages_to_send(9.0, ALL) == [b"short"]


# --- time ---


def test_a_stalled_agent_is_asked_with_one_message_and_ever_less() -> None:
    """A hundred on their way and ten silent seconds: a handful of repeats, all of the first."""
    outbox = outbox_with(*range(100))
    size = outbox.window.size_bytes
    now, again = 0.0, []
    while (due := outbox.next_deadline()) is not None and due <= 10.0:
        assert due > now
        now = due
        outbox.handle_deadline(now)
        again += outbox.messages_to_send(now, ALL)
    assert set(again) == {b"0"}
    assert 3 <= len(again) <= 6
    assert outbox.retransmissions == len(again)
    assert outbox.window.size_bytes == size // 2, "one outage, one hint"


def test_an_outage_is_repaired_in_a_few_round_trips() -> None:
    """Each acknowledged repair lets two more go."""
    outbox = outbox_with(*range(15))
    now, waves = INITIAL_RETRANSMIT_SECONDS, []
    while len(outbox):
        overdue = outbox.handle_deadline(now)
        sent = outbox.messages_to_send(now, ALL)
        assert sent == [raw(number) for number in overdue]
        waves.append(len(sent))
        now += WAY_SECONDS
        for number in overdue:
            assert outbox.acknowledge(number, now)
    assert waves == [1, 2, 4, 8]
    assert outbox.round_trip_seconds is None, "Karn's rule: none of them is a sample"


def test_a_fresh_acknowledgement_ends_the_outage() -> None:
    """The next one starts with one message again."""
    outbox = outbox_with(0, 1, 2)
    outbox.handle_deadline(0.4)
    outbox.messages_to_send(0.4, ALL)
    outbox.acknowledge(0, 0.5)
    outbox.acknowledge(1, 0.5)
    outbox.add(3, b"3")
    outbox.add(4, b"4")
    outbox.messages_to_send(0.5, ALL)
    assert outbox.handle_deadline(60.0) == [2]


def test_the_time_follows_the_way() -> None:
    """The way's own and what may be late; doubled for the next attempt; inherited until a sample."""
    once = WAY_SECONDS + MIN_LATENESS_SECONDS
    outbox = measured_outbox(0, at=1.0)
    assert outbox.next_deadline() == pytest.approx(1.0 + once)
    outbox.handle_deadline(1.0 + once)
    outbox.messages_to_send(1.3, ALL)
    assert outbox.next_deadline() == pytest.approx(1.3 + 2 * once)
    outbox.acknowledge(0, 1.35)
    outbox.add(1, b"1")
    outbox.messages_to_send(2.0, ALL)
    assert outbox.next_deadline() == pytest.approx(2.0 + 2 * once)


def test_what_is_in_repair_can_be_asked() -> None:
    """From the moment it is to leave again to its acknowledgement."""
    outbox = measured_outbox(0, at=1.0)
    assert not outbox.is_in_repair(0)
    outbox.handle_deadline(60.0)
    assert outbox.is_in_repair(0)
    outbox.messages_to_send(60.0, ALL)
    outbox.acknowledge(0, 60.1)
    assert not outbox.is_in_repair(0)


def test_a_deadline_before_its_time_does_nothing() -> None:
    """Whoever wakes up too early may ask."""
    outbox = outbox_with(0)
    assert outbox.handle_deadline(0.1) == []
    outbox.handle_deadline(0.4)
    outbox.messages_to_send(0.4, ALL)
    assert outbox.handle_deadline(0.5) == []


def test_an_acknowledgement_overtakes_a_repair() -> None:
    """What was acknowledged while it was about to leave again does not leave, and no timer remembers it."""
    outbox = outbox_with(0)
    outbox.handle_deadline(0.4)
    assert outbox.acknowledge(0, 0.41)
    assert outbox.messages_to_send(0.41, ALL) == []
    assert outbox.retransmissions == 0
    late = outbox_with(0)
    late.handle_deadline(0.4)
    late.messages_to_send(0.4, ALL)
    late.acknowledge(0, 0.41)
    assert late.handle_deadline(60.0) == []
    assert late.next_deadline() is None


# --- evidence ---


def test_one_sent_well_after_it_proves_a_loss() -> None:
    """Three transmissions later and a good round trip ago: sent again at once, and once."""
    outbox = measured_outbox(0, at=1.0)
    for number in range(1, 6):
        outbox.add(number, raw(number))
    outbox.messages_to_send(1.01, ALL)
    outbox.acknowledge(1, 1.04)
    outbox.acknowledge(2, 1.04)
    assert outbox.messages_to_send(1.04, ALL) == [], "two later ones are no proof"
    outbox.acknowledge(3, 1.04)
    assert outbox.messages_to_send(1.04, ALL) == [b"0"]
    outbox.acknowledge(4, 1.05)
    outbox.acknowledge(5, 1.09)
    assert outbox.messages_to_send(1.09, ALL) == []


def test_what_is_hardly_late_may_have_been_overtaken() -> None:
    """However many later ones have arrived."""
    outbox = measured_outbox(0, *range(1, 8), at=1.0)
    for number in range(1, 8):
        outbox.acknowledge(number, 1.031)
    assert outbox.messages_to_send(1.031, ALL) == []


def test_a_way_that_reorders_is_given_more_time() -> None:
    """Symptom without it: every message that takes 30 ms longer is sent twice."""
    outbox = Outbox()
    now, number = 0.0, 0
    for _ in range(40):
        for each in range(number, number + 6):
            outbox.add(each, raw(each))
        outbox.messages_to_send(now, ALL)
        for each in range(number + 1, number + 6):
            outbox.acknowledge(each, now + WAY_SECONDS)
        # The first took twice the time, and what follows meanwhile looks like a proof of its loss.
        for each in range(number + 6, number + 10):
            outbox.add(each, raw(each))
        outbox.messages_to_send(now + 0.01, ALL)
        for each in range(number + 6, number + 10):
            outbox.acknowledge(each, now + 0.01 + WAY_SECONDS)
        outbox.messages_to_send(now + 0.04, ALL)
        outbox.acknowledge(number, now + 0.05)
        number += 10
        now += 1.0
    assert 1 <= outbox.retransmissions <= 3


# --- a resume, a pause ---


def test_a_resume_replays_everything_in_order() -> None:
    """What never left included, what is under repair included, and what was acknowledged not."""
    outbox = outbox_with(0, 1, 2)
    outbox.acknowledge(1, 0.1)
    outbox.handle_deadline(5.0)
    outbox.add(3, b"3")
    outbox.replay(6.0)
    assert outbox.messages_to_send(6.0, 2) == [b"0", b"2"]
    assert outbox.messages_to_send(6.1, 2) == [b"3"]
    assert outbox.retransmissions == 2


def test_after_a_resume_a_stalled_agent_is_still_asked_with_one_message() -> None:
    """Symptom without it: a full window once more with every time-out."""
    outbox = outbox_with(*range(1000))
    outbox.replay(1.0)
    outbox.messages_to_send(1.0, ALL)
    replayed = outbox.retransmissions
    now = 1.0
    while (due := outbox.next_deadline()) is not None and due <= 11.0:
        now = due
        outbox.handle_deadline(now)
        outbox.messages_to_send(now, ALL)
    assert outbox.retransmissions - replayed <= 6


def test_an_acknowledgement_of_a_replay_is_no_sample() -> None:
    """It may belong to the old stream. Nor is it a sign of an outage."""
    outbox = outbox_with(0, 1)
    outbox.replay(1.0)
    outbox.messages_to_send(1.0, ALL)
    assert outbox.acknowledge(0, 1.001)
    assert outbox.round_trip_seconds is None
    assert outbox.next_deadline() == 1.0 + INITIAL_RETRANSMIT_SECONDS


def test_a_pause_is_no_loss() -> None:
    """Every timer starts anew, and what was on its way gives no sample."""
    outbox = outbox_with(0, 1, 2)
    outbox.handle_deadline(0.4)
    outbox.messages_to_send(0.4, ALL)
    outbox.acknowledge(2, 0.45)
    outbox.add(3, b"3")
    outbox.restart_timers(100.0)
    assert outbox.handle_deadline(100.1) == []
    deadline = outbox.next_deadline()
    assert deadline is not None
    assert deadline > 100.3
    assert outbox.messages_to_send(100.2, ALL) == [b"3"]
    before = outbox.round_trip_seconds
    outbox.acknowledge(1, 100.2)
    assert outbox.round_trip_seconds == before
    outbox.acknowledge(0, 100.2)
    outbox.acknowledge(3, 100.3)
    assert outbox.round_trip_seconds != before


def test_timers_of_the_acknowledged_do_not_survive_a_pause() -> None:
    """They would be about nothing."""
    outbox = outbox_with(0)
    outbox.handle_deadline(0.4)
    outbox.messages_to_send(0.4, ALL)
    outbox.acknowledge(0, 0.5)
    outbox.restart_timers(1.0)
    assert outbox.next_deadline() is None


# --- the first message ---


def test_the_first_message_is_repeated_every_few_milliseconds() -> None:
    """The agent's port is not ready (protocol 5.3); after a few seconds it is a message like all others."""
    outbox = Outbox()
    outbox.add(0, b"0", is_eager=True)
    outbox.messages_to_send(0.0, ALL)
    now, pauses = 0.0, []
    while (due := outbox.next_deadline()) is not None and due < 10.0:
        pauses.append(due - now)
        now = due
        outbox.handle_deadline(now)
        assert outbox.messages_to_send(now, ALL) == [b"0"]
    assert pauses[:3] == pytest.approx(list(EAGER_SECONDS))
    assert pauses[3:EAGER_TRANSMISSIONS] == pytest.approx([EAGER_SECONDS[-1]] * (EAGER_TRANSMISSIONS - 3))
    assert pauses[EAGER_TRANSMISSIONS : EAGER_TRANSMISSIONS + 2] == pytest.approx([0.4, 0.8])
    outbox.acknowledge(0, now)
    outbox.add(1, b"1")
    outbox.messages_to_send(now, ALL)
    assert outbox.next_deadline() == now + INITIAL_RETRANSMIT_SECONDS, "no patience is learned from it"


def test_how_long_an_agent_has_been_silent() -> None:
    """Counted from the oldest message on its way, anew with every acknowledgement, replay and pause."""
    outbox = Outbox()
    assert outbox.waited_seconds(50.0) == 0.0
    outbox.add(0, raw(0))
    outbox.add(1, raw(1))
    assert outbox.waited_seconds(50.0) == 0.0, "neither has left"
    outbox.messages_to_send(50.0, ALL)
    assert outbox.waited_seconds(53.0) == 3.0
    outbox.handle_deadline(54.0)
    outbox.messages_to_send(54.0, ALL)
    assert outbox.waited_seconds(55.0) == 5.0, "sending it again is no answer"
    outbox.acknowledge(0, 56.0)
    assert outbox.waited_seconds(57.0) == 1.0
    outbox.replay(60.0)
    assert outbox.waited_seconds(62.0) == 2.0
    outbox.messages_to_send(62.0, ALL)
    outbox.restart_timers(70.0)
    assert outbox.waited_seconds(71.0) == 1.0
    outbox.acknowledge(1, 72.0)
    assert outbox.waited_seconds(99.0) == 0.0
