"""SOCKS5 as a server hears it: messages spelled by hand, and whatever else may arrive."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ssm_ssh.forward.client_request import Asked, Login, Outcome, Rejected
from ssm_ssh.forward.socks5 import Socks5Dialogue

LOGIN = Login(b"alice", b"s3cret")
HELLO = bytes.fromhex("05 01 00")
HELLO_WITH_LOGIN = bytes.fromhex("05 02 00 02")
LOGIN_MESSAGE = b"\x01\x05alice\x06s3cret"
# db.internal:5432
REQUEST = bytes.fromhex("05 01 00 03 0b") + b"db.internal" + bytes.fromhex("15 38")


def talk(dialogue: Socks5Dialogue, *pieces: bytes) -> tuple[Asked | Rejected | None, bytes]:
    """What comes of the pieces, and all that was said to them."""
    verdict, said = None, b""
    for piece in pieces:
        verdict = dialogue.receive_data(piece)
        said += dialogue.data_to_send()
        if verdict is not None:
            break
    return verdict, said


@pytest.mark.parametrize(
    ("address", "host"),
    [
        ("01 0a000102", "10.0.1.2"),
        ("03 02 6462", "db"),
        ("04 20010db8000000000000000000000001", "2001:db8::1"),
        ("04 00000000000000000000ffff7f000001", "::ffff:7f00:1"),
    ],
)
def test_all_three_kinds_of_address(address: str, host: str) -> None:
    """IPv4, a name, IPv6; what follows the request is the destination's."""
    dialogue = Socks5Dialogue()
    assert talk(dialogue, HELLO) == (None, b"\x05\x00")
    request = bytes.fromhex(f"05 01 00 {address} 01bb")
    assert talk(dialogue, request + b"early") == (Asked(host, 443, b"early"), b"")


@pytest.mark.parametrize(
    ("outcome", "code"),
    [
        (Outcome.CONNECTED, 0),
        (Outcome.FAILED, 1),
        (Outcome.BUSY, 1),
        (Outcome.FORBIDDEN, 2),
        (Outcome.UNREACHABLE, 4),
        (Outcome.REFUSED, 5),
        (Outcome.TIMED_OUT, 6),
    ],
)
def test_every_outcome_has_its_code(outcome: Outcome, code: int) -> None:
    """RFC 1928 section 6, with an address that says nothing."""
    assert Socks5Dialogue().reply(outcome, "why") == bytes([5, code, 0, 1, 0, 0, 0, 0, 0, 0])


def test_the_codes_are_complete() -> None:
    """No outcome is without a reply."""
    assert all(Socks5Dialogue().reply(outcome) for outcome in Outcome)


def test_a_login_is_asked_for_and_taken() -> None:
    """RFC 1929, all of it in one piece."""
    verdict, said = talk(Socks5Dialogue(LOGIN), HELLO_WITH_LOGIN + LOGIN_MESSAGE + REQUEST)
    assert verdict == Asked("db.internal", 5432)
    assert said == bytes.fromhex("0502 0100")


@pytest.mark.parametrize(
    ("pieces", "said"),
    [
        ([HELLO], "05ff"),
        ([bytes.fromhex("05 00")], "05ff"),
        ([HELLO_WITH_LOGIN, b"\x01\x05alice\x06S3cret"], "0502 0101"),
        ([HELLO_WITH_LOGIN, b"\x01\x03bob\x06s3cret"], "0502 0101"),
        ([HELLO_WITH_LOGIN, b"\x01\x00\x00"], "0502 0101"),
        ([HELLO_WITH_LOGIN, REQUEST], "0502 0101"),
    ],
)
def test_without_the_right_login_there_is_nothing(pieces: list[bytes], said: str) -> None:
    """Nor is what was tried repeated to anybody."""
    verdict, heard = talk(Socks5Dialogue(LOGIN), *pieces, REQUEST)
    assert isinstance(verdict, Rejected)
    assert heard == bytes.fromhex(said)
    assert "alice" not in verdict.reason
    assert "s3cret" not in repr(LOGIN)


@pytest.mark.parametrize(
    ("pieces", "said"),
    [
        # SOCKS4, with a name as SOCKS4a has it.
        ([bytes.fromhex("04 01 0050 00000001 00") + b"db\0"], "005b 000000000000"),
        ([bytes.fromhex("05 01 02")], "05ff"),
        # BIND, UDP ASSOCIATE, and a command that nobody knows.
        ([HELLO, bytes.fromhex("05 02 00 01 0a000001 0050")], "0500 0507 0001 00000000 0000"),
        ([HELLO, bytes.fromhex("05 03 00 01 0a000001 0050")], "0500 0507 0001 00000000 0000"),
        ([HELLO, bytes.fromhex("05 7f 00 01 0a000001 0050")], "0500 0507 0001 00000000 0000"),
        ([HELLO, bytes.fromhex("05 01 00 02 0a000001 0050")], "0500 0508 0001 00000000 0000"),
        ([HELLO, b"\x04\x01"], "0500 0501 0001 00000000 0000"),
        # Port 0, no name, a name with a blank, one with a line break, one that is not ASCII.
        ([HELLO, bytes.fromhex("05 01 00 01 0a000001 0000")], "0500 0508 0001 00000000 0000"),
        ([HELLO, bytes.fromhex("05 01 00 03 00 0050")], "0500 0508 0001 00000000 0000"),
        ([HELLO, bytes.fromhex("05 01 00 03 03 612062 0050")], "0500 0508 0001 00000000 0000"),
        ([HELLO, bytes.fromhex("05 01 00 03 02 610a 0050")], "0500 0508 0001 00000000 0000"),
        ([HELLO, bytes.fromhex("05 01 00 03 02 c3a4 0050")], "0500 0508 0001 00000000 0000"),
    ],
)
def test_what_is_not_served_is_told_in_the_protocol(pieces: list[bytes], said: str) -> None:
    """A reply that its program understands, and a reason for the user."""
    verdict, heard = talk(Socks5Dialogue(), *pieces)
    assert isinstance(verdict, Rejected)
    assert verdict.reason.startswith("a program ")
    assert heard == bytes.fromhex(said)


@given(st.data())
def test_the_pieces_do_not_matter(data: st.DataObject) -> None:
    """Whole and in any pieces, the same request and the same replies."""
    whole = HELLO_WITH_LOGIN + LOGIN_MESSAGE + REQUEST
    cuts = sorted(data.draw(st.sets(st.integers(1, len(whole) - 1))))
    pieces = [whole[start:end] for start, end in zip([0, *cuts], [*cuts, len(whole)], strict=True)]
    assert talk(Socks5Dialogue(LOGIN), *pieces) == talk(Socks5Dialogue(LOGIN), whole)


@given(st.lists(st.binary(max_size=600), max_size=8), st.sampled_from([None, LOGIN]))
def test_whatever_arrives_is_a_request_a_refusal_or_not_enough(
    pieces: list[bytes], login: Login | None
) -> None:
    """Any bytes at all, and behind a good beginning: nothing is raised, and little is kept."""
    good = HELLO if login is None else HELLO_WITH_LOGIN + LOGIN_MESSAGE
    for start in (b"\x05", good, b""):
        dialogue = Socks5Dialogue(login)
        verdict, _ = talk(dialogue, start, *pieces)
        assert verdict is None or isinstance(verdict, Asked | Rejected)
        assert verdict is not None or len(dialogue._unread) < 513
        if isinstance(verdict, Asked):
            assert 1 <= verdict.port <= 65_535
            assert verdict.host.isascii()
            assert verdict.host.isprintable()


@given(st.binary(max_size=255), st.binary(max_size=255))
def test_only_the_right_login_opens(user: bytes, password: bytes) -> None:
    """Any other pair is refused."""
    message = bytes([1, len(user)]) + user + bytes([len(password)]) + password
    verdict, _ = talk(Socks5Dialogue(LOGIN), HELLO_WITH_LOGIN, message)
    assert isinstance(verdict, Rejected) == ((user, password) != (b"alice", b"s3cret"))
