"""A node's SSH server where the system has none: asyncssh, as the caller's own user, in this process."""

from __future__ import annotations

import asyncio
import os
import pty
import pwd
import signal
import struct
import termios
from fcntl import ioctl
from typing import TYPE_CHECKING, Any, Final

import asyncssh

if TYPE_CHECKING:
    from ssm_ssh.emulator.authorized_keys import AuthorizedKeys

_HOST_KEY_TYPES: Final = ("ssh-ed25519", "ecdsa-sha2-nistp256")
_CHUNK_BYTES: Final = 65_536
_WINDOW_SIZE = struct.Struct("HHHH")


class EmbeddedSshd:
    """An SSH server on a loopback port: commands, shells, files and forwards.

    Args:
        keys: Who may log in, asked anew for each login.
        user: The only user there is, the caller.

    Attributes:
        port: Where it listens on 127.0.0.1, once started.
    """

    def __init__(self, keys: AuthorizedKeys, *, user: str) -> None:
        self.port = 0
        self._keys = keys
        self._user = user
        self._host_keys: list[asyncssh.SSHKey] = []
        self._acceptor: asyncssh.SSHAcceptor | None = None
        self._connections: set[asyncssh.SSHServerConnection] = set()
        self._at_work: set[asyncio.Task[None]] = set()

    @property
    def host_keys(self) -> list[str]:
        """Its public host keys, each as in a known_hosts line: type and base64, once it was started."""
        lines = [key.export_public_key().decode("ascii") for key in self._host_keys]
        return [" ".join(line.split()[:2]) for line in lines]

    async def start(self) -> None:
        """Listen, with the host keys of the last start if there was one."""
        self._host_keys = self._host_keys or [asyncssh.generate_private_key(kind) for kind in _HOST_KEY_TYPES]
        self._acceptor = await asyncssh.listen(
            "127.0.0.1",
            0,
            server_factory=lambda: _Gate(self._keys, self._user, self._connections),
            server_host_keys=self._host_keys,
            process_factory=self._serve,
            sftp_factory=_HomeSftp,
            allow_scp=True,
            encoding=None,
            # Echo and editing are the terminal's affair.
            line_editor=False,
            agent_forwarding=False,
        )
        self.port = self._acceptor.get_port()

    async def stop(self, *, keep_directory: bool = False) -> None:
        """Close the listener and every connection. Twice is fine."""
        acceptor, self._acceptor = self._acceptor, None
        if acceptor is None:
            return
        acceptor.close()
        await acceptor.wait_closed()
        for connection in list(self._connections):
            connection.abort()
            await connection.wait_closed()
        if self._at_work:
            await asyncio.wait(self._at_work)

    def refresh(self) -> None:
        """Nothing to do: each login asks."""

    async def _serve(self, process: asyncssh.SSHServerProcess[bytes]) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._at_work.add(task)
        try:
            await _serve_process(process)
        finally:
            self._at_work.discard(task)


class _Gate(asyncssh.SSHServer):
    """Decides who comes in, and lets them forward."""

    def __init__(
        self, keys: AuthorizedKeys, user: str, connections: set[asyncssh.SSHServerConnection]
    ) -> None:
        self._keys = keys
        self._user = user
        self._connections = connections
        self._connection: asyncssh.SSHServerConnection | None = None

    def connection_made(self, conn: asyncssh.SSHServerConnection) -> None:
        self._connection = conn
        self._connections.add(conn)

    def connection_lost(self, exc: Exception | None) -> None:
        assert self._connection is not None
        self._connections.discard(self._connection)

    def public_key_auth_supported(self) -> bool:
        return True

    def validate_public_key(self, username: str, key: asyncssh.SSHKey) -> bool:
        if username != self._user:
            return False
        return any(asyncssh.import_public_key(line) == key for line in self._keys.of(username))

    def connection_requested(
        self,
        dest_host: str,
        dest_port: int,
        orig_host: str,
        orig_port: int,
    ) -> bool:
        return True

    def server_requested(self, listen_host: str, listen_port: int) -> bool:
        return True


class _HomeSftp(asyncssh.SFTPServer):
    """Relative paths begin at home, and the end is told with a status, which scp insists on."""

    def exit(self) -> None:
        if self.channel.get_subsystem() == "sftp":
            self.channel.exit(0)

    def map_path(self, path: bytes) -> bytes:
        return os.path.join(os.fsencode(_account().pw_dir), path)


def _account() -> pwd.struct_passwd:
    return pwd.getpwuid(os.getuid())


async def _serve_process(process: asyncssh.SSHServerProcess[bytes]) -> None:
    """Run a command or a shell as sshd would."""
    account = _account()
    shell = account.pw_shell or "/bin/sh"
    argv = [shell, "-c", process.command] if process.command else [shell, "-l"]
    environment = {
        "HOME": account.pw_dir,
        "USER": account.pw_name,
        "LOGNAME": account.pw_name,
        "SHELL": shell,
        "PATH": os.environ.get("PATH", os.defpath),
        **{os.fsdecode(name): os.fsdecode(value) for name, value in process.env.items()},
    }
    if process.term_type:
        environment["TERM"] = process.term_type
        status = await _run_on_terminal(process, argv, environment)
    else:
        status = await _run_on_pipes(process, argv, environment)
    if status < 0:
        process.exit_with_signal(_signal_name(-status))
    else:
        process.exit(status)


async def _run_on_pipes(
    process: asyncssh.SSHServerProcess[bytes], argv: list[str], environment: dict[str, str]
) -> int:
    child = await asyncio.create_subprocess_exec(
        *argv,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env=environment,
        cwd=environment["HOME"],
        start_new_session=True,
    )
    assert child.stdin is not None
    assert child.stdout is not None
    assert child.stderr is not None
    try:
        async with asyncio.TaskGroup() as tasks:
            feeding = tasks.create_task(_feed(process.stdin, child.stdin))
            outputs = asyncio.gather(
                _drain_into(child.stdout, process.stdout), _drain_into(child.stderr, process.stderr)
            )
            await _until_gone(process, outputs)
            feeding.cancel()
    finally:
        status = await _end(child)
    return status


async def _until_gone(process: asyncssh.SSHServerProcess[bytes], work: asyncio.Future[Any]) -> None:
    """Let ``work`` go on to its end, or to the client's."""
    gone = asyncio.ensure_future(process.wait_closed())
    try:
        await asyncio.wait((work, gone), return_when=asyncio.FIRST_COMPLETED)
    finally:
        for waiting in (work, gone):
            waiting.cancel()
        await asyncio.wait((work, gone))


async def _feed(source: asyncssh.SSHReader[bytes], sink: asyncio.StreamWriter) -> None:
    try:
        while chunk := await source.read(_CHUNK_BYTES):
            sink.write(chunk)
            await sink.drain()
    except (OSError, asyncssh.Error):
        return
    finally:
        sink.close()


async def _drain_into(source: asyncio.StreamReader, sink: asyncssh.SSHWriter[bytes]) -> None:
    try:
        while chunk := await source.read(_CHUNK_BYTES):
            sink.write(chunk)
            await sink.drain()
    except (OSError, asyncssh.Error):
        return


async def _end(child: asyncio.subprocess.Process) -> int:
    """The child's status; it has closed its output or lost its reader, so it is not waited for for long."""
    try:
        async with asyncio.timeout(1.0):
            return await child.wait()
    except TimeoutError:
        # Its own session's group: what it started goes with it.
        os.killpg(child.pid, signal.SIGKILL)
        return await child.wait()


async def _run_on_terminal(
    process: asyncssh.SSHServerProcess[bytes], argv: list[str], environment: dict[str, str]
) -> int:
    ours, theirs = pty.openpty()
    try:
        _set_size(ours, process.term_size)
        child = await asyncio.create_subprocess_exec(
            *argv,
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
            env=environment,
            cwd=environment["HOME"],
            start_new_session=True,
            # The terminal becomes the new session's own, so that Ctrl-C reaches it.
            preexec_fn=lambda: ioctl(0, termios.TIOCSCTTY, 0),
        )
    except BaseException:
        os.close(ours)
        raise
    finally:
        os.close(theirs)
    try:
        async with asyncio.TaskGroup() as tasks:
            typing = tasks.create_task(_type(process.stdin, ours))
            await _until_gone(process, asyncio.ensure_future(_show(ours, process.stdout)))
            typing.cancel()
    finally:
        os.close(ours)
        status = await _end(child)
    return status


async def _type(source: asyncssh.SSHReader[bytes], terminal: int) -> None:
    while True:
        try:
            chunk = await source.read(_CHUNK_BYTES)
        except asyncssh.TerminalSizeChanged as change:
            _set_size(terminal, change.term_size)
            continue
        except (OSError, asyncssh.Error):
            chunk = b""
        if not chunk:
            # What a terminal's user would press.
            os.write(terminal, b"\x04")
            return
        os.write(terminal, chunk)


async def _show(terminal: int, sink: asyncssh.SSHWriter[bytes]) -> None:
    """Copy what the terminal shows until its last program is gone."""
    loop = asyncio.get_running_loop()
    readable = asyncio.Event()
    loop.add_reader(terminal, readable.set)
    try:
        while True:
            await readable.wait()
            readable.clear()
            chunk = os.read(terminal, _CHUNK_BYTES)
            if not chunk:
                return
            sink.write(chunk)
            await sink.drain()
    except (OSError, asyncssh.Error):
        # EIO: nobody holds the other end any more.
        return
    finally:
        loop.remove_reader(terminal)


def _set_size(terminal: int, size: tuple[int, int, int, int]) -> None:
    columns, rows, width, height = size
    ioctl(terminal, termios.TIOCSWINSZ, _WINDOW_SIZE.pack(rows, columns, width, height))


def _signal_name(number: int) -> str:
    return signal.Signals(number).name.removeprefix("SIG")
