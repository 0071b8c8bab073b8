"""What the client has to say: what may leave when, how it is cut, and the probes between."""

from __future__ import annotations

import itertools
from typing import Final

from ssm_ssh.protocol.client_stream import (
    BATCH_BYTES,
    BATCH_MESSAGES,
    QUEUE_BYTES,
    ClientStream,
    PathLimits,
)
from ssm_ssh.protocol.composer import Composer
from ssm_ssh.protocol.payload_size import BACKLOG_BYTES
from ssm_ssh.protocol.window import MAX_WINDOW_BYTES
from ssm_ssh.wire.agent_message import AgentMessage, PayloadType
from ssm_ssh.wire.payload import Flag

WAY_SECONDS: Final = 0.01


class Speaker:
    """A client stream whose agent acknowledges what it is told to."""

    def __init__(
        self,
        *,
        limits: PathLimits | None = None,
        payload_bytes: int | None = None,
        may_probe: bool = True,
        is_allowed: bool = True,
    ) -> None:
        ids = itertools.count()
        composer = Composer(
            client_id="", wall_clock_ms=lambda: 1, new_message_id=lambda: next(ids).to_bytes(16, "big")
        )
        self.stream = ClientStream(composer, limits or PathLimits(), payload_bytes)
        self.now = 100.0
        if is_allowed:
            self.stream.allow_data(may_probe=may_probe)

    def collect(self) -> list[AgentMessage]:
        """Everything that wants to leave now."""
        messages: list[AgentMessage] = []
        while batch := self.stream.messages_to_send(self.now):
            messages += map(AgentMessage.decode, batch)
        return messages

    def acknowledge(self, messages: list[AgentMessage]) -> None:
        """They arrive, a way later."""
        self.now += WAY_SECONDS
        for message in messages:
            self.stream.acknowledge(message.sequence_number, self.now)

    def upload(self, size_bytes: int) -> list[AgentMessage]:
        """Send so much, everything acknowledged but what is left open at the end; all messages."""
        messages: list[AgentMessage] = []
        while size_bytes > 0:
            fresh: list[AgentMessage] = []
            while part := min(size_bytes, self.stream.room_bytes):
                size_bytes -= part
                self.stream.add(bytes(part))
                fresh += self.collect()
            fresh += self.collect()
            messages += fresh
            self.acknowledge([each for each in fresh if each.payload_type != PayloadType.SIZE])
        return messages

    def upload_to_a_probe(self) -> AgentMessage:
        """Send until a probe is on its way; returns it."""
        for _ in range(2 * BACKLOG_BYTES // (32 * 1024)):
            for message in self.upload(32 * 1024):
                if message.payload_type == PayloadType.SIZE:
                    return message
        raise AssertionError("no probe was sent")


def kinds(messages: list[AgentMessage]) -> list[tuple[int, int | None, int]]:
    """Number, payload type and size of each."""
    return [(each.sequence_number, each.payload_type, len(each.payload)) for each in messages]


# --- what may leave ---


def test_nothing_but_the_response_leaves_before_the_handshake_is_complete() -> None:
    """The agent would acknowledge other things and throw them away."""
    speaker = Speaker(is_allowed=False)
    speaker.stream.add(b"early")
    speaker.stream.add_flag(Flag.TERMINATE_SESSION)
    assert speaker.collect() == []
    assert speaker.stream.next_deadline() is None
    speaker.stream.respond(b"{}")
    assert kinds(speaker.collect()) == [(0, PayloadType.HANDSHAKE_RESPONSE, 2)]
    speaker.stream.allow_data(may_probe=False)
    assert kinds(speaker.collect()) == [(1, PayloadType.OUTPUT, 5), (2, PayloadType.FLAG, 4)]
    assert not speaker.stream.is_drained


def test_what_was_not_sent_can_be_dropped() -> None:
    """What has a number cannot."""
    speaker = Speaker()
    speaker.stream.add(b"sent")
    sent = speaker.collect()
    speaker.stream.add(b"unsent")
    speaker.stream.drop_unsent()
    assert speaker.collect() == []
    assert not speaker.stream.is_drained
    speaker.acknowledge(sent)
    assert speaker.stream.is_drained


def test_batches_are_bounded() -> None:
    """Acknowledgements get their turn between."""
    speaker = Speaker(payload_bytes=1024)
    speaker.upload(MAX_WINDOW_BYTES)
    speaker.stream.add(bytes(QUEUE_BYTES))
    first = speaker.stream.messages_to_send(speaker.now)
    assert sum(map(len, first)) < BATCH_BYTES + 100 * len(first)
    for _ in range(3 * BATCH_MESSAGES):
        speaker.stream.add_flag(Flag.DISCONNECT_TO_PORT)
    assert len(speaker.stream.messages_to_send(speaker.now)) == BATCH_MESSAGES


def test_a_large_batch_ends() -> None:
    """At its bytes, whatever waits."""
    speaker = Speaker(payload_bytes=32 * 1024)
    speaker.upload(4 * MAX_WINDOW_BYTES)
    speaker.stream.add(bytes(QUEUE_BYTES))
    speaker.stream.add(bytes(2 * BATCH_BYTES))
    batch = speaker.stream.messages_to_send(speaker.now)
    assert BATCH_BYTES <= sum(len(AgentMessage.decode(raw).payload) for raw in batch) < 2 * BATCH_BYTES


def test_room_ends_where_the_window_ends() -> None:
    """Memory: the queue's limit, and half the window where that is less."""
    speaker = Speaker()
    taken = 0
    while room := speaker.stream.room_bytes:
        speaker.stream.add(bytes(room))
        taken += room
        speaker.collect()
    assert taken < 2 * 64 * 1024 + QUEUE_BYTES
    assert speaker.collect() == []
    assert speaker.stream.room_bytes == 0


# --- probes ---


def test_a_probe_goes_alone_and_only_its_acknowledgement_counts() -> None:
    """Data keeps its size until then; afterwards it grows."""
    speaker = Speaker()
    probe = speaker.upload_to_a_probe()
    assert len(probe.payload) == 4096
    assert probe.payload.rstrip(b" ") == b'{"cols":80,"rows":24}'
    speaker.stream.add(bytes(8 * 1024))
    during = speaker.collect()
    assert {(each.payload_type, len(each.payload)) for each in during} == {(PayloadType.OUTPUT, 1024)}
    speaker.acknowledge([probe, *during])
    assert speaker.stream.limits.payload_bytes == 4096
    assert 4096 in {len(each.payload) for each in speaker.upload(64 * 1024)}


def test_no_probe_for_small_traffic_and_none_where_it_would_be_heard() -> None:
    """Shells take a size for a size."""
    small = Speaker()
    assert {each.payload_type for each in small.upload(BACKLOG_BYTES - 1)} == {PayloadType.OUTPUT}
    shell = Speaker(may_probe=False)
    assert {each.payload_type for each in shell.upload(3 * BACKLOG_BYTES)} == {PayloadType.OUTPUT}


def test_a_broken_stream_replaces_the_probe_under_its_number() -> None:
    """By something short that means as little; the rate is not blamed."""
    speaker = Speaker()
    probe = speaker.upload_to_a_probe()
    speaker.stream.lose_connection(speaker.now)
    speaker.stream.replay(speaker.now)
    replayed = {each.sequence_number: each for each in speaker.collect()}
    short = replayed[probe.sequence_number]
    assert (short.payload_type, short.payload) == (PayloadType.SIZE, b'{"cols":80,"rows":24}')
    assert speaker.stream.limits == PathLimits(1024, 1024, None)
    speaker.acknowledge([short])
    assert {each.payload_type for each in speaker.upload(3 * BACKLOG_BYTES)} == {PayloadType.OUTPUT}


def test_a_probe_that_vanishes_is_replaced_in_time() -> None:
    """The stream lives on, and the agent waits for the number."""
    speaker = Speaker()
    probe = speaker.upload_to_a_probe()
    sizes = []
    for _ in range(4):
        deadline = speaker.stream.next_deadline()
        assert deadline is not None
        speaker.now = deadline
        speaker.stream.handle_deadline(speaker.now)
        sizes += [len(each.payload) for each in speaker.collect() if each.payload_type == PayloadType.SIZE]
    assert sizes[-1] < 100
    assert speaker.stream.limits.payload_cap_bytes is None, "once may be bad luck"
    speaker.acknowledge([probe])
    assert speaker.stream.limits.payload_bytes == 1024, "the short one has arrived, not the probe"


def test_a_probe_that_is_overtaken_is_replaced_at_once() -> None:
    """Symptom without it: a probe that was swallowed left a second time, in full, to be swallowed again."""
    speaker = Speaker()
    probe = speaker.upload_to_a_probe()
    after = speaker.upload(64 * 1024) + speaker.collect()
    again = [each for each in after if each.sequence_number == probe.sequence_number]
    assert [len(each.payload) for each in again] == [len(b'{"cols":80,"rows":24}')]


def test_an_overdue_message_is_not_a_probe() -> None:
    """A time-out of data says nothing about sizes."""
    speaker = Speaker()
    speaker.stream.add(b"x")
    speaker.collect()
    speaker.stream.handle_deadline(speaker.now + 60)
    assert kinds(speaker.collect()) == [(0, PayloadType.OUTPUT, 1)]
    assert speaker.stream.retransmissions == 1


# --- the pace ---


def test_a_full_window_waits_for_no_pace() -> None:
    """With a limit that leaves something, it is the acknowledgements that are waited for."""
    speaker = Speaker(limits=PathLimits(messages_per_second=1e6))
    speaker.stream.add(b"x")
    speaker.acknowledge(speaker.collect())
    while room := speaker.stream.room_bytes:
        speaker.stream.add(bytes(room))
        speaker.collect()
    deadline = speaker.stream.next_deadline()
    assert deadline is not None
    assert deadline > speaker.now + 0.1


def test_a_tear_down_limits_what_follows_the_replay_included() -> None:
    """Symptom without it: the replayed window is the next rush, and the service cuts again, for ever."""
    speaker = Speaker(payload_bytes=1024)
    speaker.upload(4 * 1024 * 1024)
    speaker.stream.add(bytes(speaker.stream.room_bytes))
    in_flight = len(speaker.collect())
    speaker.stream.lose_connection(speaker.now)
    limit = speaker.stream.limits.messages_per_second
    assert limit is not None
    speaker.now += 1
    speaker.stream.replay(speaker.now)
    started, sent = speaker.now, 0
    while sent < in_flight:
        fresh = len(speaker.collect())
        sent += fresh
        deadline = speaker.stream.next_deadline()
        assert deadline is not None
        if sent < in_flight:
            assert deadline > speaker.now
            speaker.now = deadline
        assert sent <= limit * (speaker.now - started + 0.03)


def test_the_pace_is_waited_for_by_data_too() -> None:
    """And by nothing when there is nothing, or no room for it."""
    speaker = Speaker(limits=PathLimits(messages_per_second=1000.0), payload_bytes=1024)
    speaker.stream.add(bytes(speaker.stream.room_bytes))
    assert speaker.stream.next_deadline() is None, "some may leave at once"
    sent = speaker.collect()
    assert len(sent) == 20
    deadline = speaker.stream.next_deadline()
    assert deadline is not None
    assert speaker.now < deadline < speaker.now + 0.01
    speaker.acknowledge(sent)
    assert speaker.stream.next_deadline() == deadline
    assert speaker.stream.round_trip_seconds is not None


def test_a_break_without_anything_to_send_blames_nothing() -> None:
    """A laptop was closed."""
    speaker = Speaker()
    speaker.acknowledge(speaker.upload(2000))
    speaker.stream.lose_connection(speaker.now)
    assert speaker.stream.limits == PathLimits()


def test_a_pause_restarts_the_timers() -> None:
    """See the outbox."""
    speaker = Speaker(payload_bytes=1024)
    speaker.stream.add(bytes(3000))
    speaker.collect()
    speaker.stream.restart_timers(speaker.now + 60)
    deadline = speaker.stream.next_deadline()
    assert deadline is not None
    assert deadline > speaker.now + 60


def test_a_fixed_size_is_used() -> None:
    """And nothing is learned from it."""
    speaker = Speaker(payload_bytes=2000, limits=PathLimits(16384, 16384, 900.0))
    speaker.stream.add(bytes(5000))
    assert [len(each.payload) for each in speaker.collect()] == [2000, 2000, 1000]
    assert speaker.stream.limits == PathLimits(16384, 16384, 900.0)


def test_data_waits_for_an_agent_that_is_not_ready() -> None:
    """Until its time has come, which is a deadline while there is something to say."""
    speaker = Speaker(is_allowed=False)
    speaker.stream.allow_data(may_probe=True, at=speaker.now + 1)
    assert speaker.stream.next_deadline() is None
    speaker.stream.add(b"x")
    assert speaker.collect() == []
    assert speaker.stream.next_deadline() == speaker.now + 1
    speaker.now += 1
    assert [message.payload for message in speaker.collect()] == [b"x"]


def test_an_agent_that_sends_data_is_ready() -> None:
    """Whatever time was set."""
    speaker = Speaker(is_allowed=False)
    speaker.stream.allow_data(may_probe=True, at=speaker.now + 1)
    speaker.stream.add(b"x")
    speaker.stream.hear_data()
    assert [message.payload for message in speaker.collect()] == [b"x"]


def test_how_long_nothing_was_acknowledged() -> None:
    """Counted while something is on its way."""
    speaker = Speaker()
    speaker.stream.add(b"x")
    messages = speaker.collect()
    assert speaker.stream.waited_seconds(speaker.now + 3) == 3.0
    speaker.acknowledge(messages)
    assert speaker.stream.waited_seconds(speaker.now + 3) == 0.0
