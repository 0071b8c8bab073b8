"""``ssm-ssh demo``: what a newcomer sees, as root, as anybody, with and without sshd, and what it leaves."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Final

import pytest

from ssm_ssh.cli.demo_stage import NODE_ID, NODE_NAME
from ssm_ssh.errors import ExitStatus
from tests.features.terminal import CTRL_C, Terminal
from tests.requirement import need_linux, need_module, need_program, need_root, without_privileges

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

_DEMO: Final = (sys.executable, "-m", "ssm_ssh", "demo")
_STEPS: Final = 6
_SECONDS: Final = 120.0
# The user that ``without_privileges`` becomes, given a home and a shell for the length of a test.
_NOBODY: Final = 65534


@pytest.fixture
def environment(tmp_path: Path) -> Iterator[Mapping[str, str]]:
    """A temporary folder of the demo's own; afterwards it is empty, and no process of the demo is left."""
    need_module("aiohttp")
    need_module("asyncssh")
    need_program("ssh")
    folder = tmp_path / "t"
    folder.mkdir()
    folder.chmod(0o777)
    yield {**os.environ, "TMPDIR": str(folder), "SHELL": "/bin/sh"}
    assert list(folder.iterdir()) == []
    assert processes_with(f"TMPDIR={folder}") == []


def test_the_demo_shows_six_jobs(environment: Mapping[str, str]) -> None:
    """Each is done and timed; nothing is complained about."""
    done = run(_DEMO, environment)
    assert done.returncode == ExitStatus.FINE
    assert done.stderr == ""
    assert succeeded(done.stdout) == _STEPS
    assert "FAILED" not in done.stdout


def test_settings_of_the_caller_do_not_lead_it_astray(environment: Mapping[str, str]) -> None:
    """A profile, a CA and endpoints in the environment made the demo fail or leave this machine."""
    astray = {
        "AWS_PROFILE": "mine",
        "AWS_CA_BUNDLE": "/nowhere",
        "AWS_ENDPOINT_URL_SSM": "http://127.0.0.1:9",
    }
    done = run([*_DEMO, "--shell"], {**environment, **astray}, f"ssh {NODE_NAME} echo reached\n")
    assert done.returncode == ExitStatus.FINE, done.stderr
    assert done.stdout.endswith("reached\n")


def test_the_demo_works_without_privileges(
    environment: Mapping[str, str], unprivileged: Unprivileged
) -> None:
    """As an ordinary user the node is the caller's machine and account, and everything works the same."""
    need_program("sshd")
    done = run(unprivileged.command(_DEMO), unprivileged.environment(environment))
    assert done.returncode == ExitStatus.FINE, done.stderr
    assert succeeded(done.stdout) == _STEPS


def test_the_demo_works_without_sshd(environment: Mapping[str, str], unprivileged: Unprivileged) -> None:
    """A machine without a server gets the embedded one, and the same six jobs."""
    need_root()
    command = unprivileged.command(_DEMO, hidden=need_program("sshd"))
    done = run(command, unprivileged.environment(environment))
    assert done.returncode == ExitStatus.FINE, done.stderr
    assert succeeded(done.stdout) == _STEPS
    asking = f"ssm-ssh proxy {NODE_ID} </dev/null"
    shell = run([*command, "--shell"], unprivileged.environment(environment), asking)
    assert "SSH-2.0-AsyncSSH" in shell.stdout


def test_the_shell_reaches_the_node_by_plain_commands(environment: Mapping[str, str], tmp_path: Path) -> None:
    """The README's commands, typed into a shell on a terminal; ``exit`` ends it all."""
    (tmp_path / "backup.tar").write_bytes(os.urandom(50_000))
    with Terminal([*_DEMO, "--shell"], {**environment, "PS1": "demo$ "}) as terminal:

        def enter(line: str) -> str:
            terminal.expect(r"demo\$ ")
            terminal.type(f"{line}; echo status:$?\r")
            terminal.expect(r"\r\n")
            return terminal.expect(r"status:0\r\n")

        enter(f"cd {tmp_path}")
        enter("export AWS_PROFILE=work AWS_REGION=eu-central-1")
        name = enter(f"ssh {NODE_NAME} hostname")
        assert name
        assert enter(f"ssh {NODE_ID} hostname") == name
        enter(f"scp backup.tar {NODE_ID}:/tmp/t-ssm-ssh && scp {NODE_ID}:/tmp/t-ssm-ssh back.tar")
        enter(f"ssh {NODE_ID} rm /tmp/t-ssm-ssh")
        assert "SSH-2.0-" in enter(f"ssm-ssh proxy {NODE_ID} 22 </dev/null")
        terminal.expect(r"demo\$ ")
        terminal.type("exit 5\r")
        assert terminal.wait() == 5
    assert (tmp_path / "back.tar").read_bytes() == (tmp_path / "backup.tar").read_bytes()


def test_ctrl_c_ends_the_demo_and_all_that_it_started(environment: Mapping[str, str]) -> None:
    """In the middle of a job: 130, and the fixture finds nothing left."""
    with Terminal(_DEMO, environment) as terminal:
        terminal.expect("ok  a command")
        terminal.type(CTRL_C)
        assert "Traceback" not in terminal.read_to_end()
        assert terminal.wait() == ExitStatus.INTERRUPTED


def test_a_closed_terminal_ends_the_shell_and_all_that_it_started(environment: Mapping[str, str]) -> None:
    """The window with ``demo --shell`` is closed, and the fixture finds nothing left."""
    with Terminal([*_DEMO, "--shell"], {**environment, "PS1": "demo$ "}) as terminal:
        terminal.expect(r"demo\$ ")


def test_a_missing_dependency_is_named(environment: Mapping[str, str]) -> None:
    """Installed without the extra, the demo says what to install instead of showing a traceback."""
    absent = "import sys; sys.modules['aiohttp'] = None; from ssm_ssh.__main__ import main; sys.exit(main())"
    done = run([sys.executable, "-c", absent, "demo"], environment)
    assert done.returncode == ExitStatus.USAGE
    assert done.stderr.splitlines() == [
        "ssm-ssh: error: demo needs aiohttp, which is not installed",
        "ssm-ssh: hint: install its extra 'emulator', in a checkout: pip install '.[emulator]'",
    ]


# --- words for the above ----------------------------------------------------------------------------------


class Unprivileged:
    """An ordinary user with a home, whoever runs the tests."""

    def __init__(self, home: Path) -> None:
        self._home = home
        self._is_root = os.geteuid() == 0
        if self._is_root:
            os.chown(home, _NOBODY, _NOBODY)
            account = f"nobody:x:{_NOBODY}:{_NOBODY}:nobody:{home}:/bin/sh"
            passwd = re.sub(r"(?m)^nobody:.*$", account, Path("/etc/passwd").read_text())
            (home / "passwd").write_text(passwd)

    def command(self, command: tuple[str, ...], *, hidden: str | None = None) -> list[str]:
        """``command`` as that user, ``hidden`` being a program that is not there for it."""
        if not self._is_root:
            return list(command)
        # /dev/null over a program makes it one that cannot be run, in this namespace alone.
        hiding = f"mount --bind /dev/null {shlex.quote(hidden)}" if hidden else ":"
        entering = f"mount --bind {shlex.quote(str(self._home / 'passwd'))} /etc/passwd && {hiding}"
        unshare = need_program("unshare")
        script = f'{entering} && exec "$@"'
        return [unshare, "--mount", "/bin/sh", "-c", script, "sh", *without_privileges(command)]

    def environment(self, environment: Mapping[str, str]) -> dict[str, str]:
        """``environment`` with that user's home."""
        return {**environment, "HOME": str(self._home), "USER": "somebody-else"}


@pytest.fixture
def unprivileged(tmp_path: Path) -> Unprivileged:
    """An ordinary user."""
    need_linux()
    home = tmp_path / "home"
    home.mkdir()
    return Unprivileged(home)


def run(
    command: tuple[str, ...] | list[str], environment: Mapping[str, str], text_in: str = ""
) -> subprocess.CompletedProcess[str]:
    """Run a demo, typing ``text_in``."""
    return subprocess.run(
        command, env=environment, input=text_in, capture_output=True, text=True, check=False, timeout=_SECONDS
    )


def succeeded(account: str) -> int:
    """How many jobs the demo says are done."""
    return len(re.findall(r"(?m)^  ok  .* \d+\.\d s   ", account))


def processes_with(variable: str) -> list[str]:
    """The programs in whose environment ``variable`` is; none where the system does not tell."""
    found: list[str] = []
    for environ in Path("/proc").glob("[0-9]*/environ"):
        try:
            if variable.encode() in environ.read_bytes().split(b"\0"):
                found.append(environ.with_name("cmdline").read_text().replace("\0", " "))
        except OSError:
            # Gone, or somebody else's.
            continue
    return found
