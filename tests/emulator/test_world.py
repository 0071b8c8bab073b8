"""Nodes as worlds of their own: what is theirs, and that nothing of them stays."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from ssm_ssh.emulator.node import Node, NodeSpec
from ssm_ssh.emulator.world import can_separate_worlds
from tests.emulator.ssh_client import SshClient
from tests.requirement import need_linux, need_program, need_root, unmet

if TYPE_CHECKING:
    from collections.abc import Callable

PROGRAM = """
import asyncio, sys
from ssm_ssh.emulator.node import Node, NodeSpec

async def main():
    async with Node(NodeSpec("doomed", authorized_keys=[sys.argv[1]])) as node:
        print(node.ssh_port, node.user, flush=True)
        await asyncio.Event().wait()

asyncio.run(main())
"""


@pytest.fixture(autouse=True)
def worlds() -> None:
    """Root, sshd, and a kernel that lets us."""
    need_linux()
    need_root()
    need_program("sshd")
    if not can_separate_worlds():
        unmet("the right to make namespaces")


async def ask(client: SshClient, node: Node, question: str, user: str = "") -> str:
    """What a command says on the node."""
    finished = await client.ssh(node.ssh_port, user or node.user, question)
    assert finished.status == 0, finished
    return finished.out.decode().strip()


def test_has_its_own_name_user_and_home(tmp_path: Path) -> None:
    """The host's own files are out of sight."""

    async def scenario() -> None:
        client = await SshClient.make(tmp_path)
        async with Node(NodeSpec("web-1", authorized_keys=[client.public_key.strip()])) as node:
            assert node.is_separate
            assert await ask(client, node, "hostname; uname -n; whoami; pwd") == (
                "web-1\nweb-1\nec2-user\n/home/ec2-user"
            )
            assert await ask(client, node, "ls -A /tmp ~") == "/home/ec2-user:\n\n/tmp:"
            assert await ask(client, node, "stat -c %U:%a ~ /tmp") == "ec2-user:700\nroot:1777"
            assert await ask(client, node, "ls /home") == "ec2-user\nssm-user"
            assert "sshd" in await ask(client, node, "cat /proc/1/cmdline")

    asyncio.run(scenario(), debug=True)


def test_two_nodes_do_not_see_each_other(tmp_path: Path) -> None:
    """At once, with different users; neither changes the machine they run on."""
    host_boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()

    async def scenario() -> None:
        client = await SshClient.make(tmp_path)
        keys = [client.public_key.strip()]
        async with (
            Node(NodeSpec("web-1", authorized_keys=keys)) as one,
            Node(NodeSpec("db-1", user="postgres-admin", authorized_keys=keys)) as two,
        ):
            assert one.node_id != two.node_id
            await ask(client, one, "echo mine > ~/note; echo mine > /tmp/note")
            assert await ask(client, two, "hostname; whoami; ls -A ~ /tmp; echo $?") == (
                "db-1\npostgres-admin\n/home/postgres-admin:\n\n/tmp:\n0"
            )
            boots = [await ask(client, node, "cat /proc/sys/kernel/random/boot_id") for node in (one, two)]
            assert len({*boots, host_boot}) == 3
            assert (await client.ssh(two.ssh_port, "ec2-user", "true")).status == 255
        assert os.uname().nodename not in ("web-1", "db-1")

    asyncio.run(scenario(), debug=True)


def test_shutdown_only_tells_the_emulator(tmp_path: Path) -> None:
    """By any of its names, and only if root says so."""

    async def scenario() -> None:
        client = await SshClient.make(tmp_path)
        async with Node(NodeSpec("web-1", authorized_keys=[client.public_key.strip()])) as node:
            node.authorize_key("root", client.public_key)
            heard = asyncio.Event()
            node.on_power = lambda _: heard.set()
            refused = await client.ssh(node.ssh_port, node.user, "shutdown -h now")
            assert (refused.status, refused.err.strip()) == (1, "shutdown: must be root")
            assert not node.power_requests
            await ask(client, node, "shutdown -r +1", "root")
            async with asyncio.timeout(5):
                await heard.wait()
            await ask(client, node, "reboot; poweroff; halt", "root")
            assert node.power_requests == ["shutdown -r +1", "reboot", "poweroff", "halt"]

    asyncio.run(scenario(), debug=True)


def test_a_reboot_keeps_files_and_changes_the_boot_id(tmp_path: Path) -> None:
    """Processes do not survive it."""

    async def scenario() -> None:
        client = await SshClient.make(tmp_path)
        async with Node(NodeSpec("web-1", authorized_keys=[client.public_key.strip()])) as node:
            question = "cat /proc/sys/kernel/random/boot_id"
            before = await ask(client, node, question)
            await ask(client, node, "echo kept > ~/note; nohup sleep 1000 >/dev/null 2>&1 &")
            await node.reboot()
            assert await ask(client, node, question) != before
            assert await ask(client, node, "cat ~/note; pgrep -c sleep || true") == "kept\n0"

    asyncio.run(scenario(), debug=True)


def test_users_may_have_keys_of_their_own(tmp_path: Path) -> None:
    """In the usual place in their home."""

    async def scenario() -> None:
        client = await SshClient.make(tmp_path)
        async with Node(NodeSpec("web-1")) as node:
            node.authorize_key(node.user, client.public_key)
            await ask(
                client, node, f"mkdir ~/.ssh; echo '{client.public_key.strip()}' > ~/.ssh/authorized_keys"
            )
            node.authorize_key(node.user, client.public_key, seconds=0)
            assert await ask(client, node, "echo in") == "in"

    asyncio.run(scenario(), debug=True)


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_nothing_stays_when_the_emulator_is_killed(number: signal.Signals, tmp_path: Path) -> None:
    """No process, no mount, no directory: the kernel and the lifeline see to it."""
    seconds = str(100_000 + os.getpid())

    async def leave_a_process_behind(client: SshClient, port: int, user: str) -> None:
        finished = await client.ssh(port, user, f"nohup sleep {seconds} >/dev/null 2>&1 & echo $!")
        assert finished.status == 0, finished

    client = asyncio.run(SshClient.make(tmp_path))
    emulator = subprocess.Popen(
        [sys.executable, "-c", PROGRAM, client.public_key.strip()],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        env={**os.environ, "TMPDIR": str(tmp_path)},
    )
    with emulator:
        assert emulator.stdout is not None
        port, user = emulator.stdout.readline().split()
        asyncio.run(leave_a_process_behind(client, int(port), user))
        assert _is_sleeping(seconds)
        (directory,) = tmp_path.glob("ssm-ssh-node-*")
        emulator.send_signal(number)
        emulator.wait(10)
    _eventually(lambda: not _is_sleeping(seconds))
    _eventually(lambda: not directory.exists())
    assert str(directory) not in Path("/proc/self/mountinfo").read_text(encoding="utf-8")


def _is_sleeping(seconds: str) -> bool:
    pattern = ["pgrep", "--full", "--exact", f"sleep {seconds}"]
    return subprocess.run(pattern, capture_output=True, check=False).returncode == 0


def _eventually(holds: Callable[[], bool], seconds: float = 10.0) -> None:
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline
        threading.Event().wait(0.01)
