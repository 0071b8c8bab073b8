"""Refusals: each flag finds its stream, wherever it stands between the bytes."""

from __future__ import annotations

from ssm_ssh.session.refusals import Refusals
from ssm_ssh.wire.smux_frame import StreamId

THREE = StreamId(3)
FIVE = StreamId(5)


def test_bytes_are_cut_at_the_flags() -> None:
    """What comes before a flag is not taken for what comes after it."""
    refusals = Refusals()
    refusals.note_flag(4)
    refusals.note_flag(4)
    refusals.note_flag(6)
    assert refusals.received(b"abcdefgh") == b"abcd"
    assert not refusals.is_meant(THREE, is_unheard=True)
    assert refusals.received(b"efgh") == b"ef"
    assert refusals.is_meant(THREE, is_unheard=True)
    assert refusals.is_meant(FIVE, is_unheard=True)
    assert not refusals.is_meant(FIVE, is_unheard=True)
    assert refusals.received(b"gh") == b"gh"
    assert refusals.is_meant(FIVE, is_unheard=True)


def test_a_flag_whose_place_is_past_counts_from_here() -> None:
    """No flag is lost because somebody did not know better, nor overtakes another."""
    refusals = Refusals()
    assert refusals.received(b"abc") == b"abc"
    refusals.note_flag(5)
    refusals.note_flag(0)
    assert refusals.received(b"defg") == b"de"
    assert refusals.received(b"fg") == b"fg"
    assert refusals.is_meant(THREE, is_unheard=True)
    assert refusals.is_meant(THREE, is_unheard=True)


def test_a_stream_that_was_heard_is_not_meant() -> None:
    """It was connected."""
    refusals = Refusals()
    refusals.note_flag(0)
    refusals.received(b"x")
    assert not refusals.is_meant(THREE, is_unheard=False)
    assert refusals.is_meant(FIVE, is_unheard=True)


def test_a_flag_may_be_meant_for_a_stream_that_was_left() -> None:
    """It is used up by that stream's end, and nothing is remembered of it."""
    refusals = Refusals()
    refusals.left_unheard(THREE)
    refusals.note_flag(0)
    refusals.received(b"x")
    assert refusals.is_meant(THREE, is_unheard=False)
    assert not refusals.is_meant(FIVE, is_unheard=True)
    assert not refusals._left
