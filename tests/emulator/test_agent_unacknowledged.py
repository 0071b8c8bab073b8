"""The agent's outgoing buffer and its timer: the formula of the protocol, figure by figure."""

from __future__ import annotations

from random import Random

import pytest

from ssm_ssh.emulator import unacknowledged
from ssm_ssh.emulator.unacknowledged import Unacknowledged


def buffer_of(*numbers: int, missed: float = 0.0) -> Unacknowledged:
    """A buffer with these messages, all sent at 0."""
    buffer = Unacknowledged(Random(1), missed_acknowledgements=missed)
    for number in numbers:
        buffer.add(number, b"%d" % number, 0.0)
    return buffer


def test_the_first_timer_is_200_ms() -> None:
    """More than that, not as much."""
    buffer = buffer_of(0)
    assert buffer.due(0.2) is None
    assert buffer.due(0.201) == b"0"


def test_only_the_oldest_is_looked_at() -> None:
    """However long the others wait; after a resend it waits anew."""
    buffer = buffer_of(0, 1)
    assert buffer.due(1.0) == b"0"
    assert buffer.due(1.1) is None
    assert buffer.due(1.3) == b"0"
    buffer.acknowledge(0, 1.3)
    assert buffer.due(1.4) == b"1"


def test_the_estimate_follows_the_formula() -> None:
    """RTTVAR from the old RTT, then RTT, then RTO; no lower bound but 10 ms above RTT."""
    buffer = buffer_of(0, 1)
    buffer.acknowledge(0, 0.02)
    # RTTVAR = |0.1 - 0.02| / 4 = 0.02; RTT = 7/8 · 0.1 + 0.02/8 = 0.09
    assert buffer.rto_seconds == pytest.approx(0.09 + 4 * 0.02)
    buffer.acknowledge(1, 0.09)
    # RTTVAR = 3/4 · 0.02 + 0; RTT = 0.09
    assert buffer.rto_seconds == pytest.approx(0.09 + 4 * 0.015)


def test_the_timer_has_a_cap_and_no_back_off() -> None:
    """A second at most, however long the round trips."""
    buffer = buffer_of(*range(50))
    for number in range(50):
        buffer.acknowledge(number, 30.0)
    assert buffer.rto_seconds == 1.0


def test_the_timer_keeps_10_ms_above_the_round_trip() -> None:
    """With round trips that never vary the variation dies away."""
    buffer = buffer_of(*range(200))
    for number in range(200):
        buffer.acknowledge(number, 0.1)
    assert buffer.rto_seconds == pytest.approx(0.11)


def test_an_acknowledgement_may_come_too_early_to_be_noticed() -> None:
    """The agent sends, then tracks: the message is sent again until acknowledged again."""
    buffer = buffer_of(0, missed=1.0)
    buffer.acknowledge(0, 0.01)
    assert len(buffer) == 1
    assert buffer.due(0.3) == b"0"
    buffer.acknowledge(0, 0.31)
    assert len(buffer) == 0


def test_an_unknown_number_is_nothing() -> None:
    """Acknowledged twice, or never sent."""
    buffer = buffer_of(0)
    buffer.acknowledge(7, 0.1)
    assert len(buffer) == 1


def test_what_does_not_fit_is_not_tracked(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is sent, but never again."""
    monkeypatch.setattr(unacknowledged, "CAPACITY_MESSAGES", 1)
    buffer = buffer_of(0, 1)
    buffer.acknowledge(0, 0.1)
    assert len(buffer) == 0
    assert buffer.due(9.0) is None
