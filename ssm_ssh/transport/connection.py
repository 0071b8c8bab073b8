"""A connection to the message gateway, ready for the upgrade: TCP, the proxy's CONNECT, TLS.

It is apart from the WebSocket because most of it can be done ahead, while AWS still works on StartSession.
"""

from __future__ import annotations

import asyncio
import contextlib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final
from urllib.parse import unquote, urlsplit

from websockets.exceptions import InvalidProxy
from websockets.http11 import Response
from websockets.proxy import parse_proxy, prepare_connect_request
from websockets.streams import StreamReader
from websockets.uri import WebSocketURI

from ssm_ssh.errors import InvalidOption
from ssm_ssh.transport.stream_url import OPEN_DATA_CHANNEL
from ssm_ssh.transport.unreachable import ProxyRefusal, unreachable

if TYPE_CHECKING:
    import ssl

    from websockets.proxy import Proxy

    from ssm_ssh.transport.stream_url import StreamAddress

# Specification: the official client's limit for dial and upgrade together (protocol 2.1).
OPEN_TIMEOUT_SECONDS: Final = 45.0
# Ours: a peer that does not answer the end of TLS is left without one.
TLS_SHUTDOWN_SECONDS: Final = 0.5
# Ours: when the first address of a name does not answer, the next is tried beside it (RFC 8305 recommends
# this).
_NEXT_ADDRESS_SECONDS: Final = 0.25


@dataclass(frozen=True, slots=True)
class Route:
    """How the gateway is reached; ``ControlPlane`` knows both.

    Attributes:
        ssl_context: For the gateway, and for a proxy that is reached by https; None only for a plain address.
        proxy: The proxy's URL, password included, or None to go directly.
    """

    ssl_context: ssl.SSLContext | None
    proxy: str | None = field(default=None, repr=False)


class Connection:
    """A connection to one host and port, not yet used; made by ``open_connection``."""

    def __init__(self, transport: asyncio.Transport, waiting: _Waiting, address: StreamAddress) -> None:
        self._transport = transport
        self._waiting = waiting
        self._place = _place(address)

    def fits(self, address: StreamAddress) -> bool:
        """Whether this connection leads to ``address`` and is still unused and alive."""
        is_alive = not self._waiting.is_spoiled and not self._transport.is_closing()
        return is_alive and self._place == _place(address)

    def hand_over(self, protocol: asyncio.Protocol) -> asyncio.Transport:
        """Give the transport to ``protocol``, which owns it from now on."""
        self._transport.set_protocol(protocol)
        return self._transport

    def drop(self) -> None:
        """Close at once what was not needed; twice is fine."""
        abort(self._transport)


async def open_connection(
    address: StreamAddress, route: Route, *, timeout_seconds: float = OPEN_TIMEOUT_SECONDS
) -> Connection:
    """Connect to ``address``, through the proxy if there is one, and do TLS if it wants it.

    Args:
        address: Where to; its path and query do not matter yet.
        route: How to get there.
        timeout_seconds: For all of it.

    Raises:
        EndpointUnreachable: With a hint that tells name, network, proxy and certificate apart.
        InvalidOption: If the proxy's URL cannot be used.
    """
    proxy = None if route.proxy is None else _parse_proxy(route.proxy)
    try:
        async with asyncio.timeout(timeout_seconds):
            if proxy is None:
                return await _connect(address, route.ssl_context if address.is_tls else None)
            return await _connect_through(proxy, address, route.ssl_context)
    except _ProxyUnreachable as error:
        raise unreachable(OPEN_DATA_CHANNEL, address.host, error, is_proxy=True) from error.__cause__
    except (OSError, ProxyRefusal) as error:
        raise unreachable(OPEN_DATA_CHANNEL, address.host, error) from error


def abort(transport: asyncio.Transport) -> None:
    """Close a transport at once, whatever became of it; twice is fine."""
    # Python 3.11's transports forget their loop when they have flushed and closed, and then miss it here.
    # Test: test_closing_while_the_peer_does_not_read.
    with contextlib.suppress(AttributeError):
        transport.abort()


class _ProxyUnreachable(Exception):
    """Marks a failure on the way to the proxy, which is its cause."""


class _Waiting(asyncio.Protocol):
    """Holds a connection that nobody uses yet; a gateway that speaks first spoils it."""

    def __init__(self) -> None:
        self.is_spoiled = False

    def data_received(self, data: bytes) -> None:
        self.is_spoiled = True

    def eof_received(self) -> None:
        self.is_spoiled = True

    def connection_lost(self, exc: Exception | None) -> None:
        self.is_spoiled = True


class _Connecting(asyncio.Protocol):
    """Reads a proxy's answer to CONNECT."""

    def __init__(self) -> None:
        self.granted: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._reader = StreamReader()
        read = self._reader
        self._parser = Response.parse(read.read_line, read.read_exact, read.read_to_eof, proxy=True)

    def data_received(self, data: bytes) -> None:
        self._reader.feed_data(data)
        self._advance()

    def eof_received(self) -> None:
        self._reader.feed_eof()
        self._advance()

    def connection_lost(self, exc: Exception | None) -> None:
        if not self.granted.done():
            self.granted.set_exception(exc or ConnectionResetError("the proxy closed the connection"))

    def _advance(self) -> None:
        if self.granted.done():
            return
        try:
            next(self._parser)
        except StopIteration as end:
            self._judge(end.value)
        except Exception as error:  # the parser documents half a dozen, and all of them mean this
            self.granted.set_exception(ConnectionError(f"the proxy's answer is no HTTP: {error}"))

    def _judge(self, answer: Response) -> None:
        if 200 <= answer.status_code < 300:
            self.granted.set_result(None)
        else:
            self.granted.set_exception(ProxyRefusal(answer.status_code, answer.reason_phrase))


async def _connect(address: StreamAddress, ssl_context: ssl.SSLContext | None) -> Connection:
    transport, waiting = await asyncio.get_running_loop().create_connection(
        _Waiting,
        address.host,
        address.port,
        ssl=ssl_context,
        ssl_shutdown_timeout=TLS_SHUTDOWN_SECONDS if ssl_context else None,
        happy_eyeballs_delay=_NEXT_ADDRESS_SECONDS,
    )
    return Connection(transport, waiting, address)


async def _connect_through(
    proxy: Proxy, address: StreamAddress, ssl_context: ssl.SSLContext | None
) -> Connection:
    loop = asyncio.get_running_loop()
    is_tls_proxy = proxy.scheme == "https"
    try:
        transport, connecting = await loop.create_connection(
            _Connecting,
            proxy.host,
            proxy.port,
            ssl=ssl_context if is_tls_proxy else None,
            ssl_shutdown_timeout=TLS_SHUTDOWN_SECONDS if is_tls_proxy else None,
            happy_eyeballs_delay=_NEXT_ADDRESS_SECONDS,
        )
    except OSError as error:
        raise _ProxyUnreachable from error
    try:
        uri = WebSocketURI(address.is_tls, address.host, address.port, "", "")
        transport.write(prepare_connect_request(proxy, uri, None))
        await connecting.granted
        waiting = _Waiting()
        transport.set_protocol(waiting)
        if address.is_tls:
            assert ssl_context is not None
            inner = await loop.start_tls(
                transport,
                waiting,
                ssl_context,
                server_hostname=address.host,
                ssl_shutdown_timeout=TLS_SHUTDOWN_SECONDS,
            )
            assert inner is not None
            transport = inner
    except BaseException:
        abort(transport)
        raise
    return Connection(transport, waiting, address)


def _parse_proxy(url: str) -> Proxy:
    try:
        proxy = parse_proxy(url)
    except (InvalidProxy, ValueError):
        # Without its cause: that quotes the URL, and the URL may hold a password.
        raise InvalidOption(
            "the proxy's URL cannot be used", hint="write HTTPS_PROXY=http://USER:PASSWORD@HOST:PORT"
        ) from None
    if proxy.scheme not in {"http", "https"}:
        raise InvalidOption(f"a proxy of kind {proxy.scheme} cannot be used", hint="use an HTTP proxy")
    # websockets decodes the login only since 17; botocore always did.
    written = urlsplit(url)
    login = (None if part is None else unquote(part) for part in (written.username, written.password))
    proxy.username, proxy.password = login
    return proxy


def _place(address: StreamAddress) -> tuple[str, int, bool]:
    return address.host, address.port, address.is_tls
