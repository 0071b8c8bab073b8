"""Data and flags keep their order; messages are cut as large as allowed."""

from __future__ import annotations

from ssm_ssh.protocol.send_queue import SendQueue
from ssm_ssh.wire.agent_message import PayloadType
from ssm_ssh.wire.payload import Flag


def test_data_is_joined_and_cut() -> None:
    """Many small writes become few messages."""
    queue = SendQueue()
    assert not queue
    queue.add(b"abc")
    queue.add(b"defg")
    assert queue
    assert queue.size_bytes == 7
    assert queue.take(5) == (PayloadType.OUTPUT, b"abcde")
    assert queue.size_bytes == 2
    assert queue.take(5) == (PayloadType.OUTPUT, b"fg")
    assert not queue


def test_a_flag_keeps_its_place() -> None:
    """What was accepted before it leaves before it, what comes after is not joined across it."""
    queue = SendQueue()
    queue.add(b"ab")
    queue.add_flag(Flag.DISCONNECT_TO_PORT)
    queue.add(b"cd")
    assert [queue.take(10) for _ in range(3)] == [
        (PayloadType.OUTPUT, b"ab"),
        (PayloadType.FLAG, b"\0\0\0\1"),
        (PayloadType.OUTPUT, b"cd"),
    ]
    assert not queue


def test_everything_can_be_dropped() -> None:
    """Data and flags."""
    queue = SendQueue()
    queue.add(b"ab")
    queue.add_flag(Flag.TERMINATE_SESSION)
    queue.clear()
    assert not queue
    assert queue.size_bytes == 0
