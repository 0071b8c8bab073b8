"""``ssm-ssh tunnel -D`` as its users run it: real curl, by SOCKS5 and CONNECT, to servers behind a node."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any

import pytest

from ssm_ssh.cli.main import run
from ssm_ssh.emulator.session_document import ParameterRule, SessionDocument
from tests.forward.conftest import Account, account_with
from tests.forward.port_node import CLOSED_PORT, KNOWN_HOST, NAME, PortNode
from tests.requirement import need_program

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

_TUNNEL = (sys.executable, "-m", "ssm_ssh", "tunnel")
_SECONDS = 60
# curl's: the proxy's own refusal over SOCKS, and by an HTTP status.
_SOCKS_REFUSED = 97
_CONNECT_REFUSED = 56


class _Page(BaseHTTPRequestHandler):
    """Answers with its port and the path."""

    def do_GET(self) -> None:
        body = f"{self.server.server_port} {self.path}".encode()  # type: ignore[attr-defined]
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *arguments: object) -> None:  # noqa: A002 -- the standard library's
        """Say nothing."""


@contextmanager
def web_servers(count: int) -> Iterator[list[int]]:
    """The ports of so many servers."""
    with ExitStack() as stack:
        ports = []
        for _ in range(count):
            server = stack.enter_context(ThreadingHTTPServer(("127.0.0.1", 0), _Page))
            thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
            thread.start()
            stack.callback(thread.join)
            stack.callback(server.shutdown)
            ports.append(server.server_port)
        yield ports


@pytest.fixture
def account() -> Iterator[Account]:
    """An account with a node that has a current agent."""
    with account_with(PortNode()) as account:
        yield account


class Running:
    """The command with ``--json``, once its only listener is up.

    Attributes:
        said: What it said of the listener.
        messages: Its stderr, once it has ended.
    """

    def __init__(self, process: subprocess.Popen[str], said: dict[str, Any]) -> None:
        self.process = process
        self.said = said
        self.messages: list[str] = []

    @property
    def proxy(self) -> str:
        """Where it listens."""
        return f"127.0.0.1:{self.said['local_port']}"

    def stop(self) -> None:
        """Interrupt it and hear it out."""
        self.process.send_signal(signal.SIGINT)
        _, messages = self.process.communicate(timeout=_SECONDS)
        self.messages = messages.splitlines()
        assert self.process.returncode == 130


@contextmanager
def running(*words: str, **variables: str) -> Iterator[Running]:
    """The command; interrupted at the end of the block, if it was not before."""
    process = subprocess.Popen(
        [*_TUNNEL, "--json", *words],
        env={**os.environ, **variables},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stdout is not None
        line = process.stdout.readline()
        assert line, process.communicate()[1]
        tunnel = Running(process, json.loads(line))
        yield tunnel
        if process.returncode is None:
            tunnel.stop()
    finally:
        process.kill()
        process.communicate()


def curl(*words: str) -> subprocess.CompletedProcess[str]:
    """One run of curl, with no settings but these."""
    command = [need_program("curl"), "--disable", "--silent", "--show-error", "--max-time", "40", *words]
    return subprocess.run(command, capture_output=True, text=True, timeout=_SECONDS, check=False)


def by_socks(proxy: str) -> list[str]:
    """SOCKS5, with the name left to the node."""
    return ["--socks5-hostname", proxy]


def by_connect(proxy: str) -> list[str]:
    """CONNECT, for plain addresses, too."""
    return ["--proxytunnel", "-x", f"http://{proxy}"]


def test_twenty_requests_to_three_destinations(account: Account) -> None:
    """Half by SOCKS5, half by CONNECT, all at once: three sessions, none of them left."""
    with web_servers(3) as ports, running(NAME, "-D", "0") as tunnel:
        assert tunnel.said == {
            "local_address": "127.0.0.1",
            "local_port": tunnel.said["local_port"],
            "remote_host": None,
            "remote_port": None,
            "session_ids": [],
        }

        def fetch(number: int) -> str:
            way = (by_socks, by_connect)[number % 2]
            port = ports[number % 3]
            answer = curl(*way(tunnel.proxy), f"http://{KNOWN_HOST}:{port}/{number}")
            assert answer.returncode == 0, answer.stderr
            return answer.stdout

        with ThreadPoolExecutor(20) as programs:
            pages = list(programs.map(fetch, range(20)))
        assert pages == [f"{ports[number % 3]} /{number}" for number in range(20)]
        assert len(account.emulator.live_sessions()) == 3
    addresses = f"{tunnel.proxy} and [::1]:{tunnel.said['local_port']}"
    assert tunnel.messages == [f"ssm-ssh: Listening on {addresses} → whatever the node reaches"]
    account.assert_nothing_is_left()
    documents = [record.document_name for record in account.emulator.sessions()]
    assert documents == ["AWS-StartPortForwardingSessionToRemoteHost"] * 3
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", tunnel.said["local_port"]))


def test_sessions_are_started_at_a_pace(account: Account) -> None:
    """Eight destinations at once: the second four wait for their turns, and all are served."""
    with web_servers(8) as ports, running(NAME, "-D", "0") as tunnel, ThreadPoolExecutor(8) as programs:
        started = time.monotonic()
        pages = programs.map(
            lambda port: curl(*by_socks(tunnel.proxy), f"http://{KNOWN_HOST}:{port}/").stdout, ports
        )
        assert list(pages) == [f"{port} /" for port in ports]
        assert time.monotonic() - started >= 1.0
    assert len(account.emulator.sessions()) == 8
    account.assert_nothing_is_left()


@pytest.mark.parametrize(
    ("host", "codes", "line", "allowed"),
    [
        ("nowhere.internal", ("(4)", "502"), "no such host", []),
        ("169.254.169.254", ("(2)", "403"), "own link; --socks-allow 169.254.169.254 would allow it", []),
        ("127.0.0.1", ("(2)", "403"), "--socks-allow 127.0.0.1 would allow it", []),
        ("2130706433", ("(2)", "403"), "--socks-allow 127.0.0.1 would allow it", []),
        # The agent has a word in it, too.
        ("169.254.169.254", ("(2)", "403"), "is forbidden", ["169.254.169.254", KNOWN_HOST]),
    ],
)
def test_what_cannot_be_reached_is_a_reply_and_a_line(
    account: Account, host: str, codes: tuple[str, str], line: str, allowed: list[str]
) -> None:
    """The program hears it in its protocol, the user in a line, and the tunnel lives on."""
    words = [word for host in allowed for word in ("--socks-allow", host)]
    with web_servers(1) as (web,), running(NAME, "-D", "0", *words) as tunnel:
        refused = curl(*by_socks(tunnel.proxy), f"http://{host}/")
        assert refused.returncode == _SOCKS_REFUSED, refused
        assert codes[0] in refused.stderr
        refused = curl(*by_connect(tunnel.proxy), f"http://{host}/")
        assert refused.returncode == _CONNECT_REFUSED, refused
        assert codes[1] in refused.stderr
        assert curl(*by_socks(tunnel.proxy), f"http://{KNOWN_HOST}:{web}/").returncode == 0
    _, first, second = tunnel.messages
    assert line in first
    assert line in second
    account.assert_nothing_is_left()


def test_a_refused_port_is_a_reply_and_a_line(account: Account) -> None:
    """A reply, as long as the refusal comes within a round trip, which a machine that is busy may delay."""
    with running(NAME, "-D", "0") as tunnel:
        address = f"http://{KNOWN_HOST}:{CLOSED_PORT}/"
        socks = [curl(*by_socks(tunnel.proxy), address) for _ in range(3)]
        assert any(run.returncode == _SOCKS_REFUSED and "(5)" in run.stderr for run in socks), socks
        connect = [curl(*by_connect(tunnel.proxy), address) for _ in range(3)]
        assert any(run.returncode == _CONNECT_REFUSED and "502" in run.stderr for run in connect), connect
        assert len(account.emulator.sessions()) == 1
    refusal = f"ssm-ssh: the node could not connect to {KNOWN_HOST}:{CLOSED_PORT}"
    assert tunnel.messages[1:] == [refusal] * 6
    account.assert_nothing_is_left()


def test_a_plain_request_gets_a_hint(account: Account) -> None:
    """What the browser shows then says what to do."""
    with running(NAME, "-D", "0") as tunnel:
        answer = curl("--include", "-x", f"http://{tunnel.proxy}", f"http://{KNOWN_HOST}/")
        assert "405 Method Not Allowed" in answer.stdout
        assert "socks5h://" in answer.stdout
    assert account.emulator.sessions() == []


def test_allowances_open_the_node_and_close_the_rest(account: Account) -> None:
    """With one given, only that."""
    with web_servers(1) as (web,), running(NAME, "-D", "0", "--socks-allow", "localhost") as tunnel:
        assert curl(*by_socks(tunnel.proxy), f"http://127.0.0.1:{web}/x").stdout == f"{web} /x"
        refused = curl(*by_socks(tunnel.proxy), f"http://{KNOWN_HOST}:{web}/")
        assert refused.returncode == _SOCKS_REFUSED
    (record,) = account.emulator.sessions()
    assert record.document_name == "AWS-StartPortForwardingSession"


def test_a_login_is_wanted_by_both_protocols(account: Account, tmp_path: Path) -> None:
    """From a file that is ours alone; and other machines may come in only with it."""
    login = tmp_path / "login"
    login.write_text("alice:s3:cret\n", encoding="utf-8")
    login.chmod(0o600)
    words = ["-D", "127.0.0.1:0", "--socks-login", str(login)]
    with web_servers(1) as (web,), running(NAME, *words) as tunnel:
        address = f"http://{KNOWN_HOST}:{web}/x"
        for way in (by_socks, by_connect):
            assert curl(*way(tunnel.proxy), address).returncode != 0
            assert curl(*way(tunnel.proxy), "--proxy-user", "alice:wrong", address).returncode != 0
            assert curl(*way(tunnel.proxy), "--proxy-user", "alice:s3:cret", address).stdout == f"{web} /x"
    assert "s3" not in "".join(tunnel.messages)
    account.assert_nothing_is_left()


def test_other_machines_are_let_in_only_with_all_of_it(
    account: Account, capsys: pytest.CaptureFixture[str]
) -> None:
    """--allow-remote and a login; then it is told who can connect."""
    for words in ([], ["--allow-remote"]):
        assert run(["tunnel", NAME, "-D", "*:0", *words]) == 2
        error, hint = capsys.readouterr().err.splitlines()
        assert "every machine that reaches any address of this one" in error
        assert "--allow-remote" in hint
    with running(NAME, "-D", "*:0", "--allow-remote", SSM_SSH_SOCKS_LOGIN="alice:s3cret") as tunnel:
        assert curl(*by_socks(tunnel.proxy), "http://db.internal/").returncode == _SOCKS_REFUSED
    assert any("warning: every machine that reaches any" in line for line in tunnel.messages)
    assert account.emulator.sessions() == []


def test_listeners_come_in_their_order(account: Account) -> None:
    """In the environment all of them, in the words the first -L."""
    echo = str(account.node.ports["echo"])
    script = (
        'test "$1" = "$SSM_SSH_TUNNEL_HOST_2:$SSM_SSH_TUNNEL_PORT_2" && test -n "$SSM_SSH_TUNNEL_PORT" && '
        'test -n "$SSM_SSH_TUNNEL_PORT_3" && test "$SSM_SSH_TUNNEL_PORT" != "$SSM_SSH_TUNNEL_PORT_2" && '
        "exit 7"
    )
    listeners = ["-D", "0", "-L", f"0:{echo}", "-D", "0"]
    words = [*_TUNNEL, NAME, "--json", *listeners, "--", "sh", "-c", script, "sh", "{host}:{port}"]
    outcome = subprocess.run(words, capture_output=True, text=True, timeout=_SECONDS, check=False)
    assert outcome.returncode == 7, outcome.stderr
    ports = [json.loads(line)["remote_port"] for line in outcome.stdout.splitlines()]
    assert ports == [None, int(echo), None]
    words = [*_TUNNEL, NAME, "-D", "0", "--", "sh", "-c", 'test "$1" = "{""port}"', "sh", "{port}"]
    assert subprocess.run(words, capture_output=True, timeout=_SECONDS, check=False).returncode == 0
    account.assert_nothing_is_left()


def test_a_node_that_is_away_is_told_at_the_start(
    account: Account, capsys: pytest.CaptureFixture[str]
) -> None:
    """Although no session is started before somebody wants one; without the right to ask, it is not."""
    account.node.is_online = False
    assert run(["tunnel", account.node.node_id, "-D", "0"]) == 3
    assert "is not connected" in capsys.readouterr().err
    account.emulator.inject(denied_actions=frozenset({"ssm:GetConnectionStatus"}))
    assert run(["tunnel", account.node.node_id, "-D", "0", "--", "true"]) == 0
    assert account.emulator.sessions() == []


def test_a_document_has_to_leave_the_destination_open(
    account: Account, capsys: pytest.CaptureFixture[str]
) -> None:
    """One that decides on it would lead every program to the same place."""
    parameters = {"portNumber": ParameterRule()}
    properties = {"host": KNOWN_HOST, "portNumber": "{{ portNumber }}", "type": "LocalPortForwarding"}
    account.emulator.add_document(SessionDocument("OwnPort", "Port", parameters, properties))
    assert run(["tunnel", NAME, "-D", "0", "--document-name", "OwnPort"]) == 2
    assert "does not let programs choose host and port" in capsys.readouterr().err
    assert run(["tunnel", NAME, "-D", "0", "--parameters", "host=db"]) == 2
    assert "--parameters decides on host" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["-D", "x"], "'x' in 'x' is not a port"),
        (["-D", "0", "--socks-allow", "a b"], "--socks-allow 'a b' cannot be used"),
        (["-D", "0", "--socks-login", "/nowhere"], "--socks-login /nowhere cannot be read"),
    ],
)
def test_mistakes_are_told_in_our_own_way(
    words: list[str], says: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """An error line, and 2."""
    assert run(["tunnel", NAME, *words]) == 2
    assert says in capsys.readouterr().err.splitlines()[0]
