"""Messages that arrive in any order leave in one."""

from __future__ import annotations

from random import Random

import pytest

from ssm_ssh.protocol import inbox
from ssm_ssh.protocol.inbox import INBOX_BYTES, INBOX_MESSAGES, Inbox
from ssm_ssh.wire.agent_message import AgentMessage, MessageType


def message(number: int, payload: bytes = b"x") -> AgentMessage:
    """One of the agent's sequenced messages."""
    return AgentMessage(MessageType.OUTPUT_STREAM_DATA, number, payload, 1, bytes(16), 1)


def numbers(messages: list[AgentMessage]) -> list[int]:
    """What came out."""
    return [each.sequence_number for each in messages]


def test_in_order_they_pass() -> None:
    """Nothing is kept."""
    box = Inbox()
    for number in range(3):
        kept, out = box.receive(message(number))
        assert kept
        assert numbers(out) == [number]


def test_an_early_one_waits_for_the_one_before() -> None:
    """And is acknowledged meanwhile, as the agent does with ours."""
    box = Inbox()
    assert box.receive(message(1)) == (True, [])
    assert box.receive(message(3)) == (True, [])
    kept, out = box.receive(message(0))
    assert kept
    assert numbers(out) == [0, 1]
    assert numbers(box.receive(message(2))[1]) == [2, 3]


def test_duplicates_are_acknowledged_and_given_once() -> None:
    """Symptom without it: the agent repeats a message for ever, and its end waits two seconds."""
    box = Inbox()
    box.receive(message(0))
    box.receive(message(2))
    assert box.receive(message(0)) == (True, [])
    assert box.receive(message(2)) == (True, [])
    assert box.receive(message(-1)) == (True, [])
    assert numbers(box.receive(message(1))[1]) == [1, 2]


def test_it_holds_ten_thousand_messages_and_64_mib() -> None:
    """The agent repairs one in 100 ms while it sends on."""
    assert INBOX_MESSAGES >= 10_000
    assert INBOX_BYTES >= 64 * 1024 * 1024
    box = Inbox()
    for number in range(1, INBOX_MESSAGES + 1):
        assert box.receive(message(number))[0]
    assert box.receive(message(INBOX_MESSAGES + 1)) == (False, [])
    assert numbers(box.receive(message(0))[1]) == list(range(INBOX_MESSAGES + 1))
    assert box.receive(message(INBOX_MESSAGES + 5))[0]


def test_bytes_are_bounded_too_and_given_back(monkeypatch: pytest.MonkeyPatch) -> None:
    """What has no room is not acknowledged, so it comes again."""
    monkeypatch.setattr(inbox, "INBOX_BYTES", 10)
    box = Inbox()
    assert box.receive(message(1, b"123456"))[0]
    assert not box.receive(message(2, b"12345"))[0]
    assert box.receive(message(3, b"1234"))[0]
    assert numbers(box.receive(message(0, bytes(100)))[1]) == [0, 1], "the next one in order always has room"
    assert box.receive(message(4, b"123456"))[0]


@pytest.mark.parametrize("seed", range(20))
def test_any_order_becomes_the_order(seed: int) -> None:
    """Shuffled, and each up to three times."""
    random = Random(seed)
    arrivals = [number for number in range(200) for _ in range(random.randint(1, 3))]
    random.shuffle(arrivals)
    box = Inbox()
    out = [given for number in arrivals for given in box.receive(message(number))[1]]
    assert numbers(out) == list(range(200))


def test_it_is_empty_unless_something_waits() -> None:
    """A gap is what makes messages wait."""
    box = Inbox()
    assert box.is_empty
    box.receive(message(1))
    assert not box.is_empty
    box.receive(message(0))
    assert box.is_empty
