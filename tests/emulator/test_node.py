"""A node as the service and its users see it, on whatever machine the tests run."""

from __future__ import annotations

import asyncio
import getpass
import tempfile
from typing import TYPE_CHECKING

import pytest

from ssm_ssh.emulator import node as node_module
from ssm_ssh.emulator.link import SessionOrder, TaskStatus
from ssm_ssh.emulator.node import Node, NodeSpec, NodeState
from ssm_ssh.emulator.sshd import ServerFailed
from ssm_ssh.emulator.world import can_separate_worlds
from tests.emulator.scripted_peer import SSH_ORDER, Dialogue, Port
from tests.emulator.ssh_client import SshClient
from tests.emulator.test_authorized_keys import Clock
from tests.requirement import need_module, need_program

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture(params=["sshd", "embedded"])
def embedded(request: pytest.FixtureRequest) -> bool:
    """Whether the node uses the embedded server."""
    if request.param == "embedded":
        need_module("asyncssh")
        return True
    need_program("sshd")
    return False


def test_describes_itself() -> None:
    """What is not said follows from the name, always the same."""
    node = Node(NodeSpec("web-1", tags={"env": "prod"}, agent_version="3.1.1511.0"))
    assert node.node_id == "i-c4719afa76fa448b5"
    assert node.ip_address == "10.0.196.114"
    assert node.tags == {"Name": "web-1", "env": "prod"}
    assert (node.platform, node.agent_version) == ("Linux", "3.1.1511.0")
    assert (node.state, node.is_online) == (NodeState.STOPPED, False)
    assert Node(NodeSpec("web-2")).node_id != node.node_id


def test_what_is_said_is_kept() -> None:
    """An id and an address of one's own."""
    node = Node(NodeSpec("x", node_id="mi-0123456789abcdef0", platform="Windows", ip_address="10.1.2.3"))
    assert (node.node_id, node.platform, node.ip_address) == ("mi-0123456789abcdef0", "Windows", "10.1.2.3")


def test_without_a_world_the_only_user_is_the_caller(monkeypatch: pytest.MonkeyPatch) -> None:
    """Any other would be somebody else's account."""
    monkeypatch.setattr(node_module, "can_separate_worlds", lambda: False)
    node = Node(NodeSpec("web-1"))
    assert (node.user, node.is_separate) == (getpass.getuser(), False)
    with pytest.raises(ValueError, match="only user is"):
        Node(NodeSpec("web-1", user="somebody-else"))


def test_a_pushed_key_opens_it_for_a_minute(tmp_path: Path, *, embedded: bool) -> None:
    """By the node's clock."""

    async def scenario() -> None:
        client, clock = await SshClient.make(tmp_path), Clock()
        async with Node(NodeSpec("web-1"), clock=clock, embedded=embedded) as node:
            assert node.is_online
            assert (await client.ssh(node.ssh_port, node.user, "true")).status == 255
            node.authorize_key(node.user, client.public_key)
            assert (await client.ssh(node.ssh_port, node.user, "exit 5")).status == 5
            clock.now += 60.0
            node.refresh_keys()
            assert (await client.ssh(node.ssh_port, node.user, "true")).status == 255

    asyncio.run(scenario(), debug=True)


def test_a_pushed_key_expires_by_itself(tmp_path: Path, *, embedded: bool) -> None:
    """As time passes, without anybody asking."""

    async def scenario() -> None:
        client = await SshClient.make(tmp_path)
        async with Node(NodeSpec("web-1"), embedded=embedded) as node:
            node.authorize_key(node.user, client.public_key, seconds=0.1)
            await asyncio.sleep(0.15)
            assert (await client.ssh(node.ssh_port, node.user, "true")).status == 255

    asyncio.run(scenario(), debug=True)


def test_refuses_a_key_that_is_none() -> None:
    """Before anything is written."""

    async def scenario() -> None:
        node = Node(NodeSpec("web-1"))
        with pytest.raises(ValueError, match="no OS user"):
            node.authorize_key("../../etc/passwd", "ssh-ed25519 AAAA")

    asyncio.run(scenario(), debug=True)


def test_port_22_is_its_own_and_others_are_the_machines(*, embedded: bool) -> None:
    """Seen from its agent; a port where nobody listens refuses."""

    async def scenario() -> None:
        async def greet(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            writer.write(b"other")
            writer.close()

        listener = await asyncio.start_server(greet, "127.0.0.1", 0)
        port = listener.sockets[0].getsockname()[1]
        async with Node(NodeSpec("web-1"), embedded=embedded) as node:
            assert (await _first_bytes(node, "localhost", 22)).startswith(b"SSH-2.0-")
            async with listener:
                assert await _first_bytes(node, "localhost", port) == b"other"
                assert await _first_bytes(node, "127.0.0.1", port) == b"other"
            with pytest.raises(ConnectionRefusedError):
                await node.connect("localhost", port)

    asyncio.run(scenario(), debug=True)


async def _first_bytes(node: Node, host: str, port: int) -> bytes:
    reader, writer = await node.connect(host, port)
    first = await reader.read(100)
    writer.close()
    await writer.wait_closed()
    return first


def test_its_agent_carries_the_banner_of_its_sshd(*, embedded: bool) -> None:
    """Over a scripted gateway: a session from its order to its end, with real bytes from a real port."""

    async def scenario() -> None:
        async with Node(NodeSpec("web-1"), embedded=embedded) as node, asyncio.TaskGroup() as tasks:
            talk = Dialogue(node.agent, Port())
            order: SessionOrder = SSH_ORDER
            talk.session = tasks.create_task(node.agent.run_session(order, talk.dial))
            await talk.opens()
            assert (await talk.hears_data(number=2)).startswith(b"SSH-2.0-")
            talk.acknowledges(2)
            node.go_offline()
            assert (await talk.session).status is TaskStatus.CANCELLED
            assert not node.is_online
            node.go_online()
            assert node.is_online

    asyncio.run(scenario(), debug=True)


def test_a_reboot_keeps_keys_and_files_and_ends_sessions(tmp_path: Path, *, embedded: bool) -> None:
    """Down for a moment, then up with the same host key, on a port of its own again."""

    async def scenario() -> None:
        client = await SshClient.make(tmp_path)
        spec = NodeSpec("web-1", authorized_keys=[client.public_key.strip()])
        async with Node(spec, embedded=embedded) as node:
            before = await _host_key(client, node)
            async with asyncio.TaskGroup() as tasks:
                reboot = tasks.create_task(node.reboot(down_seconds=0.2))
                await asyncio.sleep(0.1)
                assert not node.is_online
                await reboot
            assert node.is_online
            assert await _host_key(client, node) == before
            assert (await client.ssh(node.ssh_port, node.user, "exit 6")).status == 6

    asyncio.run(scenario(), debug=True)


async def _host_key(client: SshClient, node: Node) -> str:
    noted = client.key.with_name(f"known_hosts-{node.ssh_port}")
    noting = SshClient(client.key, known_hosts=str(noted))
    finished = await noting.ssh(node.ssh_port, node.user, "true", options=["-oHostKeyAlias=node"])
    assert finished.status == 0, finished
    return noted.read_text(encoding="utf-8")


def test_stopping_twice_is_fine() -> None:
    """And a stopped node can be started again."""

    async def scenario() -> None:
        node = Node(NodeSpec("web-1"), embedded=not can_separate_worlds())
        for _ in range(2):
            await node.start()
            await node.stop()
            await node.stop()
        assert node.state is NodeState.STOPPED

    asyncio.run(scenario(), debug=True)


def test_a_node_whose_server_does_not_start_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It says why, and can be stopped all the same."""
    need_program("ssh-keygen")
    broken = tmp_path / "sshd"
    broken.write_text("#!/bin/sh\nexit 1\n", encoding="utf-8")
    broken.chmod(0o755)
    monkeypatch.setattr(node_module, "find_sshd", lambda: str(broken))
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))

    async def scenario() -> None:
        node = Node(NodeSpec("web-1"))
        with pytest.raises(ServerFailed):
            await node.start()
        assert node.state is NodeState.STOPPED
        await node.stop()

    asyncio.run(scenario(), debug=True)
    assert [path.name for path in tmp_path.iterdir()] == ["sshd"]
