"""What a tunnel cannot have: error line, hint and exit status, each within two seconds; and half a close."""

from __future__ import annotations

import socket
import subprocess
import time
from typing import TYPE_CHECKING, Final

import pytest

from ssm_ssh.emulator.start import start_emulator
from tests.features.port_node import closed_port
from tests.features.proxy_run import wait_until
from tests.features.tunnel_run import TUNNEL, led_to, running_tunnel
from tests.forward.port_node import KNOWN_HOST, LATE_BYTES, NAME, PortNode
from tests.requirement import need_program, without_privileges

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

_WITHIN_SECONDS: Final = 2.0
_PATIENCE_SECONDS: Final = 30
_USAGE: Final = 2


@pytest.fixture
def node() -> Iterator[PortNode]:
    """A node, in an account that programs find; no session is left."""
    node = PortNode()
    with start_emulator([node]) as emulator, led_to(emulator):
        yield node
        emulator.wait_for_live_sessions(0)


def refusal(words: Sequence[str], *, program: Sequence[str] = TUNNEL) -> tuple[str, str, int]:
    """The error line without its start, the hint likewise, and the status of a run that ends in time."""
    started = time.monotonic()
    outcome = subprocess.run(
        [*program, NAME, *words], capture_output=True, text=True, timeout=_PATIENCE_SECONDS, check=False
    )
    seconds = time.monotonic() - started
    lines = outcome.stderr.splitlines()
    assert len(lines) == 2, outcome.stderr
    error, hint = lines
    assert error.startswith("ssm-ssh: error: ")
    assert hint.startswith("ssm-ssh: hint: ")
    assert outcome.stdout == ""
    assert seconds < _WITHIN_SECONDS
    return error.removeprefix("ssm-ssh: error: "), hint.removeprefix("ssm-ssh: hint: "), outcome.returncode


def test_a_busy_port(node: PortNode) -> None:
    """Whoever has it keeps it."""
    with socket.create_server(("127.0.0.1", 0)) as busy:
        port = busy.getsockname()[1]
        error, hint, status = refusal(["-L", f"{port}:{node.ports['echo']}"])
    assert (error, status) == (f"127.0.0.1:{port} is in use already", _USAGE)
    assert "another port" in hint


@pytest.mark.usefixtures("node")
def test_a_port_that_needs_a_right() -> None:
    """As somebody who is not root."""
    error, hint, status = refusal(["-L", "80:22"], program=without_privileges(TUNNEL))
    assert (error, status) == ("listening on 127.0.0.1:80 is not allowed", _USAGE)
    assert "1024" in hint


@pytest.mark.usefixtures("node")
def test_a_path_that_is_too_long(tmp_path: Path) -> None:
    """Longer than the system's 108 bytes."""
    path = tmp_path / ("x" * 120)
    error, hint, status = refusal(["-L", f"{path}:{KNOWN_HOST}:22"])
    assert status == _USAGE
    assert "too long" in error
    assert "shorter" in hint


@pytest.mark.usefixtures("node")
@pytest.mark.parametrize(
    ("host", "says"), [("nowhere.internal", "no such host"), ("169.254.169.254", "is forbidden")]
)
def test_a_host_that_the_agent_does_not_reach(host: str, says: str) -> None:
    """A name that it does not know, and an address that it must not: the agent's words."""
    error, hint, status = refusal(["-L", f"0:{host}:80"])
    assert says in error
    assert "node" in hint or "agent" in hint
    assert status == 5


def test_a_port_that_refuses(node: PortNode) -> None:
    """The program gets a reset and the user a line, at once; the tunnel lives on and ends as usual."""
    assert node.ports
    closed = closed_port()
    with running_tunnel(NAME, "-L", f"0:{KNOWN_HOST}:{closed}") as tunnel:
        started = time.monotonic()
        for _ in range(2):
            with (
                socket.create_connection(("127.0.0.1", tunnel.port), timeout=_PATIENCE_SECONDS) as connection,
                pytest.raises(ConnectionResetError),
            ):
                connection.recv(1)
        assert time.monotonic() - started < _WITHIN_SECONDS
        line = f"ssm-ssh: the node could not connect to {KNOWN_HOST}:{closed}"
        wait_until(lambda: tunnel.messages[1:] == [line] * 2)


@pytest.mark.parametrize("host", ["", f"{KNOWN_HOST}:"])
def test_half_a_close_by_netcat(node: PortNode, host: str) -> None:
    """``printf … | nc -N``: nc says its end right behind the request, and the late reply arrives whole."""
    netcat = need_program("nc.openbsd")
    with running_tunnel(NAME, "-L", f"0:{host}{node.ports['late']}") as tunnel:
        outcome = subprocess.run(
            [netcat, "-N", "127.0.0.1", str(tunnel.port)],
            input=b"request\n",
            capture_output=True,
            timeout=_PATIENCE_SECONDS,
            check=False,
        )
    assert (outcome.returncode, outcome.stdout) == (0, bytes(LATE_BYTES)), outcome.stderr
