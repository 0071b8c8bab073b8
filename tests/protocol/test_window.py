"""The window grows where the way is free and shrinks where it queues."""

from __future__ import annotations

from ssm_ssh.protocol.window import (
    BASE_PERIOD_SECONDS,
    INITIAL_WINDOW_BYTES,
    LATE_ACKNOWLEDGEMENTS,
    LATE_SECONDS,
    MAX_WINDOW_BYTES,
    MIN_WINDOW_BYTES,
    TARGET_DELAY_SECONDS,
    Window,
)

WAY_SECONDS = 0.03


def full_round(window: Window, now: float, delay: float = WAY_SECONDS) -> float:
    """One round that the sender filled, with this delay; returns when it is over."""
    window.note_full()
    window.acknowledged(sent_at=now, now=now + delay)
    return now + delay


def test_it_doubles_while_nothing_queues() -> None:
    """From the first size to the last, once a round trip."""
    window = Window()
    assert window.size_bytes == INITIAL_WINDOW_BYTES
    now, sizes = 0.0, []
    for _ in range(8):
        now = full_round(window, now)
        sizes.append(window.size_bytes)
    assert sizes[:2] == [2 * INITIAL_WINDOW_BYTES, 4 * INITIAL_WINDOW_BYTES]
    assert sizes[-1] == MAX_WINDOW_BYTES


def test_one_round_resizes_once() -> None:
    """Only an acknowledgement of what was sent in the round ends it."""
    window = Window()
    now = full_round(window, 0.0)
    size = window.size_bytes
    window.note_full()
    window.acknowledged(sent_at=now - 0.001, now=now + 0.001)
    assert window.size_bytes == size


def test_what_was_never_full_stays() -> None:
    """A terminal proves nothing about a larger or a smaller one."""
    window = Window()
    for step in range(50):
        window.acknowledged(sent_at=step, now=step + (0.03 if step % 2 else 0.5))
    assert window.size_bytes == INITIAL_WINDOW_BYTES


def test_a_queue_shrinks_it_to_what_the_way_carries() -> None:
    """Then it grows in small steps."""
    window = Window()
    now = full_round(window, 0.0)
    now = full_round(window, now, WAY_SECONDS + 2 * TARGET_DELAY_SECONDS)
    aim = (WAY_SECONDS + TARGET_DELAY_SECONDS) / (WAY_SECONDS + 2 * TARGET_DELAY_SECONDS)
    assert window.size_bytes == int(2 * INITIAL_WINDOW_BYTES * aim)
    size = window.size_bytes
    full_round(window, now)
    assert size < window.size_bytes < 1.2 * size


def test_no_round_shrinks_it_to_nothing_at_once() -> None:
    """And none below the least."""
    window = Window()
    now = full_round(window, 0.0)
    size = window.size_bytes
    now = full_round(window, now, 0.9)
    assert window.size_bytes == size // 4
    for _ in range(5):
        now = full_round(window, now, 0.9)
    assert window.size_bytes == MIN_WINDOW_BYTES


def test_a_search_that_overshoots_ends_before_its_round() -> None:
    """Symptom without it: two seconds of queue on a slow uplink."""
    window = Window()
    now = full_round(window, 0.0)
    size = window.size_bytes
    late = WAY_SECONDS + 2 * LATE_SECONDS
    window.note_full()
    for _ in range(LATE_ACKNOWLEDGEMENTS - 1):
        window.acknowledged(sent_at=now - late, now=now)
    assert window.size_bytes == size
    window.acknowledged(sent_at=now - late, now=now)
    assert window.size_bytes < size
    shrunk = window.size_bytes
    for _ in range(3 * LATE_ACKNOWLEDGEMENTS):
        window.note_full()
        window.acknowledged(sent_at=now - late, now=now)
    assert window.size_bytes == shrunk, "what was sent before the shrinking says nothing about after"


def test_an_outage_halves_it() -> None:
    """And ends the search."""
    window = Window()
    window.timed_out()
    assert window.size_bytes == INITIAL_WINDOW_BYTES // 2
    full_round(window, 0.0)
    assert window.size_bytes < INITIAL_WINDOW_BYTES


def test_a_long_upload_runs_dry_now_and_then() -> None:
    """Symptom without it: the queue becomes the measure of itself and grows without end."""
    window = Window()
    now = full_round(window, 0.0)
    standing = WAY_SECONDS + 0.9 * TARGET_DELAY_SECONDS
    while window.size_bytes > MIN_WINDOW_BYTES:
        now = full_round(window, now, standing)
    assert BASE_PERIOD_SECONDS < now < BASE_PERIOD_SECONDS + 2 * standing
    now = full_round(window, now)
    assert window.size_bytes > MIN_WINDOW_BYTES, "one dry round, then on as before"
    # The way's own delay was seen anew, so the next rounds are judged by it.
    now = full_round(window, now, 0.0301)
    size = window.size_bytes
    full_round(window, now, WAY_SECONDS + 2 * TARGET_DELAY_SECONDS)
    assert window.size_bytes < size


def test_quiet_traffic_measures_the_way_as_it_goes() -> None:
    """A way that has become longer is believed after a while, without a dry round."""
    window = Window()
    window.acknowledged(sent_at=0.0, now=WAY_SECONDS)
    later = BASE_PERIOD_SECONDS + 1
    window.acknowledged(sent_at=later, now=later + 0.5)
    size = window.size_bytes
    full_round(window, later + 1, 0.5)
    assert window.size_bytes == 2 * size


def test_a_new_stream_is_measured_anew() -> None:
    """What was short before may be long now."""
    window = Window()
    now = full_round(window, 0.0)
    size = window.size_bytes
    window.start_anew(now)
    full_round(window, now, 0.5)
    assert window.size_bytes == 2 * size
