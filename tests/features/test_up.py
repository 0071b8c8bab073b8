"""Tunnels in the background, by the commands that people use, through whatever happens to them."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import pytest

from ssm_ssh.emulator.start import start_emulator
from tests.features.port_node import Depot, PortNode, closed_port
from tests.features.terminal import CTRL_C, Terminal
from tests.requirement import need_linux, need_module

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from ssm_ssh.emulator.start import RunningEmulator

_PROGRAM: Final = (sys.executable, "-m", "ssm_ssh")
_SECONDS: Final = 60.0
# What a laptop's nap, a router's restart or a failed deployment may take.
_OUTAGE_SECONDS: Final = 20.0
NAMES: Final = ("a", "b", "c")


class Desk:
    """A user with a config file and an environment.

    Attributes:
        folder: Their home.
        depot: What listens on the node.
        ports: Where the tunnels of ``NAMES`` listen.
        environment: The variables of their shell.
    """

    def __init__(self, folder: Path, depot: Depot) -> None:
        self.folder = folder
        self.ports = dict(zip(NAMES, (closed_port() for _ in NAMES), strict=True))
        self.environment = {
            **os.environ,
            "HOME": str(folder),
            "XDG_RUNTIME_DIR": str(folder),
            "XDG_STATE_HOME": str(folder / "state"),
            "XDG_CACHE_HOME": str(folder / "cache"),
            "SSM_SSH_CONFIG": str(folder / "config.toml"),
        }
        self.depot = depot
        self.write_config()

    def write_config(self, extra: str = "") -> None:
        """The config file with its three tunnels, one of which goes through an alias."""
        sections = ["[aliases.jump]\ntarget = 'web-1'\n"]
        for name, port in self.ports.items():
            target = "jump" if name == "c" else "web-1"
            sections.append(
                f"[tunnels.{name}]\ntarget = '{target}'\nforwards = ['{port}:{self.depot.port}']\n{extra}"
            )
        (self.folder / "config.toml").write_text("".join(sections), "utf-8")

    def use(self, emulator: RunningEmulator) -> None:
        """Let the shell's variables lead to ``emulator``."""
        for name in emulator.foreign_variables:
            self.environment.pop(name, None)
        self.environment.update(emulator.environment)

    def run(self, *words: str) -> subprocess.CompletedProcess[str]:
        """One command to its end."""
        return subprocess.run(
            [*_PROGRAM, *words],
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=2 * _SECONDS,
            check=False,
        )

    def done(self, *words: str) -> list[str]:
        """What a command that succeeds says."""
        outcome = self.run(*words)
        assert outcome.returncode == 0, (outcome, self.log())
        return outcome.stderr.splitlines()

    def status(self) -> dict[str, Any]:
        """What ``status --json`` says."""
        said: dict[str, Any] = json.loads(self.run("status", "--json").stdout)
        return said

    def states(self) -> dict[str, str]:
        """Each tunnel's state."""
        return {tunnel["name"]: tunnel["state"] for tunnel in self.status()["tunnels"]}

    def works(self, name: str) -> bool:
        """Whether a tunnel carries bytes both ways."""
        try:
            with socket.create_connection(("127.0.0.1", self.ports[name]), timeout=5) as connection:
                connection.sendall(b"echo\nhello")
                return connection.recv(5) == b"hello"
        except OSError:
            return False

    def process_id(self) -> int:
        """The supervisor's."""
        return int(self.status()["supervisor"]["process_id"])

    def log(self) -> str:
        """The supervisor's log."""
        path = self.folder / "state" / "ssm-ssh" / "supervisor.log"
        return path.read_text("utf-8") if path.exists() else ""

    def leave(self) -> None:
        """End whatever is still there, however."""
        supervisor = self.status()["supervisor"]
        if supervisor is not None:
            self.run("down")


def wait_until(is_so: Callable[[], bool], what: str, seconds: float = _SECONDS) -> None:
    """Wait for something in another process that nothing signals."""
    deadline = time.monotonic() + seconds
    while not is_so():
        assert time.monotonic() < deadline, what
        time.sleep(0.1)  # noqa: TID251 -- another process has no event for us


def is_running(process_id: int) -> bool:
    """Whether a process has not ended; one that nobody has waited for has."""
    try:
        fields = Path(f"/proc/{process_id}/stat").read_text("utf-8").rpartition(")")[2].split()
    except FileNotFoundError:
        return False
    return fields[0] != "Z"


@pytest.fixture
def desk() -> Iterator[Desk]:
    """A desk beside a depot; at the end no supervisor is left."""
    need_module("aiohttp")
    need_linux()
    # Short, because a socket lives below it.
    with tempfile.TemporaryDirectory(prefix="desk-") as name, Depot() as depot:
        desk = Desk(Path(name), depot)
        try:
            yield desk
        finally:
            desk.leave()


@pytest.fixture
def emulator(desk: Desk) -> Iterator[RunningEmulator]:
    """A service with one node, to which the desk's shell leads."""
    with start_emulator([PortNode()]) as emulator:
        desk.use(emulator)
        yield emulator
        desk.leave()


def test_up_status_down(desk: Desk, emulator: RunningEmulator) -> None:
    """All tunnels come up and carry; one and then all go down; no process, no socket, no session is left."""
    said = desk.done("up")
    assert [line.split(":")[1].strip() for line in said] == list(NAMES)
    assert all(desk.works(name) for name in NAMES)
    assert desk.states() == dict.fromkeys(NAMES, "up")
    process_id = desk.process_id()
    assert desk.done("up") == said
    assert desk.process_id() == process_id
    table = desk.run("status").stdout.splitlines()
    assert len(table) == 4
    assert desk.done("down", "b") == ["ssm-ssh: b: down"]
    assert desk.states() == {"a": "up", "b": "down", "c": "up"}
    assert not desk.works("b")
    emulator.wait_for_live_sessions(2)
    assert desk.done("down") == ["ssm-ssh: a: down", "ssm-ssh: c: down"]
    # It lets go of its lock, which ``down`` waits for, a moment before the kernel calls it ended.
    wait_until(lambda: not is_running(process_id), "its process is left", 1.0)
    assert emulator.live_sessions() == []
    assert not (desk.folder / "ssm-ssh" / "control").exists()
    assert desk.done("down") == ["ssm-ssh: no tunnel is up"]
    assert (desk.folder / "state" / "ssm-ssh" / "supervisor.log").stat().st_mode & 0o777 == 0o600


def test_a_cut_and_an_outage_are_survived(desk: Desk) -> None:
    """A lost stream is resumed; 20 s without any service are told by ``status``, then all tunnels work."""
    with start_emulator([PortNode()]) as emulator:
        desk.use(emulator)
        desk.done("up")
        process_id = desk.process_id()
        emulator.cut()

        def resumed() -> bool:
            return all(tunnel["resumes"] >= 1 for tunnel in desk.status()["tunnels"])

        wait_until(resumed, "no stream was resumed")
        assert all(desk.works(name) for name in NAMES)
        port, credentials = emulator.port, emulator.credentials
    away_until = time.monotonic() + _OUTAGE_SECONDS
    wait_until(lambda: desk.states() == dict.fromkeys(NAMES, "resuming"), "the outage is not told")
    table = desk.run("status").stdout
    assert table.count("resuming") == 3
    wait_until(lambda: time.monotonic() >= away_until, "time stands still")
    with start_emulator([PortNode()], port=port, credentials=credentials) as emulator:
        # It knows nothing of the old sessions: they are over, and say so.
        wait_until(lambda: all(desk.works(name) for name in NAMES), "a tunnel does not work again")
        assert desk.states() == dict.fromkeys(NAMES, "up")
        for tunnel in desk.status()["tunnels"]:
            assert "ended while its stream was away" in tunnel["last_end"]
            assert tunnel["resumes"] >= 1
        assert desk.process_id() == process_id
        desk.done("down")
        assert emulator.live_sessions() == []


def test_a_killed_supervisor_is_replaced(desk: Desk, emulator: RunningEmulator) -> None:
    """What it left behind hinders nobody; its sessions end by themselves at the idle limit."""
    desk.done("up", "a")
    process_id = desk.process_id()
    os.kill(process_id, signal.SIGKILL)
    wait_until(lambda: not is_running(process_id), "it lives")
    assert (desk.folder / "ssm-ssh" / "control").exists()
    assert desk.status()["supervisor"] is None
    assert desk.done("down") == ["ssm-ssh: no tunnel is up"]
    desk.done("up", "a")
    assert desk.works("a")
    assert desk.process_id() != process_id
    desk.done("down")
    (left,) = emulator.live_sessions()
    emulator.terminate(left.session_id)


def test_two_at_once_start_one_supervisor(desk: Desk, emulator: RunningEmulator) -> None:
    """Whoever comes second finds the first one's."""
    commands = [
        subprocess.Popen([*_PROGRAM, "up", name], env=desk.environment, stderr=subprocess.PIPE, text=True)
        for name in NAMES
    ]
    for command in commands:
        _, said = command.communicate(timeout=_SECONDS)
        assert command.returncode == 0, said
    assert desk.states() == dict.fromkeys(NAMES, "up")
    assert desk.log().count("the supervisor starts") == 1
    desk.done("down")
    assert emulator.live_sessions() == []


def test_changed_settings_open_a_tunnel_anew(desk: Desk, emulator: RunningEmulator) -> None:
    """``up`` after the file was edited; without a change nothing is touched."""
    desk.done("up", "a")
    (session,) = emulator.live_sessions()
    desk.done("up", "a")
    assert [live.session_id for live in emulator.live_sessions()] == [session.session_id]
    desk.write_config("sessions = 2\n")
    desk.done("up", "a")
    emulator.wait_for_live_sessions(1)
    assert [live.session_id for live in emulator.live_sessions()] != [session.session_id]
    assert desk.works("a")


def test_what_fails_is_told_and_tried_again(desk: Desk, emulator: RunningEmulator) -> None:
    """A busy port: an error, a hint, its status; free again, the tunnel comes up by itself."""
    with socket.create_server(("127.0.0.1", desk.ports["a"])):
        outcome = desk.run("up", "a")
        assert outcome.returncode == 2
        error, hint = outcome.stderr.splitlines()
        assert error == f"ssm-ssh: error: a: 127.0.0.1:{desk.ports['a']} is in use already"
        assert hint.endswith("it is tried again until `ssm-ssh down a`")
        (tunnel, *_) = desk.status()["tunnels"]
        assert tunnel["state"] in {"waiting", "starting"}
        assert "in use already" in tunnel["last_end"]
    wait_until(lambda: desk.works("a"), "it does not come up")
    assert emulator.counts["StartSession"] >= 1
    assert "[a] 127.0.0.1" in desk.log()


def test_a_replaced_node_is_found_by_its_name(desk: Desk) -> None:
    """A group of machines has put another one in its place: the next connection goes there."""
    old, new = PortNode(), PortNode(node_id="i-0fedcba9876543210", is_online=False, name="spare")
    with start_emulator([old, new]) as emulator:
        desk.use(emulator)
        desk.done("up", "a")
        old.name, old.is_online = "gone", False
        new.name, new.is_online = "web-1", True
        (session,) = emulator.live_sessions()
        emulator.terminate(session.session_id)
        wait_until(lambda: desk.works("a"), "the new node is not found")
        (tunnel, *_) = desk.status()["tunnels"]
        assert tunnel["node_id"] == new.node_id
        assert "has been replaced by i-0fedcba9876543210" in desk.log()
        desk.done("down")


def test_in_the_foreground_it_is_a_service(desk: Desk, emulator: RunningEmulator) -> None:
    """As systemd runs it: the other commands find it, a second one is refused, SIGTERM ends it well."""
    command = subprocess.Popen(
        [*_PROGRAM, "up", "-v", "--foreground"], env=desk.environment, stderr=subprocess.PIPE, text=True
    )
    with command:
        wait_until(lambda: desk.states() == dict.fromkeys(NAMES, "up"), "it does not come up")
        assert desk.process_id() == command.pid
        desk.done("down", "a")
        desk.done("up", "a")
        assert desk.works("a")
        outcome = desk.run("up", "--foreground")
        assert outcome.returncode == 2
        assert "a supervisor runs already" in outcome.stderr
        command.terminate()
        _, said = command.communicate(timeout=_SECONDS)
    assert command.returncode == 0, said
    assert "listening on" in said
    assert emulator.live_sessions() == []
    assert not (desk.folder / "ssm-ssh" / "control").exists()


def test_ctrl_c_in_the_foreground_is_an_interruption(desk: Desk, emulator: RunningEmulator) -> None:
    """130, and nothing is left; taking the last tunnel down is a good end."""
    for end, status in ((signal.SIGINT, 130), (None, 0)):
        command = subprocess.Popen([*_PROGRAM, "up", "--foreground", "a"], env=desk.environment)
        wait_until(lambda: desk.states()["a"] == "up", "it does not come up")
        if end is None:
            desk.done("down", "a")
        else:
            command.send_signal(end)
        assert command.wait(_SECONDS) == status
        assert emulator.live_sessions() == []


def test_the_table_can_be_watched(desk: Desk, emulator: RunningEmulator) -> None:
    """On a terminal: shown again and again until Ctrl-C."""
    desk.done("up", "a")
    with Terminal([*_PROGRAM, "status", "--watch"], desk.environment, columns=200) as terminal:
        terminal.expect(r"a +up +127")
        desk.done("down")
        terminal.expect(r"a +down +-")
        terminal.type(CTRL_C)
        assert terminal.wait() == 130
    assert emulator.live_sessions() == []


def test_a_tunnel_may_listen_for_socks(desk: Desk, emulator: RunningEmulator) -> None:
    """Beside its forwards; where it leads is for programs to say."""
    desk.write_config("socks = '0'\n")
    (fixed, dynamic) = desk.done("up", "a")
    assert fixed.endswith(f"→ localhost:{desk.depot.port}")
    assert dynamic.endswith("→ whatever the node reaches")
    (tunnel, *_) = desk.status()["tunnels"]
    listener = tunnel["listeners"][1]
    assert listener["destination"] is None
    with socket.create_connection(("127.0.0.1", int(listener["addresses"][0].split(":")[1]))) as program:
        program.sendall(b"CONNECT localhost:1 HTTP/1.1\r\n\r\n")
        assert program.recv(100).startswith(b"HTTP/1.1 403 ")
    desk.done("down")
    assert emulator.live_sessions() == []


def test_another_account_is_not_taken_for_ours(desk: Desk, emulator: RunningEmulator) -> None:
    """A second shell with another profile is told, instead of getting the first one's nodes."""
    desk.done("up", "a")
    desk.environment["AWS_PROFILE"] = "prod"
    outcome = desk.run("up", "b")
    assert outcome.returncode == 2
    assert "started with other variables than yours: AWS_PROFILE" in outcome.stderr
    assert desk.states() == {"a": "up", "b": "down", "c": "down"}
    desk.done("down")
    assert emulator.live_sessions() == []


def test_a_supervisor_that_cannot_start_says_why(desk: Desk) -> None:
    """And nothing hangs."""
    (desk.folder / "state").mkdir(mode=0o700)
    (desk.folder / "state" / "ssm-ssh").mkdir(mode=0o755)
    outcome = desk.run("up", "a")
    assert outcome.returncode == 2
    assert "others can reach" in outcome.stderr
