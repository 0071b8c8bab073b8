"""The search for the largest payload."""

from __future__ import annotations

import pytest

from ssm_ssh.protocol.payload_size import (
    BACKLOG_BYTES,
    BACKLOG_PAUSE_SECONDS,
    PROBED_SIZES,
    SAFE_PAYLOAD_BYTES,
    PayloadSize,
)

ANY = 1 << 30


def with_backlog(*, known: int = SAFE_PAYLOAD_BYTES, cap: int | None = None) -> PayloadSize:
    """A search with enough sent for a probe."""
    size = PayloadSize(known=known, cap=cap)
    size.sent(BACKLOG_BYTES, 0.0)
    return size


def test_it_climbs_probe_by_probe() -> None:
    """One on its way at a time; data grows only after an acknowledgement."""
    size = with_backlog()
    for probed in PROBED_SIZES:
        before = size.data_bytes
        assert size.next_probe(ANY) == probed
        assert size.next_probe(ANY) is None
        assert size.data_bytes == before
        size.probe_passed()
        assert size.data_bytes == size.known_bytes == probed
    assert size.next_probe(ANY) is None
    assert size.cap_bytes is None


def test_small_traffic_is_not_probed() -> None:
    """Up to a megabyte, or however much with pauses between."""
    size = PayloadSize()
    size.sent(BACKLOG_BYTES - 1, 0.0)
    assert size.next_probe(ANY) is None
    size.sent(1, BACKLOG_PAUSE_SECONDS + 0.1)
    assert size.next_probe(ANY) is None
    size.sent(BACKLOG_BYTES - 2, 2 * BACKLOG_PAUSE_SECONDS)
    assert size.next_probe(ANY) is None
    size.sent(1, 2 * BACKLOG_PAUSE_SECONDS)
    assert size.next_probe(ANY) == PROBED_SIZES[0]


def test_nothing_larger_than_useful_is_probed() -> None:
    """A slow way's window holds few bytes."""
    assert with_backlog().next_probe(PROBED_SIZES[0] - 1) is None
    assert with_backlog().next_probe(PROBED_SIZES[0]) == PROBED_SIZES[0]


def test_a_broken_stream_caps_the_search() -> None:
    """Nothing of that size again, and the cap is for the next session too."""
    size = with_backlog()
    size.next_probe(ANY)
    size.probe_passed()
    size.next_probe(ANY)
    size.probe_broke_stream()
    assert (size.data_bytes, size.known_bytes, size.cap_bytes) == (4096, 4096, 4096)
    assert size.next_probe(ANY) is None
    smallest = with_backlog()
    smallest.next_probe(ANY)
    smallest.probe_broke_stream()
    assert smallest.cap_bytes == SAFE_PAYLOAD_BYTES
    assert smallest.next_probe(ANY) is None


def test_one_vanished_probe_may_be_bad_luck() -> None:
    """Two are none; one that passes in between clears the name."""
    size = with_backlog()
    size.next_probe(ANY)
    size.probe_vanished()
    assert size.next_probe(ANY) == 4096
    size.probe_passed()
    assert size.next_probe(ANY) == 16384
    size.probe_vanished()
    assert size.next_probe(ANY) == 16384
    size.probe_vanished()
    assert size.cap_bytes == 4096


def test_a_remembered_size_is_probed_first_and_not_trusted() -> None:
    """The path may have changed."""
    size = with_backlog(known=16384)
    assert size.data_bytes == SAFE_PAYLOAD_BYTES
    assert size.known_bytes == 16384
    assert size.next_probe(ANY) == 16384
    size.probe_broke_stream()
    assert size.known_bytes == 4096, "what has failed is not remembered"
    assert size.next_probe(ANY) == 4096


def test_a_remembered_cap_is_kept() -> None:
    """Another session has paid for it."""
    size = with_backlog(cap=4096)
    assert size.next_probe(ANY) == 4096
    size.probe_passed()
    assert size.next_probe(ANY) is None
    assert size.cap_bytes == 4096


def test_a_short_session_does_not_forget() -> None:
    """Symptom without it: after every login the next upload searches anew."""
    assert PayloadSize(known=32768).known_bytes == 32768


@pytest.mark.parametrize("fixed", [512, 1024, 65536])
def test_a_fixed_size_is_used_and_teaches_nothing(fixed: int) -> None:
    """Symptom otherwise: one session with a small size caps all later ones."""
    size = PayloadSize(fixed=fixed, known=16384, cap=None)
    size.sent(BACKLOG_BYTES, 0.0)
    assert size.data_bytes == fixed
    assert size.next_probe(ANY) is None
    assert (size.known_bytes, size.cap_bytes) == (16384, None)
