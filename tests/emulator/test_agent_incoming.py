"""What the agent makes of bytes, good and bad."""

from __future__ import annotations

import pytest

from ssm_ssh.emulator.incoming import Incoming, ReadLoopDied, read_message
from tests.emulator.scripted_peer import client_message

# Protocol 3.3, V1.
V1 = bytes.fromhex(
    "00000074696e7075745f73747265616d5f64617461202020202020202020202020202020"
    "000000010000018bcfe5680000000000000000050000000000000000"
    "8879a1b2c3d4e5f60f1e2d3c4b5a4697bee73bd50eb0edee3592c11e8d8f965d"
    "45e0ec95e7659a7a9b35c42f864a3e7500000001000000076c73202d6c610d"
)
# Protocol 3.3, V5 with a shorter payload.
SHORT_HEADER = bytes.fromhex("00000070") + client_message(0, b"{}")[4:112] + bytes.fromhex("000000027b7d")


def test_reads_the_vector() -> None:
    """The id's halves are swapped back."""
    assert read_message(V1) == Incoming(
        "input_stream_data", 5, 1, bytes.fromhex("0f1e2d3c4b5a46978879a1b2c3d4e5f6"), b"ls -la\r"
    )


def test_the_digest_is_ignored() -> None:
    """As the flags are: the agent never looks."""
    changed = bytearray(V1)
    changed[80:112] = b"\0" * 32
    changed[56:64] = b"\xff" * 8
    assert read_message(bytes(changed)) == read_message(V1)


def test_a_short_header_has_no_payload_type() -> None:
    """The payload begins right behind the length."""
    message = read_message(SHORT_HEADER)
    assert message is not None
    assert (message.payload_type, message.payload) == (0, b"{}")


def test_text_is_parsed_like_binary() -> None:
    """What is no message in bytes is none in text."""
    with pytest.raises(ReadLoopDied):
        read_message("hello")


@pytest.mark.parametrize(
    ("start", "change"),
    [(0, b"\0" * 4), (4, b" " * 32), (40, b"\0" * 8)],
    ids=["no header length", "no type", "no date"],
)
def test_drops_what_lacks_what_it_checks(start: int, change: bytes) -> None:
    """Silently."""
    assert read_message(V1[:start] + change + V1[start + len(change) :]) is None


@pytest.mark.parametrize("raw", [b"", V1[:115], b"\0\0\xff\xff" + V1[4:]])
def test_dies_of_lengths_outside_the_message(raw: bytes) -> None:
    """A Go slice out of range."""
    with pytest.raises(ReadLoopDied):
        read_message(raw)
