"""Acknowledgements wait for their turn, are bounded, and the last are repeated on a new stream."""

from __future__ import annotations

from ssm_ssh.protocol.acknowledgements import (
    PENDING_ACKNOWLEDGEMENTS,
    REPEATED_ACKNOWLEDGEMENTS,
    Acknowledgements,
)


def test_each_is_said_once() -> None:
    """In order."""
    acknowledgements = Acknowledgements()
    acknowledgements.add(b"1")
    acknowledgements.add(b"2")
    assert acknowledgements.take() == [b"1", b"2"]
    assert acknowledgements.take() == []


def test_the_last_are_repeated_before_those_never_said() -> None:
    """And no more than the limit, and not twice as often with every resume."""
    acknowledgements = Acknowledgements()
    said = [b"%d" % number for number in range(REPEATED_ACKNOWLEDGEMENTS + 10)]
    for encoded in said:
        acknowledgements.add(encoded)
    acknowledgements.take()
    acknowledgements.add(b"new")
    acknowledgements.repeat()
    acknowledgements.repeat()
    assert acknowledgements.take() == [*said[10:], b"new"]


def test_a_peer_that_takes_nothing_is_not_collected_for() -> None:
    """Memory is bounded by the limit; the agent repeats what was not acknowledged."""
    acknowledgements = Acknowledgements()
    while acknowledgements.has_room:
        acknowledgements.add(b"x")
    assert len(acknowledgements.take()) == PENDING_ACKNOWLEDGEMENTS
    assert acknowledgements.has_room
