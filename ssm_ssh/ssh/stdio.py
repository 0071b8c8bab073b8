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

from ssm_ssh.errors import SessionEnded, StreamError, StreamReset
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
        if sys.platform == "win32":
            import msvcrt  # noqa: PLC0415 -- exists on Windows only

            msvcrt.setmode(stdin, os.O_BINARY)
            msvcrt.setmode(stdout, os.O_BINARY)
        self._stdin = stdin
        self._stdout = stdout
        self._reader = _Worker("stdin")
        self._writer = _Worker("stdout")
        self._reading: asyncio.Future[bytes] | None = None
        self._unread = b""
        self._has_ended = False
        self._is_closed = False

    async def read(self, max_bytes: int = READ_BYTES) -> bytes:
        """The next bytes of stdin, or ``b""`` at its end. A cancelled read loses nothing.

        Raises:
            SessionEnded: After ``close``.
        """
        if not self._unread:
            self._raise_if_closed()
            if self._reading is None:
                self._reading = self._reader.call(lambda: _read(self._stdin, max_bytes))
            # A read that was cancelled may have asked for more than this one does.
            self._unread = await asyncio.shield(self._reading)
            self._reading = None
        data, self._unread = self._unread[:max_bytes], self._unread[max_bytes:]
        return data

    async def write(self, data: bytes) -> None:
        """Write all of ``data`` to stdout, also if the call is cancelled.

        Raises:
            StreamReset: If nobody reads stdout any more.
            StreamError: If it cannot be written for another reason.
            SessionEnded: After ``end`` or ``close``.
        """
        self._raise_if_closed()
        if self._has_ended:
            raise SessionEnded
        try:
            await self._writer.call(lambda: _write_all(self._stdout, data))
        except ConnectionError as error:
            raise StreamReset("nobody reads stdout any more") from error
        except OSError as error:
            raise StreamError(f"stdout cannot be written: {error.strerror or error}") from error

    async def end(self) -> None:
        """Let go of stdout behind all that was written, so that its reader sees the end."""
        if not self._has_ended and not self._is_closed:
            self._has_ended = True
            await self._writer.call(lambda: _replace_by_null(self._stdout))

    async def close(self) -> None:
        """Let go of both; a read or write that is under way is left to itself."""
        if not self._is_closed:
            self._is_closed = True
            self._reader.stop()
            self._writer.stop()

    async def wait_abandoned(self, seconds: float) -> bool:
        """Wait until nobody reads stdout any more, at most ``seconds``. Returns whether that is so.

        Files are never abandoned, and on Windows there is no telling.
        """
        if not hasattr(select, "poll"):
            await asyncio.sleep(seconds)
            return False
        # A thread cannot be cancelled, but its poll ends when the other end of this pipe is closed.
        stopped, stop = os.pipe()
        try:
            loop = asyncio.get_running_loop()
            polling = loop.run_in_executor(None, _poll_for_error, self._stdout, stopped, seconds)
            return await asyncio.shield(polling)
        finally:
            os.close(stop)

    def _raise_if_closed(self) -> None:
        if self._is_closed:
            raise SessionEnded


def _read(descriptor: int, max_bytes: int) -> bytes:
    while True:
        try:
            return os.read(descriptor, max_bytes)
        except BlockingIOError:
            # Somebody who shares the descriptor made it non-blocking.
            select.select([descriptor], [], [])
        except OSError:
            # A terminal that is gone, a stdin that was never open: nobody will type there any more.
            return b""


def _write_all(descriptor: int, data: bytes) -> bytes:
    view = memoryview(data)
    while view:
        try:
            view = view[os.write(descriptor, view) :]
        except BlockingIOError:
            select.select([], [descriptor], [])
    return b""


def _replace_by_null(descriptor: int) -> bytes:
    # Not only closed: the next file to be opened would get the number, and be taken for stdout.
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, descriptor)
    os.close(null)
    return b""


def _poll_for_error(descriptor: int, stopped: int, seconds: float) -> bool:
    """Takes over ``stopped``."""
    try:
        poll = select.poll()
        # Asked for nothing: errors and hang-ups are always told.
        poll.register(descriptor, 0)
        poll.register(stopped, 0)
        return any(ready == descriptor for ready, _ in poll.poll(seconds * 1000))
    finally:
        os.close(stopped)


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
