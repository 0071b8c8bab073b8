"""Streams that go away and come back: the session is resumed and no byte is lost, doubled or changed."""

from __future__ import annotations

import os
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING, Final

import pytest

from ssm_ssh.emulator.fault import Faults, Side
from ssm_ssh.emulator.settings import EndedResume, ServiceSettings
from tests.features.play import Play, digest, play
from tests.features.port_node import STAMP, PortNode, seeded_bytes
from tests.features.proxy_run import Outcome, ProxyRun, assert_refused, together, wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

BULK_BYTES: Final = 6_000_000
# Slow enough that whatever happens "in the middle" does.
BULK_RATE: Final = Faults(bandwidth_bytes_per_second=3_000_000)


@contextmanager
def talking(
    stage: Play, *options: str, variables: Mapping[str, str | None] | None = None
) -> Iterator[ProxyRun]:
    """An echoing connection that has already carried a word."""
    with stage.dial(*options, variables=variables) as run:
        run.write(b"echo\n")
        stage.echo(run, b"first")
        yield run


def leave(run: ProxyRun) -> None:
    """End as ssh does, and see that nobody complains."""
    run.end_input()
    outcome = run.finish()
    assert (outcome.status, outcome.stderr) == (0, "")


def upload_through(faults: Faults, bye_seconds: float = 3600.0, side: Side | None = None) -> Outcome:
    """Upload, closed again and again or cut three times: what we send is repaired as soon as it can be."""
    settings = ServiceSettings(bye_seconds=bye_seconds)
    with play(settings=settings, faults=faults) as stage, ThreadPoolExecutor(1) as pool:
        upload = pool.submit(stage.upload, count=BULK_BYTES)
        if side is not None:
            wait_until(lambda: stage.emulator.sessions() != [])
            for _ in range(3):
                threading.Event().wait(0.5)
                stage.emulator.cut(side)
        outcome = upload.result()
        counts = stage.session.counts
        assert max(counts.client_channels, counts.agent_channels) >= 3
        return outcome


def download_through(faults: Faults, bye_seconds: float = 3600.0, side: Side | None = None) -> Outcome:
    """Download, closed or cut twice.

    What the gateway held is lost each time, and the agent repeats only its oldest message, ten times a
    second; and it does so for two seconds at most once its port has closed, so the node's server stays.
    """
    count = BULK_BYTES // 4
    settings = ServiceSettings(bye_seconds=bye_seconds)
    with play(settings=settings, faults=faults) as stage:
        with stage.dial() as run:
            run.write(b"hold %d 1\n" % count)
            got = b""
            for _ in range(2):
                got += run.read(count // 3)
                if side is not None:
                    stage.emulator.cut(side)
            got += run.read(count - len(got))
            run.end_input()
            outcome = run.finish()
        assert digest(got) == digest(seeded_bytes(count))
        counts = stage.session.counts
        assert max(counts.client_channels, counts.agent_channels) >= 2
        return outcome


# --- the stream goes, the session stays ------------------------------------------------------------------


def test_the_hourly_bye_while_idle() -> None:
    """Close code 1000 "Bye" means: come again. Nobody sees anything."""
    with play(settings=ServiceSettings(bye_seconds=0.6)) as stage, talking(stage) as run:
        wait_until(lambda: stage.session.counts.client_channels >= 3)
        stage.echo(run, b"still here")
        leave(run)


def test_closes_and_cuts_in_a_transfer() -> None:
    """Up and down, in the middle: the hourly close, and cuts of the client's way, of the agent's, of both."""
    cases = {
        "up, closed": partial(upload_through, BULK_RATE, bye_seconds=0.7),
        "down, closed": partial(download_through, BULK_RATE, bye_seconds=0.8),
        **{f"up, cut, {side}": partial(upload_through, BULK_RATE, side=side) for side in Side},
        **{f"down, cut, {side}": partial(download_through, BULK_RATE, side=side) for side in Side},
    }
    for name, outcome in together(cases).items():
        assert (outcome.status, outcome.stderr) == (0, ""), name


def test_a_storm_of_pauses() -> None:
    """Pause and start of publication, a hundred times a second, on both sides: held, never dropped."""
    with play(faults=Faults(publication_storm_seconds=0.01)) as stage, talking(stage) as run:
        stage.echo(run, seeded_bytes(BULK_BYTES))
        leave(run)


# --- credentials that changed meanwhile ------------------------------------------------------------------


def _write_credentials(file: Path, environment: Mapping[str, str]) -> None:
    names = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN")
    lines = [f"{name.lower()} = {environment[name]}" for name in names]
    # At once, as a careful tool does: nobody may read half a file.
    fresh = file.with_suffix(".new")
    fresh.write_text("\n".join(["[default]", *lines, ""]))
    fresh.replace(file)


_PROCESS: Final = """
import configparser, json, sys
parser = configparser.ConfigParser(interpolation=None)
parser.read(sys.argv[1])
keys = parser["default"]
print(json.dumps({"Version": 1, "AccessKeyId": keys["aws_access_key_id"],
    "SecretAccessKey": keys["aws_secret_access_key"], "SessionToken": keys["aws_session_token"],
    "Expiration": "2999-01-01T00:00:00Z"}))
"""


@pytest.mark.parametrize("is_process", [False, True])
def test_credentials_that_expired_and_were_renewed(*, is_process: bool) -> None:
    """A resume hours later: ours are expired, the file or the program has new ones, a bit later."""
    nothing: dict[str, str | None] = dict.fromkeys(
        ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN")
    )
    with play() as stage:
        file, config, program = (stage.folder / name for name in ("credentials", "config", "process.py"))
        _write_credentials(file, stage.emulator.environment)
        program.write_text(_PROCESS)
        config.write_text(
            f"[default]\ncredential_process = {sys.executable} {program} {file}\n" if is_process else ""
        )
        shared = os.devnull if is_process else str(file)
        variables = {"AWS_CONFIG_FILE": str(config), "AWS_SHARED_CREDENTIALS_FILE": shared}
        with talking(stage, variables={**nothing, **variables}) as run:
            renewed = stage.emulator.renew_credentials()
            stage.emulator.cut()
            wait_until(lambda: "ExpiredTokenException" in {call.code for call in stage.emulator.calls})
            _write_credentials(file, renewed)
            stage.echo(run, b"renewed")
            assert stage.session.counts.client_channels == 2
            leave(run)


# --- the session is over ---------------------------------------------------------------------------------


@pytest.mark.parametrize("answer", EndedResume)
def test_a_session_that_ended_meanwhile(answer: EndedResume) -> None:
    """Both of AWS's ways to say so are final, and told at once."""
    with play(settings=ServiceSettings(ended_resume=answer)) as stage, talking(stage) as run:
        stage.emulator.inject(refused_upgrade_status=503)
        stage.emulator.cut()
        stage.emulator.terminate(stage.session.session_id)
        assert_refused(run.finish(within=30), "ended while its stream was away", "idle limit")


@pytest.mark.parametrize("minutes", ["0"])
def test_giving_up(minutes: str) -> None:
    """--resume-minutes bounds it; the session is ended where it still can be."""
    with play() as stage, talking(stage, "--resume-minutes", minutes) as run:
        stage.emulator.inject(refused_upgrade_status=503)
        stage.emulator.cut()
        assert_refused(run.finish(within=30), "could not be resumed within 0 seconds", "connect again")
        stage.emulator.wait_for_live_sessions(0)


@pytest.mark.soak
def test_giving_up_after_a_minute() -> None:
    """It is tried for as long as was said, and the last failure is named."""
    with play() as stage, talking(stage, "--resume-minutes", "1") as run:
        stage.emulator.inject(refused_upgrade_status=503)
        stage.emulator.cut()
        outcome = run.finish(within=80)
    assert_refused(outcome, "within 60 seconds: the data channel was refused: HTTP 503", "", within=75)
    assert outcome.seconds > 59


# --- ends ------------------------------------------------------------------------------------------------


def test_terminate_session_may_be_denied() -> None:
    """Many policies forbid it: no failure, and a word under -v only. Old agents need the call."""
    denied = Faults(denied_actions=frozenset({"ssm:TerminateSession"}))
    settings = ServiceSettings(idle_seconds=3.0)
    with play(PortNode(agent_version="2.3.714.0"), settings=settings, faults=denied) as stage:
        quiet = stage.download(count=1)
        with talking(stage) as run:
            leave(run)
        with talking(stage, "-v") as run:
            run.end_input()
            loud = run.finish()
    assert quiet.stderr == ""
    assert loud.status == 0
    assert "ssm:TerminateSession" in loud.stderr
    assert not loud.errors


# --- slow readers ----------------------------------------------------------------------------------------


def test_a_reader_that_rests_loses_nothing() -> None:
    """Who stops reading stdout stops the node's server, and fills nobody's memory."""
    count = 40_000_000
    with play() as stage, stage.dial() as run:
        run.write(b"give %d 1\n" % count)
        start = run.read(100_000)
        before = run.memory_bytes()
        threading.Event().wait(3)
        # Ours: 4 MiB unread, 4 MiB of frames, an inbox that is empty, and what the allocator keeps.
        assert run.memory_bytes() - before < 40_000_000
        assert stage.session.counts.to_client * 1024 < count
        rest = run.read(count - len(start))
        assert digest(start + rest) == digest(seeded_bytes(count))
        assert run.finish().status == 0


def test_a_node_that_rests_loses_nothing() -> None:
    """Who does not read on the node stops our stdin, and fills nobody's memory."""
    data = seeded_bytes(40_000_000)
    with play() as stage, stage.dial() as run:
        before = run.memory_bytes()
        largest: list[int] = []
        watch = threading.Timer(2.0, lambda: largest.append(run.memory_bytes()))
        watch.start()
        said = run.exchange(b"take %d 3\n" % len(data) + data, 64)
        watch.join()
        assert said.decode() == digest(data)
        assert largest[0] - before < 60_000_000
        assert run.finish().status == 0


def test_a_keystroke_during_an_upload_waits_little() -> None:
    """A bulk upload over a thin link fills no queue: what is typed behind it arrives soon."""
    rate = 1_000_000
    frames = 6_000
    with play(faults=Faults(bandwidth_bytes_per_second=rate, delay_seconds=0.02)) as stage:
        with stage.dial("--payload-size", "1024") as run:
            run.write(b"stamp %d\n" % frames)
            for _ in range(frames):
                run.write(STAMP.pack(time.monotonic_ns()))
            outcome = run.finish()
        assert outcome.status == 0
        settled = sorted(stage.depot.delays[frames // 2 :])
        assert len(settled) == frames // 2
        # The pipe and our queue hold 64 and 128 KiB, a quarter of a second of this link; the rest is queues.
        assert settled[len(settled) // 2] < 0.8
        assert settled[-1] < 1.5
