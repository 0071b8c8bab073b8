"""A program of the user's, run while something else is up: ``ssm-ssh … -- CMD``."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import signal
from typing import TYPE_CHECKING, Final

from ssm_ssh.cli.stop_signals import SIGNALLED
from ssm_ssh.errors import InvalidOption

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from ssm_ssh.cli.stop_signals import StopSignals

# Ours: what a program gets between SIGTERM and SIGKILL if the tunnel has to go first.
_LEAVE_SECONDS: Final = 5.0


def split_command(arguments: Sequence[str]) -> tuple[list[str], list[str]]:
    """Our words and, behind ``--``, the command's. Raises ``InvalidOption`` if there is none behind it."""
    words = list(arguments)
    if "--" not in words:
        return words, []
    at = words.index("--")
    if not words[at + 1 :]:
        raise InvalidOption("there is no command behind --")
    return words[:at], words[at + 1 :]


def check_command(words: Sequence[str]) -> None:
    """Raises ``InvalidOption`` if there is no such program."""
    if shutil.which(words[0]) is None:
        raise InvalidOption(f"{words[0]} cannot be found", hint="write -- and a program of the PATH")


async def run_child(
    words: Sequence[str],
    environment: Mapping[str, str],
    signals: StopSignals,
    *,
    secret: str | None = None,
) -> int:
    """Run a program with our stdin, stdout and stderr; returns its exit status as a shell tells it.

    Signals are passed on, and the program decides what they mean.

    Args:
        words: The program and its arguments.
        environment: Variables beside ours.
        signals: Whose signals are the program's meanwhile.
        secret: One line that its stdin holds, instead of ours.

    Raises:
        InvalidOption: If it cannot be started.
    """
    # From here on a signal is the program's, even if it comes while that is being started.
    signals.act(lambda _: None)
    try:
        process = await asyncio.create_subprocess_exec(
            *words,
            env={**os.environ, **environment},
            stdin=None if secret is None else asyncio.subprocess.PIPE,
        )
    except OSError as error:
        raise InvalidOption(f"{words[0]} cannot be run: {error.strerror}") from error
    try:
        signals.act(lambda number: _pass_on(process, number))
        if secret is not None:
            await _tell(process, secret)
        status = await process.wait()
    finally:
        await _see_off(process)
    return status if status >= 0 else SIGNALLED - status


async def _tell(process: asyncio.subprocess.Process, secret: str) -> None:
    assert process.stdin is not None
    process.stdin.write(f"{secret}\n".encode())
    process.stdin.close()
    # A program that does not want it may be gone already.
    with contextlib.suppress(OSError):
        await process.stdin.wait_closed()


def _pass_on(process: asyncio.subprocess.Process, number: int) -> None:
    # The terminal's Ctrl-C reaches the whole foreground group by itself; twice means something else to many.
    if number == signal.SIGINT and _is_in_foreground():
        return
    with contextlib.suppress(ProcessLookupError):
        process.send_signal(number)


def _is_in_foreground() -> bool:
    """Whether we are what the terminal's keys go to."""
    if not hasattr(os, "tcgetpgrp"):
        # Windows: a console's Ctrl-C goes to all its programs.
        return True
    try:
        terminal = os.open("/dev/tty", os.O_RDONLY | os.O_NOCTTY)
    except OSError:
        return False
    try:
        return os.tcgetpgrp(terminal) == os.getpgrp()
    except OSError:
        return False
    finally:
        os.close(terminal)


async def _see_off(process: asyncio.subprocess.Process) -> None:
    """Leave no program behind that outlived what it was started for."""
    for end in (process.terminate, process.kill):
        if process.returncode is not None:
            return
        with contextlib.suppress(ProcessLookupError):
            end()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_LEAVE_SECONDS):
                await process.wait()
