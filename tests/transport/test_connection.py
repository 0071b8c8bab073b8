"""Ways to the gateway: direct, through proxies, with a private authority, and what each failure says."""

from __future__ import annotations

import asyncio
import socket
from typing import TYPE_CHECKING

import pytest

from ssm_ssh.errors import EndpointUnreachable, InvalidOption
from ssm_ssh.transport.connection import Route, open_connection
from ssm_ssh.transport.stream_url import StreamAddress, address_of_host
from ssm_ssh.transport.trust import client_context
from tests.transport.peers import Authority, ConnectProxy, Service, raw_server, run, until

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from pathlib import Path

GATEWAY = "ssmmessages-fips.us-east-1.api.aws"


def here(port: int, *, is_tls: bool = False, host: str = "127.0.0.1") -> StreamAddress:
    """An address on this machine."""
    return StreamAddress("", host, port, is_tls, "/", "")


async def failure(address: StreamAddress, route: Route, seconds: float = 10) -> EndpointUnreachable:
    """What opening a connection fails with."""
    with pytest.raises(EndpointUnreachable) as caught:
        await open_connection(address, route, timeout_seconds=seconds)
    return caught.value


def with_raw_server(
    serve: Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]],
    scenario: Callable[[int], Awaitable[None]],
) -> None:
    """Run a scenario beside a server that speaks as it likes."""

    async def both() -> None:
        async with raw_server(serve) as port:
            await scenario(port)

    run(both())


def test_direct() -> None:
    """A plain connection is ready for one address, until it is dropped; small writes are not held back."""

    async def scenario() -> None:
        async with Service().serving() as service:
            address = here(service.port)
            connection = await open_connection(address, Route(None))
            assert connection.fits(address)
            assert not connection.fits(here(service.port + 1))
            assert not connection.fits(here(service.port, is_tls=True))
            held = connection._transport.get_extra_info("socket")
            assert held.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
            connection.drop()
            connection.drop()
            assert not connection.fits(address)
            await asyncio.sleep(0)

    run(scenario())


def test_a_connection_that_ended_does_not_fit() -> None:
    """The gateway may close what nobody used."""

    async def hang_up(_reader: asyncio.StreamReader, _writer: asyncio.StreamWriter) -> None:
        return

    async def scenario(port: int) -> None:
        connection = await open_connection(here(port), Route(None))
        await until(lambda: not connection.fits(here(port)))

    with_raw_server(hang_up, scenario)


def test_a_gateway_that_speaks_first_is_none() -> None:
    """HTTP servers wait to be asked."""

    async def greet(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"220 mail.example\r\n")
        await reader.read()

    async def scenario(port: int) -> None:
        connection = await open_connection(here(port), Route(None))
        await until(lambda: not connection.fits(here(port)))
        connection.drop()

    with_raw_server(greet, scenario)


def test_failures_of_the_network(tmp_path: Path) -> None:
    """Name, port, certificate and TLS are told apart, as for the calls."""
    authority = Authority(tmp_path)
    trusting, other = client_context(str(authority.bundle)), Authority(tmp_path / "..")
    assert other.bundle != authority.bundle

    async def scenario() -> None:
        assert "Connect" in str(await failure(here(9), Route(None)))
        named = await failure(here(9, host="gateway.invalid"), Route(None))
        assert "region" in str(named.hint)
        async with Service().serving(authority.server_context("elsewhere.example")) as service:
            wrong_name = await failure(here(service.port, is_tls=True, host="localhost"), Route(trusting))
            assert "certificate" in str(wrong_name)
            distrusting = Route(client_context(str(other.bundle)))
            unknown = await failure(here(service.port, is_tls=True, host="localhost"), distrusting)
            assert "AWS_CA_BUNDLE" in str(unknown.hint)
        async with Service().serving() as service:
            plain = await failure(here(service.port, is_tls=True), Route(trusting))
            assert "TLS" in str(plain)

    run(scenario())


def test_a_server_that_says_nothing(tmp_path: Path) -> None:
    """TLS without an answer ends in bounded time."""
    context = client_context(str(Authority(tmp_path).bundle))

    async def read_on(reader: asyncio.StreamReader, _writer: asyncio.StreamWriter) -> None:
        await reader.read()

    async def scenario(port: int) -> None:
        error = await failure(here(port, is_tls=True), Route(context), seconds=0.1)
        assert "in time" in str(error)

    with_raw_server(read_on, scenario)


@pytest.mark.parametrize("is_tls_proxy", [False, True])
def test_through_a_proxy(tmp_path: Path, *, is_tls_proxy: bool) -> None:
    """CONNECT with a login, to a name only the proxy knows, TLS inside; the proxy may be https."""
    authority, service = Authority(tmp_path), Service()
    context = client_context(str(authority.bundle))

    async def scenario() -> list[str]:
        proxy_tls = authority.server_context("localhost") if is_tls_proxy else None
        async with (
            service.serving(authority.server_context(GATEWAY)),
            ConnectProxy(service.port, login="user name:p@ss").serving(proxy_tls) as proxy,
        ):
            scheme = "https" if is_tls_proxy else "http"
            route = Route(context, f"{scheme}://user%20name:p%40ss@localhost:{proxy.port}")
            connection = await open_connection(address_of_host(GATEWAY), route)
            assert connection.fits(address_of_host(GATEWAY))
            connection.drop()
            assert "p%40ss" not in repr(route)
            return proxy.asked_for

    assert run(scenario()) == [f"{GATEWAY}:443"]


def test_failures_of_the_proxy(tmp_path: Path) -> None:
    """A proxy's refusal and its absence are not AWS's."""
    context = client_context(str(Authority(tmp_path).bundle))
    gateway = address_of_host(GATEWAY)

    async def scenario() -> None:
        async with ConnectProxy(9, login="a:b").serving() as proxy:
            login = await failure(gateway, Route(context, f"http://a:SECRET@127.0.0.1:{proxy.port}"))
            assert "407" in str(login)
            assert "USER:PASSWORD" in str(login.hint)
            assert "SECRET" not in f"{login} {login!r} {login.__cause__!r}"
        gone = await failure(gateway, Route(context, "http://127.0.0.1:9"))
        assert "proxy" in str(gone)
        assert "HTTPS_PROXY" in str(gone.hint)

    run(scenario())


@pytest.mark.parametrize(
    ("answer", "text"),
    [
        (b"HTTP/1.1 403 Forbidden\r\n\r\n", "403 Forbidden"),
        (b"HTTP/1.0 302 Found\r\nLocation: http://login\r\n\r\n", "302"),
        (b"SSH-2.0-OpenSSH_9.2\r\n", "no HTTP"),
        (b"", "HTTP"),
    ],
)
def test_proxies_that_answer_something_else(tmp_path: Path, answer: bytes, text: str) -> None:
    """Whatever comes instead of a connection is an error with a hint."""
    context = client_context(str(Authority(tmp_path).bundle))

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(answer)

    async def scenario(port: int) -> None:
        error = await failure(address_of_host(GATEWAY), Route(context, f"http://127.0.0.1:{port}"))
        assert text in str(error)
        assert error.hint

    with_raw_server(serve, scenario)


@pytest.mark.parametrize(
    "proxy", ["socks5://h:1", "ftp://h", "http://", "http://user:SECRET@h/path", "http://h:x"]
)
def test_proxies_that_cannot_be_used(proxy: str) -> None:
    """A setting that is no HTTP proxy is named without its password."""

    async def scenario() -> None:
        with pytest.raises(InvalidOption) as caught:
            await open_connection(address_of_host(GATEWAY), Route(None, proxy))
        assert "SECRET" not in f"{caught.value} {caught.value.hint}"

    run(scenario())


def test_cancelled_while_connecting() -> None:
    """Who gives up waiting leaves nothing behind."""

    async def read_on(reader: asyncio.StreamReader, _writer: asyncio.StreamWriter) -> None:
        await reader.read()

    async def scenario(port: int) -> None:
        route = Route(None, f"http://127.0.0.1:{port}")
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.05):
                await open_connection(address_of_host(GATEWAY), route)

    with_raw_server(read_on, scenario)
