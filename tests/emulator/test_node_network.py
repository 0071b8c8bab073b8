"""What a node reaches: names in a table, ports on loopback, and nothing else."""

from __future__ import annotations

import asyncio
import errno
from typing import TYPE_CHECKING

import pytest

from ssm_ssh.emulator.node_network import NodeNetwork
from tests.emulator.real_server import serving

if TYPE_CHECKING:
    from contextlib import AbstractAsyncContextManager


def greeter(word: bytes) -> AbstractAsyncContextManager[int]:
    """A real port that says one word to everybody."""

    async def greet(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(word)

    return serving(greet)


async def said(network: NodeNetwork, host: str, port: int) -> bytes:
    """What the port says."""
    reader, writer = await network.connect(host, port)
    try:
        return await reader.read()
    finally:
        writer.close()
        await writer.wait_closed()


def test_names_are_found_in_the_table_and_addresses_are_themselves() -> None:
    """In any case, with or without the root's dot; nobody asks DNS."""
    network = NodeNetwork({"db.internal": ("10.0.3.7", "10.0.3.8")})
    assert network.resolve("DB.internal.") == ("10.0.3.7", "10.0.3.8")
    assert network.resolve("10.0.3.9") == ("10.0.3.9",)
    assert network.resolve("FD00:EC2:0::254") == ("fd00:ec2::254",)
    assert network.resolve("localhost") == ("127.0.0.1",)
    assert network.resolve("example.com") == ()


def test_a_port_behind_the_node_is_a_real_one_here() -> None:
    """Under the name, under each of its addresses, and under no other port."""

    async def scenario() -> None:
        async with greeter(b"db") as real:
            network = NodeNetwork(
                {"db.internal": ("10.0.3.7", "10.0.3.8")}, {("db.internal", 5432): ("127.0.0.1", real)}
            )
            for host in ("db.internal", "10.0.3.7", "10.0.3.8"):
                assert await said(network, host, 5432) == b"db"
            for host, port in (("db.internal", 5433), ("10.0.3.9", 5432), ("example.com", 80)):
                with pytest.raises(OSError, match=host) as caught:
                    await network.connect(host, port)
                assert caught.value.errno == errno.EHOSTUNREACH

    asyncio.run(scenario(), debug=True)


def test_a_name_without_an_address_gets_one() -> None:
    """Always the same, so that a session resolves and dials it like any other."""

    async def scenario() -> None:
        async with greeter(b"cache") as real:
            network = NodeNetwork()
            network.serve("cache.internal", 6379, real)
            (address,) = network.resolve("cache.internal")
            assert address.startswith("10.0.")
            assert await said(network, address, 6379) == b"cache"
            network.serve("cache.internal", 6380, real)
            assert network.resolve("cache.internal") == (address,)

    asyncio.run(scenario(), debug=True)


def test_its_own_ports_may_be_others_and_are_the_machines_otherwise() -> None:
    """3389 needs no right here; both families and the name are the same machine."""

    async def scenario() -> None:
        async with greeter(b"rdp") as real, greeter(b"machine") as other:
            network = NodeNetwork(ports={("localhost", 3389): ("127.0.0.1", real)})
            for host in ("localhost", "127.0.0.1", "::1"):
                assert await said(network, host, 3389) == b"rdp"
            assert await said(network, "localhost", other) == b"machine"
            network.name("alias.internal", "127.0.0.1")
            assert await said(network, "alias.internal", other) == b"machine"

    asyncio.run(scenario(), debug=True)


def test_nothing_beyond_loopback_can_be_served() -> None:
    """The stand-in must not become a way out."""
    with pytest.raises(ValueError, match="not on loopback"):
        NodeNetwork(ports={("db.internal", 5432): ("192.0.2.1", 5432)})
