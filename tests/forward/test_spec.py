"""What ``-L`` and ``-D`` say: OpenSSH's forms, and nothing but a forward or ``InvalidForward``."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ssm_ssh.errors import InvalidForward
from ssm_ssh.forward.spec import (
    DynamicForward,
    Listen,
    LocalForward,
    parse_dynamic_forward,
    parse_local_forward,
    to_destination,
)
from ssm_ssh.session.document import Destination

# Characters that mean something here, and some that do not.
_TEXTS = st.text(alphabet="0159:[]/.*-db é\0", max_size=24) | st.text(max_size=40)


@pytest.mark.parametrize(
    ("text", "listen", "destination"),
    [
        ("5432:22", Listen(None, 5432), Destination(None, 22)),
        ("0:db:5432", Listen(None, 0), Destination("db", 5432)),
        ("0::5432", Listen(None, 0), Destination(None, 5432)),
        ("0:localhost:5432", Listen(None, 0), Destination(None, 5432)),
        ("0:[fd00::7]:5432", Listen(None, 0), Destination("fd00::7", 5432)),
        ("127.0.0.2:1:db:2", Listen("127.0.0.2", 1), Destination("db", 2)),
        ("[::1]:1:db:2", Listen("::1", 1), Destination("db", 2)),
        ("*:1:db:2", Listen("*", 1), Destination("db", 2)),
        (":1:db:2", Listen(None, 1), Destination("db", 2)),
        ("/run/db.sock:db:2", Listen(unix_path="/run/db.sock"), Destination("db", 2)),
    ],
)
def test_the_forms_of_a_local_forward(text: str, listen: Listen, destination: Destination) -> None:
    """Two, three and four fields, brackets, and a path."""
    assert parse_local_forward(text) == LocalForward(listen, destination)


@pytest.mark.parametrize(
    ("text", "listen"), [("1080", Listen(None, 1080)), ("[::1]:0", Listen("::1", 0)), ("*:1", Listen("*", 1))]
)
def test_the_forms_of_a_dynamic_forward(text: str, listen: Listen) -> None:
    """A port, and an address before it."""
    assert parse_dynamic_forward(text) == DynamicForward(listen)


@pytest.mark.parametrize(
    "text",
    [
        *(
            "",
            "1",
            ":",
            "1:",
            "1:0",
            "1:65536",
            "65536:1",
            "-1:1",
            "1:db:",
            "1:db:x",
            "a:1:db:2:3",
            "1:d b:2",
        ),
        *("[::1:1:db:2", "1:[db:2", "1:db]:2", "[::1]x:1:db:2", "/run/db.sock", "/run/db.sock:5432", "٣:22"),
    ],
)
def test_what_is_no_forward_is_told_with_a_hint(text: str) -> None:
    """Each mistake is an ``InvalidForward``, and the hint shows the form."""
    with pytest.raises(InvalidForward) as caught:
        parse_local_forward(text)
    assert "-L [BIND:]PORT:HOST:HOSTPORT" in str(caught.value.hint)


@given(_TEXTS)
def test_any_text_is_a_forward_or_refused(text: str) -> None:
    """Whatever was typed: a forward whose parts can be used, or ``InvalidForward``."""
    try:
        forward = parse_local_forward(text)
    except InvalidForward:
        return
    assert 0 <= forward.listen.port <= 65_535
    assert 1 <= forward.destination.port <= 65_535
    assert forward.destination.host is None or forward.destination.host.isprintable()


@given(_TEXTS)
def test_any_text_is_a_dynamic_forward_or_refused(text: str) -> None:
    """The same for ``-D``."""
    try:
        forward = parse_dynamic_forward(text)
    except InvalidForward:
        return
    assert 0 <= forward.listen.port <= 65_535


@given(st.integers(0, 65_535), st.from_regex(r"[a-z0-9.-]{1,60}", fullmatch=True), st.integers(1, 65_535))
def test_what_was_written_is_what_is_meant(port: int, host: str, host_port: int) -> None:
    """Every port and every host name comes out as it went in."""
    forward = parse_local_forward(f"{port}:{host}:{host_port}")
    assert forward == LocalForward(Listen(None, port), to_destination(host, host_port))


@pytest.mark.parametrize(
    ("destination", "written"),
    [
        (Destination(None, 22), "localhost:22"),
        (Destination("db", 5432), "db:5432"),
        (Destination("fd00::7", 1), "[fd00::7]:1"),
    ],
)
def test_a_destination_is_written_as_people_do(destination: Destination, written: str) -> None:
    """With brackets where a colon would confuse."""
    assert str(destination) == written
