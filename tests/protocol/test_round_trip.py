"""RFC 6298's estimate, figure by figure."""

from __future__ import annotations

import pytest

from ssm_ssh.protocol.round_trip import (
    INITIAL_RETRANSMIT_SECONDS,
    MAX_INHERITED_DOUBLINGS,
    MAX_RETRANSMIT_SECONDS,
    MIN_LATENESS_SECONDS,
    RoundTrip,
)


def test_before_the_first_sample() -> None:
    """A guess, doubled as often as asked, up to the limit."""
    trip = RoundTrip()
    assert trip.smoothed_seconds is None
    assert trip.retransmit_seconds(0) == INITIAL_RETRANSMIT_SECONDS
    assert trip.retransmit_seconds(1) == 2 * INITIAL_RETRANSMIT_SECONDS
    assert trip.retransmit_seconds(5000) == MAX_RETRANSMIT_SECONDS


def test_the_estimate() -> None:
    """First sample: itself and half of it; then an eighth and a quarter of what is new."""
    trip = RoundTrip()
    trip.sample(0.2)
    assert trip.smoothed_seconds == 0.2
    assert trip.retransmit_seconds(0) == pytest.approx(0.2 + 4 * 0.1)
    trip.sample(0.4)
    assert trip.smoothed_seconds == pytest.approx(0.2 + 0.2 / 8)
    assert trip.retransmit_seconds(0) == pytest.approx(0.225 + 4 * (0.1 + (0.2 - 0.1) / 4))


def test_a_short_way_is_not_nagged() -> None:
    """The agent writes to its port before it acknowledges."""
    trip = RoundTrip()
    for _ in range(100):
        trip.sample(0.001)
    assert trip.retransmit_seconds(0) == pytest.approx(0.001 + MIN_LATENESS_SECONDS)
    assert trip.retransmit_seconds(2) == pytest.approx(4 * (0.001 + MIN_LATENESS_SECONDS))


def test_a_long_way_that_never_varied_is_not_nagged_either() -> None:
    """Symptom: at a steady 200 ms every millisecond of delay was a time-out, and uploads crept."""
    trip = RoundTrip()
    for _ in range(100):
        trip.sample(0.2)
    assert trip.retransmit_seconds(0) == pytest.approx(0.2 + MIN_LATENESS_SECONDS)


def test_patience_lasts_until_there_is_a_sample() -> None:
    """Symptom without it: on a way longer than the time, every lone message is sent twice for ever."""
    trip = RoundTrip()
    assert trip.doublings == 0
    trip.took_attempts(2)
    trip.took_attempts(1)
    assert trip.doublings == 1
    trip.took_attempts(50)
    assert trip.doublings == MAX_INHERITED_DOUBLINGS
    trip.sample(0.001)
    assert trip.doublings == 0
