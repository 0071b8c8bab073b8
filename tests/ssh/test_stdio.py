"""stdin and stdout over the descriptors there are: pipes, sockets, files, /dev/null and terminals."""

from __future__ import annotations

import asyncio
import fcntl
import os
import pty
import socket
import threading
import time
from contextlib import asynccontextmanager, contextmanager
from typing import TYPE_CHECKING

import pytest

from ssm_ssh.errors import SessionEnded, StreamError, StreamReset
from ssm_ssh.ssh.stdio import Stdio
from tests.transport.contract import LAWS, Rig, law_name

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterator
    from pathlib import Path


def run(scenario: Coroutine[object, object, None]) -> None:
    """Run a scenario in debug mode; it leaves no task and, within a moment, no thread."""

    async def watched() -> None:
        async with asyncio.timeout(20):
            await scenario
        assert asyncio.all_tasks() == {asyncio.current_task()}

    asyncio.run(watched(), debug=True)
    for thread in threading.enumerate():
        if thread.name.startswith("ssm-ssh"):
            thread.join(2)
            assert not thread.is_alive(), thread


@contextmanager
def pipe() -> Iterator[list[int]]:
    """A pipe's two ends; whoever closes one says so by putting -1 in its place."""
    ends = list(os.pipe())
    try:
        yield ends
    finally:
        for end in ends:
            if end >= 0:
                os.close(end)


def close(ends: list[int], which: int) -> None:
    """Close one end of a pipe."""
    os.close(ends[which])
    ends[which] = -1


class PipeRig:
    """Stdio over two pipes."""

    # What a pipe holds on Linux.
    accepted_bytes = 65_536

    def __init__(self, stdio: Stdio, stdin: list[int], stdout: list[int]) -> None:
        self._stdio = stdio
        self._stdin = stdin
        self._stdout = stdout

    @property
    def stream(self) -> Stdio:
        """As ``Rig``."""
        return self._stdio

    async def peer_says(self, data: bytes) -> None:
        """As ``Rig``."""
        os.write(self._stdin[1], data)

    async def peer_ends(self) -> None:
        """As ``Rig``."""
        close(self._stdin, 1)

    def peer_stalls(self) -> None:
        """As ``Rig``: it takes only what it is asked for."""

    async def peer_hears(self, count: int) -> bytes:
        """As ``Rig``."""

        def hear() -> bytes:
            heard = b""
            while len(heard) < count:
                heard += os.read(self._stdout[0], 65_536)
            return heard

        return await asyncio.to_thread(hear)

    async def settle(self) -> None:
        """As ``Rig``."""
        await asyncio.sleep(0.05)


@asynccontextmanager
async def pipe_rig() -> AsyncIterator[PipeRig]:
    """Stdio over two pipes, all closed at the end."""
    with pipe() as stdin, pipe() as stdout:
        stdio = Stdio(stdin[0], stdout[1])
        try:
            yield PipeRig(stdio, stdin, stdout)
        finally:
            await stdio.close()
            # Lets a reading thread go.
            if stdin[1] >= 0:
                close(stdin, 1)
            for thread in threading.enumerate():
                if thread.name.startswith("ssm-ssh"):
                    await asyncio.to_thread(thread.join, 2)


@pytest.mark.parametrize("law", LAWS, ids=law_name)
def test_contract(law: Callable[[Rig], Awaitable[None]]) -> None:
    """Stdin and stdout keep every law of byte streams."""

    async def scenario() -> None:
        async with pipe_rig() as rig:
            await law(rig)

    run(scenario())


def test_files(tmp_path: Path) -> None:
    """What asyncio's own pipes refuse: a file on either side."""
    source, sink = tmp_path / "in", tmp_path / "out"
    source.write_bytes(b"from a file" * 10_000)

    async def scenario() -> None:
        with source.open("rb") as stdin, sink.open("wb") as stdout:
            stdio = Stdio(stdin.fileno(), stdout.fileno())
            while data := await stdio.read():
                await stdio.write(data)
            assert not await stdio.wait_abandoned(0.01)
            await stdio.end()
            await stdio.close()

    run(scenario())
    assert sink.read_bytes() == source.read_bytes()


def test_dev_null() -> None:
    """An end at once, and a reader who is never gone."""

    async def scenario() -> None:
        null = os.open(os.devnull, os.O_RDWR)
        try:
            stdio = Stdio(null, null)
            assert await stdio.read() == b""
            await stdio.write(b"x" * 100_000)
            assert not await stdio.wait_abandoned(0.01)
            await stdio.close()
        finally:
            os.close(null)

    run(scenario())


def test_a_terminal_stays_blocking() -> None:
    """Lines come in, output goes out, the terminal's mode is untouched, and its hang-up is an end."""

    async def scenario() -> None:
        controller, terminal = pty.openpty()
        before = fcntl.fcntl(terminal, fcntl.F_GETFL)
        stdio = Stdio(terminal, terminal)
        os.write(controller, b"hello\n")
        assert await stdio.read() == b"hello\n"
        await stdio.write(b"answer\n")
        assert fcntl.fcntl(terminal, fcntl.F_GETFL) == before
        assert before & os.O_NONBLOCK == 0
        os.close(controller)
        assert await stdio.wait_abandoned(5)
        assert await stdio.read() == b""
        await stdio.close()
        os.close(terminal)

    run(scenario())


def test_descriptors_that_somebody_made_non_blocking() -> None:
    """Symptom: with nothing to read yet, a shared non-blocking stdin was taken for its end."""

    async def scenario() -> None:
        async with pipe_rig() as rig:
            os.set_blocking(rig._stdin[0], False)
            os.set_blocking(rig._stdout[1], False)
            reading = asyncio.ensure_future(rig.stream.read())
            await rig.settle()
            assert not reading.done()
            await rig.peer_says(b"x")
            assert await reading == b"x"
            data = bytes(range(256)) * 2000
            hearing = asyncio.ensure_future(rig.peer_hears(len(data)))
            await rig.stream.write(data)
            assert await hearing == data

    run(scenario())


def test_a_stdin_that_is_closed_or_broken_is_at_its_end() -> None:
    """Nobody will type there any more."""

    async def scenario() -> None:
        with pipe() as stdin, pipe() as stdout:
            # The wrong end: reading it is an error.
            stdio = Stdio(stdin[1], stdout[1])
            assert await stdio.read() == b""
            await stdio.close()

    run(scenario())


def test_a_reader_that_is_gone() -> None:
    """Told when somebody writes, and told to who waits for it."""

    async def scenario() -> None:
        async with pipe_rig() as rig:
            waiting = asyncio.ensure_future(rig.stream.wait_abandoned(10))
            await rig.settle()
            assert not waiting.done()
            close(rig._stdout, 0)
            assert await waiting
            with pytest.raises(StreamReset) as failure:
                await rig.stream.write(b"x")
            assert isinstance(failure.value.__cause__, BrokenPipeError)

    run(scenario())


def test_a_socket_s_reader_that_only_ended_its_own_side_is_still_there() -> None:
    """A half-closed socket still reads; a closed one does not."""

    async def scenario() -> None:
        ours, theirs = socket.socketpair()
        with ours, theirs:
            stdio = Stdio(ours.fileno(), ours.fileno())
            theirs.shutdown(socket.SHUT_WR)
            assert await stdio.read() == b""
            assert not await stdio.wait_abandoned(0.05)
            theirs.close()
            assert await stdio.wait_abandoned(10)
            await stdio.close()

    run(scenario())


def test_waiting_for_nobody_can_be_cancelled_at_once() -> None:
    """Symptom: at the server's end the process waited out the linger time of a thread."""

    async def scenario() -> None:
        async with pipe_rig() as rig:
            waiting = asyncio.ensure_future(rig.stream.wait_abandoned(15))
            await rig.settle()
            waiting.cancel()
            await asyncio.wait([waiting])

    began_at = time.monotonic()
    run(scenario())
    assert time.monotonic() - began_at < 5


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="no /dev/full here")
def test_a_stdout_that_cannot_be_written() -> None:
    """A full disk is not a reader that has gone."""

    async def scenario() -> None:
        full = os.open("/dev/full", os.O_WRONLY)
        with pipe() as stdin:
            stdio = Stdio(stdin[0], full)
            with pytest.raises(StreamError, match="No space left") as failure:
                await stdio.write(b"x")
            assert not isinstance(failure.value, StreamReset)
            await stdio.close()
        os.close(full)

    run(scenario())


def test_after_its_end_stdout_s_number_stays_taken() -> None:
    """Symptom: the next socket to be opened got stdout's number. The reader sees the end all the same."""

    async def scenario() -> None:
        async with pipe_rig() as rig:
            stdout = rig._stdout[1]
            await rig.stream.write(b"last")
            await rig.stream.end()
            assert os.read(rig._stdout[0], 100) == b"last"
            assert os.read(rig._stdout[0], 100) == b""
            os.fstat(stdout)
            null = os.open(os.devnull, os.O_RDWR)
            assert null != stdout
            os.close(null)

    run(scenario())


def test_a_cancelled_write_is_written() -> None:
    """Cancelling whoever waits does not tear bytes in two."""

    async def scenario() -> None:
        async with pipe_rig() as rig:
            data = bytes(range(256)) * 1000
            writing = asyncio.ensure_future(rig.stream.write(data))
            await rig.settle()
            writing.cancel()
            await asyncio.wait([writing])
            hearing = asyncio.ensure_future(rig.peer_hears(len(data) + 4))
            await rig.stream.write(b"tail")
            assert await hearing == data + b"tail"

    run(scenario())


def test_a_cancelled_read_may_have_asked_for_more() -> None:
    """The next one, which asks for less, gets what it asks for, and the one after it the rest."""

    async def scenario() -> None:
        async with pipe_rig() as rig:
            reading = asyncio.ensure_future(rig.stream.read(100))
            await rig.settle()
            reading.cancel()
            await asyncio.wait([reading])
            await rig.peer_says(b"abcdef")
            assert await rig.stream.read(2) == b"ab"
            assert await rig.stream.read(100) == b"cdef"

    run(scenario())


def test_nothing_is_written_behind_the_end() -> None:
    """Who ended its side has nothing more to say."""

    async def scenario() -> None:
        async with pipe_rig() as rig:
            await rig.stream.end()
            with pytest.raises(SessionEnded):
                await rig.stream.write(b"x")

    run(scenario())
