"""smux frames: the document's vectors, every way of cutting a stream, and any bytes at all."""

from __future__ import annotations

from dataclasses import FrozenInstanceError
from itertools import pairwise
from typing import Final

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from ssm_ssh.errors import MalformedMessage
from ssm_ssh.wire.smux_frame import MAX_FRAME_DATA_BYTES, VERSION, Command, Frame, FrameReader, StreamId
from tests.wire.vector import FOLDER, Vector, read_vector

VECTORS: Final = {path.stem: read_vector(path) for path in sorted((FOLDER / "smux").glob("*.txt"))}
GOOD: Final = [vector for vector in VECTORS.values() if not vector.is_malformed]
BAD: Final = [vector for vector in VECTORS.values() if vector.is_malformed]
# The fields of every vector that can be read, spelled from the document's words and not from its bytes.
FRAMES: Final = {
    "syn": Frame(Command.SYN, StreamId(3)),
    "psh": Frame(Command.PSH, StreamId(3), b"GET / HTTP/1.0\r\n\r\n"),
    "fin": Frame(Command.FIN, StreamId(3)),
    "nop": Frame(Command.NOP, StreamId(0)),
    "stream_id_little_endian": Frame(Command.PSH, StreamId(0x01020304), b"\xff"),
}

frames = st.builds(
    Frame,
    st.sampled_from(Command),
    st.integers(0, 2**32 - 1).map(StreamId),
    st.binary(max_size=300),
)


def read(*pieces: bytes) -> list[Frame]:
    """All frames of a stream that arrives in pieces."""
    reader = FrameReader()
    return [frame for piece in pieces for frame in reader.feed(piece)]


def byte_by_byte(raw: bytes) -> list[bytes]:
    """The stream in its smallest pieces."""
    return [raw[offset : offset + 1] for offset in range(len(raw))]


def test_every_readable_vector_has_its_fields_spelled_here() -> None:
    """No vector is forgotten, and there are both kinds."""
    assert {vector.stem for vector in GOOD} == FRAMES.keys()
    assert len(BAD) == 4


def test_the_documents_bytes() -> None:
    """The four lines of section 7.4, once more as they stand there."""
    assert [VECTORS[stem].raw.hex() for stem in ("syn", "psh", "fin", "nop")] == [
        "0100000003000000",
        "0102120003000000474554202f20485454502f312e300d0a0d0a",
        "0101000003000000",
        "0103000000000000",
    ]


@pytest.mark.parametrize("vector", GOOD, ids=str)
def test_vector_and_fields_are_the_same(vector: Vector) -> None:
    """The document's bytes give the document's fields, and the other way round."""
    assert read(vector.raw) == [FRAMES[vector.stem]]
    assert FRAMES[vector.stem].encode() == vector.raw


@pytest.mark.parametrize("vector", BAD, ids=str)
@pytest.mark.parametrize("before", [b"", VECTORS["psh"].raw], ids=["first", "second"])
def test_malformed_vector_is_refused_where_it_is_wrong(vector: Vector, before: bytes) -> None:
    """A frame of another version or without a known command is malformed, and stays so."""
    reader = FrameReader()
    with pytest.raises(MalformedMessage) as caught:
        reader.feed(before + vector.raw)
    assert caught.value.offset == vector.offset
    with pytest.raises(MalformedMessage):
        reader.feed(VECTORS["nop"].raw)


@pytest.mark.parametrize("vector", GOOD, ids=str)
def test_no_prefix_is_a_frame(vector: Vector) -> None:
    """A frame comes with its last byte and not before."""
    for end in range(len(vector.raw)):
        reader = FrameReader()
        assert reader.feed(vector.raw[:end]) == []
        assert reader.feed(vector.raw[end:]) == [FRAMES[vector.stem]]


@given(sent=st.lists(frames, max_size=8), cuts=st.lists(st.integers(0, 2500), max_size=8))
def test_frames_may_be_cut_anywhere(sent: list[Frame], cuts: list[int]) -> None:
    """Whole, byte by byte and in any pieces: the frames are those that were sent."""
    raw = b"".join(frame.encode() for frame in sent)
    edges = [0, *sorted(cuts), len(raw)]
    pieces = [raw[start:end] for start, end in pairwise(edges)]
    assert read(raw) == sent
    assert read(*byte_by_byte(raw)) == sent
    assert read(*pieces[:-1], raw[sum(map(len, pieces[:-1])) :]) == sent


@given(raw=st.binary(max_size=300))
@example(raw=b"")
@example(raw=bytes(8))
@example(raw=b"\x01\x02\xff\xff" + bytes(300))
def test_any_bytes(raw: bytes) -> None:
    """Any bytes: MalformedMessage or frames, never anything else, and the same for every way of feeding."""
    try:
        whole = read(raw)
    except MalformedMessage as error:
        with pytest.raises(MalformedMessage) as caught:
            read(*byte_by_byte(raw))
        assert str(caught.value) == str(error)  # noqa: PT017 -- some bytes are malformed, some are not: both fine
    else:
        assert read(*byte_by_byte(raw)) == whole
        assert raw.startswith(b"".join(frame.encode() for frame in whole))


@given(frame=frames, offset=st.integers(0, 7), change=st.integers(1, 255))
def test_no_changed_byte_is_overlooked(frame: Frame, offset: int, change: int) -> None:
    """With one byte of its header changed a frame is malformed, another one, or not complete."""
    raw = bytearray(frame.encode())
    raw[offset] ^= change
    try:
        assert read(bytes(raw)) != [frame]
    except MalformedMessage:
        # A shorter length makes a header of what was data.
        assert offset < 4


def test_at_most_one_incomplete_frame_is_kept() -> None:
    """However much is fed, what has become a frame is not kept."""
    reader = FrameReader()
    largest = Frame(Command.PSH, StreamId(3), bytes(0xFFFF)).encode()
    for _ in range(50):
        assert len(reader.feed(largest[1:] + largest[:1] if reader._unread else largest + largest[:1])) == 1
        assert len(reader._unread) == 1


def test_a_frame_does_not_share_the_buffer_it_was_read_from() -> None:
    """What is read later does not change what was read before."""
    reader = FrameReader()
    first = reader.feed(VECTORS["psh"].raw + b"\x01")
    reader.feed(b"\x03\x00\x00" + b"\xff" * 4)
    assert first == [FRAMES["psh"]]
    assert type(first[0].data) is bytes


def test_a_frame_is_frozen() -> None:
    """Nobody changes a frame that somebody else holds."""
    with pytest.raises(FrozenInstanceError):
        FRAMES["psh"].data = b""  # type: ignore[misc]  # the point of the test


@pytest.mark.parametrize(
    "frame",
    [
        Frame(Command.PSH, StreamId(3), bytes(0x10000)),
        Frame(Command.PSH, StreamId(2**32), b"secret"),
        Frame(Command.PSH, StreamId(-1), b"secret"),
    ],
    ids=str,
)
def test_what_does_not_fit_the_layout_is_not_encoded(frame: Frame) -> None:
    """A field that does not fit is a ValueError, and the error does not show the data."""
    with pytest.raises(ValueError, match="no such frame") as caught:
        frame.encode()
    assert "secret" not in str(caught.value)


@given(data=st.binary(min_size=8, max_size=64))
def test_neither_log_line_nor_repr_shows_the_data(data: bytes) -> None:
    """What a log line says of the data depends on its size alone."""
    frame, zeros = (Frame(Command.PSH, StreamId(5), body) for body in (data, bytes(len(data))))
    assert str(frame) == f"PSH 5 [{len(data)} B]"
    assert (str(frame), repr(frame)) == (str(zeros), repr(zeros))


def test_codes_are_the_documents() -> None:
    """The numbers of section 7.4, each once more by hand."""
    assert {command.name: command.value for command in Command} == {"SYN": 0, "FIN": 1, "PSH": 2, "NOP": 3}
    assert (VERSION, MAX_FRAME_DATA_BYTES) == (1, 32_768)
