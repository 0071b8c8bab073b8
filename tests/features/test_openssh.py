"""Real OpenSSH and its friends over Session Manager, to a real sshd, with their host keys checked."""

from __future__ import annotations

import random
import shlex
import socket
import subprocess
import threading
from contextlib import contextmanager
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Final

import pytest

from ssm_ssh.cli.demo_stage import NODE_NAME
from tests.features.terminal import CTRL_C, Terminal
from tests.requirement import need_program

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from ssm_ssh.cli.demo_stage import Stage

# ssh's own status for a program on the node that a signal ended, and for its own failures.
_NO_STATUS: Final = 255
_STEP_SECONDS: Final = 60.0
_PAGE: Final = b"a page that only the node can reach\n"


# --- commands ---------------------------------------------------------------------------------------------


def test_a_node_is_reached_by_its_name_and_by_its_id(stage: Stage) -> None:
    """Both spellings lead to the same node, and both programs' outputs arrive apart."""
    for name in (NODE_NAME, stage.node_id):
        done = run(stage, "ssh", name, "echo out; echo err >&2")
        assert (done.stdout, done.stderr, done.returncode) == ("out\n", "err\n", 0)
        assert stage.emulator.sessions()[-1].target == stage.node_id


@pytest.mark.parametrize(("command", "status"), [("exit 0", 0), ("exit 7", 7), ("kill -KILL $$", _NO_STATUS)])
def test_the_status_of_the_remote_command_is_that_of_ssh(stage: Stage, command: str, status: int) -> None:
    """A script may rely on it as without Session Manager."""
    done = run(stage, "ssh", NODE_NAME, command)
    assert done.returncode == status
    assert done.stderr == ""


def test_a_changed_host_key_is_refused_by_ssh(stage: Stage, tmp_path: Path) -> None:
    """Host keys are checked for real: with another node's key in known_hosts there is no login."""
    foreign = tmp_path / "id"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(foreign)], check=True)
    known_hosts = tmp_path / "known_hosts"
    known_hosts.write_text(f"{NODE_NAME} {foreign.with_suffix('.pub').read_text()}")
    done = run(stage, "ssh", "-o", f"UserKnownHostsFile={known_hosts}", NODE_NAME, "echo in")
    assert done.returncode == _NO_STATUS
    assert done.stdout == ""
    assert "HOST IDENTIFICATION HAS CHANGED" in done.stderr


def test_input_reaches_the_remote_command(stage: Stage) -> None:
    """What is piped into ssh arrives whole, and the end of the input is seen on the node."""
    text = "".join(f"line {number}\n" for number in range(10_000))
    assert stage.run("ssh", NODE_NAME, "cat", text_in=text) == text


# --- files ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("protocol", [(), ("-O",)], ids=["sftp", "legacy"])
def test_scp_copies_a_tree_both_ways(stage: Stage, tree: Path, tmp_path: Path, protocol: list[str]) -> None:
    """Either protocol of scp brings the same files back."""
    remote = f"{NODE_NAME}:{stage.node_folder}/scp-{len(protocol)}"
    stage.run("scp", *protocol, "-r", str(tree), remote)
    stage.run("scp", *protocol, "-r", remote, str(tmp_path / "back"))
    assert contents(tmp_path / "back") == contents(tree)


def test_sftp_puts_renames_lists_and_gets(stage: Stage, tree: Path, tmp_path: Path) -> None:
    """A batch of sftp's commands does what it says."""
    batch = f"""\
cd {stage.node_folder}
put {tree}/random first
rename first second
ls -1
get second {tmp_path}/back
rm second
"""
    listing = stage.run("sftp", "-b", "-", NODE_NAME, text_in=batch)
    assert "second" in listing.splitlines()
    assert (tmp_path / "back").read_bytes() == (tree / "random").read_bytes()


def test_rsync_both_ways_and_again_without_work(stage: Stage, tree: Path, tmp_path: Path) -> None:
    """What rsync brings back is what it took, and the second time it knows that there is nothing to do."""
    rsync = [need_program("rsync"), "--archive", "--itemize-changes", "--rsh", shell_words(stage)]
    remote = f"{NODE_NAME}:{stage.node_folder}/rsync/"
    assert run_program(stage, *rsync, f"{tree}/", remote).count("\n") >= len(contents(tree))
    assert run_program(stage, *rsync, f"{tree}/", remote) == ""
    run_program(stage, *rsync, remote, f"{tmp_path}/back/")
    assert contents(tmp_path / "back") == contents(tree)


def test_git_pushes_and_clones_over_ssh(
    stage: Stage, tree: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A repository on the node takes a push by ssh:// and gives a clone by the short form."""
    git = need_program("git")
    monkeypatch.setitem(stage.environment, "GIT_SSH_COMMAND", shell_words(stage))
    repository = f"{stage.node_folder}/repository.git"
    stage.run("ssh", NODE_NAME, f"git init --quiet --bare --initial-branch=main {repository}")
    here = [git, "-C", str(tree)]
    run_program(stage, git, "init", "--quiet", "--initial-branch=main", str(tree))
    run_program(stage, *here, "add", ".")
    run_program(stage, *here, "commit", "--quiet", "--message", "all of it")
    run_program(stage, *here, "push", "--quiet", f"ssh://{NODE_NAME}{repository}", "main")
    run_program(stage, git, "clone", "--quiet", f"{NODE_NAME}:{repository}", str(tmp_path / "clone"))
    commit = run_program(stage, *here, "rev-parse", "HEAD")
    assert run_program(stage, git, "-C", str(tmp_path / "clone"), "rev-parse", "HEAD") == commit
    assert (tmp_path / "clone" / "random").read_bytes() == (tree / "random").read_bytes()


# --- forwards ---------------------------------------------------------------------------------------------


def test_a_local_forward_reaches_a_port_behind_the_node(stage: Stage) -> None:
    """``ssh -L`` carries several connections at once to a service that the node reaches."""
    local_port = free_port()
    with (
        web_service() as service_port,
        stage.connection("-L", f"127.0.0.1:{local_port}:127.0.0.1:{service_port}"),
        socket.create_connection(("127.0.0.1", local_port), timeout=_STEP_SECONDS),
    ):
        curl = need_program("curl")
        page = run_program(
            stage, curl, "--silent", "--show-error", "--fail", f"http://127.0.0.1:{local_port}/page"
        )
    assert page == _PAGE.decode()


def test_a_dynamic_forward_serves_a_socks_client(stage: Stage) -> None:
    """A browser-like client, curl, through ``ssh -D`` reaches a service by a name that the node resolves."""
    curl = need_program("curl")
    socks_port = free_port()
    with web_service() as service_port, stage.connection("-D", f"127.0.0.1:{socks_port}"):
        page = run_program(
            stage,
            *(curl, "--silent", "--show-error", "--fail", "--noproxy", ""),
            *("--socks5-hostname", f"127.0.0.1:{socks_port}", f"http://localhost:{service_port}/page"),
        )
    assert page == _PAGE.decode()


# --- one connection for many ------------------------------------------------------------------------------


def test_a_master_carries_every_command_over_one_session(stage: Stage) -> None:
    """With ControlMaster the second command starts no session, and ``-O exit`` ends the one there is."""
    sharing = ["-o", "ControlMaster=auto", "-o", f"ControlPath={stage.folder}/%C", "-o", "ControlPersist=60"]
    sessions_before = len(stage.emulator.sessions())
    try:
        for word in ("first", "second"):
            assert stage.run("ssh", *sharing, NODE_NAME, f"echo {word}") == f"{word}\n"
            assert len(stage.emulator.live_sessions()) == 1
        assert len(stage.emulator.sessions()) == sessions_before + 1
    finally:
        stage.run("ssh", *sharing, "-O", "exit", NODE_NAME)
    stage.emulator.wait_for_live_sessions(0)


# --- terminals --------------------------------------------------------------------------------------------


def test_the_terminal_has_the_size_of_the_window_also_when_that_changes(stage: Stage) -> None:
    """``ssh -t``: the node's terminal is as large as ours, and follows it."""
    following = 'stty size; until [ "$(stty size)" = "50 132" ]; do sleep 0.05; done; echo followed'
    with Terminal(
        stage.command("ssh", "-t", NODE_NAME, following), stage.environment, rows=37, columns=101
    ) as terminal:
        terminal.expect("37 101\r\n")
        terminal.resize(50, 132)
        terminal.expect("followed\r\n")
        assert terminal.wait() == 0


def test_ctrl_c_goes_to_the_program_on_the_node(stage: Stage) -> None:
    """In a shell on the node it interrupts what runs there; the shell's status is ssh's."""
    shell = "PS1='ready> ' exec /bin/sh"
    with Terminal(stage.command("ssh", "-tt", NODE_NAME, shell), stage.environment) as terminal:
        terminal.expect("ready> ")
        # Quoted such that the echo of what is typed is not what is waited for.
        terminal.type("echo 'be''gun'; sleep 1000\r")
        terminal.expect("begun\r\n")
        terminal.type(CTRL_C)
        terminal.expect("ready> ")
        terminal.type("exit 3\r")
        assert terminal.wait() == 3


# --- words for the above ----------------------------------------------------------------------------------


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A folder with an empty file, a random one, and one in a folder with a space in its name."""
    folder = tmp_path / "tree"
    (folder / "a folder").mkdir(parents=True)
    (folder / "empty").touch()
    (folder / "random").write_bytes(random.Random(1).randbytes(300_000))
    (folder / "a folder" / "newlines").write_bytes(b"\n" * 5000)
    return folder


def contents(folder: Path) -> dict[str, bytes]:
    """Every file below ``folder``, by its path from there."""
    files = [path for path in folder.rglob("*") if path.is_file()]
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}


def run(stage: Stage, program: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run one of OpenSSH's programs, whatever its status."""
    return subprocess.run(
        stage.command(program, *arguments),
        env=stage.environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
        timeout=_STEP_SECONDS,
    )


def run_program(stage: Stage, *command: str) -> str:
    """Run any program in the stage's environment and return its stdout."""
    done = subprocess.run(
        command,
        env=stage.environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
        timeout=_STEP_SECONDS,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def shell_words(stage: Stage) -> str:
    """The program ssh with the stage's configuration, as one word for programs that split it themselves."""
    return shlex.join(stage.command("ssh"))


def free_port() -> int:
    """A port that was free a moment ago: ssh's forwards cannot be asked for any port."""
    with socket.create_server(("127.0.0.1", 0)) as reserved:
        return int(reserved.getsockname()[1])


class _OnePage(SimpleHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Length", str(len(_PAGE)))
        self.end_headers()
        self.wfile.write(_PAGE)

    def log_message(self, format: str, *arguments: object) -> None:  # noqa: A002 -- the parent's name for it
        """A test's output is for failures."""


@contextmanager
def web_service() -> Iterator[int]:
    """A web server that answers everything with one page; gives its port."""
    with ThreadingHTTPServer(("127.0.0.1", 0), _OnePage) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield server.server_address[1]
        finally:
            server.shutdown()
            thread.join()
