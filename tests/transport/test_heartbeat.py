"""When to ping and when to give up, with time as an argument."""

from __future__ import annotations

import pytest

from ssm_ssh.transport.heartbeat import PING_SECONDS, SILENCE_SECONDS, Heartbeat


def test_silence_is_asked_and_then_given_up() -> None:
    """A ping each ten seconds of silence, and an end of it."""
    heartbeat = Heartbeat(100.0)
    assert heartbeat.next_deadline() == 110.0
    assert not heartbeat.is_ping_due(109.9)
    assert heartbeat.is_ping_due(110.0)
    assert not heartbeat.is_ping_due(110.1)
    assert heartbeat.next_deadline() == 100.0 + SILENCE_SECONDS
    assert not heartbeat.is_dead(100.0 + SILENCE_SECONDS - 0.1)
    assert heartbeat.is_dead(100.0 + SILENCE_SECONDS)


def test_what_is_heard_postpones_both() -> None:
    """A peer that speaks is neither asked nor given up."""
    heartbeat = Heartbeat(0.0)
    for now in range(1, 100):
        heartbeat.heard(float(now))
        assert not heartbeat.is_ping_due(now + PING_SECONDS - 0.1)
        assert not heartbeat.is_dead(now + SILENCE_SECONDS - 0.1)


@pytest.mark.parametrize("delay", [0.0, 0.3, 3.0])
def test_the_next_deadline_never_lies_in_the_past(delay: float) -> None:
    """Who looks at each deadline, however late, is always told of a later one, until the end."""
    heartbeat = Heartbeat(0.0)
    now = 0.0
    while not heartbeat.is_dead(now):
        heartbeat.is_ping_due(now)
        assert heartbeat.next_deadline() > now
        now = heartbeat.next_deadline() + delay


def test_the_limits_keep_the_promise() -> None:
    """What was heard is noticed one ping late at most: together that stays under 30 seconds."""
    assert PING_SECONDS + SILENCE_SECONDS < 30
