"""``ssm-ssh demo [--shell]``: the main jobs, by the system's own ssh, on the stand-in."""

from __future__ import annotations

import hashlib
import os
import secrets
import signal
import socket
import socketserver
import subprocess
import sys
import threading
import time
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Final

from ssm_ssh.cli.demo_stage import NODE_NAME, Stage, set_stage
from ssm_ssh.cli.message import printable
from ssm_ssh.cli.parser import CommandParser
from ssm_ssh.emulator.sshd import ServerFailed
from ssm_ssh.errors import ExitStatus, UsageError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

_UP_BYTES: Final = 5_000_000
# The real agent sends 0.7 MB/s at most (protocol 11.2), and so does the stand-in.
_DOWN_BYTES: Final = 1_500_000
_ANSWER: Final = b"hello from a port behind the node\n"
_ANSWER_SECONDS: Final = 60.0


def run(arguments: Sequence[str]) -> int:
    """Run the command. Returns 1 if a step failed."""
    parser = CommandParser(
        prog="ssm-ssh demo",
        description="Show the main jobs on a stand-in of Session Manager; nothing leaves this machine.",
    )
    parser.add_argument("--shell", action="store_true", help="then open a shell where ssh reaches the node")
    options = parser.parse_args(arguments)
    started_at = time.monotonic()
    _stop_on_signals()
    with ExitStack() as stack:
        try:
            stage = stack.enter_context(set_stage())
        except (ServerFailed, OSError, ValueError) as error:
            raise UsageError(f"the demo cannot start: {error}") from error
        seconds = time.monotonic() - started_at
        _print("A stand-in of Session Manager and one node are up on this machine after")
        _print(f"{seconds:.1f} s: {NODE_NAME}, {stage.node_id}. What follows is the system's own ssh,")
        _print("through `ssm-ssh proxy`, at the real agent's pace.")
        if not stage.is_separate:
            _print()
            _print("You are not root, so the node is this machine and YOUR OWN ACCOUNT: what you change or")
            _print("delete there is changed or deleted here.")
        _print()
        if options.shell:
            return _open_shell(stage)
        outcomes = [_show(title, step, stage) for title, step in _STEPS]
    _print()
    if not all(outcomes):
        _print("Something above failed; that is a bug, or this machine's ssh is unusual.")
        return ExitStatus.DIFFERENCES
    _print("Next:")
    _print(f"  {sys.argv[0]} demo --shell")
    _print("      a shell in which ssh, scp and sftp reach the node")
    _print('  README.md, "Quick start"')
    _print("      the lines for your own ~/.ssh/config, and then: ssh i-…")
    return ExitStatus.FINE


def _stop_on_signals() -> None:
    """Let a closed terminal and ``kill`` end the demo as Ctrl-C does: with everything it started."""
    for name in ("SIGHUP", "SIGTERM"):
        if hasattr(signal, name):
            signal.signal(getattr(signal, name), signal.default_int_handler)


def _show(title: str, step: Callable[[Stage], str], stage: Stage) -> bool:
    started_at = time.monotonic()
    try:
        outcome = step(stage)
    except (subprocess.SubprocessError, OSError, ValueError) as error:
        words = getattr(error, "stderr", None) or str(error)
        _print(f"  FAILED  {title}: {' '.join(str(words).split())}")
        return False
    _print(f"  ok  {title:<44} {time.monotonic() - started_at:5.1f} s   {outcome}")
    return True


def _command(stage: Stage) -> str:
    return f"it says: {stage.run('ssh', NODE_NAME, 'hostname').strip()}"


def _upload(stage: Stage) -> str:
    sent = _random_file(stage.folder / "up", _UP_BYTES)
    stage.run("scp", str(stage.folder / "up"), f"{NODE_NAME}:{stage.node_folder}/up")
    arrived = stage.run("ssh", NODE_NAME, f"sha256sum {stage.node_folder}/up").split()[0]
    return _compare(sent, arrived)


def _download(stage: Stage) -> str:
    sent = _random_file_on_node(stage)
    stage.run("scp", f"{NODE_NAME}:{stage.node_folder}/down", str(stage.folder / "down"))
    return _compare(sent, _digest(stage.folder / "down"))


def _list_by_sftp(stage: Stage) -> str:
    listing = stage.run("sftp", "-b", "-", NODE_NAME, text_in=f"ls -1 {stage.node_folder}\n")
    return f"{sum(not line.startswith('sftp>') for line in listing.splitlines())} files"


def _forward(stage: Stage) -> str:
    with _one_service() as service_port, socket.create_server(("127.0.0.1", 0)) as reserved:
        local_port = reserved.getsockname()[1]
        reserved.close()
        with (
            stage.connection("-L", f"127.0.0.1:{local_port}:127.0.0.1:{service_port}"),
            socket.create_connection(("127.0.0.1", local_port), timeout=_ANSWER_SECONDS) as connection,
            connection.makefile("rb") as answering,
        ):
            answer = answering.readline()
    if answer != _ANSWER:
        raise ValueError(f"an unexpected answer: {answer!r}")
    return f"answered on localhost:{local_port}"


def _survive_cut(stage: Stage) -> str:
    sent = _random_file_on_node(stage)
    arriving = stage.folder / "survived"
    command = stage.command("scp", f"{NODE_NAME}:{stage.node_folder}/down", str(arriving))
    with subprocess.Popen(command, env=stage.environment, stderr=subprocess.PIPE, text=True) as copying:
        _wait_for_bytes(arriving, copying)
        stage.emulator.cut()
        _, words = copying.communicate(timeout=_ANSWER_SECONDS)
    if copying.returncode:
        raise ValueError(words)
    return f"cut after {_DOWN_BYTES // 4 // 1000} kB, resumed; {_compare(sent, _digest(arriving))}"


_STEPS: Final = (
    ("a command on the node", _command),
    (f"{_UP_BYTES / 1e6:g} MB up by scp", _upload),
    (f"{_DOWN_BYTES / 1e6:g} MB down by scp", _download),
    ("a directory by sftp", _list_by_sftp),
    ("a port behind the node, by ssh -L", _forward),
    (f"{_DOWN_BYTES / 1e6:g} MB down, the stream cut in the middle", _survive_cut),
)


def _wait_for_bytes(file: Path, copying: subprocess.Popen[str]) -> None:
    """Wait until a quarter has arrived: a file system tells nobody when a file grows, so it is asked."""
    while copying.poll() is None and (not file.exists() or file.stat().st_size < _DOWN_BYTES // 4):
        threading.Event().wait(0.02)


class _Answer(socketserver.StreamRequestHandler):
    def handle(self) -> None:
        self.wfile.write(_ANSWER)


@contextmanager
def _one_service() -> Iterator[int]:
    """Something to reach behind the node; gives its port."""
    with socketserver.TCPServer(("127.0.0.1", 0), _Answer) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield server.server_address[1]
        finally:
            server.shutdown()
            thread.join()


def _random_file(file: Path, size: int) -> str:
    content = secrets.token_bytes(size)
    file.write_bytes(content)
    return hashlib.sha256(content).hexdigest()


def _random_file_on_node(stage: Stage) -> str:
    making = f"head -c {_DOWN_BYTES} /dev/urandom > {stage.node_folder}/down"
    return stage.run("ssh", NODE_NAME, f"{making} && sha256sum {stage.node_folder}/down").split()[0]


def _digest(file: Path) -> str:
    with file.open("rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()


def _compare(sent: str, arrived: str) -> str:
    if sent != arrived:
        raise ValueError(f"SHA-256 differs: {sent} was sent, {arrived} arrived")
    return f"SHA-256 equal ({sent[:8]}…)"


def _open_shell(stage: Stage) -> int:
    shell = os.environ.get("SHELL", "/bin/sh")
    _print("In this shell ssh, scp, sftp, rsync and git reach the node. Try:")
    _print(f"  ssh {NODE_NAME}")
    _print(f"  ssh {stage.node_id} uptime")
    _print(f"  ssm-ssh proxy {stage.node_id} 22 </dev/null")
    _print("exit ends it, and the stand-in with it.")
    return subprocess.run([shell], env=stage.shell_environment(), check=False).returncode


def _print(line: str = "") -> None:
    sys.stdout.write(f"{printable(line)}\n")
    sys.stdout.flush()
