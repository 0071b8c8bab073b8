"""Signals wait until something can be cancelled, and the first one counts."""

from __future__ import annotations

import signal
from typing import TYPE_CHECKING

import pytest

from ssm_ssh.ssh.stop import Stop

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(autouse=True)
def _signals() -> Iterator[None]:
    """The signals' owners as they were before the test."""
    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
    yield
    for number, owner in before.items():
        signal.signal(number, owner)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_before_there_is_anything_to_cancel_is_kept(number: int) -> None:
    """It raises nothing where it strikes, and cancels as soon as that is possible."""
    cancelled: list[bool] = []
    stop = Stop()
    stop.listen()
    signal.raise_signal(number)
    stop.act(lambda: cancelled.append(True))
    assert cancelled == [True]


def test_the_first_signal_cancels_and_further_ones_do_nothing() -> None:
    """What the first one set off is not disturbed."""
    cancelled: list[bool] = []
    stop = Stop()
    stop.listen()
    stop.act(lambda: cancelled.append(True))
    assert cancelled == []
    for _ in range(3):
        signal.raise_signal(signal.SIGTERM)
    assert cancelled == [True]


def test_an_ignored_sigint_stays_ignored() -> None:
    """Without a terminal, Ctrl-C is for the program on the node."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    Stop().listen()
    assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN


def test_a_loop_that_has_closed_has_nothing_to_cancel() -> None:
    """A signal in the last moments of the process raises nothing."""

    def closed() -> None:
        raise RuntimeError("Event loop is closed")

    stop = Stop()
    stop.listen()
    stop.act(closed)
    signal.raise_signal(signal.SIGTERM)
