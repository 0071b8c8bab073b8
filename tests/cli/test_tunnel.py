"""``ssm-ssh tunnel`` as its users run it: what it prints, what it returns, what it leaves behind."""

from __future__ import annotations

import json
import signal
import socket
import subprocess
import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest

from ssm_ssh.cli.main import run
from tests.forward.conftest import Account, account_with
from tests.forward.port_node import KNOWN_HOST, NAME, PortNode

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

_TUNNEL = (sys.executable, "-m", "ssm_ssh", "tunnel")
_SECONDS = 30


@pytest.fixture
def account() -> Iterator[Account]:
    """An account with a node that has a current agent."""
    with account_with(PortNode()) as account:
        yield account


def tunnel(*words: str) -> subprocess.CompletedProcess[str]:
    """One run of the command to its end."""
    return subprocess.run([*_TUNNEL, *words], capture_output=True, text=True, timeout=_SECONDS, check=False)


@contextmanager
def running(words: Sequence[str]) -> Iterator[tuple[subprocess.Popen[str], dict[str, object]]]:
    """The command with ``--json``, once its only forward is up, and what it said of it."""
    process = subprocess.Popen(
        [*_TUNNEL, "--json", *words], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    try:
        assert process.stdout is not None
        line = process.stdout.readline()
        assert line, process.communicate()[1]
        yield process, json.loads(line)
    finally:
        process.kill()
        process.communicate()


def test_json_says_where_it_listens_and_ctrl_c_ends_it(account: Account) -> None:
    """One line for the forward; after SIGINT 130, no session and nobody listening."""
    port = account.node.ports["echo"]
    with running([NAME, "-L", f"0:{KNOWN_HOST}:{port}"]) as (process, said):
        (session,) = account.emulator.live_sessions()
        assert isinstance(said["local_port"], int)
        address = ("127.0.0.1", said["local_port"])
        assert said == {
            "local_address": "127.0.0.1",
            "local_port": said["local_port"],
            "remote_host": KNOWN_HOST,
            "remote_port": port,
            "session_ids": [session.session_id],
        }
        with socket.create_connection(address, timeout=_SECONDS) as connection:
            connection.sendall(b"hello")
            assert connection.recv(5) == b"hello"
        process.send_signal(signal.SIGINT)
        _, messages = process.communicate(timeout=_SECONDS)
    assert process.returncode == 130
    assert messages.splitlines() == [
        f"ssm-ssh: Listening on 127.0.0.1:{address[1]} and [::1]:{address[1]} → {KNOWN_HOST}:{port}"
    ]
    account.assert_nothing_is_left()
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(address)


def test_sigterm_ends_it_as_a_shell_says(account: Account) -> None:
    """143, and the session is over."""
    with running([NAME, "-L", f"0:{account.node.ports['echo']}"]) as (process, _):
        process.terminate()
        process.communicate(timeout=_SECONDS)
    assert process.returncode == 143
    account.assert_nothing_is_left()


def test_a_command_s_status_is_the_tunnel_s(account: Account) -> None:
    """It is told where to connect, and its own status is returned."""
    echo, late = (str(account.node.ports[name]) for name in ("echo", "late"))
    script = (
        'test "$1" = "$SSM_SSH_TUNNEL_HOST:$SSM_SSH_TUNNEL_PORT" && test "$SSM_SSH_TUNNEL_HOST" = 127.0.0.1 '
        '&& test "$SSM_SSH_TUNNEL_PORT" != "$SSM_SSH_TUNNEL_PORT_2" && test -n "$SSM_SSH_TUNNEL_HOST_2" '
        "&& exit 7; exit 1"
    )
    words = ("sh", "-c", script, "sh", "{host}:{port}")
    outcome = tunnel(NAME, "-L", f"0:{echo}", "-L", f"0:{KNOWN_HOST}:{late}", "--", *words)
    assert outcome.returncode == 7, outcome.stderr
    assert outcome.stdout == ""
    account.assert_nothing_is_left()


def test_a_command_killed_by_a_signal_is_told_as_a_shell_does(account: Account) -> None:
    """128 and the signal's number."""
    outcome = tunnel(NAME, "-L", f"0:{account.node.ports['echo']}", "--", "sh", "-c", "kill -KILL $$")
    assert outcome.returncode == 128 + signal.SIGKILL
    account.assert_nothing_is_left()


def test_signals_are_passed_on_to_the_command(account: Account) -> None:
    """The command decides what SIGTERM means, and its status is returned."""
    script = 'trap "exit 9" TERM; echo up; while :; do sleep 0.05; done'
    words = [NAME, "-L", f"0:{account.node.ports['echo']}", "--", "sh", "-c", script]
    with running(words) as (process, _):
        assert process.stdout is not None
        assert process.stdout.readline() == "up\n"
        process.terminate()
        process.communicate(timeout=_SECONDS)
    assert process.returncode == 9
    account.assert_nothing_is_left()


def test_a_unix_socket_is_ours_alone_and_taken_away(account: Account, tmp_path: Path) -> None:
    """0600 while it is there, gone at the end; one that an earlier run left is replaced."""
    path = tmp_path / "db.sock"
    with socket.socket(socket.AF_UNIX) as stale:
        stale.bind(str(path))
    with running([NAME, "-L", f"{path}:{KNOWN_HOST}:{account.node.ports['echo']}"]) as (process, said):
        assert said["local_address"] == str(path)
        assert said["local_port"] is None
        assert path.stat().st_mode & 0o777 == 0o600
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(_SECONDS)
            connection.connect(str(path))
            connection.sendall(b"hello")
            assert connection.recv(5) == b"hello"
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=_SECONDS)
    assert not path.exists()


def test_an_address_that_others_reach_is_told(account: Account) -> None:
    """Who writes * is told who can connect now."""
    outcome = tunnel(NAME, "-L", f"*:0:localhost:{account.node.ports['echo']}", "--", "true")
    assert outcome.returncode == 0
    assert "warning: every machine that reaches any address of this one can connect" in outcome.stderr


def test_a_busy_port_is_an_error_line_and_a_hint(account: Account) -> None:
    """Two lines and 2."""
    with socket.create_server(("127.0.0.1", 0)) as busy:
        port = busy.getsockname()[1]
        outcome = tunnel(NAME, "-L", f"{port}:22")
    error, hint = outcome.stderr.splitlines()
    assert outcome.returncode == 2
    assert error == f"ssm-ssh: error: 127.0.0.1:{port} is in use already"
    assert hint.startswith("ssm-ssh: hint: stop what listens there")
    assert "StartSession" not in account.emulator.counts


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ([NAME], "there is nothing to forward"),
        ([NAME, "-L", "x"], "'x' is not a forward"),
        ([NAME, "-L", "0:22", "--sessions", "0"], "--sessions '0' cannot be used"),
        ([NAME, "-L", "0:22", "--payload-size", "x"], "--payload-size 'x' cannot be used"),
        ([NAME, "-L", "0:22", "--"], "there is no command behind --"),
        ([NAME, "-L", "0:22", "--", "no-such-program-here"], "no-such-program-here cannot be found"),
        ([NAME, "-L", "0:22", "--session", "2"], "unrecognized arguments: --session 2"),
        (["-L", "0:22"], "the following arguments are required: TARGET"),
        ([NAME, "-L", "0:22", "--parameters", "x"], "'x' is not a parameter"),
    ],
)
def test_mistakes_are_told_in_our_own_way(
    words: list[str], says: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """An error line, a hint line, and 2."""
    assert run(["tunnel", *words]) == 2
    error, hint = capsys.readouterr().err.splitlines()[:2]
    assert says in error
    assert hint.startswith("ssm-ssh: hint: ")
