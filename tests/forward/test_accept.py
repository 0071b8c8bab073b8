"""Taking connections in: when the machine is full, when too many come, and when it ends."""

from __future__ import annotations

import asyncio
import errno
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import pytest

from ssm_ssh.forward import accept as accept_module
from ssm_ssh.forward.accept import Accepted, accept_connections
from ssm_ssh.forward.listener import Listener, open_listener
from ssm_ssh.forward.spec import Listen

if TYPE_CHECKING:
    import socket
    from collections.abc import AsyncIterator, Coroutine


def run(scenario: Coroutine[object, object, None]) -> None:
    """Run a scenario on a real loop, in debug mode, with a limit."""

    async def limited() -> None:
        async with asyncio.timeout(20):
            await scenario

    asyncio.run(limited(), debug=True)


async def _greet(accepted: Accepted) -> None:
    await accepted.stream.write(b"hello")
    await accepted.stream.read()
    await accepted.stream.close()


@asynccontextmanager
async def accepting(*, allows_other_users: bool = False) -> AsyncIterator[Listener]:
    """A listener whose connections are greeted, and closed once they end."""
    listener = open_listener(Listen())
    task = asyncio.ensure_future(accept_connections(listener, _greet, allows_other_users=allows_other_users))
    try:
        yield listener
    finally:
        task.cancel()
        await asyncio.wait([task])
        listener.close()


async def dial(listener: Listener) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """A local program's connection."""
    return await asyncio.open_connection(listener.host, listener.port)


async def hang_up(writer: asyncio.StreamWriter) -> None:
    """The local program closes."""
    writer.close()
    await writer.wait_closed()


def test_beyond_the_limit_connections_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    """They are not refused: one that ends lets the next in."""
    monkeypatch.setattr(accept_module, "CONNECTIONS", 2)

    async def scenario() -> None:
        async with accepting() as listener:
            # Either address holds one place while it waits for a connection.
            first, first_writer = await dial(listener)
            assert await first.readexactly(5) == b"hello"
            second, second_writer = await dial(listener)
            third, third_writer = await dial(listener)
            reading = asyncio.ensure_future(third.readexactly(5))
            await asyncio.sleep(0.1)
            assert not reading.done()
            await hang_up(first_writer)
            await hang_up(second_writer)
            assert await reading == b"hello"
            await hang_up(third_writer)
            assert await second.read() in {b"", b"hello"}

    run(scenario())


def test_a_machine_out_of_descriptors_is_asked_again(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """After a pause, and told; a connection that broke before it was taken is nothing."""
    monkeypatch.setattr(accept_module, "_FULL_PAUSE_SECONDS", 0.01)
    failures = [
        OSError(errno.EMFILE, "Too many open files"),
        OSError(errno.ECONNABORTED, "Software caused connection abort"),
    ]

    async def scenario() -> None:
        loop = asyncio.get_running_loop()
        really = loop.sock_accept

        async def failing(sock: socket.socket) -> object:
            if failures:
                raise failures.pop(0)
            return await really(sock)

        monkeypatch.setattr(loop, "sock_accept", failing)
        async with accepting() as listener:
            reader, writer = await dial(listener)
            assert await reader.readexactly(5) == b"hello"
            await hang_up(writer)

    run(scenario())
    assert caplog.messages == ["no further connection can be taken now: Too many open files"]


def test_who_is_refused_sees_a_reset(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """And the user a line; it can be allowed."""
    monkeypatch.setattr(accept_module, "refusal", lambda _connection: "it is not yours")

    async def scenario() -> None:
        async with accepting() as listener:
            reader, writer = await dial(listener)
            with pytest.raises(ConnectionResetError):
                await reader.read()
            writer.close()
        async with accepting(allows_other_users=True) as listener:
            reader, writer = await dial(listener)
            assert await reader.readexactly(5) == b"hello"
            await hang_up(writer)

    run(scenario())
    assert caplog.messages == ["a connection was refused: it is not yours"]


def test_the_end_breaks_what_is_open() -> None:
    """A program must not take the tunnel's end for the end of its data."""

    async def scenario() -> None:
        async with accepting() as listener:
            reader, writer = await dial(listener)
            assert await reader.readexactly(5) == b"hello"
        with pytest.raises(ConnectionResetError):
            await reader.read()
        writer.close()

    run(scenario())


def test_a_bug_in_serving_is_not_hidden() -> None:
    """What is no connection's failure ends everything, as itself."""

    async def scenario() -> None:
        async def fail(accepted: Accepted) -> None:
            raise ZeroDivisionError(accepted)

        listener = open_listener(Listen())
        try:
            async with asyncio.TaskGroup() as tasks:
                program = tasks.create_task(dial(listener))
                with pytest.raises(ZeroDivisionError):
                    await accept_connections(listener, fail, allows_other_users=False)
            program.result()[1].close()
        finally:
            listener.close()

    run(scenario())
