"""Listening: both loopback addresses on one port, Unix sockets, and what cannot be had."""

from __future__ import annotations

import errno
import socket
from contextlib import closing
from typing import TYPE_CHECKING

import pytest

from ssm_ssh.errors import InvalidForward
from ssm_ssh.forward import listener as listener_module
from ssm_ssh.forward.listener import open_listener
from ssm_ssh.forward.spec import Listen

if TYPE_CHECKING:
    from pathlib import Path


def test_both_loopback_addresses_have_the_same_port() -> None:
    """Nobody has to know which family a client prefers; nobody else can connect."""
    with closing(open_listener(Listen())) as listener:
        assert [sock.getsockname()[0] for sock in listener.sockets] == ["127.0.0.1", "::1"]
        assert {sock.getsockname()[1] for sock in listener.sockets} == {listener.port}
        assert listener.host == "127.0.0.1"
        assert listener.addresses == [f"127.0.0.1:{listener.port}", f"[::1]:{listener.port}"]
        assert listener.remote_reach is None


def test_closing_frees_the_port_at_once() -> None:
    """And twice is fine."""
    listener = open_listener(Listen())
    port = listener.port
    listener.close()
    listener.close()
    assert port is not None
    open_listener(Listen(port=port)).close()


@pytest.mark.parametrize(("family", "host"), [(socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::1")])
def test_a_port_that_is_busy_in_one_family_is_busy(family: socket.AddressFamily, host: str) -> None:
    """It is told which address it is, and nothing stays open."""
    with socket.create_server((host, 0), family=family) as busy:
        port = busy.getsockname()[1]
        with pytest.raises(InvalidForward, match="is in use already") as caught:
            open_listener(Listen(port=port))
    assert host in str(caught.value)
    open_listener(Listen(port=port)).close()


def test_a_free_port_is_free_in_both_families(monkeypatch: pytest.MonkeyPatch) -> None:
    """If the second family has a free port taken, another one is tried."""
    with socket.create_server(("::1", 0), family=socket.AF_INET6) as busy:
        taken = busy.getsockname()[1]
        bind, asked = listener_module._bind, list[tuple[str, int]]()

        def first_the_taken_one(host: str, port: int) -> socket.socket:
            asked.append((host, port))
            return bind(host, taken if len(asked) == 1 else port)

        monkeypatch.setattr(listener_module, "_bind", first_the_taken_one)
        with closing(open_listener(Listen())) as listener:
            assert listener.port != taken
    assert len(asked) == 4


def test_a_machine_without_ipv6_listens_on_ipv4(monkeypatch: pytest.MonkeyPatch) -> None:
    """The missing family is no error."""
    make = socket.socket

    def without_ipv6(family: int = -1, *arguments: int) -> socket.socket:
        if family == socket.AF_INET6:
            raise OSError(errno.EAFNOSUPPORT, "Address family not supported by protocol")
        return make(family, *arguments)

    monkeypatch.setattr(socket, "socket", without_ipv6)
    with closing(open_listener(Listen())) as listener:
        assert listener.addresses == [f"127.0.0.1:{listener.port}"]


@pytest.mark.parametrize(
    ("bind", "reach"),
    [
        ("127.0.0.2", None),
        ("::1", None),
        ("localhost", None),
        ("*", "every machine that reaches any address of this one"),
        ("0.0.0.0", "every machine that reaches any address of this one"),
    ],
)
def test_an_address_of_one_s_own_choice(bind: str, reach: str | None) -> None:
    """Only what was written, and who can reach it is known; local programs have an address that works."""
    with closing(open_listener(Listen(bind=bind))) as listener:
        assert listener.remote_reach == reach
        assert listener.port is not None
        socket.create_connection((listener.host, listener.port)).close()


@pytest.mark.parametrize(
    ("number", "says", "hints"),
    [
        (errno.EACCES, "listening on 127.0.0.1:80 is not allowed", "below 1024"),
        (errno.EADDRNOTAVAIL, "127.0.0.1 is no address of this machine", "leave it out"),
        (errno.ENOBUFS, "cannot listen on 127.0.0.1:80", "a forward is"),
    ],
)
def test_each_refusal_has_its_words(
    monkeypatch: pytest.MonkeyPatch, number: int, says: str, hints: str
) -> None:
    """The system's number becomes a sentence and a hint."""

    class Refusing(socket.socket):
        def bind(self, _address: object) -> None:
            raise OSError(number, "text")

    monkeypatch.setattr(socket, "socket", Refusing)
    with pytest.raises(InvalidForward, match=says) as caught:
        open_listener(Listen(port=80))
    assert hints in str(caught.value.hint)


@pytest.mark.parametrize("bind", ["no such host", "192.0.2.1", "x" * 300])
def test_what_is_no_address_here_is_told(bind: str) -> None:
    """A name that is none, and an address of another machine."""
    with pytest.raises(InvalidForward, match="no address"):
        open_listener(Listen(bind=bind))


def test_a_unix_socket_is_ours_alone(tmp_path: Path) -> None:
    """Mode 0600 before anybody can connect, and gone after closing."""
    path = tmp_path / "db.sock"
    with closing(open_listener(Listen(unix_path=str(path)))) as listener:
        assert path.stat().st_mode & 0o777 == 0o600
        assert (listener.host, listener.port) == (str(path), None)
        assert listener.addresses == [str(path)]
        assert listener.remote_reach is None
    assert not path.exists()


def test_a_stale_unix_socket_is_replaced_and_a_live_one_is_not(tmp_path: Path) -> None:
    """Nobody listens: it goes. Somebody does: it is told."""
    path = tmp_path / "db.sock"
    with socket.socket(socket.AF_UNIX) as stale:
        stale.bind(str(path))
    with (
        closing(open_listener(Listen(unix_path=str(path)))),
        pytest.raises(InvalidForward, match="in use already"),
    ):
        open_listener(Listen(unix_path=str(path)))


def test_a_file_is_never_taken_away(tmp_path: Path) -> None:
    """What is no socket stays as it is."""
    path = tmp_path / "precious"
    path.write_text("data", encoding="utf-8")
    with pytest.raises(InvalidForward, match="is there already"):
        open_listener(Listen(unix_path=str(path)))
    assert path.read_text(encoding="utf-8") == "data"


def test_somebody_else_s_socket_at_our_path_is_left_alone(tmp_path: Path) -> None:
    """Closing takes away what we made, not what stands in its place now."""
    path = tmp_path / "db.sock"
    listener = open_listener(Listen(unix_path=str(path)))
    path.rename(tmp_path / "moved.sock")
    path.write_text("other", encoding="utf-8")
    listener.close()
    assert path.exists()


@pytest.mark.parametrize(("name", "says"), [("x" * 200, "too long"), ("missing/db.sock", "cannot listen on")])
def test_a_path_that_cannot_be_had_is_told(tmp_path: Path, name: str, says: str) -> None:
    """A path beyond the system's limit, and a folder that is not there."""
    with pytest.raises(InvalidForward, match=says) as caught:
        open_listener(Listen(unix_path=str(tmp_path / name)))
    assert caught.value.hint
