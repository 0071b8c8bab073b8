"""Programs that end with us, and what they leave."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import threading
import time
from typing import TYPE_CHECKING

import pytest

from ssm_ssh.emulator import lifeline as lifeline_module
from ssm_ssh.emulator.lifeline import Lifeline

if TYPE_CHECKING:
    from pathlib import Path

FOREVER = ("sh", "-c", "echo $$ > pid; mv pid started; exec sleep 1000")


def directory_of(tmp_path: Path) -> Path:
    """A directory for a program, with something in it."""
    directory = tmp_path / "program"
    (directory / "deep").mkdir(parents=True)
    return directory


async def started(directory: Path) -> int:
    """The process id of ``FOREVER``, once it runs."""
    async with asyncio.timeout(10):
        while not os.path.lexists(directory / "started"):  # noqa: ASYNC110, ASYNC240 -- another process's file
            await asyncio.sleep(0.005)
    return int(directory.joinpath("started").read_text(encoding="ascii"))


def in_directory(directory: Path) -> list[str]:
    """``FOREVER``, run where its files are to be."""
    return ["sh", "-c", f"cd '{directory}'; exec \"$@\"", "sh", *FOREVER]


def is_alive(process_id: int) -> bool:
    """Whether the process is still there, and no zombie."""
    state = subprocess.run(
        ["ps", "-o", "stat=", "-p", str(process_id)], capture_output=True, text=True, check=False
    )
    return bool(state.stdout.strip()) and not state.stdout.startswith("Z")


def eventually_dead(process_id: int) -> None:
    """Wait for the process to go."""
    deadline = time.monotonic() + 10
    while is_alive(process_id):
        assert time.monotonic() < deadline
        threading.Event().wait(0.01)


def test_stop_ends_the_program_and_removes_its_directory(tmp_path: Path) -> None:
    """Twice is fine; before a start it is nothing."""
    directory = directory_of(tmp_path)

    async def scenario() -> int:
        lifeline = Lifeline(directory, tmp_path / "log")
        await lifeline.stop()
        await lifeline.start(in_directory(directory))
        process_id = await started(directory)
        lifeline.settle()
        assert lifeline.is_running
        await lifeline.stop()
        await lifeline.stop()
        assert not lifeline.is_running
        return process_id

    process_id = asyncio.run(scenario(), debug=True)
    assert not is_alive(process_id)
    assert not directory.exists()


@pytest.mark.parametrize("is_settled", [True, False])
def test_the_directory_can_be_kept(tmp_path: Path, *, is_settled: bool) -> None:
    """On request, and as long as the program is not known to be up."""
    directory = directory_of(tmp_path)

    async def scenario() -> None:
        lifeline = Lifeline(directory, tmp_path / "log")
        await lifeline.start(in_directory(directory))
        await started(directory)
        if is_settled:
            lifeline.settle()
        await lifeline.stop(keep_directory=is_settled)

    asyncio.run(scenario(), debug=True)
    assert (directory / "deep").is_dir()


def test_a_program_that_ends_by_itself_is_noticed(tmp_path: Path) -> None:
    """Its words are in the log."""
    directory = directory_of(tmp_path)

    async def scenario() -> None:
        lifeline = Lifeline(directory, tmp_path / "log")
        await lifeline.start(["sh", "-c", "echo goodbye; exit 3"])
        async with asyncio.timeout(10):
            while lifeline.is_running:  # noqa: ASYNC110 -- nothing tells
                await asyncio.sleep(0.005)
        await lifeline.stop()

    asyncio.run(scenario(), debug=True)
    assert (tmp_path / "log").read_text(encoding="utf-8") == "goodbye\n"


def test_a_program_that_does_not_end_is_killed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """After a while."""
    monkeypatch.setattr(lifeline_module, "_PATIENCE_SECONDS", 0.1)
    directory = directory_of(tmp_path)

    async def scenario() -> int:
        lifeline = Lifeline(directory, tmp_path / "log")
        await lifeline.start(["sh", "-c", 'trap "" TERM; exec "$@"', "sh", *in_directory(directory)])
        process_id = await started(directory)
        await lifeline.stop()
        return process_id

    eventually_dead(asyncio.run(scenario(), debug=True))


def test_the_program_goes_when_we_are_killed(tmp_path: Path) -> None:
    """Even without a chance to say so."""
    directory = directory_of(tmp_path)
    code = (
        "import asyncio, sys, pathlib\n"
        "from ssm_ssh.emulator.lifeline import Lifeline\n"
        "async def main():\n"
        "    directory = pathlib.Path(sys.argv[1])\n"
        "    lifeline = Lifeline(directory, directory.with_name('log'))\n"
        "    await lifeline.start(sys.argv[2:])\n"
        "    while not (directory / 'started').exists(): await asyncio.sleep(0.01)\n"
        "    lifeline.settle()\n"
        "    print('up', flush=True)\n"
        "    await asyncio.Event().wait()\n"
        "asyncio.run(main())\n"
    )
    argv = [sys.executable, "-c", code, str(directory), *in_directory(directory)]
    with subprocess.Popen(argv, stdout=subprocess.PIPE, text=True) as owner:
        assert owner.stdout is not None
        assert owner.stdout.readline() == "up\n"
        process_id = int((directory / "started").read_text(encoding="ascii"))
        assert is_alive(process_id)
        owner.kill()
    eventually_dead(process_id)
    deadline = time.monotonic() + 10
    while directory.exists():
        assert time.monotonic() < deadline
        threading.Event().wait(0.01)
