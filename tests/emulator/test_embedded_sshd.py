"""The embedded SSH server, used by the system's ssh."""

from __future__ import annotations

import asyncio
import getpass
import hashlib
import os
import pwd
import subprocess
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import pytest

from ssm_ssh.emulator.authorized_keys import AuthorizedKeys
from tests.emulator.ssh_client import SshClient, run
from tests.emulator.test_authorized_keys import Clock
from tests.requirement import need_module, need_program

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from ssm_ssh.emulator.embedded_sshd import EmbeddedSshd

USER = getpass.getuser()
HOME = os.path.realpath(pwd.getpwuid(os.getuid()).pw_dir)


@asynccontextmanager
async def server_for(
    client: SshClient, *, clock: Clock | None = None, seconds: float = 60.0
) -> AsyncIterator[EmbeddedSshd]:
    """A started server that the client's key opens."""
    need_module("asyncssh")
    from ssm_ssh.emulator.embedded_sshd import EmbeddedSshd  # noqa: PLC0415 -- only where it can be imported

    keys = AuthorizedKeys({}, clock=clock or Clock())
    keys.push(USER, client.public_key, seconds=seconds)
    server = EmbeddedSshd(keys, user=USER)
    await server.start()
    try:
        yield server
    finally:
        await server.stop()
        await server.stop()


def test_lets_in_by_the_clock(tmp_path: Path) -> None:
    """Also without a refresh, and only the one user."""

    async def scenario() -> None:
        client, clock = await SshClient.make(tmp_path), Clock()
        async with server_for(client, clock=clock) as server:
            server.refresh()
            assert (await client.ssh(server.port, USER, "exit 7")).status == 7
            assert (await client.ssh(server.port, "somebody", "true")).status == 255
            clock.now += 60
            assert (await client.ssh(server.port, USER, "true")).status == 255

    asyncio.run(scenario(), debug=True)


def test_commands_start_at_home_and_keep_their_streams_apart(tmp_path: Path) -> None:
    """Standard output, standard error, status."""

    async def scenario() -> None:
        client = await SshClient.make(tmp_path)
        async with server_for(client) as server:
            finished = await client.ssh(server.port, USER, "pwd; echo to err >&2; exit 3")
            assert finished.out.decode().strip() == HOME
            assert (finished.err.strip(), finished.status) == ("to err", 3)

    asyncio.run(scenario(), debug=True)


def test_a_command_killed_by_a_signal_ends_as_with_sshd(tmp_path: Path) -> None:
    """Ssh reports 255."""

    async def scenario() -> None:
        client = await SshClient.make(tmp_path)
        async with server_for(client) as server:
            assert (await client.ssh(server.port, USER, "kill -KILL $$")).status == 255

    asyncio.run(scenario(), debug=True)


def test_carries_megabytes_through_a_command(tmp_path: Path) -> None:
    """In and out at once, the end included."""

    async def scenario() -> None:
        client = await SshClient.make(tmp_path)
        data = os.urandom(5_000_000)
        async with server_for(client) as server:
            finished = await client.ssh(server.port, USER, "cat", stdin=data)
            assert hashlib.sha256(finished.out).digest() == hashlib.sha256(data).digest()

    asyncio.run(scenario(), debug=True)


def test_gives_a_terminal(tmp_path: Path) -> None:
    """With -tt even where ssh has none itself."""

    async def scenario() -> None:
        client = await SshClient.make(tmp_path)
        async with server_for(client) as server:
            finished = await client.ssh(server.port, USER, "tty; exit 5", options=["-tt"])
            assert finished.out.startswith(b"/dev/"), finished
            assert finished.status == 5

    asyncio.run(scenario(), debug=True)


def test_gives_a_shell(tmp_path: Path) -> None:
    """What is typed is run."""

    async def scenario() -> None:
        client = await SshClient.make(tmp_path)
        async with server_for(client) as server:
            finished = await client.ssh(server.port, USER, stdin=b"echo $((6 * 7))\nexit 4\n")
            assert b"42" in finished.out
            assert finished.status == 4

    asyncio.run(scenario(), debug=True)


@pytest.mark.parametrize("mode", ["-s", "-O"])
def test_copies_by_sftp_and_by_the_old_protocol(mode: str, tmp_path: Path) -> None:
    """Both ways of scp, there and back."""

    async def scenario() -> None:
        client = await SshClient.make(tmp_path)
        async with server_for(client) as server:
            (tmp_path / "a").write_bytes(bytes(range(256)) * 1000)
            there = await client.scp(
                server.port, mode, str(tmp_path / "a"), f"{USER}@127.0.0.1:{tmp_path / 'b'}"
            )
            back = await client.scp(
                server.port, mode, f"{USER}@127.0.0.1:{tmp_path / 'b'}", str(tmp_path / "c")
            )
            assert (there.status, back.status) == (0, 0), there.err + back.err
            assert (tmp_path / "c").read_bytes() == (tmp_path / "a").read_bytes()

    asyncio.run(scenario(), debug=True)


def test_sftp_begins_at_home(tmp_path: Path) -> None:
    """Whatever directory the emulator was started in."""

    async def scenario() -> None:
        client = await SshClient.make(tmp_path)
        async with server_for(client) as server:
            sftp = need_program("sftp")
            finished = await run(
                sftp, "-q", *client.options, "-P", str(server.port), f"{USER}@127.0.0.1", stdin=b"pwd\n"
            )
            assert HOME in finished.out.decode()

    asyncio.run(scenario(), debug=True)


def test_forwards_to_a_port(tmp_path: Path) -> None:
    """What ``ssh -W`` asks for, ``-L`` asks for too."""

    async def scenario() -> None:
        async def greet(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            writer.write(b"hello from the port\n")
            await writer.drain()
            await reader.read()
            writer.close()

        client = await SshClient.make(tmp_path)
        listener = await asyncio.start_server(greet, "127.0.0.1", 0)
        port = listener.sockets[0].getsockname()[1]
        async with listener, server_for(client) as server:
            finished = await client.ssh(server.port, USER, options=["-W", f"127.0.0.1:{port}"])
            assert finished.out == b"hello from the port\n"

    asyncio.run(scenario(), debug=True)


def test_tells_its_host_keys(tmp_path: Path) -> None:
    """As in known_hosts: type and base64, both kinds."""

    async def scenario() -> None:
        async with server_for(await SshClient.make(tmp_path)) as server:
            kinds = [line.split()[0] for line in server.host_keys]
            assert kinds == ["ssh-ed25519", "ecdsa-sha2-nistp256"]

    asyncio.run(scenario(), debug=True)


@pytest.mark.parametrize("terminal", [[], ["-tt"]])
def test_stopping_ends_what_runs(terminal: list[str], tmp_path: Path) -> None:
    """A client in the middle of a command loses its connection; the command goes with it."""
    started = tmp_path / "started"

    async def scenario() -> None:
        client = await SshClient.make(tmp_path)
        async with server_for(client) as server, asyncio.TaskGroup() as tasks:
            command = f"echo $$ > {started}; mv {started} {started}.done; sleep 1000"
            running = tasks.create_task(client.ssh(server.port, USER, command, options=terminal))
            while not os.path.lexists(f"{started}.done"):  # noqa: ASYNC110, ASYNC240 -- another process's file
                await asyncio.sleep(0.01)
            await server.stop()
            assert (await running).status == 255

    asyncio.run(scenario(), debug=True)
    process_id = int((tmp_path / "started.done").read_text(encoding="ascii"))
    left = subprocess.run(["pgrep", "-g", str(process_id)], capture_output=True, check=False)
    assert left.stdout == b""
