"""Ports through the whole client and the stand-in: what a Python program sees of ``open_tunnel``."""

from __future__ import annotations

import asyncio
import hashlib
import random
import socket
import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import pytest

import ssm_ssh
from ssm_ssh import aio
from ssm_ssh.emulator.session_document import ParameterRule, SessionDocument
from ssm_ssh.errors import HandshakeError, InvalidForward, InvalidOption, SessionFailed, TargetNotConnected
from ssm_ssh.session import pool
from tests.forward.conftest import account_with
from tests.forward.port_node import CLOSED_PORT, DEAF, KNOWN_HOST, LATE_BYTES, NAME, PortNode

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.forward.conftest import Account


def connect(address: tuple[str, int]) -> socket.socket:
    """A connection with a limit of its own."""
    return socket.create_connection(address, timeout=20)


def receive_exactly(connection: socket.socket, count: int) -> bytes:
    """The next ``count`` bytes, or fewer if the end comes first."""
    received = bytearray()
    while len(received) < count and (data := connection.recv(65_536)):
        received += data
    return bytes(received)


def say_and_hear(address: tuple[str, int], data: bytes) -> bytes:
    """What an echo server answers."""
    with connect(address) as connection, ThreadPoolExecutor(1) as sender:
        sending = sender.submit(connection.sendall, data)
        received = receive_exactly(connection, len(data))
        sending.result()
    return received


def wait_until(predicate: Callable[[], bool], seconds: float = 10.0) -> None:
    """Wait for something in another thread that nothing signals."""
    deadline = time.monotonic() + seconds
    while not predicate():
        assert time.monotonic() < deadline
        time.sleep(0.02)  # noqa: TID251 -- the emulator's thread has no event for it


def test_both_loopback_addresses_lead_to_the_node(account: Account) -> None:
    """The same port on IPv4 and IPv6; at the end of the block the session is over and nobody listens."""
    with ssm_ssh.open_tunnel(NAME, account.node.ports["echo"]) as tunnel:
        assert tunnel.local_bind_address == (tunnel.local_bind_host, tunnel.local_bind_port)
        assert say_and_hear(tunnel.local_bind_address, b"four") == b"four"
        assert say_and_hear(("::1", tunnel.local_bind_port), b"six") == b"six"
        assert tunnel.session_ids == [record.session_id for record in account.emulator.live_sessions()]
    account.assert_nothing_is_left()
    with pytest.raises(ConnectionRefusedError):
        connect(tunnel.local_bind_address)


def test_asyncio_has_it_too(account: Account) -> None:
    """The asynchronous form, to a host that the node knows by name."""

    async def scenario() -> None:
        async with aio.open_tunnel(NAME, (KNOWN_HOST, account.node.ports["echo"])) as tunnel:
            reader, writer = await asyncio.open_connection(*tunnel.local_bind_address)
            writer.write(b"hello")
            assert await reader.readexactly(5) == b"hello"
            writer.close()
            await writer.wait_closed()

    asyncio.run(scenario(), debug=True)
    account.assert_nothing_is_left()
    assert account.emulator.sessions()[0].document_name == "AWS-StartPortForwardingSessionToRemoteHost"


def test_a_late_reply_after_half_close_arrives_whole(account: Account) -> None:
    """The agent knows no half-close: our end waits for the server's."""
    with (
        ssm_ssh.open_tunnel(NAME, account.node.ports["late"]) as tunnel,
        connect(tunnel.local_bind_address) as connection,
    ):
        connection.sendall(b"request\n")
        connection.shutdown(socket.SHUT_WR)
        assert len(receive_exactly(connection, LATE_BYTES + 1)) == LATE_BYTES


def test_a_program_that_closes_is_missed_at_once(account: Account) -> None:
    """A full close is not taken for half of one: the node's server hears of it."""
    with ssm_ssh.open_tunnel(NAME, account.node.ports["echo"]) as tunnel:
        assert say_and_hear(tunnel.local_bind_address, b"bye") == b"bye"
        wait_until(lambda: account.node.open_connections == 0, seconds=5)


def test_a_refused_port_is_a_reset_and_one_line(account: Account, caplog: pytest.LogCaptureFixture) -> None:
    """The local program sees a reset, the user the host and the port; the tunnel lives on."""
    with ssm_ssh.open_tunnel(NAME, (KNOWN_HOST, CLOSED_PORT)) as tunnel:
        for _ in range(2):
            with connect(tunnel.local_bind_address) as connection, pytest.raises(ConnectionResetError):
                connection.recv(1)
        assert len(account.emulator.live_sessions()) == 1
    lines = [record.message for record in caplog.records]
    assert lines == [f"the node could not connect to {KNOWN_HOST}:{CLOSED_PORT}"] * 2


def test_many_connections_share_a_few_sessions(account: Account) -> None:
    """Twenty at once over three sessions: every byte arrives where it belongs."""
    random_bytes = random.Random(7).randbytes
    loads = [random_bytes(1 + 3000 * number) for number in range(20)]
    with (
        ssm_ssh.open_tunnel(NAME, account.node.ports["echo"], sessions=3) as tunnel,
        ThreadPoolExecutor(len(loads)) as programs,
    ):
        heard = list(programs.map(lambda load: say_and_hear(tunnel.local_bind_address, load), loads))
        assert len(tunnel.session_ids) == 3
    assert [hashlib.sha256(data).digest() for data in heard] == [
        hashlib.sha256(load).digest() for load in loads
    ]
    account.assert_nothing_is_left()


def test_a_busy_port_is_told_before_aws_is_asked(account: Account) -> None:
    """The local port comes first."""
    with socket.create_server(("127.0.0.1", 0)) as busy:
        port = busy.getsockname()[1]
        with (
            pytest.raises(InvalidForward, match=f"127.0.0.1:{port} is in use") as caught,
            ssm_ssh.open_tunnel(NAME, 22, ("", port)),
        ):
            pass
    assert caught.value.hint
    assert "StartSession" not in account.emulator.counts


@pytest.mark.parametrize(
    ("host", "words"), [("nowhere.internal", "no such host"), ("169.254.169.254", "is forbidden")]
)
def test_what_the_agent_will_not_forward_to_is_told_at_the_start(
    account: Account, host: str, words: str
) -> None:
    """An unknown name and a forbidden address are the agent's words with a hint of ours, and no tunnel."""
    started = time.monotonic()
    with pytest.raises(SessionFailed, match=words) as caught, ssm_ssh.open_tunnel(NAME, (host, 80)):
        pass
    assert time.monotonic() - started < 4
    assert "agent" in str(caught.value.hint) or "node" in str(caught.value.hint)
    account.assert_nothing_is_left()


def test_a_target_that_is_away_is_told(account: Account) -> None:
    """AWS's refusal reaches the caller as it is."""
    account.node.is_online = False
    with pytest.raises(TargetNotConnected), ssm_ssh.open_tunnel(account.node.node_id, 22):
        pass


def test_a_session_that_was_ended_is_replaced(account: Account, caplog: pytest.LogCaptureFixture) -> None:
    """The listener stays; the next connection gets a new session, and it is told why."""
    with ssm_ssh.open_tunnel(NAME, account.node.ports["echo"]) as tunnel:
        (first,) = tunnel.session_ids
        with connect(tunnel.local_bind_address) as connection:
            connection.sendall(b"x")
            assert connection.recv(1) == b"x"
            account.emulator.terminate(first)
            with pytest.raises(ConnectionResetError):
                connection.recv(1)
        assert say_and_hear(tunnel.local_bind_address, b"again") == b"again"
        assert first not in tunnel.session_ids
    assert any(f"session {first} is over" in record.message for record in caplog.records)
    account.assert_nothing_is_left()


def test_a_server_that_stops_reading_does_not_hold_up_new_connections(
    account: Account, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """The agent's session is stuck behind it; whoever comes later gets another one."""
    monkeypatch.setattr(pool, "STALLED_SECONDS", 1.0)
    with (
        ssm_ssh.open_tunnel(NAME, account.node.ports["picky"]) as tunnel,
        connect(tunnel.local_bind_address) as stuck,
    ):
        stuck.sendall(DEAF)
        stuck.settimeout(1.0)
        with pytest.raises(TimeoutError):
            stuck.sendall(bytes(64 * 1024 * 1024))
        wait_until(lambda: "is held up by a destination" in caplog.text)
        with connect(tunnel.local_bind_address) as later:
            later.sendall(b"\nheard")
            assert receive_exactly(later, 5) == b"heard"
    account.assert_nothing_is_left()


def test_an_old_agent_carries_one_connection_at_a_time(caplog: pytest.LogCaptureFixture) -> None:
    """Without smux the second connection waits for the first to end; it is told once."""
    with (
        account_with(PortNode("2.3.714.0")) as account,
        ssm_ssh.open_tunnel(NAME, account.node.ports["echo"]) as tunnel,
        connect(tunnel.local_bind_address) as first,
        connect(tunnel.local_bind_address) as second,
    ):
        first.sendall(b"one")
        assert receive_exactly(first, 3) == b"one"
        second.sendall(b"two")
        second.settimeout(0.3)
        with pytest.raises(TimeoutError):
            second.recv(1)
        first.close()
        second.settimeout(20)
        assert receive_exactly(second, 3) == b"two"
    assert sum("one connection a session" in record.message for record in caplog.records) == 1


def test_an_old_agent_that_ignores_the_host_is_not_used() -> None:
    """It would lead to the node's own port, and nobody would know."""
    with account_with(PortNode("3.1.1004.0")) as account:
        with (
            pytest.raises(HandshakeError, match="no other host than the node") as caught,
            ssm_ssh.open_tunnel(NAME, (KNOWN_HOST, account.node.ports["echo"])),
        ):
            pass
        account.assert_nothing_is_left()
    assert "update the agent" in str(caught.value.hint)


def own_document(**parameters: ParameterRule) -> SessionDocument:
    """A Port document with these parameters."""
    fields = {"host": KNOWN_HOST, "portNumber": "80", "type": "LocalPortForwarding"}
    properties = fields | {name: f"{{{{ {name} }}}}" for name in parameters}
    return SessionDocument("OwnPort", "Port", parameters, properties)


def test_a_document_of_one_s_own_gets_what_it_declares(account: Account) -> None:
    """A fixed host, a port to choose, and neither host nor local port is sent."""
    account.emulator.add_document(own_document(portNumber=ParameterRule()))
    with ssm_ssh.open_tunnel(NAME, account.node.ports["echo"], document_name="OwnPort") as tunnel:
        assert say_and_hear(tunnel.local_bind_address, b"own") == b"own"
    assert account.emulator.sessions()[0].document_name == "OwnPort"


def test_a_parameter_that_the_document_lacks_is_told(account: Account) -> None:
    """Before any session is started, with what it does declare."""
    account.emulator.add_document(own_document(portNumber=ParameterRule()))
    with (
        pytest.raises(InvalidOption, match="no parameter 'colour'") as caught,
        ssm_ssh.open_tunnel(NAME, 80, document_name="OwnPort", parameters={"colour": ["red"]}),
    ):
        pass
    assert caught.value.hint == "it declares portNumber"
    assert "StartSession" not in account.emulator.counts


@pytest.mark.parametrize("address", [0, 65_536, ("db", 0), ("a b", 5432)])
def test_what_is_no_address_is_refused(address: tuple[str, int] | int) -> None:
    """In the caller's thread, with the caller's mistake named."""
    with pytest.raises(InvalidForward), ssm_ssh.open_tunnel(NAME, address):
        pass
