"""A rate that led to a tear-down is not reached again."""

from __future__ import annotations

import math

import pytest

from ssm_ssh.protocol.pace import BLAMELESS_MESSAGES_PER_SECOND, BURST_SECONDS, CAUTION, Pace


def send_for(pace: Pace, seconds: float, *, start: float) -> tuple[int, float]:
    """Send all that is allowed; how many that were, and the most in any second."""
    now, sent = start, []
    while now < start + seconds:
        allowed = pace.allowance(now)
        if allowed:
            assert allowed == int(allowed)
            pace.sent(int(allowed), now)
            sent += [now] * int(allowed)
        due = pace.next_allowance_at()
        assert due is not None
        assert due > now
        now = due
    fastest = max(sum(1 for at in sent if first <= at < first + 1) for first in sorted(set(sent)))
    return len(sent), fastest


def test_without_a_limit_everything_may_go() -> None:
    """And nothing has to be waited for."""
    pace = Pace()
    assert pace.allowance(0.0) == math.inf
    assert pace.next_allowance_at() is None
    pace.sent(10_000, 0.0)
    assert pace.allowance(0.0) == math.inf


def test_a_tear_down_at_speed_sets_a_limit_below_it() -> None:
    """And the limit is used up, and kept."""
    pace = Pace()
    for tick in range(100):
        pace.sent(50, tick / 100)
    pace.torn_down(1.0)
    assert pace.limit == pytest.approx(CAUTION * 5000)
    sent, fastest = send_for(pace, 5.0, start=10.0)
    assert sent == pytest.approx(5 * 4000, rel=0.02)
    assert fastest <= 4000 * (1 + BURST_SECONDS) + 1


def test_the_official_plugins_rate_is_never_blamed() -> None:
    """674 messages a second for as long as you like (protocol 11.2)."""
    pace = Pace()
    for number in range(674 * 3):
        pace.sent(1, number / 674)
    pace.torn_down(3.0)
    assert pace.limit is None


def test_only_the_last_second_counts() -> None:
    """A break long after the rush has another reason."""
    pace = Pace()
    pace.sent(5000, 0.0)
    pace.torn_down(1.5)
    assert pace.limit is None


def test_every_tear_down_at_the_limit_lowers_it_down_to_the_blameless_rate() -> None:
    """Also where a burst looks faster than the limit was."""
    pace = Pace(2000.0)
    pace.sent(5000, 0.0)
    pace.torn_down(0.0)
    assert pace.limit == pytest.approx(1600)
    for second in range(1, 20):
        pace.sent(1600, 10.0 * second)
        pace.torn_down(10.0 * second)
    assert pace.limit == BLAMELESS_MESSAGES_PER_SECOND


@pytest.mark.parametrize("limit", [math.inf, -math.inf, math.nan])
def test_a_limit_that_is_no_number_is_not_believed(limit: float) -> None:
    """It comes from a file."""
    assert Pace(limit).limit is None


@pytest.mark.parametrize("limit", [-5.0, 0.0, 1.0])
def test_a_limit_below_the_blameless_rate_is_raised_to_it(limit: float) -> None:
    """Symptom without it: a division by zero, or a session that crawls."""
    assert Pace(limit).limit == BLAMELESS_MESSAGES_PER_SECOND


def test_credit_is_not_saved_up() -> None:
    """A long pause allows one burst, no more; while some is left there is nothing to wait for."""
    pace = Pace(1000.0)
    assert pace.allowance(0.0) == 1000 * BURST_SECONDS
    assert pace.allowance(1e6) == 1000 * BURST_SECONDS
    pace.sent(5, 1e6)
    assert pace.next_allowance_at() is None
