"""The mux: dialogues with a scripted agent, any bytes, and a machine that tries everything in any order."""

# ruff: noqa: D102 -- the names of the machine's rules are its sentences

from __future__ import annotations

import random
from contextlib import suppress
from typing import Final

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    MultipleResults,
    RuleBasedStateMachine,
    consumes,
    invariant,
    multiple,
    rule,
)

from ssm_ssh.errors import LocalProtocolError, RemoteProtocolError
from ssm_ssh.protocol.mux import KEEPALIVE_SECONDS, STREAM_QUEUE_BYTES, Mux, MuxEvent, StreamData, StreamEnded
from ssm_ssh.protocol.turns import SHARE_BYTES
from ssm_ssh.wire.smux_frame import StreamId
from tests.protocol.smux_peer import FIN, NOP, PSH, SYN, SmuxPeer, frame

PLENTY: Final = 2**40
UNKNOWN: Final = StreamId(99)


class Talk:
    """A mux and a scripted agent, joined in memory."""

    def __init__(self, *, keeps_alive: bool = False) -> None:
        self.mux = Mux(keeps_alive=keeps_alive, now=0.0)
        self.agent = SmuxPeer()

    def deliver(self, max_bytes: int = PLENTY) -> list[tuple[int, int, int]]:
        """Carry what the mux has to say; returns the frames that the agent heard."""
        before = len(self.agent.heard)
        self.agent.receive(self.mux.data_to_send(max_bytes, 0.0))
        return self.agent.heard[before:]

    def open_stream(self) -> StreamId:
        """A stream that the agent knows."""
        stream_id = self.mux.open_stream()
        self.deliver()
        return stream_id

    def received(self, stream_id: StreamId) -> bytes:
        """What the agent has of a stream."""
        return bytes(self.agent.streams[stream_id].received)

    def agent_ends(self, stream_id: StreamId) -> list[MuxEvent]:
        """The agent's FIN arrives."""
        return self.mux.receive_data(self.agent.end(stream_id))

    def expect_nothing_left(self) -> None:
        """Both sides have ended everything: nothing is remembered, nothing is sent."""
        assert self.deliver() == []
        assert len(self.mux) == 0
        assert not self.mux._streams
        assert not self.mux._turns
        assert not self.mux.streams_with_room()


# --- opening and sending ---------------------------------------------------------------------------------


def test_ids_are_odd_and_start_at_3() -> None:
    """Each connection's stream has the next odd id, and its SYN is sent at once."""
    talk = Talk()
    assert [talk.mux.open_stream() for _ in range(3)] == [3, 5, 7]
    assert talk.deliver() == [(SYN, 3, 0), (SYN, 5, 0), (SYN, 7, 0)]
    assert len(talk.mux) == 3
    assert StreamId(3) in talk.mux
    assert UNKNOWN not in talk.mux


def test_ids_run_out() -> None:
    """The last id is used, and then there is none: ids are never used twice."""
    talk = Talk()
    talk.mux._next_stream = 2**32 - 1
    assert talk.mux.open_stream() == 2**32 - 1
    with pytest.raises(LocalProtocolError, match="no stream ids left"):
        talk.mux.open_stream()
    assert talk.deliver() == [(SYN, 2**32 - 1, 0)]


def test_data_arrives() -> None:
    """Both ways."""
    talk = Talk()
    stream_id = talk.mux.open_stream()
    talk.mux.send(stream_id, b"ping")
    assert talk.deliver() == [(SYN, 3, 0), (PSH, 3, 4)]
    assert talk.received(stream_id) == b"ping"
    assert talk.mux.receive_data(talk.agent.send(stream_id, b"pong")) == [StreamData(stream_id, b"pong")]


def test_a_queue_is_bounded() -> None:
    """What does not fit is refused, whole; room comes as data leaves."""
    talk = Talk()
    stream_id = talk.open_stream()
    assert talk.mux.room_bytes(stream_id) == STREAM_QUEUE_BYTES
    talk.mux.send(stream_id, bytes(STREAM_QUEUE_BYTES - 1))
    with pytest.raises(LocalProtocolError, match="no room for 2 bytes"):
        talk.mux.send(stream_id, b"xx")
    talk.mux.send(stream_id, b"x")
    assert talk.mux.room_bytes(stream_id) == 0
    talk.deliver(1)
    assert talk.mux.room_bytes(stream_id) == SHARE_BYTES


@pytest.mark.parametrize("data", [b"", b"x"])
def test_an_unknown_stream_takes_nothing(data: bytes) -> None:
    """Nor is it ended or closed."""
    talk = Talk()
    assert talk.mux.room_bytes(UNKNOWN) == 0
    with pytest.raises(LocalProtocolError):
        talk.mux.send(UNKNOWN, data)
    talk.mux.end(UNKNOWN)
    talk.mux.close(UNKNOWN)
    talk.expect_nothing_left()


def test_who_waits_for_room_is_named_once_the_queue_is_half_empty() -> None:
    """And not for every turn: waking a writer costs more than a turn."""
    talk = Talk()
    stream_id, other = talk.open_stream(), talk.open_stream()
    talk.mux.send(other, b"little")
    talk.mux.send(stream_id, bytes(STREAM_QUEUE_BYTES))
    named = []
    while talk.deliver(1):
        named.append(talk.mux.streams_with_room())
        if named[-1]:
            assert talk.mux.room_bytes(stream_id) == STREAM_QUEUE_BYTES // 2
    assert [names for names in named if names] == [{stream_id}]


def test_a_stream_that_is_over_waits_for_no_room() -> None:
    """Its queue was dropped after it had been half emptied."""
    talk = Talk()
    stream_id = talk.open_stream()
    talk.mux.send(stream_id, bytes(STREAM_QUEUE_BYTES))
    talk.deliver(STREAM_QUEUE_BYTES // 2 + 1)
    talk.agent_ends(stream_id)
    talk.deliver()
    talk.expect_nothing_left()


# --- turns -----------------------------------------------------------------------------------------------


@given(bulk=st.integers(0, 40), rounds=st.integers(0, 5), is_new=st.booleans())
def test_a_keystroke_goes_before_bulk(bulk: int, rounds: int, is_new: bool) -> None:  # noqa: FBT001
    """It waits for the first turn of streams as new as its own, and for none that have gone on sending."""
    talk = Talk()
    shell = talk.open_stream()
    full = [talk.mux.open_stream() for _ in range(bulk)]
    for stream_id in full:
        talk.mux.send(stream_id, bytes(STREAM_QUEUE_BYTES))
    for _ in range(rounds):
        for _ in full:
            talk.deliver(1)
        talk.mux.send(shell, b"previous key")
        talk.deliver(1)
    if is_new:
        shell = talk.mux.open_stream()
    talk.mux.send(shell, b"key")
    turns = 1 if rounds else bulk + 1
    assert any((PSH, shell, 3) in talk.deliver(1) for _ in range(turns))


def test_full_streams_get_equal_shares() -> None:
    """A small piece each, in turn."""
    talk = Talk()
    streams = [talk.open_stream() for _ in range(5)]
    for stream_id in streams:
        talk.mux.send(stream_id, bytes(STREAM_QUEUE_BYTES))
    while talk.deliver(1):
        amounts = [len(talk.received(stream_id)) for stream_id in streams]
        assert max(amounts) - min(amounts) <= SHARE_BYTES


@given(wanted=st.integers(0, 200_000))
def test_not_much_more_than_asked_for_is_returned(wanted: int) -> None:
    """At most one turn more."""
    talk = Talk()
    for _ in range(4):
        talk.mux.send(talk.mux.open_stream(), bytes(STREAM_QUEUE_BYTES))
    data = talk.mux.data_to_send(wanted, 0.0)
    assert len(data) < wanted + SHARE_BYTES + 3 * 8
    assert bool(data) == bool(wanted)


# --- ends ------------------------------------------------------------------------------------------------


def test_our_end_is_kept_back_until_the_agents() -> None:
    """A server that answers after our end is heard whole: the agent would have dropped the answer."""
    talk = Talk()
    stream_id = talk.open_stream()
    talk.mux.send(stream_id, b"request")
    talk.mux.end(stream_id)
    talk.mux.end(stream_id)
    assert talk.mux.room_bytes(stream_id) == 0
    assert talk.deliver() == [(PSH, 3, 7)]
    assert talk.mux.receive_data(talk.agent.send(stream_id, b"late")) == [StreamData(stream_id, b"late")]
    assert talk.agent_ends(stream_id) == [StreamEnded(stream_id)]
    assert talk.deliver() == [(FIN, 3, 0)]
    talk.expect_nothing_left()


def test_a_close_is_told_at_once() -> None:
    """What has not left is dropped, and what still arrives; it is remembered until the agent's end."""
    talk = Talk()
    stream_id = talk.open_stream()
    talk.mux.send(stream_id, b"never sent")
    talk.mux.close(stream_id)
    talk.mux.close(stream_id)
    assert talk.mux.room_bytes(stream_id) == 0
    assert talk.mux.receive_data(talk.agent.send(stream_id, b"before the FIN left")) == []
    assert talk.deliver() == [(FIN, 3, 0)]
    talk.mux.close(stream_id)
    assert talk.mux.receive_data(talk.agent.send(stream_id, b"before the FIN arrived")) == []
    assert talk.deliver() == []
    assert len(talk.mux) == 1
    assert talk.mux.receive_data(talk.agent.answer_ends()) == [StreamEnded(stream_id)]
    talk.expect_nothing_left()


def test_what_was_sent_before_the_end_leaves_before_the_close() -> None:
    """The FIN of a stream that was ended and then closed goes behind its data, however long that takes."""
    talk = Talk()
    stream_id = talk.mux.open_stream()
    talk.mux.send(stream_id, bytes(20_000))
    talk.mux.end(stream_id)
    talk.mux.close(stream_id)
    heard = talk.deliver()
    assert (heard[0], heard[-1]) == ((SYN, 3, 0), (FIN, 3, 0))
    assert talk.received(stream_id) == bytes(20_000)
    assert talk.mux.receive_data(talk.agent.answer_ends()) == [StreamEnded(stream_id)]
    talk.expect_nothing_left()


def test_a_stream_that_the_agent_never_heard_of_is_never_told() -> None:
    """Opened and closed before its SYN left: the node does not connect for nothing."""
    talk = Talk()
    stream_id = talk.mux.open_stream()
    talk.mux.send(stream_id, b"never sent")
    talk.mux.close(stream_id)
    talk.expect_nothing_left()
    assert talk.mux.open_stream() == 5


def test_the_agents_end_drops_what_we_still_have() -> None:
    """The agent has forgotten the stream and would discard it; nothing is sent but our FIN."""
    talk = Talk()
    stream_id = talk.open_stream()
    talk.mux.send(stream_id, bytes(STREAM_QUEUE_BYTES))
    talk.deliver(1)
    assert talk.agent_ends(stream_id) == [StreamEnded(stream_id)]
    assert talk.mux.room_bytes(stream_id) == 0
    assert talk.deliver() == [(FIN, 3, 0)]
    talk.expect_nothing_left()


@pytest.mark.parametrize("is_delivered", [False, True])
def test_crossing_ends(is_delivered: bool) -> None:  # noqa: FBT001
    """We close and the agent ends at the same time: one FIN each, one event."""
    talk = Talk()
    stream_id = talk.open_stream()
    ending = talk.agent.end(stream_id)
    talk.mux.close(stream_id)
    if is_delivered:
        assert talk.deliver() == [(FIN, 3, 0)]
    assert talk.mux.receive_data(ending) == [StreamEnded(stream_id)]
    assert talk.deliver() == [(FIN, 3, 0)][is_delivered:]
    talk.expect_nothing_left()


def test_nothing_counts_after_the_agents_end() -> None:
    """A second FIN and late data of the agent are dropped, before and after our FIN has left."""
    talk = Talk()
    stream_id = talk.open_stream()
    late = frame(PSH, stream_id, b"late") + frame(FIN, stream_id)
    assert talk.mux.receive_data(frame(FIN, stream_id) + late) == [StreamEnded(stream_id)]
    assert talk.mux.receive_data(late) == []
    talk.mux.close(stream_id)
    assert talk.deliver() == [(FIN, 3, 0)]
    assert talk.mux.receive_data(late) == []
    talk.expect_nothing_left()


@pytest.mark.parametrize(
    "data",
    [frame(PSH, 3, b"x"), frame(FIN, 3), frame(SYN, 3), frame(SYN, 2), frame(PSH, 2, b"x"), frame(NOP, 0)],
)
def test_frames_of_unknown_streams_are_dropped_in_silence(data: bytes) -> None:
    """Also those of a stream that the agent cannot know yet."""
    talk = Talk()
    stream_id = talk.mux.open_stream()
    assert talk.mux.receive_data(data) == []
    assert talk.deliver() == [(SYN, 3, 0)]
    assert talk.mux.room_bytes(stream_id) == STREAM_QUEUE_BYTES


def test_an_empty_piece_of_data_is_no_event() -> None:
    """Readers take an empty piece for the end."""
    talk = Talk()
    stream_id = talk.open_stream()
    assert talk.mux.receive_data(frame(PSH, stream_id) + frame(SYN, stream_id) + frame(NOP, 0)) == []


# --- NOPs ------------------------------------------------------------------------------------------------


def test_no_nop_is_sent_unasked() -> None:
    """They count as activity and defeat the idle limit (protocol 7.5)."""
    talk = Talk()
    assert talk.mux.next_deadline() is None
    assert talk.mux.data_to_send(PLENTY, 1e9) == b""


def test_nops_fill_the_silence() -> None:
    """One every ten seconds in which nothing else was sent; its deadline is never in the past after it."""
    mux = Mux(keeps_alive=True, now=100.0)
    assert mux.next_deadline() == 100.0 + KEEPALIVE_SECONDS
    assert mux.data_to_send(PLENTY, 109.9) == b""
    assert mux.data_to_send(PLENTY, 110.0) == frame(NOP, 0)
    assert mux.data_to_send(PLENTY, 110.0) == b""
    assert mux.next_deadline() == 120.0
    mux.open_stream()
    assert mux.data_to_send(PLENTY, 125.0) == frame(SYN, 3)
    assert mux.next_deadline() == 135.0


# --- any bytes -------------------------------------------------------------------------------------------

near_frames = st.builds(frame, st.integers(0, 3), st.sampled_from([0, 2, 3, 5, 7, 9]), st.binary(max_size=40))


@given(pieces=st.lists(st.one_of(near_frames, st.binary(max_size=12)), max_size=12))
@example(pieces=[b"\x02" * 8])
@example(pieces=[frame(FIN, 3), frame(FIN, 5), frame(PSH, 7, b"x"), frame(PSH, 9, b"x")])
def test_any_bytes(pieces: list[bytes]) -> None:
    """Any bytes: events or RemoteProtocolError, the same whole and byte by byte."""
    raw = b"".join(pieces)
    events = []
    for fed in ([raw], [raw[offset : offset + 1] for offset in range(len(raw))]):
        mux = Mux(keeps_alive=False, now=0.0)
        for _ in range(3):
            mux.open_stream()
        mux.data_to_send(PLENTY, 0.0)
        mux.end(StreamId(5))
        mux.close(StreamId(7))
        found: list[MuxEvent | str] = []
        with suppress(RemoteProtocolError):
            for piece in fed:
                found += mux.receive_data(piece)
            found.append("fine")
        events.append(found)
    whole, bytewise = events
    # Frames that come with a fault are lost with it.
    assert whole in ([], bytewise)


def test_an_event_does_not_show_its_data() -> None:
    """Events may be logged, what streams carry may not."""
    assert "secret" not in repr(StreamData(StreamId(3), b"secret"))


# --- everything in any order -----------------------------------------------------------------------------


class Conversation(RuleBasedStateMachine):
    """We and the agent open, send, end and close in any order, and the bytes between are cut anywhere."""

    streams: Bundle[StreamId] = Bundle("streams")

    def __init__(self) -> None:
        super().__init__()
        self.mux = Mux(keeps_alive=False, now=0.0)
        self.agent = SmuxPeer()
        self.random = random.Random(7)
        self.to_agent = b""
        self.to_us = b""
        self.accepted: dict[StreamId, bytearray] = {}
        self.sent: dict[StreamId, bytearray] = {}
        self.received: dict[StreamId, bytearray] = {}
        self.ended: set[StreamId] = set()
        self.ended_first: set[StreamId] = set()
        self.closed: set[StreamId] = set()
        self.agent_ended: set[StreamId] = set()

    @rule(target=streams)
    def open_stream(self) -> StreamId:
        stream_id = self.mux.open_stream()
        for record in (self.accepted, self.sent, self.received):
            record[stream_id] = bytearray()
        return stream_id

    @rule(stream_id=streams, size=st.one_of(st.integers(1, 20), st.integers(1, STREAM_QUEUE_BYTES)))
    def send(self, stream_id: StreamId, size: int) -> None:
        data = self.random.randbytes(min(size, self.mux.room_bytes(stream_id)))
        if data:
            assert not {stream_id} & (self.ended | self.closed | self.agent_ended)
            self.mux.send(stream_id, data)
            self.accepted[stream_id] += data

    @rule(stream_id=streams)
    def end(self, stream_id: StreamId) -> None:
        self.mux.end(stream_id)
        if stream_id not in self.closed:
            self.ended.add(stream_id)

    @rule(stream_id=streams)
    def close(self, stream_id: StreamId) -> None:
        if stream_id not in self.closed and stream_id in self.ended - self.agent_ended:
            self.ended_first.add(stream_id)
        self.mux.close(stream_id)
        self.closed.add(stream_id)

    @rule(target=streams, stream_id=consumes(streams))
    def lose_sight(self, stream_id: StreamId) -> MultipleResults[StreamId] | StreamId:
        """Fewer choices of streams that are over, so that the others are met more often."""
        return multiple() if stream_id in self.agent_ended else stream_id

    @rule(max_bytes=st.integers(1, 200_000))
    def we_speak(self, max_bytes: int) -> None:
        self.to_agent += self.mux.data_to_send(max_bytes, 0.0)

    @rule(size=st.one_of(st.integers(0, 30), st.integers(0, 200_000)))
    def agent_hears(self, size: int) -> None:
        data, self.to_agent = self.to_agent[:size], self.to_agent[size:]
        self.agent.receive(data)

    @rule(stream_id=streams, size=st.one_of(st.integers(1, 20), st.integers(1, 100_000)))
    def agent_sends(self, stream_id: StreamId, size: int) -> None:
        known = self.agent.streams.get(stream_id)
        if known is not None and not known.has_ended:
            data = self.random.randbytes(size)
            self.to_us += self.agent.send(stream_id, data)
            self.sent[stream_id] += data

    @rule(stream_id=streams)
    def agent_ends(self, stream_id: StreamId) -> None:
        known = self.agent.streams.get(stream_id)
        if known is not None and not known.has_ended:
            self.to_us += self.agent.end(stream_id)

    @rule()
    def agent_answers_ends(self) -> None:
        self.to_us += self.agent.answer_ends()

    @rule(size=st.one_of(st.integers(0, 30), st.integers(0, 200_000)))
    def we_hear(self, size: int) -> None:
        data, self.to_us = self.to_us[:size], self.to_us[size:]
        for event in self.mux.receive_data(data):
            assert event.stream_id not in self.agent_ended
            if isinstance(event, StreamEnded):
                self.agent_ended.add(event.stream_id)
                if event.stream_id not in self.closed:
                    assert self.received[event.stream_id] == self.sent[event.stream_id]
            else:
                assert event.stream_id not in self.closed
                self.received[event.stream_id] += event.data

    @invariant()
    def bytes_are_in_order(self) -> None:
        for stream_id, record in self.received.items():
            assert self.sent[stream_id].startswith(record)
        for number, known in self.agent.streams.items():
            assert self.accepted[StreamId(number)].startswith(known.received)

    @invariant()
    def our_fin_has_a_reason(self) -> None:
        for number, known in self.agent.streams.items():
            if known.has_client_ended:
                assert number in self.closed | self.agent_ended
                if number in self.ended_first and not known.has_ended:
                    assert known.received == self.accepted[StreamId(number)]

    @invariant()
    def memory_is_bounded(self) -> None:
        assert len(self.mux) <= len(self.accepted) - len(self.agent_ended & self.closed) + len(
            self.agent_ended
        )
        assert all(len(stream.queue) <= STREAM_QUEUE_BYTES for stream in self.mux._streams.values())

    def teardown(self) -> None:
        """Whatever happened, everything arrives that should, and in the end nothing is left."""
        self._settle()
        for number, known in self.agent.streams.items():
            if number not in self.closed | self.agent_ended:
                assert known.received == self.accepted[StreamId(number)]
                assert self.received[StreamId(number)] == self.sent[StreamId(number)]
        for stream_id in self.accepted:
            self.close(stream_id)
        self._settle()
        assert len(self.mux) == 0
        assert not self.mux._turns
        assert not self.mux.streams_with_room()
        assert all(known.has_ended and known.has_client_ended for known in self.agent.streams.values())

    def _settle(self) -> None:
        while True:
            self.we_speak(PLENTY)
            self.agent_hears(PLENTY)
            self.agent_answers_ends()
            if not self.to_us:
                return
            self.we_hear(PLENTY)


TestConversation = Conversation.TestCase
TestConversation.settings = settings(max_examples=60, stateful_step_count=60)
