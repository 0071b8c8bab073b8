"""Bulk uploads: how large messages become, how fast they go, and what a keystroke has to wait."""

from __future__ import annotations

from itertools import pairwise
from random import Random

import pytest

from ssm_ssh.protocol.data_channel import PathLimits
from ssm_ssh.protocol.window import MAX_WINDOW_BYTES, TARGET_DELAY_SECONDS
from ssm_ssh.wire.agent_message import PayloadType
from tests.protocol.dialogue import Dialogue, Link, Oversize
from tests.protocol.scripted_agent import ScriptedAgent

DATA = Random(4711).randbytes(8_000_000)
PROBES = (4 * 1024, 16 * 1024, 32 * 1024)


def uploaded(talk: Dialogue, *, at_most: float = 60, data: bytes = DATA) -> float:
    """Open, send, wait until all has arrived; how long that took."""
    talk.open()
    talk.client_sends(data)
    seconds = talk.advance_until_quiet(at_most=at_most)
    talk.expect_taken(data)
    return seconds


def largest_data(talk: Dialogue) -> int:
    """The largest payload of data that was ever sent."""
    return max(len(said.payload) for said in talk.said if said.payload_type == PayloadType.OUTPUT)


def probes(talk: Dialogue) -> list[int]:
    """The sizes probed, in order, without repeats under one number."""
    sizes: dict[int, int] = {}
    for said in talk.said:
        if said.payload_type == PayloadType.SIZE:
            sizes.setdefault(said.number, len(said.payload))
    return list(sizes.values())


# --- the size ---


@pytest.mark.parametrize(
    ("largest", "passed"),
    [(PROBES[0], 1024), (PROBES[1], PROBES[0]), (PROBES[2], PROBES[1]), (1 << 20, PROBES[2])],
)
@pytest.mark.parametrize("oversize", [Oversize.SWALLOW, Oversize.BREAK])
def test_the_largest_size_that_passes_is_found(largest: int, passed: int, oversize: Oversize) -> None:
    """No byte of data is ever in a message of a size that did not pass before."""
    talk = Dialogue(up=Link(largest_bytes=largest, oversize=oversize, bytes_per_second=3e6))
    uploaded(talk)
    assert largest_data(talk) == passed
    assert talk.channel.limits.payload_bytes == passed
    assert talk.channel.limits.payload_cap_bytes == (None if passed == PROBES[-1] else passed)
    assert talk.channel.limits.messages_per_second is None, "the size was to blame, not the rate"
    assert talk.cuts == (1 if oversize is Oversize.BREAK and passed < PROBES[-1] else 0)
    probed = {said.number for said in talk.said if said.payload_type == PayloadType.SIZE}
    assert probed.isdisjoint(said.number for said in talk.said if said.payload_type == PayloadType.OUTPUT), (
        "a probe's number never carries data"
    )


def test_what_was_learned_is_used_by_the_next_session() -> None:
    """The remembered size is probed first, the remembered cap is not exceeded."""
    first = Dialogue(up=Link(largest_bytes=PROBES[2], oversize=Oversize.BREAK))
    uploaded(first)
    second = Dialogue(up=first.up, limits=first.channel.limits)
    uploaded(second)
    assert probes(second) == [PROBES[1]]
    assert second.cuts == 0
    assert second.channel.limits == first.channel.limits


def test_a_fixed_size_is_not_searched() -> None:
    """All data has it, but the end."""
    talk = Dialogue(payload_bytes=2000)
    uploaded(talk, data=DATA[:2_000_000])
    assert probes(talk) == []
    assert largest_data(talk) == 2000


def test_small_traffic_and_shells_are_not_probed() -> None:
    """A shell would take it for a new size of the terminal."""
    small = Dialogue()
    uploaded(small, data=DATA[:900_000])
    assert probes(small) == []
    shell = Dialogue(agent=ScriptedAgent(has_handshake=False))
    shell.open()
    shell.agent_sends(b"$ ")
    shell.client_sends(DATA)
    shell.advance_until_quiet(at_most=60)
    assert probes(shell) == []
    assert largest_data(shell) == 1024


# --- the rate ---


def test_the_rate_that_broke_the_stream_is_not_reached_again() -> None:
    """Nor by the replay; and the upload ends."""
    talk = Dialogue(payload_bytes=1024)
    talk.tears_down_above = 3000
    uploaded(talk, at_most=120)
    limit = talk.channel.limits.messages_per_second
    assert limit is not None
    assert limit < 3000
    assert 1 <= talk.cuts <= 12
    next_one = Dialogue(payload_bytes=1024, limits=PathLimits(messages_per_second=limit))
    next_one.tears_down_above = 3000
    uploaded(next_one, at_most=120)
    assert next_one.cuts == 0
    times = [said.at for said in next_one.said]
    for first, last in zip(times, times[int(limit * 1.05) :], strict=False):
        assert last - first > 0.99, "more than the limit within a second"


def test_the_official_clients_rate_is_never_blamed() -> None:
    """674 messages a second, and a break: the network's doing."""
    talk = Dialogue(payload_bytes=1024)
    talk.open()
    for _ in range(674 * 2):
        talk.client_sends(b"x" * 1024)
        talk.advance(1 / 674)
    talk.client_sends(b"x")
    talk.cut()
    assert talk.channel.limits.messages_per_second is None


# --- the window ---


@pytest.mark.parametrize("bytes_per_second", [125_000, 500_000, 1_000_000])
def test_an_upload_on_a_slow_link_hardly_delays_a_keystroke(bytes_per_second: int) -> None:
    """For minutes: neither the search's overshoot nor a queue that measures itself."""
    talk = Dialogue(up=Link(bytes_per_second=bytes_per_second))
    talk.open()
    delays = []
    for _ in range(120):
        talk.client_sends(bytes(max(0, bytes_per_second - len(talk._unsent))))
        talk.advance(0.5)
        # A keystroke typed now waits for the messages on their way, and it for its own way.
        delays.append(max(0.0, talk._free_at[False] - talk.now))
    settled = sorted(delays[6:])
    assert settled[len(settled) // 2] < 1.5 * TARGET_DELAY_SECONDS
    assert settled[-1] < 3 * TARGET_DELAY_SECONDS
    assert len(talk.agent.taken) > 0.9 * 60 * bytes_per_second, "and the link is not left idle"


def test_a_long_fast_way_is_filled() -> None:
    """200 ms and a lot of room: the window goes to its limit and stays there."""
    talk = Dialogue(up=Link(delay_seconds=0.1))
    seconds = uploaded(talk)
    assert seconds < 3.0
    assert max_in_flight(talk) <= MAX_WINDOW_BYTES + 64 * 1024


def max_in_flight(talk: Dialogue) -> int:
    """The most bytes of payload within one round trip of the clean 200 ms way."""
    total, most, start = 0, 0, 0
    for end, said in enumerate(talk.said):
        total += len(said.payload)
        while talk.said[start].at <= said.at - 0.2:
            total -= len(talk.said[start].payload)
            start += 1
        most = max(most, total)
        assert end >= start
    return most


def test_sequence_numbers_have_no_gap() -> None:
    """First transmissions come in order, each number once."""
    talk = Dialogue(up=Link(loss=0.05, reordering=0.05), seed=9)
    uploaded(talk, data=DATA[:1_000_000])
    firsts = list(dict.fromkeys(said.number for said in talk.said))
    assert all(later == earlier + 1 for earlier, later in pairwise(firsts))
