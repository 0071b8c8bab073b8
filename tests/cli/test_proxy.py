"""``ssm-ssh proxy``: its command line, its signals, and that no session is left open whatever happens."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import pty
import signal
import socketserver
import subprocess
import sys
import threading
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import IO, TYPE_CHECKING, Final

import pytest

from ssm_ssh.cli import proxy
from ssm_ssh.emulator.agent import SsmAgent
from ssm_ssh.emulator.placement import DEFAULT_PLACEMENT, Placement
from ssm_ssh.emulator.start import RunningEmulator, start_emulator
from ssm_ssh.errors import ExitStatus

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from ssm_ssh.emulator.windows_launch import WindowsLaunch
    from ssm_ssh.ssh.options import ProxyOptions

NODE_ID: Final = "i-0123456789abcdef0"
# Nothing here takes a tenth of it.
SECONDS: Final = 30.0
_CREDENTIALS: Final = {
    "AccessKeyId": "AWS_ACCESS_KEY_ID",
    "SecretAccessKey": "AWS_SECRET_ACCESS_KEY",
    "SessionToken": "AWS_SESSION_TOKEN",
}


# --- the command line -------------------------------------------------------------------------------------


@pytest.fixture
def package_log() -> Iterator[None]:
    """The log as it was before the test."""
    package = logging.getLogger("ssm_ssh")
    before = package.level, package.propagate, list(package.handlers)
    yield
    level, package.propagate, package.handlers = before
    package.setLevel(level)


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch, package_log: None) -> list[ProxyOptions]:
    """What would be carried, instead of carrying it."""
    options: list[ProxyOptions] = []
    monkeypatch.setattr(proxy, "run_proxy", options.append)
    return options


def test_the_plain_command_line(asked: list[ProxyOptions]) -> None:
    """HOST alone, and as OpenSSH gives it."""
    assert proxy.run(["web-1"]) == ExitStatus.FINE
    assert proxy.run([NODE_ID, "2222", "alice"]) == ExitStatus.FINE
    plain, full = asked
    assert (plain.target, plain.port, plain.os_user) == ("web-1", 22, None)
    assert (plain.resume_seconds, plain.payload_bytes, plain.parameters) == (600.0, None, {})
    assert plain.reason is not None
    assert plain.reason.startswith("ssm-ssh proxy ")
    assert (full.target, full.port, full.os_user) == (NODE_ID, 2222, "alice")


def test_every_option(asked: list[ProxyOptions]) -> None:
    """Before and after the words; parameters add up, of everything else the last one counts."""
    arguments = ["--profile=p", "--region", "r1", "web-1", "--region", "r2", "22", "-vv", "--reason", "why"]
    arguments += [
        "--document-name",
        "My-Doc",
        "--parameters",
        "a=1",
        "--parameters",
        "a=2",
        "--parameters=b=3",
    ]
    arguments += ["--stream-endpoint", "https://x", "--resume-minutes", "3", "--payload-size", "4096"]
    assert proxy.run(arguments) == ExitStatus.FINE
    (options,) = asked
    assert (options.profile, options.region, options.reason) == ("p", "r2", "why")
    assert (options.document_name, options.parameters) == ("My-Doc", {"a": ["1", "2"], "b": ["3"]})
    assert (options.stream_endpoint, options.resume_seconds, options.payload_bytes) == (
        "https://x",
        180,
        4096,
    )


def test_after_two_dashes_everything_is_a_word(asked: list[ProxyOptions]) -> None:
    """As everywhere."""
    assert proxy.run(["--region", "r", "--", "--help", "22"]) == ExitStatus.FINE
    assert asked[0].target == "--help"


@pytest.mark.parametrize("arguments", [["--help"], ["-h"], ["web-1", "--help"], ["--region", "x", "-h"]])
def test_help_is_a_result(
    arguments: list[str], asked: list[ProxyOptions], capsys: pytest.CaptureFixture[str]
) -> None:
    """On stdout, exit status 0, every option named."""
    assert proxy.run(arguments) == ExitStatus.FINE
    captured = capsys.readouterr()
    assert captured.err == ""
    assert asked == []
    for option in proxy._OPTIONS:
        if option != "help":
            assert f"--{option.rstrip('=')} " in captured.out


BAD: Final = {
    "nothing": [],
    "too many words": ["a", "22", "u", "x"],
    "an unknown option": ["--frobnicate", "a"],
    "an unknown letter": ["-x", "a"],
    "an option without its value": ["a", "--region"],
    "a value that nobody takes": ["a", "--help=yes"],
    "port 0": ["a", "0"],
    "a port too many": ["a", "65536"],
    "a port by name": ["a", "ssh"],
    "a negative port": ["--", "a", "-1"],
    "an empty port": ["a", ""],
    "a document of spaces": ["a", "--document-name", "a b c"],
    "an empty document": ["a", "--document-name="],
    "a parameter without a value": ["a", "--parameters", "x"],
    "an empty reason": ["a", "--reason", ""],
    "a reason of two lines": ["a", "--reason", "a\nb"],
    "a reason too long": ["a", "--reason", "x" * 257],
    "a size too small": ["a", "--payload-size", "63"],
    "a size of nothing": ["a", "--payload-size", "0"],
    "a size too large": ["a", "--payload-size", "65537"],
    "a size in words": ["a", "--payload-size", "big"],
    "minutes below nothing": ["a", "--resume-minutes", "-1"],
    "minutes without end": ["a", "--resume-minutes", "9" * 40],
    "half a minute": ["a", "--resume-minutes", "0.5"],
}


@pytest.mark.parametrize("arguments", BAD.values(), ids=BAD)
def test_bad_input(
    arguments: list[str], asked: list[ProxyOptions], capsys: pytest.CaptureFixture[str]
) -> None:
    """One error line, one hint line, 255 as for every failure of ssh's, and nothing is carried."""
    assert proxy.run(arguments) == ExitStatus.PROXY_FAILED
    assert_two_lines(capsys.readouterr().err)
    assert asked == []


@pytest.mark.parametrize(
    "host", ["", "web\n1", "-oProxyCommand=x", "\x1b[2J", "a" * 10_000, "tag:A=b", "x;y"]
)
@pytest.mark.usefixtures("package_log")
def test_a_hostile_host_is_refused_before_anything_happens(
    host: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """No call, no signal taken over, stdin untouched; nothing of it steers the terminal."""
    before = signal.getsignal(signal.SIGTERM), os.fstat(0)
    assert proxy.run(["--", host]) == ExitStatus.PROXY_FAILED
    err = capsys.readouterr().err
    assert_two_lines(err)
    assert "\x1b" not in err
    assert (signal.getsignal(signal.SIGTERM), os.fstat(0)) == before


def assert_two_lines(err: str) -> None:
    """An error and a hint, and nothing else."""
    lines = err.splitlines()
    assert len(lines) == 2, err
    assert lines[0].startswith("ssm-ssh: error: ")
    assert lines[1].startswith("ssm-ssh: hint: ")


# --- real processes against the emulator ------------------------------------------------------------------


class _Echo(socketserver.BaseRequestHandler):
    def handle(self) -> None:
        self.request.sendall(b"hello\n")
        while data := self.request.recv(65_536):
            if data.endswith(b"bye\n"):
                self.request.sendall(b"last words")
                return
            self.request.sendall(data)


class _EchoServer(socketserver.ThreadingTCPServer):
    daemon_threads = True


@dataclass
class PortNode:
    """A node with a real emulated agent and nothing else."""

    name: str = "web-1"
    node_id: str = NODE_ID
    tags: Mapping[str, str] = field(default_factory=dict)
    platform: str = "Linux"
    agent_version: str = "3.3.987.0"
    ip_address: str = "10.0.0.1"
    placement: Placement = DEFAULT_PLACEMENT
    windows_launch: WindowsLaunch | None = None
    is_online: bool = True

    def __post_init__(self) -> None:
        self.agent = SsmAgent(self.node_id, self._connect, version=self.agent_version)

    async def start(self) -> None:
        """See ``EmulatedNode``."""

    async def stop(self) -> None:
        """See ``EmulatedNode``."""

    def authorize_key(self, os_user: str, public_key: str, *, seconds: float = 60.0) -> None:
        """See ``EmulatedNode``."""

    async def _connect(self, _host: str, port: int) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        return await asyncio.open_connection("127.0.0.1", port)


@pytest.fixture(scope="module")
def port() -> Iterator[str]:
    """A port behind the node: says hello, echoes, and ends at ``bye``."""
    with _EchoServer(("127.0.0.1", 0), _Echo) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield str(server.server_address[1])
        server.shutdown()
        thread.join()


@pytest.fixture(scope="module")
def emulator() -> Iterator[RunningEmulator]:
    """A stand-in with one node."""
    with start_emulator([PortNode()]) as running:
        yield running


def command(*arguments: str) -> list[str]:
    """The words that start the program."""
    return [sys.executable, "-m", "ssm_ssh", "proxy", *arguments]


def environment(emulator: RunningEmulator) -> dict[str, str]:
    """That of a program that is to reach the stand-in."""
    return {**os.environ, **emulator.environment}


@contextmanager
def proxying(emulator: RunningEmulator, *arguments: str) -> Iterator[subprocess.Popen[bytes]]:
    """A running helper with pipes; when the block is left it has ended, and so have all sessions."""
    with subprocess.Popen(
        command(*arguments),
        env=environment(emulator),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as helper:
        try:
            yield helper
            helper.wait(SECONDS)
        finally:
            helper.kill()
    emulator.wait_for_live_sessions(0, SECONDS)


def pipes(helper: subprocess.Popen[bytes]) -> tuple[IO[bytes], IO[bytes]]:
    """The helper's stdin and stdout."""
    assert helper.stdin is not None
    assert helper.stdout is not None
    return helper.stdin, helper.stdout


def say(helper: subprocess.Popen[bytes], line: bytes) -> None:
    """Say a line, and hear its echo."""
    stdin, stdout = pipes(helper)
    stdin.write(line)
    stdin.flush()
    assert stdout.readline() == line


def started_with_hello(helper: subprocess.Popen[bytes]) -> None:
    """Wait for the first line through the tunnel."""
    assert pipes(helper)[1].readline() == b"hello\n"


@pytest.mark.parametrize("host", [NODE_ID, "web-1"])
def test_the_tunnel_and_nothing_else_on_stdout(host: str, emulator: RunningEmulator, port: str) -> None:
    """Bytes both ways, by id and by name; the server's end is exit status 0 and leaves no session."""
    with proxying(emulator, host, port, "alice") as helper:
        started_with_hello(helper)
        say(helper, b"one\n")
        stdin, stdout = pipes(helper)
        stdin.write(b"bye\n")
        stdin.flush()
        assert stdout.read() == b"last words"
    assert helper.returncode == 0


def test_the_end_of_stdin_loses_nothing(emulator: RunningEmulator, port: str) -> None:
    """What was written arrives, what comes back is delivered, and then it is over."""
    data = os.urandom(100_000) + b"\n"
    run = subprocess.run(
        command(NODE_ID, port),
        env=environment(emulator),
        input=data,
        capture_output=True,
        timeout=SECONDS,
        check=True,
    )
    assert run.stdout == b"hello\n" + data
    assert run.stderr == b""
    emulator.wait_for_live_sessions(0, SECONDS)


@pytest.mark.parametrize("name", ["SIGHUP", "SIGINT"])
def test_signals_that_are_for_somebody_else(name: str, emulator: RunningEmulator, port: str) -> None:
    """Ssh's SIGHUP and a Ctrl-C for the whole group do not cut the tunnel: stdin's end is what counts."""
    with proxying(emulator, NODE_ID, port) as helper:
        started_with_hello(helper)
        helper.send_signal(getattr(signal, name))
        say(helper, b"still there\n")
        pipes(helper)[0].close()
    assert helper.returncode == 0


def test_sigterm_ends_the_session(emulator: RunningEmulator, port: str) -> None:
    """In the middle of a tunnel, even twice: 130, and the service knows that it is over."""
    with proxying(emulator, NODE_ID, port) as helper:
        started_with_hello(helper)
        helper.send_signal(signal.SIGTERM)
        helper.send_signal(signal.SIGTERM)
    assert helper.returncode == ExitStatus.INTERRUPTED


@pytest.mark.parametrize("delay", [0.0, 0.02, 0.05, 0.1, 0.2, 0.4])
def test_sigterm_on_the_way_leaves_no_session(delay: float, emulator: RunningEmulator, port: str) -> None:
    """From the moment when StartSession arrived: while modules are imported, in the handshake, after it."""
    before = emulator.counts.get("StartSession", 0)
    with proxying(emulator, NODE_ID, port) as helper:
        wait = threading.Event()
        while emulator.counts.get("StartSession", 0) == before:
            wait.wait(0.005)
        wait.wait(delay)
        helper.send_signal(signal.SIGTERM)
        helper.wait(SECONDS)
    assert helper.returncode == ExitStatus.INTERRUPTED


def test_ctrl_c_in_a_terminal_ends_the_session(emulator: RunningEmulator, port: str) -> None:
    """Who runs the helper by hand, with a terminal for stdin, can stop it: 130, and no session is left."""
    controller, terminal = pty.openpty()
    with subprocess.Popen(
        command(NODE_ID, port), env=environment(emulator), stdin=terminal, stdout=subprocess.PIPE
    ) as helper:
        assert helper.stdout is not None
        assert helper.stdout.readline() == b"hello\n"
        helper.send_signal(signal.SIGINT)
        assert helper.wait(SECONDS) == ExitStatus.INTERRUPTED
    os.close(controller)
    os.close(terminal)
    emulator.wait_for_live_sessions(0, SECONDS)


def test_an_installation_that_is_broken_leaves_no_session(
    emulator: RunningEmulator, port: str, tmp_path: Path
) -> None:
    """Whatever cannot be imported after StartSession has left: the session that was started is terminated."""
    (tmp_path / "websockets").mkdir()
    (tmp_path / "websockets" / "__init__.py").write_text("raise ImportError('broken')", encoding="utf-8")
    environ = environment(emulator)
    environ["PYTHONPATH"] = os.pathsep.join((str(tmp_path), os.getcwd(), environ.get("PYTHONPATH", "")))
    before = emulator.counts.get("StartSession", 0)
    run = subprocess.run(
        command(NODE_ID, port), env=environ, capture_output=True, timeout=SECONDS, check=False
    )
    assert run.returncode != 0
    assert b"broken" in run.stderr
    assert emulator.counts["StartSession"] == before + 1
    emulator.wait_for_live_sessions(0, SECONDS)


def test_what_was_learned_of_the_way_is_remembered(
    emulator: RunningEmulator, port: str, tmp_path: Path
) -> None:
    """A large upload finds a larger payload; a session that learns nothing writes nothing."""
    environ = environment(emulator) | {"XDG_CACHE_HOME": str(tmp_path)}
    for data, files in ((b"little\n", 0), (bytes(4_000_000), 1)):
        subprocess.run(
            command(NODE_ID, port), env=environ, input=data, capture_output=True, timeout=SECONDS, check=True
        )
        assert len(list(tmp_path.rglob("*.json"))) == files


def test_a_reader_that_is_gone_ends_it(emulator: RunningEmulator, port: str) -> None:
    """Ssh was killed: both pipes are closed, and the session goes with them."""
    with proxying(emulator, NODE_ID, port) as helper:
        started_with_hello(helper)
        stdin, stdout = pipes(helper)
        stdout.close()
        stdin.close()
    assert helper.returncode == 0


def test_closed_standard_descriptors(emulator: RunningEmulator, port: str) -> None:
    """Symptom: with stdin or stdout closed, a socket to AWS got its number, and the tunnel went into it."""
    for closed in ("<&-", ">&-", "2>&-", "<&- 2>&-"):
        words = " ".join(f"'{word}'" for word in command(NODE_ID, port))
        run = subprocess.run(
            ["/bin/sh", "-c", f"exec {words} {closed}"],
            env=environment(emulator),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=SECONDS,
            check=False,
        )
        assert run.returncode == 0, run.stderr
        assert run.stdout == (b"" if ">&-" in closed.split() else b"hello\n")
    emulator.wait_for_live_sessions(0, SECONDS)


def test_a_child_of_ours_does_not_read_the_tunnel(
    emulator: RunningEmulator, port: str, tmp_path: Path
) -> None:
    """A credential_process that reads its stdin to the end gets nothing, and the tunnel gets all."""
    environ = environment(emulator)
    fields: dict[str, object] = {"Version": 1}
    for name, variable in _CREDENTIALS.items():
        if variable in environ:
            fields[name] = environ.pop(variable)
    script, config, stolen = tmp_path / "credentials.sh", tmp_path / "config", tmp_path / "stolen"
    script.write_text(f"#!/bin/sh\ncat >'{stolen}'\necho '{json.dumps(fields)}'\n", encoding="utf-8")
    script.chmod(0o700)
    config.write_text(f"[default]\ncredential_process = {script}\n", encoding="utf-8")
    run = subprocess.run(
        command(NODE_ID, port),
        env=environ | {"AWS_CONFIG_FILE": str(config)},
        input=b"secret line\n",
        capture_output=True,
        timeout=SECONDS,
        check=True,
    )
    assert run.stdout == b"hello\nsecret line\n"
    assert stolen.read_bytes() == b""


def test_a_failure_is_two_lines_and_255(emulator: RunningEmulator, port: str) -> None:
    """Whatever AWS says: ssh's own useless line comes after ours. With -vv a traceback, without a secret."""
    for arguments, words in (
        (["no-such-node", port], "no node is named"),
        (["i-00000000000000000", port], "TargetNotConnected"),
    ):
        run = subprocess.run(
            command(*arguments),
            env=environment(emulator),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=SECONDS,
            check=False,
        )
        assert run.returncode == ExitStatus.PROXY_FAILED
        assert run.stdout == b""
        assert_two_lines(run.stderr.decode())
        assert words in run.stderr.decode()


def test_the_most_verbose_run_tells_no_secret(emulator: RunningEmulator, port: str) -> None:
    """Neither keys nor token nor signature nor payload on stderr, at -vv, in success and failure."""
    environ = environment(emulator)
    shown = ""
    for node in (NODE_ID, "i-00000000000000000"):
        run = subprocess.run(
            command(node, port, "-vv"),
            env=environ,
            input=b"payload-secret\n",
            capture_output=True,
            timeout=SECONDS,
            check=False,
        )
        shown += run.stderr.decode()
    assert "SessionReady" in shown
    assert "Traceback" in shown
    for secret in ("payload-secret", "Signature=", "TokenValue", environ["AWS_SECRET_ACCESS_KEY"]):
        assert secret not in shown


def test_nothing_heavy_is_loaded_before_the_request() -> None:
    """The event loop and the WebSocket library are imported while StartSession is on its way.

    What botocore itself needs is paid for in any case.
    """
    program = (
        "import sys, botocore.session, botocore.auth, botocore.httpsession\n"
        "before = set(sys.modules)\n"
        "import ssm_ssh.cli.proxy\n"
        "print(*{name.split('.')[0] for name in set(sys.modules) - before})"
    )
    run = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=SECONDS
    )
    loaded = set(run.stdout.split())
    assert "ssm_ssh" in loaded
    assert loaded.isdisjoint(
        {"asyncio", "websockets", "argparse", "boto3", "cryptography", "keyring", "paramiko", "sshtunnel"}
    )
