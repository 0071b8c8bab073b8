"""What nobody has read yet: in order, whole, and without more memory than its bytes."""

from __future__ import annotations

import sys

from hypothesis import given
from hypothesis import strategies as st

from ssm_ssh.session.unread import Unread


@given(
    steps=st.lists(
        st.one_of(st.binary(min_size=1, max_size=6000), st.integers(1, 9000)), min_size=1, max_size=30
    )
)
def test_bytes_come_out_as_they_went_in(steps: list[bytes | int]) -> None:
    """Whatever is added and taken in whatever pieces."""
    unread, went_in, came_out = Unread(), b"", b""
    for step in steps:
        if isinstance(step, bytes):
            unread.add(step)
            went_in += step
        elif unread.size_bytes:
            data = unread.take(step)
            assert 0 < len(data) <= step
            came_out += data
        assert unread.size_bytes == len(went_in) - len(came_out)
    assert went_in == came_out + (unread.take(2**30) if unread.size_bytes else b"")


def test_small_pieces_are_joined() -> None:
    """A program that echoes single bytes to nobody does not cost fifty times their size."""
    unread = Unread()
    for _ in range(100_000):
        unread.add(b"x")
    assert sum(map(sys.getsizeof, unread._pieces)) < 105_000
    assert len(unread.take(65_536)) > 60_000


def test_cleared() -> None:
    """Nothing is left."""
    unread = Unread()
    unread.add(b"x")
    unread.clear()
    assert (unread.size_bytes, len(unread._pieces)) == (0, 0)
