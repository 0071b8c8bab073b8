"""One port for a Python program: ``open_tunnel`` for asyncio, and for programs without it.

The words are sshtunnel's where it has them, and boto3's for the account.
"""

from __future__ import annotations

import asyncio
import threading
from concurrent.futures import Future
from contextlib import asynccontextmanager, contextmanager
from typing import TYPE_CHECKING, Any

from ssm_ssh.errors import InvalidForward
from ssm_ssh.forward.options import Account, TunnelOptions
from ssm_ssh.forward.spec import Listen, LocalForward, to_destination
from ssm_ssh.forward.tunnel import open_tunnel_to
from ssm_ssh.session.document import default_reason, parse_document_name, parse_reason

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator, Mapping, Sequence

    from ssm_ssh.forward.local import OpenForward
    from ssm_ssh.session.document import Destination

_LARGEST_PORT = 65_535


class LocalPort:
    """A port of this machine that leads to one beyond a node; made by ``open_tunnel``."""

    def __init__(self, forward: OpenForward) -> None:
        assert forward.listener.port is not None
        self._forward = forward
        self._address = (forward.listener.host, forward.listener.port)

    @property
    def local_bind_address(self) -> tuple[str, int]:
        """Where to connect to, as ``socket.create_connection`` takes it."""
        return self._address

    @property
    def local_bind_host(self) -> str:
        """The address alone."""
        return self._address[0]

    @property
    def local_bind_port(self) -> int:
        """The port alone."""
        return self._address[1]

    @property
    def session_ids(self) -> list[str]:
        """The sessions that are up now."""
        return [session.session_id for session in self._forward.sessions]


@asynccontextmanager
async def open_async_tunnel(  # noqa: PLR0913 -- every one but the first two may be left out
    target: str,
    remote_bind_address: tuple[str, int] | int,
    local_bind_address: tuple[str, int] | None = None,
    *,
    profile_name: str | None = None,
    region_name: str | None = None,
    stream_endpoint: str | None = None,
    reason: str | None = None,
    sessions: int = 1,
    keepalive: bool = False,
    allow_other_users: bool = False,
    document_name: str | None = None,
    parameters: Mapping[str, Sequence[str]] | None = None,
) -> AsyncIterator[LocalPort]:
    """Have a local port that leads to one beyond a node, for the length of an ``async with`` block.

    Args:
        target: A node id, or the Name tag of one node.
        remote_bind_address: Host and port as the node reaches them; a number alone is a port of the node.
        local_bind_address: Where to listen; by default any free port of both loopback addresses.
        profile_name: As boto3's.
        region_name: As boto3's.
        stream_endpoint: Where streams go instead of the service's name.
        reason: What the session list and CloudTrail show.
        sessions: How many sessions to spread the connections over.
        keepalive: Keep an idle session from reaching the account's idle limit.
        allow_other_users: Serve other users of this machine, too.
        document_name: A session document of the account's own.
        parameters: Parameters of the session document.

    Raises:
        SsmSshError: Why it cannot be had.
    """
    options = TunnelOptions(
        sessions=sessions,
        keeps_alive=keepalive,
        allows_other_users=allow_other_users,
        document_name=None if document_name is None else parse_document_name(document_name),
        parameters=parameters or {},
        reason=default_reason("open_tunnel") if reason is None else parse_reason(reason),
    )
    forward = LocalForward(_listen(local_bind_address), _destination(remote_bind_address))
    account = Account(profile_name, region_name, stream_endpoint)
    async with open_tunnel_to(target, [forward], account, options) as tunnel:
        yield LocalPort(tunnel.local_forwards[0])


@contextmanager
def open_tunnel(
    target: str,
    remote_bind_address: tuple[str, int] | int,
    local_bind_address: tuple[str, int] | None = None,
    **options: Any,  # noqa: ANN401 -- those of open_async_tunnel, which has their types
) -> Iterator[LocalPort]:
    """Have a local port that leads to one beyond a node, for the length of a ``with`` block.

        with open_tunnel("bastion", ("db.internal", 5432)) as tunnel:
            psycopg.connect(host=tunnel.local_bind_host, port=tunnel.local_bind_port, …)

    The tunnel runs in a thread of its own, which has ended, and its sessions with it, when the block has.

    Args:
        target: A node id, or the Name tag of one node.
        remote_bind_address: Host and port as the node reaches them; a number alone is a port of the node.
        local_bind_address: Where to listen; by default any free port of both loopback addresses.
        options: ``profile_name``, ``region_name``, ``stream_endpoint``, ``reason``, ``sessions``,
            ``keepalive``, ``allow_other_users``, ``document_name`` and ``parameters``; see
            ``ssm_ssh.aio.open_tunnel``.

    Raises:
        SsmSshError: Why it cannot be had.
    """
    opening = open_async_tunnel(target, remote_bind_address, local_bind_address, **options)
    ready: Future[tuple[LocalPort, asyncio.AbstractEventLoop, asyncio.Event]] = Future()
    over: Future[None] = Future()

    async def serve() -> None:
        stop = asyncio.Event()
        async with opening as local_port:
            ready.set_result((local_port, asyncio.get_running_loop(), stop))
            await stop.wait()

    def run() -> None:
        try:
            asyncio.run(serve())
        except BaseException as error:
            # Told once: by the start if there was none, else by the end.
            (over if ready.done() else ready).set_exception(error)
        finally:
            if not over.done():
                over.set_result(None)

    thread = threading.Thread(target=run, name="ssm-ssh tunnel")
    thread.start()
    try:
        local_port, loop, stop = ready.result()
        try:
            yield local_port
        finally:
            if not loop.is_closed():
                loop.call_soon_threadsafe(stop.set)
    finally:
        thread.join()
    over.result()


def _listen(address: tuple[str, int] | None) -> Listen:
    if address is None:
        return Listen()
    host, port = address
    if not 0 <= port <= _LARGEST_PORT:
        raise InvalidForward(f"{port} is not a port")
    return Listen(bind=host or None, port=port)


def _destination(address: tuple[str, int] | int) -> Destination:
    host, port = (None, address) if isinstance(address, int) else address
    if not 1 <= port <= _LARGEST_PORT:
        raise InvalidForward(f"{port} is not a port to connect to")
    return to_destination(host or "", port)
