"""Whose a local connection is, and whether its program is there still: real sockets, the kernel's tables."""

from __future__ import annotations

import os
import socket
import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest

from ssm_ssh.forward import peer as peer_module
from ssm_ssh.forward.peer import find_peer, has_let_go, refusal

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells")

FAMILIES = [(socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::1")]


@contextmanager
def connection(family: socket.AddressFamily, host: str) -> Iterator[tuple[socket.socket, socket.socket]]:
    """A program's socket and the one that was accepted for it."""
    with (
        socket.create_server((host, 0), family=family) as server,
        socket.create_connection(server.getsockname()[:2], timeout=5) as program,
    ):
        accepted, _ = server.accept()
        with accepted:
            yield program, accepted


@pytest.mark.parametrize(("family", "host"), FAMILIES)
def test_our_own_connection_is_found_and_served(family: socket.AddressFamily, host: str) -> None:
    """The kernel names our user and the program's very socket."""
    with connection(family, host) as (program, accepted):
        peer = find_peer(accepted)
        assert peer is not None
        assert peer == (os.getuid(), os.fstat(program.fileno()).st_ino)
        assert refusal(accepted) is None


def test_an_ipv4_address_behind_an_ipv6_socket_is_found() -> None:
    """It is listed among the others, in its mapped form."""
    with (
        socket.create_server(("127.0.0.1", 0)) as server,
        socket.socket(socket.AF_INET6, socket.SOCK_STREAM) as program,
    ):
        program.connect(("::ffff:127.0.0.1", server.getsockname()[1]))
        accepted, _ = server.accept()
        with accepted:
            peer = find_peer(accepted)
    assert peer is not None
    assert peer.uid == os.getuid()


@pytest.mark.parametrize(("family", "host"), FAMILIES)
def test_another_user_is_refused(
    family: socket.AddressFamily, host: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A uid that is neither ours nor root's."""
    with connection(family, host) as (_, accepted):
        theirs = peer_module.Peer(uid=4711, inode=1)
        monkeypatch.setattr(peer_module, "find_peer", lambda _connection: theirs)
        assert refusal(accepted) == "it comes from another user of this machine (uid 4711)"
        monkeypatch.setattr(peer_module, "find_peer", lambda _connection: theirs._replace(uid=0))
        assert refusal(accepted) is None


@pytest.mark.parametrize(("family", "host"), FAMILIES)
def test_whoever_has_gone_is_not_taken_for_root(family: socket.AddressFamily, host: str) -> None:
    """The kernel lists an abandoned socket as root's: it is refused."""
    with connection(family, host) as (program, accepted):
        program.close()
        assert refusal(accepted) == "the local program was gone before it could be told whose it is"


@pytest.mark.parametrize(("family", "host"), FAMILIES)
def test_half_a_close_is_told_from_a_whole_one(family: socket.AddressFamily, host: str) -> None:
    """After shutdown the program may still read; after close nobody does."""
    with connection(family, host) as (program, accepted):
        assert not has_let_go(accepted)
        program.shutdown(socket.SHUT_WR)
        assert accepted.recv(1) == b""
        assert not has_let_go(accepted)
        program.close()
        assert has_let_go(accepted)


def test_half_a_close_is_told_from_a_whole_one_on_unix_sockets() -> None:
    """The same, asked of the socket itself."""
    program, accepted = socket.socketpair()
    with program, accepted:
        assert not has_let_go(accepted)
        program.shutdown(socket.SHUT_WR)
        assert not has_let_go(accepted)
        program.close()
        assert has_let_go(accepted)
        assert refusal(accepted) is None
    assert has_let_go(accepted)


def test_other_systems_refuse_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the system does not tell, nobody is refused and nobody is known to have gone."""
    with connection(*FAMILIES[0]) as (program, accepted):
        program.close()
        monkeypatch.setattr(sys, "platform", "darwin")
        assert refusal(accepted) is None
        assert not has_let_go(accepted)
