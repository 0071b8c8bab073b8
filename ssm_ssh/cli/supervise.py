"""The supervisor's own process: before the user's eyes, or in the background with a log of bounded size.

``python -m ssm_ssh.cli.supervise`` is what ``start_supervisor`` starts. Its standard output is a pipe to
whoever started it and says one line: that it answers now, or why it cannot.
"""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import subprocess
import sys
import threading
from functools import partial
from logging.handlers import RotatingFileHandler
from typing import TYPE_CHECKING, Final

from ssm_ssh.cli.stop_signals import SIGNALLED, StopSignals
from ssm_ssh.errors import ExitStatus, InvalidOption, SsmSshError, SupervisorUnreachable
from ssm_ssh.forward.control_place import find_place, state_folder, take_lock
from ssm_ssh.forward.control_server import run_supervisor
from ssm_ssh.forward.supervised import tunnel_name

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from ssm_ssh.forward.control_place import ControlPlace
    from ssm_ssh.forward.order import TunnelOrder

_READY: Final = b"ready\n"
# Ours: how long a supervisor may take to answer; one that is just leaving terminates its sessions first.
_START_SECONDS: Final = 30.0
_LOG_BYTES: Final = 1024 * 1024
_STDOUT: Final = 1
_STDERR: Final = 2
_LARGEST_ERROR_BYTES: Final = 4096


def log_path() -> Path:
    """Where the supervisor in the background writes its log. Raises ``InvalidOption`` if it cannot."""
    return state_folder() / "supervisor.log"


# --- before the user's eyes ---


def run_in_foreground(orders: Sequence[TunnelOrder]) -> int:
    """Keep tunnels up until Ctrl-C, SIGTERM, or until the last one is taken down. Returns the exit status.

    Raises:
        InvalidOption: If a supervisor runs already.
        SsmSshError: Why it cannot run.
    """
    # Windows: nobody can ask, and nobody needs to know.
    place = None if sys.platform == "win32" else find_place()
    if place is not None:
        try:
            take_lock(place.running_lock, waits=False)
        except BlockingIOError as error:
            hint = "`ssm-ssh status` shows it; `ssm-ssh down` ends it"
            raise InvalidOption("a supervisor runs already", hint=hint) from error
    return _run(place, orders, ready=lambda: None)


def _run(place: ControlPlace | None, orders: Sequence[TunnelOrder], *, ready: Callable[[], None]) -> int:
    with StopSignals() as signals:

        async def supervise() -> None:
            loop, task = asyncio.get_running_loop(), asyncio.current_task()
            assert task is not None
            # A signal does not wake the loop; this does.
            signals.act(partial(_cancel, loop, task))
            await run_supervisor(place, orders, ready=ready)

        try:
            asyncio.run(supervise())
        except asyncio.CancelledError:
            # Service managers stop by SIGTERM what runs as it should.
            if signals.exit_status != SIGNALLED + signal.SIGTERM:
                return signals.exit_status or ExitStatus.INTERRUPTED
    return ExitStatus.FINE


def _cancel(loop: asyncio.AbstractEventLoop, task: asyncio.Task[None], _number: int) -> None:
    loop.call_soon_threadsafe(task.cancel)


# --- in the background ---


def start_supervisor() -> None:
    """Start a supervisor without tunnels in the background; returns once it answers.

    It has a session of its own, so that no terminal's signal reaches it, and of ours the environment alone.

    Raises:
        SupervisorUnreachable: If it does not.
    """
    log = log_path()
    descriptor = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW, 0o600)
    try:
        process = subprocess.Popen(
            # -P: modules come from where they are installed, not from the folder that it is started in.
            [sys.executable, "-P", "-m", "ssm_ssh.cli.supervise"],
            cwd="/",
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=descriptor,
            start_new_session=True,
        )
    finally:
        os.close(descriptor)
    assert process.stdout is not None
    patience = threading.Timer(_START_SECONDS, process.kill)
    patience.start()
    try:
        with process.stdout as pipe:
            said = pipe.readline(_LARGEST_ERROR_BYTES)
    finally:
        patience.cancel()
        patience.join()
    if said != _READY:
        process.wait()
        reason = said.decode("utf-8", "replace").strip() or "it ended at once, or was waited for too long"
        raise SupervisorUnreachable(
            f"the supervisor could not be started: {reason}", hint=f"its log, {log}, may tell more"
        )
    # It outlives us: without this, Python would call it forgotten.
    process.returncode = 0


class _Log(RotatingFileHandler):
    """A log that takes stderr with it when it begins anew."""

    def doRollover(self) -> None:  # noqa: N802 -- logging's name
        super().doRollover()
        self.take_stderr()

    def take_stderr(self) -> None:
        """Have what the interpreter itself says in the log, too."""
        if self.stream is not None:
            os.dup2(self.stream.fileno(), _STDERR)


def _name_tunnel(record: logging.LogRecord) -> bool:
    name = tunnel_name.get()
    record.tunnel = f"[{name}] " if name else ""
    return True


def _write_log(path: Path) -> None:
    os.umask(0o077)
    log = _Log(path, maxBytes=_LOG_BYTES, backupCount=1, encoding="utf-8", errors="backslashreplace")
    log.take_stderr()
    log.addFilter(_name_tunnel)
    log.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(tunnel)s%(message)s"))
    logging.basicConfig(level=logging.WARNING, handlers=[log])
    logging.getLogger("ssm_ssh").setLevel(logging.INFO)
    logging.captureWarnings(capture=True)


def main() -> int:
    """Be the supervisor in the background."""
    # Standard output is the starter's pipe: nobody may wait for its end as long as we live.
    starter = os.dup(_STDOUT)
    os.dup2(_STDERR, _STDOUT)
    try:
        path = log_path()
        _write_log(path)
        place = find_place()
        # Held until the process has ended: ``ssm-ssh down`` waits for that.
        take_lock(place.running_lock, waits=True)
        logging.getLogger("ssm_ssh").info("the supervisor starts")
        return _run(place, [], ready=partial(_say, starter, _READY))
    except SsmSshError as error:
        logging.getLogger("ssm_ssh").critical("%s", error)
        _say(starter, f"{error}\n".encode("utf-8", "backslashreplace"))
        return error.exit_status


def _say(starter: int, line: bytes) -> None:
    os.write(starter, line)
    os.close(starter)


if __name__ == "__main__":
    raise SystemExit(main())
