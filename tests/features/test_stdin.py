"""stdin is the tunnel: no byte of it is read for anything else."""

from __future__ import annotations

import os
import pty
import re
import select
import subprocess
import sys
from typing import TYPE_CHECKING, Final
from urllib.parse import parse_qs

from tests.features.false_peer import FalseApi
from tests.features.play import Play, play
from tests.features.port_node import NODE_ID, seeded_bytes
from tests.features.proxy_run import PROGRAM, ProxyRun, assert_refused
from tests.requirement import need_linux, need_program

if TYPE_CHECKING:
    from pathlib import Path

FIRST_LINE: Final = b"SSH-2.0-tunnel_line\r\n"
# A call that another thread's interrupts in the log is finished on a line of its own.
_CALL: Final = re.compile(
    r"(?P<thread>\d+) +(?:\w+\(\d+<(?P<file>[^>]*)>|<\.\.\. \w+ resumed>).*?(?: = (?P<count>-?\d+))?"
)
_ROLE_ANSWER: Final = """\
<AssumeRoleResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/"><AssumeRoleResult><Credentials>
<AccessKeyId>{AWS_ACCESS_KEY_ID}</AccessKeyId><SecretAccessKey>{AWS_SECRET_ACCESS_KEY}</SecretAccessKey>
<SessionToken>{AWS_SESSION_TOKEN}</SessionToken><Expiration>2999-01-01T00:00:00Z</Expiration>
</Credentials></AssumeRoleResult></AssumeRoleResponse>"""
# Becomes the leader of a session whose terminal is the named one, and then the program.
_ON_TERMINAL: Final = """\
import os, sys
os.setsid()
os.close(os.open(sys.argv[1], os.O_RDWR))
os.execv(sys.argv[2], sys.argv[2:])
"""


def traced(stage: Play, log: Path, *words: str) -> ProxyRun:
    """``proxy`` under strace, which notes every read."""
    need_linux()
    program = (
        need_program("strace"),
        "-f",
        "-y",
        "-o",
        str(log),
        "-e",
        "trace=read,readv,pread64,recvfrom",
        *PROGRAM,
    )
    return ProxyRun(*words, environment=stage.environment(), program=program)


def stdin_of(run: ProxyRun) -> str:
    """The run's stdin as strace writes it, on whatever descriptor it is held."""
    assert run.process.stdin is not None
    return f"pipe:[{os.fstat(run.process.stdin.fileno()).st_ino}]"


def bytes_read(log: Path, file: str) -> int:
    """How many bytes all threads and children together took from a file."""
    reading: dict[str, str] = {}
    total = 0
    for line in log.read_text(errors="replace").splitlines():
        match = _CALL.fullmatch(line)
        if match is None:
            continue
        thread = match["thread"]
        if match["file"] is not None:
            reading[thread] = match["file"]
        if match["count"] is not None and reading.get(thread) == file:
            total += max(0, int(match["count"]))
    return total


def mfa_profile(stage: Play) -> dict[str, str | None]:
    """Variables that lead to a role whose assumption needs an MFA code."""
    config = stage.folder / "config"
    config.write_text(
        "[profile mfa]\nrole_arn = arn:aws:iam::123456789012:role/Admin\nsource_profile = base\n"
        "mfa_serial = arn:aws:iam::123456789012:mfa/alice\n"
    )
    credentials = stage.folder / "credentials"
    credentials.write_text("[base]\naws_access_key_id = AKIABASE\naws_secret_access_key = secret\n")
    nothing = dict.fromkeys(("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"))
    return {
        **nothing,
        "AWS_CONFIG_FILE": str(config),
        "AWS_SHARED_CREDENTIALS_FILE": str(credentials),
        "AWS_PROFILE": "mfa",
    }


def test_every_byte_that_is_read_goes_through_the_tunnel() -> None:
    """Under strace: what was read of stdin is what was written to it, and all of it came back."""
    data = FIRST_LINE + seeded_bytes(200_000)
    with play() as stage:
        log = stage.folder / "strace"
        with traced(stage, log, NODE_ID, str(stage.depot.port)) as run:
            assert run.exchange(b"echo\n" + data, len(data)) == data
            stdin = stdin_of(run)
            run.end_input()
            assert run.finish().status == 0
        assert bytes_read(log, stdin) == len(b"echo\n" + data)


def test_a_run_that_fails_reads_nothing() -> None:
    """Under strace: not a single byte, although one waits."""
    with play() as stage:
        log = stage.folder / "strace"
        with traced(stage, log, "nobody") as run:
            run.write(FIRST_LINE)
            assert_refused(run.finish(), "no node is named", "", within=30)
            assert bytes_read(log, stdin_of(run)) == 0
        assert " read(" in log.read_text(errors="replace")


def test_mfa_without_a_terminal() -> None:
    """One clear error, and the tunnel's first line still waits in the pipe."""
    with play() as stage:
        ours, theirs = os.pipe()
        os.write(theirs, FIRST_LINE)
        done = subprocess.run(
            [*PROGRAM, "proxy", NODE_ID],
            env=stage.environment(mfa_profile(stage)),
            stdin=ours,
            capture_output=True,
            start_new_session=True,
            timeout=30,
            check=False,
        )
        os.close(theirs)
        assert os.read(ours, 1000) == FIRST_LINE
        os.close(ours)
        assert done.returncode == 255
        assert done.stdout == b""
        error, hint = done.stderr.decode().splitlines()
        assert "needs an MFA code" in error
        assert "terminal" in hint
        assert stage.emulator.calls == []


def test_mfa_with_a_terminal() -> None:
    """The question goes to the terminal, the answer comes from there, and stdin is all tunnel."""
    need_linux()
    codes: list[str] = []
    with play() as stage:

        def assume_role(_headers: dict[str, str], body: bytes) -> tuple[int, str, bytes]:
            codes.extend(parse_qs(body.decode())["TokenCode"])
            return 200, "text/xml", _ROLE_ANSWER.format(**stage.emulator.environment).encode()

        screen, terminal = pty.openpty()
        program = (sys.executable, "-c", _ON_TERMINAL, os.ttyname(terminal), *PROGRAM)
        with FalseApi(assume_role) as sts:
            variables = {**mfa_profile(stage), "AWS_ENDPOINT_URL_STS": sts.url}
            environment = stage.environment(variables)
            with ProxyRun(NODE_ID, str(stage.depot.port), environment=environment, program=program) as run:
                run.write(b"echo\n" + FIRST_LINE)
                assert select.select([screen], [], [], 20)[0]
                question = os.read(screen, 1000)
                os.write(screen, b"123456\n")
                assert run.read(len(FIRST_LINE)) == FIRST_LINE
                run.end_input()
                outcome = run.finish()
        os.close(screen)
        os.close(terminal)
    assert b"MFA" in question
    assert codes == ["123456"]
    assert (outcome.status, outcome.stderr) == (0, "")
