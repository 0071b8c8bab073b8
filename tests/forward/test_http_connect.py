"""CONNECT as a server hears it: requests spelled by hand, and whatever else may arrive."""

from __future__ import annotations

import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ssm_ssh.forward.client_request import Asked, Login, Outcome, Rejected
from ssm_ssh.forward.http_connect import LARGEST_HEAD_BYTES, HttpConnectDialogue

LOGIN = Login(b"alice", b"s3:cret")
REQUEST = b"CONNECT db.internal:5432 HTTP/1.1\r\nHost: db.internal:5432\r\n\r\n"


def talk(dialogue: HttpConnectDialogue, *pieces: bytes) -> tuple[Asked | Rejected | None, bytes]:
    """What comes of the pieces, and all that was said to them."""
    verdict, said = None, b""
    for piece in pieces:
        verdict = dialogue.receive_data(piece)
        said += dialogue.data_to_send()
        if verdict is not None:
            break
    return verdict, said


def with_login(value: str) -> bytes:
    """The request with a login."""
    return REQUEST.replace(b"\r\n\r\n", f"\r\nProxy-Authorization: {value}\r\n\r\n".encode())


@pytest.mark.parametrize(
    ("line", "host", "port"),
    [
        (b"CONNECT db.internal:5432 HTTP/1.1", "db.internal", 5432),
        (b"CONNECT 10.0.0.1:80 HTTP/1.0", "10.0.0.1", 80),
        (b"CONNECT [2001:db8::1]:443 HTTP/1.1", "2001:db8::1", 443),
    ],
)
@pytest.mark.parametrize("line_end", [b"\r\n", b"\n"])
def test_requests(line: bytes, host: str, port: int, line_end: bytes) -> None:
    """Names and both kinds of address; what follows the head is the destination's."""
    head = line_end.join([line, b"Host: x", b"User-Agent: curl", b"", b""])
    assert talk(HttpConnectDialogue(), head + b"\r\nearly") == (Asked(host, port, b"\r\nearly"), b"")


def test_a_request_without_headers() -> None:
    """The shortest there is."""
    assert talk(HttpConnectDialogue(), b"CONNECT db:1 HTTP/1.0\r\n\r\n") == (Asked("db", 1), b"")


@pytest.mark.parametrize(
    ("outcome", "status"),
    [
        (Outcome.FAILED, b"502 Bad Gateway"),
        (Outcome.BUSY, b"503 Service Unavailable"),
        (Outcome.FORBIDDEN, b"403 Forbidden"),
        (Outcome.UNREACHABLE, b"502 Bad Gateway"),
        (Outcome.REFUSED, b"502 Bad Gateway"),
        (Outcome.TIMED_OUT, b"504 Gateway Timeout"),
    ],
)
def test_every_outcome_has_its_status(outcome: Outcome, status: bytes) -> None:
    """With the reason as text of the length that is told."""
    head, _, body = HttpConnectDialogue().reply(outcome, "waïting").partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 " + status + b"\r\n")
    assert f"Content-Length: {len(body)}".encode() in head
    assert body.decode() == "waïting\n"


def test_connected_has_no_body() -> None:
    """What follows is the destination's."""
    assert HttpConnectDialogue().reply(Outcome.CONNECTED) == b"HTTP/1.1 200 Connection established\r\n\r\n"


@pytest.mark.parametrize(
    ("request_bytes", "status"),
    [
        (b"GET http://web.internal/ HTTP/1.1\r\nHost: web.internal\r\n\r\n", b"405 Method Not Allowed"),
        (b"POST / HTTP/1.1\r\n\r\n", b"405 Method Not Allowed"),
        (b"connect db:1 HTTP/1.1\r\n\r\n", b"405 Method Not Allowed"),
        (b"PRI * HTTP/2.0\r\n\r\n", b"400 Bad Request"),
        (b"CONNECT db HTTP/1.1\r\n\r\n", b"400 Bad Request"),
        (b"CONNECT db:0 HTTP/1.1\r\n\r\n", b"400 Bad Request"),
        (b"CONNECT db:65536 HTTP/1.1\r\n\r\n", b"400 Bad Request"),
        (b"CONNECT :80 HTTP/1.1\r\n\r\n", b"400 Bad Request"),
        (b"CONNECT user@db:80 HTTP/1.1\r\n\r\n", b"400 Bad Request"),
        (b"CONNECT http://db:80 HTTP/1.1\r\n\r\n", b"400 Bad Request"),
        (b"CONNECT 2001:db8::1:80 HTTP/1.1\r\n\r\n", b"400 Bad Request"),
        (b"CONNECT d\xc3\xa4:80 HTTP/1.1\r\n\r\n", b"400 Bad Request"),
        (b"CONNECT db:80\r\n\r\n", b"400 Bad Request"),
        (b"CONNECT  db:80 HTTP/1.1\r\n\r\n", b"400 Bad Request"),
        (b"CONNECT db:80 HTTP/1.1\r\n" + b"a: b\r\n" * 200 + b"\r\n", b"400 Bad Request"),
        (b"C" * (LARGEST_HEAD_BYTES + 1), b"431 Request Header Fields Too Large"),
        (b"CONNECT db:80 HTTP/1.1\r\na: " + b"b" * LARGEST_HEAD_BYTES + b"\r\n\r\n", b"431 Request Header"),
    ],
)
def test_what_is_not_served_is_told_in_the_protocol(request_bytes: bytes, status: bytes) -> None:
    """An answer that its program understands, and a reason for the user that quotes nothing."""
    verdict, said = talk(HttpConnectDialogue(), request_bytes)
    assert isinstance(verdict, Rejected)
    assert verdict.reason.startswith("a program ")
    assert said.startswith(b"HTTP/1.1 " + status)
    head, _, body = said.partition(b"\r\n\r\n")
    assert f"Content-Length: {len(body)}".encode() in head


def test_a_plain_address_gets_a_hint() -> None:
    """What to do instead is in the answer, where whoever looks at the failure sees it."""
    _, said = talk(HttpConnectDialogue(), b"GET http://web.internal/ HTTP/1.1\r\n\r\n")
    assert b"\r\nAllow: CONNECT\r\n" in said
    assert b"socks5h://" in said
    assert b"--proxytunnel" in said


@pytest.mark.parametrize(
    ("value", "is_right"),
    [
        ("Basic " + base64.b64encode(b"alice:s3:cret").decode(), True),
        ("basic  " + base64.b64encode(b"alice:s3:cret").decode(), True),
        ("Basic " + base64.b64encode(b"alice:s3").decode(), False),
        ("Basic " + base64.b64encode(b"alice").decode(), False),
        ("Basic alice:s3:cret", False),
        ("Basic \xe4\xe4", False),
        ("Bearer " + base64.b64encode(b"alice:s3:cret").decode(), False),
        ("", False),
    ],
)
def test_logins(value: str, *, is_right: bool) -> None:
    """Basic, with the right two; anything else is asked again."""
    verdict, said = talk(HttpConnectDialogue(LOGIN), with_login(value))
    assert isinstance(verdict, Asked) == is_right
    assert (b"\r\nProxy-Authenticate: Basic " in said) != is_right
    assert said.startswith(b"HTTP/1.1 407 ") != is_right


def test_without_a_login_nothing_else_is_told() -> None:
    """Who has no login does not learn what is served."""
    _, said = talk(HttpConnectDialogue(LOGIN), b"GET http://web.internal/ HTTP/1.1\r\n\r\n")
    assert said.startswith(b"HTTP/1.1 407 ")


@given(st.data())
def test_the_pieces_do_not_matter(data: st.DataObject) -> None:
    """Whole and in any pieces, the same request."""
    cuts = sorted(data.draw(st.sets(st.integers(1, len(REQUEST) - 1))))
    pieces = [REQUEST[start:end] for start, end in zip([0, *cuts], [*cuts, len(REQUEST)], strict=True)]
    assert talk(HttpConnectDialogue(), *pieces) == (Asked("db.internal", 5432), b"")


@given(st.lists(st.binary(max_size=600), max_size=8), st.sampled_from([None, LOGIN]))
def test_whatever_arrives_is_a_request_a_refusal_or_not_enough(
    pieces: list[bytes], login: Login | None
) -> None:
    """Any bytes at all, before and behind a good beginning: nothing is raised, and little is kept."""
    for start in (b"", b"CONNECT ", b"CONNECT db:80 HTTP/1.1\r\n", b"CONNECT db:80 HTTP/1.1\r\na:"):
        for end in (b"", b"\r\n\r\n"):
            dialogue = HttpConnectDialogue(login)
            verdict, _ = talk(dialogue, start, *pieces, end)
            assert verdict is None or isinstance(verdict, Asked | Rejected)
            assert len(dialogue._unread) <= LARGEST_HEAD_BYTES + 600
            assert verdict is not None or not end
