"""Turns: equal shares, and whoever sends little goes first."""

from __future__ import annotations

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from ssm_ssh.protocol.turns import SHARE_BYTES, Turns
from ssm_ssh.wire.smux_frame import StreamId


def ids(*numbers: int) -> list[StreamId]:
    """Stream ids."""
    return [StreamId(number) for number in numbers]


def use_up(turns: Turns) -> StreamId:
    """The next turn, used by a stream that has much more to send."""
    stream_id, share_bytes = turns.take()
    turns.spend(stream_id, share_bytes)
    turns.add(stream_id)
    return stream_id


def test_nobody_waits_at_first() -> None:
    """No stream, no turn."""
    turns = Turns()
    assert not turns
    turns.add(StreamId(3))
    assert turns
    assert turns.take() == (3, SHARE_BYTES)
    assert not turns


def test_busy_streams_take_turns() -> None:
    """Streams that always have more are served one after the other, for ever."""
    turns = Turns()
    for stream_id in ids(3, 5, 7):
        turns.add(stream_id)
    assert [use_up(turns) for _ in range(9)] == [3, 5, 7] * 3


def test_who_waits_keeps_its_place() -> None:
    """More data does not change the place of a stream, in whichever row it stands."""
    turns = Turns()
    for stream_id in ids(3, 5, 3):
        turns.add(stream_id)
    assert use_up(turns) == 3
    turns.add(StreamId(3))
    assert [use_up(turns) for _ in range(2)] == [5, 3]
    turns.add(StreamId(5))
    assert [use_up(turns) for _ in range(2)] == [5, 3]


def test_who_speaks_up_goes_before_those_who_never_stopped() -> None:
    """A keystroke overtakes any number of bulk streams, again and again, while its share lasts."""
    turns = Turns()
    for number in range(3, 203, 2):
        turns.add(StreamId(number))
    for _ in range(150):
        use_up(turns)
    for spent in range(10):
        turns.add(StreamId(1001))
        assert turns.take() == (1001, SHARE_BYTES - spent)
        turns.spend(StreamId(1001), 1)
        use_up(turns)


def test_whose_share_is_used_up_waits_for_the_next_round() -> None:
    """Falling silent between writes gives nobody more than its share."""
    turns = Turns()
    for stream_id in ids(3, 5, 7):
        turns.add(stream_id)
    assert use_up(turns) == 3
    stream_id, share_bytes = turns.take()
    assert stream_id == 5
    turns.spend(StreamId(5), share_bytes)
    turns.add(StreamId(5))
    assert [use_up(turns) for _ in range(3)] == [7, 3, 5]


def test_a_removed_stream_is_forgotten() -> None:
    """Wherever it stood, and with what it had spent."""
    turns = Turns()
    for stream_id in ids(3, 5, 7):
        turns.add(stream_id)
    use_up(turns)
    for stream_id in ids(3, 5, 7, 9):
        turns.remove(stream_id)
    assert not turns
    assert not turns._spent_bytes


def test_a_stream_alone_is_not_held_back() -> None:
    """It has turn after turn, and still lets whoever speaks up go first."""
    turns = Turns()
    turns.add(StreamId(3))
    assert [use_up(turns) for _ in range(3)] == [3, 3, 3]
    turns.add(StreamId(5))
    assert turns.take() == (5, SHARE_BYTES)
    assert turns.take() == (3, SHARE_BYTES)
    assert not turns._spent_bytes


@given(
    bulk=st.integers(1, 20),
    writes=st.lists(st.tuples(st.integers(0, 4), st.integers(1, 2 * SHARE_BYTES)), max_size=60),
)
def test_shares_are_equal_and_nobody_starves(bulk: int, writes: list[tuple[int, int]]) -> None:
    """Whatever others write and when, those that never stop stay within two shares and two rounds."""
    turns = Turns()
    served: Counter[StreamId] = Counter()
    waits: Counter[StreamId] = Counter()
    wants: Counter[StreamId] = Counter()
    busy = ids(*range(101, 101 + bulk))
    for stream_id in busy:
        turns.add(stream_id)
    for writer, size in writes:
        wants[StreamId(writer)] += size
        turns.add(StreamId(writer))
        for _ in range(2):
            stream_id, share_bytes = turns.take()
            sent_bytes = share_bytes if stream_id in busy else min(share_bytes, wants[stream_id])
            turns.spend(stream_id, sent_bytes)
            served[stream_id] += sent_bytes
            wants[stream_id] -= sent_bytes
            if stream_id in busy or wants[stream_id]:
                turns.add(stream_id)
            waits.update(busy)
            del waits[stream_id]
            assert all(waits[waiting] <= 2 * (bulk + 5) for waiting in busy)
        amounts = [served[stream_id] for stream_id in busy]
        assert max(amounts) - min(amounts) <= 2 * SHARE_BYTES
