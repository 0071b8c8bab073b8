"""Taking local connections in: whose they are, how many at once, and what to do when the machine is full."""

from __future__ import annotations

import asyncio
import errno
import logging
from typing import TYPE_CHECKING, Final, NamedTuple, Protocol

from ssm_ssh.forward.peer import has_let_go, refusal
from ssm_ssh.transport.driver import single_cause
from ssm_ssh.transport.socket_stream import SocketStream, reset_socket

if TYPE_CHECKING:
    import socket

    from ssm_ssh.forward.listener import Listener

_log = logging.getLogger(__name__)

# Ours: what one listener serves at a time; further ones wait in the kernel. Each takes a descriptor, of which
# most systems give a process 1024.
CONNECTIONS: Final = 400
# Ours: a machine out of descriptors or memory is asked again after this.
_FULL_PAUSE_SECONDS: Final = 1.0
_FULL: Final = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})


class Accepted(NamedTuple):
    """A local connection."""

    stream: SocketStream
    socket: socket.socket

    def has_let_go(self) -> bool:
        """Whether the local program has closed the whole connection, as far as can be told."""
        return has_let_go(self.socket)


class Serve(Protocol):
    """What to do with a connection; raises nothing but bugs, and closes the stream."""

    async def __call__(self, accepted: Accepted) -> None:
        """Serve one connection."""


async def accept_connections(listener: Listener, serve: Serve, *, allows_other_users: bool) -> None:
    """Serve every connection to ``listener``, each in a task of its own, until cancelled.

    Args:
        listener: Where they come in.
        serve: What to do with one.
        allows_other_users: Serve other users of this machine on loopback addresses, too.
    """
    places = asyncio.Semaphore(CONNECTIONS)
    try:
        async with asyncio.TaskGroup() as tasks:
            for sock in listener.sockets:
                tasks.create_task(_accept(sock, tasks, places, serve, allows_other_users=allows_other_users))
    except BaseExceptionGroup as group:
        cause = single_cause(group)
        raise cause from cause.__cause__


async def _accept(
    listening: socket.socket,
    tasks: asyncio.TaskGroup,
    places: asyncio.Semaphore,
    serve: Serve,
    *,
    allows_other_users: bool,
) -> None:
    loop = asyncio.get_running_loop()
    while True:
        await places.acquire()
        try:
            connection, _ = await loop.sock_accept(listening)
        except OSError as error:
            places.release()
            # Anything else is one connection that broke before it was taken.
            if error.errno in _FULL:
                _log.warning("no further connection can be taken now: %s", error.strerror)
                await asyncio.sleep(_FULL_PAUSE_SECONDS)
            continue
        except BaseException:
            places.release()
            raise
        reason = None if allows_other_users else refusal(connection)
        if reason is not None:
            _log.warning("a connection was refused: %s", reason)
            reset_socket(connection)
            places.release()
            continue
        task = tasks.create_task(_serve(connection, serve))
        task.add_done_callback(lambda _: places.release())


async def _serve(connection: socket.socket, serve: Serve) -> None:
    try:
        reader, writer = await asyncio.open_connection(sock=connection)
    except BaseException as error:
        connection.close()
        if isinstance(error, OSError):
            return
        raise
    stream = SocketStream(reader, writer)
    try:
        await serve(Accepted(stream, connection))
    except BaseException:
        stream.reset()
        raise
