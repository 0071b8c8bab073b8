"""The system's sshd as the caller's own user, used by the system's ssh."""

from __future__ import annotations

import asyncio
import getpass
import os
import tempfile
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from ssm_ssh.emulator import sshd
from ssm_ssh.emulator.authorized_keys import AuthorizedKeys
from ssm_ssh.emulator.sshd import OpenSshd, ServerFailed
from tests.emulator.ssh_client import SshClient
from tests.emulator.test_authorized_keys import Clock
from tests.requirement import need_program

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

USER = getpass.getuser()


@asynccontextmanager
async def server_of(keys: AuthorizedKeys) -> AsyncIterator[OpenSshd]:
    """A started server that is gone at the end."""
    directory = Path(tempfile.mkdtemp())
    server = OpenSshd(need_program("sshd"), directory, keys)
    await server.start()
    try:
        yield server
    finally:
        await server.stop()
        assert directory.name not in os.listdir(directory.parent)


def test_a_pushed_key_opens_it_for_its_time(tmp_path: Path) -> None:
    """Refused before, let in, refused after: by the clock given."""

    async def scenario() -> None:
        client, clock = await SshClient.make(tmp_path), Clock()
        keys = AuthorizedKeys({}, clock=clock)
        async with server_of(keys) as server:
            refused = await client.ssh(server.port, USER, "true")
            assert refused.status == 255
            assert "Permission denied" in refused.err
            keys.push(USER, client.public_key, seconds=60)
            server.refresh()
            assert (await client.ssh(server.port, USER, "echo in; exit 7")).status == 7
            clock.now += 60
            server.refresh()
            assert (await client.ssh(server.port, USER, "true")).status == 255

    asyncio.run(scenario(), debug=True)


def test_a_permanent_key_stays(tmp_path: Path) -> None:
    """And several logins at once are let in."""

    async def scenario() -> None:
        client = await SshClient.make(tmp_path)
        keys = AuthorizedKeys({USER: [client.public_key.strip()]}, clock=Clock())
        async with server_of(keys) as server:
            logins = [client.ssh(server.port, USER, f"echo {number}") for number in range(5)]
            assert [finished.out for finished in await asyncio.gather(*logins)] == [
                b"%d\n" % number for number in range(5)
            ]

    asyncio.run(scenario(), debug=True)


def test_keeps_its_host_keys_over_a_restart(tmp_path: Path) -> None:
    """A node that reboots is still the same node."""

    async def scenario() -> None:
        client = await SshClient.make(tmp_path)
        keys = AuthorizedKeys({USER: [client.public_key.strip()]}, clock=Clock())
        async with server_of(keys) as server:
            public = sorted((server.log.parent / "etc-ssh").glob("ssh_host_*_key.pub"))
            assert [path.name for path in public] == ["ssh_host_ecdsa_key.pub", "ssh_host_ed25519_key.pub"]
            before = [path.read_text(encoding="utf-8") for path in public]
            await server.stop(keep_directory=True)
            await server.start()
            assert [path.read_text(encoding="utf-8") for path in public] == before
            assert (await client.ssh(server.port, USER, "true")).status == 0

    asyncio.run(scenario(), debug=True)


@pytest.mark.parametrize("mode", ["-s", "-O"])
def test_copies_by_sftp_and_by_the_old_protocol(mode: str, tmp_path: Path) -> None:
    """Both ways of scp."""

    async def scenario() -> None:
        client = await SshClient.make(tmp_path)
        keys = AuthorizedKeys({USER: [client.public_key.strip()]}, clock=Clock())
        async with server_of(keys) as server:
            (tmp_path / "a").write_bytes(bytes(range(256)) * 1000)
            copied = await client.scp(
                server.port, mode, str(tmp_path / "a"), f"{USER}@127.0.0.1:{tmp_path / 'b'}"
            )
            assert copied.status == 0, copied.err
            assert (tmp_path / "b").read_bytes() == (tmp_path / "a").read_bytes()

    asyncio.run(scenario(), debug=True)


def test_a_server_that_does_not_start_says_why(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """After some tries; nothing is left."""
    monkeypatch.setattr(sshd, "_PORT_TRIES", 2)
    broken = tmp_path / "sshd"
    broken.write_text("#!/bin/sh\necho out of order >&2\nexit 1\n", encoding="utf-8")
    broken.chmod(0o755)
    directory = tmp_path / "server"
    directory.mkdir()

    async def scenario() -> None:
        server = OpenSshd(str(broken), directory, AuthorizedKeys({}, clock=Clock()))
        with pytest.raises(ServerFailed, match="out of order out of order"):
            await server.start()

    need_program("ssh-keygen")
    asyncio.run(scenario(), debug=True)
    assert not directory.exists()


def test_tells_its_host_keys() -> None:
    """As in known_hosts: type and base64, both kinds."""

    async def scenario() -> None:
        async with server_of(AuthorizedKeys({}, clock=Clock())) as server:
            kinds = [line.split()[0] for line in server.host_keys]
            assert kinds == ["ssh-ed25519", "ecdsa-sha2-nistp256"]
            assert all(len(line.split()) == 2 for line in server.host_keys)

    asyncio.run(scenario(), debug=True)
