"""However a connection is ended, no session stays open; the fixture ``stage`` checks that after each test."""

from __future__ import annotations

import shlex
import signal
import subprocess
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

import pytest

from ssm_ssh.cli.demo_stage import NODE_NAME, set_stage
from ssm_ssh.emulator.settings import ServiceSettings
from ssm_ssh.emulator.timing import FAST
from ssm_ssh.errors import ExitStatus
from tests.features.proxy_process import PATIENCE_SECONDS, proxy_command, start_proxy
from tests.features.terminal import CTRL_C, Terminal

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ssm_ssh.cli.demo_stage import Stage

_BANNER: Final = b"SSH-2.0-"
_SLEEP: Final = "echo begun; exec sleep 1000"
_IDLE_SECONDS: Final = 3.0
# How long AWS's answer is on its way where a test strikes meanwhile.
_ANSWER_SECONDS: Final = 0.7
_STRIKES: Final = [signal.SIGTERM, signal.SIGHUP, signal.SIGINT, signal.SIGKILL]


# --- the proxy itself -------------------------------------------------------------------------------------


def test_a_terminated_proxy_ends_its_session(stage: Stage) -> None:
    """``kill -TERM`` of a proxy that carries: 130, without a word."""
    with start_proxy(stage) as proxy:
        _wait_for_banner(proxy)
        assert len(stage.emulator.live_sessions()) == 1
        proxy.terminate()
        _, words = proxy.communicate(timeout=PATIENCE_SECONDS)
    assert (proxy.returncode, words) == (ExitStatus.INTERRUPTED, b"")


def test_a_proxy_terminated_while_its_session_starts_ends_it(stage: Stage) -> None:
    """``kill -TERM`` between the request and AWS's answer: the session that comes of it is ended."""
    with _slow_start(stage), start_proxy(stage) as proxy:
        stage.emulator.wait_for_live_sessions(1)
        proxy.terminate()
        _, words = proxy.communicate(timeout=PATIENCE_SECONDS)
    assert (proxy.returncode, words) == (ExitStatus.INTERRUPTED, b"")


def test_a_hangup_alone_does_not_end_a_proxy(stage: Stage) -> None:
    """SIGHUP is what ssh sends when it exits; what counts is the end of stdin, which follows."""
    with start_proxy(stage) as proxy:
        _wait_for_banner(proxy)
        proxy.send_signal(signal.SIGHUP)
        assert proxy.stdin is not None
        proxy.stdin.write(b"SSH-2.0-still-there\r\n")
        assert proxy.stdout is not None
        # sshd answers with its key exchange.
        assert proxy.stdout.read(1)
        assert proxy.communicate(timeout=PATIENCE_SECONDS)[1] == b""
    assert proxy.returncode == ExitStatus.FINE


def test_a_proxy_whose_reader_leaves_ends(stage: Stage) -> None:
    """A pipe to ``head``: nobody reads any more, and that is the end, although stdin is open."""
    with start_proxy(stage) as proxy:
        _wait_for_banner(proxy)
        assert proxy.stdin is not None
        assert proxy.stdout is not None
        proxy.stdout.close()
        # Whatever sshd says now, nobody hears it.
        proxy.stdin.write(b"nonsense\r\n")
        assert proxy.wait(PATIENCE_SECONDS) == ExitStatus.FINE


def test_ctrl_c_at_a_proxy_on_a_terminal(stage: Stage) -> None:
    """Started by hand, the proxy ends its session and says 130."""
    with Terminal(proxy_command(stage), stage.environment) as terminal:
        terminal.expect(_BANNER.decode())
        assert len(stage.emulator.live_sessions()) == 1
        terminal.type(CTRL_C)
        assert terminal.wait() == ExitStatus.INTERRUPTED


def test_ctrl_c_at_a_proxy_on_a_terminal_while_its_session_starts(stage: Stage) -> None:
    """The session that comes of the request is ended, and nothing else is shown."""
    with _slow_start(stage), Terminal(proxy_command(stage), stage.environment) as terminal:
        stage.emulator.wait_for_live_sessions(1)
        terminal.type(CTRL_C)
        assert terminal.read_to_end() == "^C"
        assert terminal.wait() == ExitStatus.INTERRUPTED


def test_a_closed_terminal_ends_a_proxy(stage: Stage) -> None:
    """The window is closed: there is no stdin any more."""
    with Terminal(proxy_command(stage), stage.environment) as terminal:
        terminal.expect(_BANNER.decode())
        terminal.close()
        terminal.process.wait(PATIENCE_SECONDS)


def test_a_stream_is_not_resumed_for_nobody(stage: Stage) -> None:
    """With the stream lost and ssh gone, the helper tried for ten minutes to deliver ssh's last bytes."""
    with start_proxy(stage) as proxy:
        _wait_for_banner(proxy)
        stage.emulator.inject(refused_upgrade_status=503)
        stage.emulator.cut()
        assert proxy.stdin is not None
        assert proxy.stdout is not None
        proxy.stdin.write(b"SSH-2.0-the last bytes\r\n")
        proxy.stdin.close()
        proxy.stdout.close()
        assert proxy.wait(PATIENCE_SECONDS) == ExitStatus.FINE


# --- below ssh --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("strike", _STRIKES)
def test_ssh_is_struck_while_it_works(stage: Stage, strike: signal.Signals) -> None:
    """Whatever ends ssh, its helper notices and leaves nothing."""
    with _start_ssh(stage) as ssh:
        assert ssh.stdout is not None
        assert ssh.stdout.readline() == b"begun\n"
        assert len(stage.emulator.live_sessions()) == 1
        ssh.send_signal(strike)
        _wait_for_both(ssh)


@pytest.mark.parametrize("strike", _STRIKES)
def test_ssh_is_struck_while_the_session_starts(stage: Stage, strike: signal.Signals) -> None:
    """Its helper has asked for a session and not got it yet."""
    with _slow_start(stage), _start_ssh(stage) as ssh:
        stage.emulator.wait_for_live_sessions(1)
        ssh.send_signal(strike)
        _wait_for_both(ssh)


def test_ctrl_c_while_ssh_logs_in(stage: Stage) -> None:
    """The connection takes its time, the user loses patience: no session, and no traceback."""
    with _slow_start(stage), _ssh_terminal(stage) as terminal:
        stage.emulator.wait_for_live_sessions(1)
        terminal.type(CTRL_C)
        assert terminal.read_to_end() == "^C"


def test_ctrl_c_at_ssh_while_a_command_runs(stage: Stage) -> None:
    """Without a terminal on the node Ctrl-C is for ssh."""
    with _ssh_terminal(stage) as terminal:
        terminal.expect("begun\r\n")
        assert len(stage.emulator.live_sessions()) == 1
        terminal.type(CTRL_C)
        assert terminal.read_to_end() == "^C"


@pytest.mark.parametrize("option", ["-T", "-tt"])
def test_a_closed_terminal_while_a_command_runs(stage: Stage, option: str) -> None:
    """The window is closed: the shell in it, ssh and its helper go, whatever the node's side is."""
    with _ssh_terminal(stage, option) as terminal:
        terminal.expect("begun\r\n")
        assert len(stage.emulator.live_sessions()) == 1
        terminal.close()
        terminal.process.wait(PATIENCE_SECONDS)


# --- what nobody can prevent ------------------------------------------------------------------------------


def test_a_killed_proxy_harms_no_other() -> None:
    """After ``kill -9`` its session stays until it is idle for too long; others are served meanwhile."""
    with set_stage(timing=FAST, settings=ServiceSettings(idle_seconds=_IDLE_SECONDS)) as stage:
        with start_proxy(stage) as proxy:
            _wait_for_banner(proxy)
            proxy.kill()
        (orphan,) = stage.emulator.live_sessions()
        assert stage.run("ssh", NODE_NAME, "echo fine") == "fine\n"
        # The proxy's own session is over at once, the killed one's is not.
        stage.emulator.wait_for_live_sessions(1)
        assert stage.emulator.live_sessions()[0].session_id == orphan.session_id
        stage.emulator.wait_for_live_sessions(0, _IDLE_SECONDS + PATIENCE_SECONDS)


# --- words for the above ----------------------------------------------------------------------------------


@contextmanager
def _slow_start(stage: Stage) -> Iterator[None]:
    """AWS starts a session and takes its time to say so."""
    stage.emulator.inject(api_delay_seconds=_ANSWER_SECONDS)
    try:
        yield
    finally:
        stage.emulator.inject(api_delay_seconds=0.0)


def _start_ssh(stage: Stage) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        stage.command("ssh", NODE_NAME, _SLEEP),
        env=stage.environment,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )


def _ssh_terminal(stage: Stage, *options: str) -> Terminal:
    """A shell on a terminal, in which ssh runs, as in a terminal's window."""
    script = f"{shlex.join(stage.command('ssh', *options, NODE_NAME, _SLEEP))}; true"
    return Terminal(["/bin/sh", "-c", script], stage.environment)


def _wait_for_both(ssh: subprocess.Popen[bytes]) -> None:
    """Wait for ssh and for its helper, which holds ssh's stderr as long as it lives."""
    ssh.communicate(timeout=PATIENCE_SECONDS)


def _wait_for_banner(proxy: subprocess.Popen[bytes]) -> None:
    """Wait for the first line of the node's sshd: now the session carries."""
    assert proxy.stdout is not None
    line = b""
    while not line.endswith(b"\n"):
        data = proxy.stdout.read(1)
        assert data, line
        line += data
    assert line.startswith(_BANNER)
