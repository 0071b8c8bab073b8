"""One run of ``ssm-ssh proxy`` as a real program, and what a refusal of it looks like."""

from __future__ import annotations

import os
import select
import subprocess
import sys
import tempfile
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from types import TracebackType
    from typing import Self

PROGRAM: Final = (sys.executable, "-m", "ssm_ssh")
# Ours: what hangs is broken; nothing here takes a fifth of it.
_PATIENCE_SECONDS: Final = 90.0
_ERROR: Final = "ssm-ssh: error: "
_HINT: Final = "ssm-ssh: hint: "


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a run ended.

    Attributes:
        stdout: What nobody read before.
        seconds: From its start to its end.
    """

    status: int
    stdout: bytes
    stderr: str
    seconds: float

    @property
    def lines(self) -> list[str]:
        """The lines of stderr."""
        return self.stderr.split("\n")[:-1]

    @property
    def errors(self) -> list[str]:
        """The error lines, without what stands before each."""
        return [line.removeprefix(_ERROR) for line in self.lines if line.startswith(_ERROR)]

    @property
    def hints(self) -> list[str]:
        """The hint lines, without what stands before each."""
        return [line.removeprefix(_HINT) for line in self.lines if line.startswith(_HINT)]


class ProxyRun:
    """A started ``proxy``; a context manager that kills what still runs at its end.

    Its stdin stays open until ``end_input``: a run that ends before did so by itself.
    """

    def __init__(
        self,
        *words: str | bytes,
        environment: Mapping[str, str],
        program: Sequence[str | bytes] = PROGRAM,
        own_session: bool = False,
    ) -> None:
        self._stderr = tempfile.TemporaryFile()  # noqa: SIM115 -- closed with the run
        self._started_at = time.monotonic()
        self._ended_at: float | None = None
        self._lock = threading.Lock()
        self.process = subprocess.Popen(
            [*program, "proxy", *words],
            env=dict(environment),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._stderr,
            bufsize=0,
            start_new_session=own_session,
        )
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self._stdin, self._stdout = self.process.stdin, self.process.stdout

    def write(self, data: bytes) -> None:
        """Write all of ``data`` to its stdin."""
        view = memoryview(data)
        while view:
            view = view[self._stdin.write(view) or 0 :]

    def end_input(self) -> None:
        """Close its stdin."""
        self._stdin.close()

    def read(self, count: int, *, within: float = _PATIENCE_SECONDS) -> bytes:
        """Exactly ``count`` bytes of its stdout, or fewer if it ends. Raises ``TimeoutError``."""
        deadline = time.monotonic() + within
        chunks: list[bytes] = []
        while count:
            self._wait_readable(deadline)
            chunk = os.read(self._stdout.fileno(), min(count, 1 << 20))
            if not chunk:
                break
            chunks.append(chunk)
            count -= len(chunk)
        return b"".join(chunks)

    def exchange(self, data: bytes, count: int, *, within: float = _PATIENCE_SECONDS) -> bytes:
        """Write ``data`` while reading ``count`` bytes."""
        writer = threading.Thread(target=self._write_if_taken, args=(data,))
        writer.start()
        try:
            return self.read(count, within=within)
        except BaseException:
            self.process.kill()
            raise
        finally:
            writer.join()

    def said(self) -> str:
        """Its stderr so far."""
        return os.pread(self._stderr.fileno(), 1 << 20, 0).decode()

    def wait_for_word(self, word: str, *, within: float = _PATIENCE_SECONDS) -> None:
        """Wait until its stderr holds ``word``. Raises ``TimeoutError``."""
        wait_until(lambda: word in self.said(), within=within)

    def finish(self, *, within: float = _PATIENCE_SECONDS) -> Outcome:
        """Read the rest and wait for the end. Raises ``TimeoutError``."""
        deadline = time.monotonic() + within
        rest = self.read(1 << 40, within=within)
        try:
            status = self.process.wait(max(0.1, deadline - time.monotonic()))
        except subprocess.TimeoutExpired as error:
            raise TimeoutError(f"still running, and says: {self.said()}") from error
        return Outcome(status, rest, self.said(), time.monotonic() - self._started_at)

    def memory_bytes(self) -> int:
        """Its resident memory."""
        for line in Path(f"/proc/{self.process.pid}/status").read_text().splitlines():
            if line.startswith("VmRSS:"):
                return int(line.split()[1]) * 1024
        raise AssertionError("no VmRSS")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        for stream in (self._stdin, self._stdout, self._stderr):
            with suppress(OSError):
                stream.close()

    def _wait_readable(self, deadline: float) -> None:
        left = deadline - time.monotonic()
        if left <= 0 or not select.select([self._stdout], [], [], left)[0]:
            raise TimeoutError(f"no byte in time; it says: {self.said()}")

    def _write_if_taken(self, data: bytes) -> None:
        with suppress(OSError):
            self.write(data)


def wait_until(holds: Callable[[], bool], *, within: float = _PATIENCE_SECONDS) -> None:
    """Wait until ``holds``, looking often. Raises ``TimeoutError``."""
    deadline = time.monotonic() + within
    pause = threading.Event()
    while not holds():
        if time.monotonic() > deadline:
            raise TimeoutError("it did not come to hold")
        pause.wait(0.02)


def together(cases: Mapping[str, Callable[[], Outcome]]) -> dict[str, Outcome]:
    """Run all cases at the same time: most of their time is waiting."""
    with ThreadPoolExecutor(max_workers=len(cases)) as pool:
        futures = {name: pool.submit(case) for name, case in cases.items()}
        return {name: future.result() for name, future in futures.items()}


def assert_refused(
    outcome: Outcome, error: str, hint: str, *, within: float = 10.0, notices: Sequence[str] = ()
) -> None:
    """See that a run failed as a run should: told in two lines, in time, with nothing on stdout.

    Args:
        outcome: How it ended.
        error: A part of the error line.
        hint: A part of the hint line.
        within: How long it may have taken, in seconds.
        notices: A part of each line before these.
    """
    assert outcome.errors, outcome
    assert error in outcome.errors[0], outcome.errors[0]
    assert outcome.hints, outcome
    assert hint in outcome.hints[0], outcome.hints[0]
    assert len(outcome.lines) == 2 + len(notices), outcome.stderr
    assert outcome.lines[-2:] == [_ERROR + outcome.errors[0], _HINT + outcome.hints[0]]
    for line, notice in zip(outcome.lines, notices, strict=False):
        assert notice in line
    assert all(line.isprintable() for line in outcome.lines), outcome.stderr
    assert outcome.stdout == b""
    assert outcome.status == 255
    assert outcome.seconds < within, f"it took {outcome.seconds:.1f} s"
