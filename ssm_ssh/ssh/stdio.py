"""stdin and stdout as one byte stream, for whatever they are: pipes, files, terminals, /dev/null.

asyncio's own pipes refuse files and /dev/null, and leave a terminal non-blocking for the programs after us.
So one thread reads and one writes, blocking, and the loop only hears of it.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import queue
import select
import sys
import threading
from typing import TYPE_CHECKING, Final

from ssm_ssh.transport.byte_stream import READ_BYTES

if TYPE_CHECKING:
    from collections.abc import Callable

_STDIN: Final = 0
_STDOUT: Final = 1


class Stdio:
    """A ``ByteStream`` over two file descriptors. Nothing is read ahead, and one write is on its way at most.

    The threads are daemons: a read that never returns does not keep the process.
    """

    def __init__(self, stdin: int = _STDIN, stdout: int = _STDOUT) -> None:
        self._stdout = stdout
        if sys.platform == "win32":
            import msvcrt  # noqa: PLC0415 -- exists on Windows only

            msvcrt.setmode(stdin, os.O_BINARY)
            msvcrt.setmode(stdout, os.O_BINARY)
        self._reader = _Worker("stdin")
        self._writer = _Worker("stdout")
        self._stdin = stdin
        self._reading: asyncio.Future[bytes] | None = None
        self._has_ended = False

    async def read(self, max_bytes: int = READ_BYTES) -> bytes:
        """The next bytes of stdin, or ``b""`` at its end. A cancelled read loses nothing."""
        if self._reading is None:
            self._reading = self._reader.call(lambda: _read(self._stdin, max_bytes))
        data = await asyncio.shield(self._reading)
        self._reading = None
        return data

    async def write(self, data: bytes) -> None:
        """Write all of ``data`` to stdout.

        Raises:
            OSError: ``BrokenPipeError`` and its kin, if nobody reads stdout any more.
        """
        await self._writer.call(lambda: _write_all(self._stdout, data))

    async def end(self) -> None:
        """Close stdout, so that its reader sees the end."""
        if not self._has_ended:
            self._has_ended = True
            await self._writer.call(lambda: _close(self._stdout))

    async def close(self) -> None:
        """Let go of both; a read that is under way is left to itself."""
        self._reader.stop()
        self._writer.stop()

    async def wait_abandoned(self, seconds: float) -> bool:
        """Wait until nobody reads stdout any more, at most ``seconds``. Returns whether that is so.

        Files and terminals are never abandoned, and on Windows there is no telling.
        """
        if not hasattr(select, "poll"):
            await asyncio.sleep(seconds)
            return False
        return await asyncio.to_thread(_poll_for_error, self._stdout, seconds)


def _read(descriptor: int, max_bytes: int) -> bytes:
    try:
        return os.read(descriptor, max_bytes)
    except OSError:
        # A terminal that is gone, a stdin that was never open: nobody will type there any more.
        return b""


def _write_all(descriptor: int, data: bytes) -> bytes:
    view = memoryview(data)
    while view:
        view = view[os.write(descriptor, view) :]
    return b""


def _close(descriptor: int) -> bytes:
    os.close(descriptor)
    return b""


def _poll_for_error(descriptor: int, seconds: float) -> bool:
    poll = select.poll()
    # Asked for nothing: errors and hang-ups are always told.
    poll.register(descriptor, 0)
    return bool(poll.poll(seconds * 1000))


class _Worker:
    """One daemon thread that does one blocking thing after the other, each for a future of the loop."""

    def __init__(self, name: str) -> None:
        self._loop = asyncio.get_running_loop()
        self._jobs: queue.SimpleQueue[tuple[Callable[[], bytes], asyncio.Future[bytes]] | None]
        self._jobs = queue.SimpleQueue()
        threading.Thread(target=self._work, name=f"ssm-ssh {name}", daemon=True).start()

    def call(self, job: Callable[[], bytes]) -> asyncio.Future[bytes]:
        """Have ``job`` done after those before it."""
        future: asyncio.Future[bytes] = self._loop.create_future()
        self._jobs.put((job, future))
        return future

    def stop(self) -> None:
        """End the thread after the jobs it has."""
        self._jobs.put(None)

    def _work(self) -> None:
        while (task := self._jobs.get()) is not None:
            job, future = task
            try:
                result = job()
            except OSError as error:
                self._tell(future, error)
            else:
                self._tell(future, result)

    def _tell(self, future: asyncio.Future[bytes], outcome: bytes | OSError) -> None:
        # A loop that has closed meanwhile has nobody left who wants to know.
        with contextlib.suppress(RuntimeError):
            self._loop.call_soon_threadsafe(_settle, future, outcome)


def _settle(future: asyncio.Future[bytes], outcome: bytes | OSError) -> None:
    if future.cancelled():
        return
    if isinstance(outcome, OSError):
        future.set_exception(outcome)
    else:
        future.set_result(outcome)
