"""What must be seen nowhere (tokens, keys, signature, payload), and who may read our files."""

from __future__ import annotations

import ast
import os
import stat
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Final

from tests.features.connect_proxy import ConnectProxy
from tests.features.play import Play, play
from tests.features.port_node import NODE_ID
from tests.features.proxy_run import ProxyRun, wait_until
from tests.requirement import need_linux

if TYPE_CHECKING:
    from collections.abc import Iterator

# Looks like nothing else that a log could hold.
MARKER: Final = b"Xq7-payload-marker-Zt3"


def secrets_of(stage: Play) -> list[str]:
    """Everything that opens something: the caller's keys and the live sessions' tokens."""
    variables = stage.emulator.environment
    tables = stage.emulator._emulator.sessions
    tokens = [session.token._token for session in tables._live.values()]
    return [
        *filter(None, tokens),
        variables["AWS_SECRET_ACCESS_KEY"],
        variables["AWS_SESSION_TOKEN"],
        "Signature=",
        MARKER.decode(),
    ]


def command_lines(process_id: int) -> Iterator[str]:
    """The words that started a process and everything below it, as every user of the machine sees them."""
    yield Path(f"/proc/{process_id}/cmdline").read_text()
    for task in Path(f"/proc/{process_id}/task").iterdir():
        for child in (task / "children").read_text().split():
            yield from command_lines(int(child))


def files_below(folder: Path) -> dict[Path, bytes]:
    """All files and what they hold."""
    return {file: file.read_bytes() for file in folder.rglob("*") if file.is_file()}


def carry_and_resume(stage: Play, run: ProxyRun) -> list[str]:
    """Carry the marker over two streams; returns all secrets that were used."""
    run.write(b"echo\n")
    seen = secrets_of(stage)
    stage.echo(run, MARKER)
    stage.emulator.inject(refused_upgrade_status=503)
    stage.emulator.cut()
    wait_until(lambda: stage.emulator.counts.get("ResumeSession", 0) > 1)
    seen += secrets_of(stage)
    stage.emulator.inject(refused_upgrade_status=None)
    stage.echo(run, MARKER)
    return seen


def test_secrets_stay_out_of_logs_words_and_files() -> None:
    """With -vv, over a resume: nothing on stderr, in /proc/…/cmdline, in a file below home or cache."""
    need_linux()
    with play() as stage, stage.dial("-vv") as run:
        seen = carry_and_resume(stage, run)
        words = "".join(command_lines(run.process.pid))
        run.end_input()
        outcome = run.finish()
        assert outcome.status == 0
        assert len(outcome.lines) > 5
        files = b"".join(files_below(stage.folder).values()).decode("latin-1")
        for secret in seen:
            assert secret not in outcome.stderr
            assert secret not in words
            assert secret not in files


def test_secrets_stay_out_of_tracebacks() -> None:
    """A failure after the upgrade, told with -vv: where it was, and not what was in hand."""
    with play() as stage, stage.dial("-vv") as run:
        run.write(b"echo\n")
        stage.echo(run, MARKER)
        seen = secrets_of(stage)
        stage.emulator.inject(garbage=MARKER * 20, stream_url="wss://eve.example/?X-Amz-Signature=abcdef0123")
        stage.emulator.cut()
        outcome = run.finish()
    assert outcome.status == 255
    assert "Traceback" in outcome.stderr
    assert not [secret for secret in [*seen, "abcdef0123"] if secret in outcome.stderr]


def test_a_proxys_password_is_seen_nowhere() -> None:
    """It is part of HTTPS_PROXY, which error texts of libraries like to quote."""
    with play(has_tls=True) as stage:
        place = f"127.0.0.1:{stage.emulator.port}"
        for places in ({place: stage.emulator.port}, {}):
            with ConnectProxy(places, login="alice:S3kr1t") as proxy:
                through = f"http://alice:S3kr1t@127.0.0.1:{proxy.port}"
                with stage.dial("-vv", HTTPS_PROXY=through) as run:
                    run.write(b"give 1 1\n")
                    outcome = run.finish()
                    assert outcome.status == (0 if places else 255)
                    assert "S3kr1t" not in outcome.stderr


def test_what_is_written_is_for_its_owner_alone() -> None:
    """Folders 0700 and files 0600, whatever the umask."""
    with play() as stage:
        program = (sys.executable, "-c", "import os, sys; os.umask(0); os.execv(sys.argv[1], sys.argv[1:])")
        words = (sys.executable, "-m", "ssm_ssh")
        with ProxyRun(
            NODE_ID, str(stage.depot.port), environment=stage.environment(), program=(*program, *words)
        ) as run:
            run.write(b"give 1000 1\n")
            assert run.finish().status == 0
        stage.upload(count=3_000_000)
        modes = {path: stat.S_IMODE(path.stat().st_mode) for path in stage.cache.rglob("*")}
        assert modes
        for path, mode in modes.items():
            assert mode == (0o700 if path.is_dir() else 0o600), path


def test_a_credential_process_learns_nothing_of_the_session() -> None:
    """What we start gets the user's environment and nothing of ours, and cannot reach the tunnel."""
    with play() as stage:
        names = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN")
        keys = [stage.emulator.environment[name] for name in names]
        program, seen = stage.folder / "process.py", stage.folder / "seen"
        program.write_text(
            "import json, os, sys\n"
            f"open({str(seen)!r}, 'w').write(repr((dict(os.environ), sys.argv, os.listdir('/proc/self/fd'),"
            " sys.stdin.read())))\n"
            f"keys = {keys!r}\n"
            "names = ('AccessKeyId', 'SecretAccessKey', 'SessionToken')\n"
            "print(json.dumps(dict(zip(names, keys), Version=1)))\n"
        )
        config = stage.folder / "config"
        config.write_text(f"[default]\ncredential_process = {sys.executable} {program}\n")
        environment = stage.environment(AWS_CONFIG_FILE=str(config), **dict.fromkeys(names))
        with ProxyRun(NODE_ID, str(stage.depot.port), environment=environment) as run:
            run.write(b"echo\n" + MARKER)
            assert run.read(len(MARKER)) == MARKER
            run.end_input()
            assert run.finish().status == 0
        told = seen.read_text()
        assert MARKER.decode() not in told
        variables = set(ast.literal_eval(told)[0])
        assert variables - set(environment) <= {"LC_CTYPE", "PWD", "SHLVL", "_"} | set(os.environ)
