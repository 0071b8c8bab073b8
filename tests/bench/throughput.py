"""Throughput of ``proxy`` by payload size, beside plain TCP; and of ssh through it, beside plain ssh.

The stand-in is Python too and does more for a message than the client does, so MB/s are those of the pair.
The client's own limit is its CPU time a message.
"""

from __future__ import annotations

import asyncio
import os
import resource
import statistics
import subprocess
import sys
import tempfile
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from ssm_ssh.emulator.timing import FAST, REAL
from tests.bench.stage import NOW, set_stage
from tests.bench.table import machine, say, show

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

    from tests.bench.stage import Stage

_MEGABYTE: Final = 1_000_000
_UP_BYTES: Final = 16 * _MEGABYTE
_DOWN_BYTES: Final = 8 * _MEGABYTE
_REAL_DOWN_BYTES: Final = 2 * _MEGABYTE
_PAYLOAD_SIZES: Final = (1024, 4 * 1024, 16 * 1024, 32 * 1024)
_IDLE_RUNS: Final = 3
_RUN_SECONDS: Final = 60.0
_PIECE_BYTES: Final = 64 * 1024
# Plain ssh is timed with more, or its start would drown the transfer.
_DIRECT_BYTES: Final = 256 * _MEGABYTE
# What plain TCP is measured with: the same pipes, the same interpreter, nothing in between.
_PLAIN_UP: Final = """
import os, socket, sys
with socket.create_connection(("127.0.0.1", int(sys.argv[1]))) as connection:
    while data := os.read(0, 65536):
        connection.sendall(data)
"""
_PLAIN_DOWN: Final = """
import os, socket, sys
with socket.create_connection(("127.0.0.1", int(sys.argv[1]))) as connection:
    while data := connection.recv(65536):
        os.write(1, data)
"""


def main() -> None:
    """Measure and print."""
    say(f"throughput: {_UP_BYTES // _MEGABYTE} MB up, {_DOWN_BYTES // _MEGABYTE} MB down ({machine()})")
    say()
    with tempfile.NamedTemporaryFile(prefix="ssm-ssh-bench-") as file:
        file.write(os.urandom(_UP_BYTES))
        file.flush()
        asyncio.run(_measure_pipes(file.name))
        asyncio.run(_measure_ssh(file.name))


@dataclass(frozen=True, slots=True)
class _Transfer:
    """One transfer; ``cpu_seconds`` of the client, without its start and end."""

    size_bytes: int
    seconds: float
    cpu_seconds: float
    messages: int = 0
    repeated: int = 0

    @property
    def megabytes_per_second(self) -> float:
        return self.size_bytes / self.seconds / _MEGABYTE

    def row(self, title: str, plain: _Transfer) -> list[str]:
        cells = [title, f"{self.megabytes_per_second:.1f}"]
        cells.append(f"{self.size_bytes / self.cpu_seconds / _MEGABYTE:.0f}" if self.cpu_seconds > 0 else "")
        cells.append(f"{1e6 * self.cpu_seconds / self.messages:.1f}" if self.messages else "")
        cells.append(str(self.messages or ""))
        return [*cells, f"1 : {plain.megabytes_per_second / self.megabytes_per_second:.0f}"]


# --- two pipes and a port --------------------------------------------------------------------------------


async def _measure_pipes(file: str) -> None:
    header = ["", "MB/s", "MB a CPU s", "CPU µs/message", "messages", "to plain TCP"]
    async with set_stage(FAST) as stage:
        idle = statistics.median([(await _download(stage, 1, 0.0)).cpu_seconds for _ in range(_IDLE_RUNS)])
        plain = await _plain_upload(file)
        rows = [plain.row("plain TCP", plain)]
        for size in _PAYLOAD_SIZES:
            option = f"--payload-size={size}"
            transfer = await _upload(stage, file, idle, option)
            rows.append(transfer.row(f"payload {size // 1024} KiB", plain))
        rows.append((await _upload(stage, file, idle)).row("search, nothing known", plain))
        rows.append((await _upload(stage, file, idle)).row("search, limit remembered", plain))
        show("up: stdin to the port", header, rows)
        plain = await _plain_download(_DOWN_BYTES)
        transfer = await _download(stage, _DOWN_BYTES, idle)
        rows = [plain.row("plain TCP", plain), transfer.row("an agent that does not sleep", plain)]
    async with set_stage(REAL) as stage:
        transfer = await _download(stage, _REAL_DOWN_BYTES, idle)
    rows.append(transfer.row("the agent's real pace", plain))
    show("down: the port to stdout, 1 KiB a message as agents send", header, rows)


class _Sink(asyncio.Protocol):
    """Counts what arrives."""

    def __init__(self, expected_bytes: int) -> None:
        self._left = expected_bytes
        self.started_at = 0.0
        self.ended_at = 0.0
        self.is_complete = asyncio.Event()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.started_at = NOW()

    def data_received(self, data: bytes) -> None:
        self._left -= len(data)
        if self._left <= 0:
            self.ended_at = NOW()
            self.is_complete.set()


@asynccontextmanager
async def _sink(expected_bytes: int) -> AsyncIterator[tuple[_Sink, int]]:
    """Something that takes bytes, and its port."""
    sink = _Sink(expected_bytes)
    server = await asyncio.get_running_loop().create_server(lambda: sink, "127.0.0.1", 0)
    async with server:
        yield sink, server.sockets[0].getsockname()[1]


@asynccontextmanager
async def _source(size_bytes: int) -> AsyncIterator[int]:
    """The port of something that sends random bytes and closes."""
    piece = os.urandom(_PIECE_BYTES)

    async def send(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for start in range(0, size_bytes, len(piece)):
            writer.write(piece[: size_bytes - start])
            await writer.drain()
        writer.close()

    server = await asyncio.start_server(send, "127.0.0.1", 0)
    async with server:
        yield server.sockets[0].getsockname()[1]


async def _upload(stage: Stage, file: str, idle_cpu_seconds: float, *options: str) -> _Transfer:
    async with _sink(_UP_BYTES) as (sink, port):
        command = stage.proxy_command(*options, stage.node_id, str(port))
        cpu_before = _children_cpu()
        with open(file, "rb") as opened:  # noqa: ASYNC230 -- becomes a child's stdin
            process = await asyncio.create_subprocess_exec(
                *command, env=stage.environment, stdin=opened, stdout=subprocess.DEVNULL
            )
        async with asyncio.timeout(_RUN_SECONDS):
            await sink.is_complete.wait()
            process.terminate()
            await process.wait()
    counts = stage.emulator.sessions.records[-1].counts
    # Acknowledgements of what came down are messages too, but nothing comes down.
    messages = counts.from_client
    await stage.end_sessions()
    cpu_seconds = _children_cpu() - cpu_before - idle_cpu_seconds
    return _Transfer(_UP_BYTES, sink.ended_at - sink.started_at, cpu_seconds, messages)


async def _download(stage: Stage, size_bytes: int, idle_cpu_seconds: float) -> _Transfer:
    async with _source(size_bytes) as port:
        cpu_before = _children_cpu()
        process = await asyncio.create_subprocess_exec(
            *stage.proxy_command(stage.node_id, str(port)),
            env=stage.environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        seconds = await _drain(process, size_bytes)
    messages = -(-size_bytes // 1024)
    await stage.end_sessions()
    return _Transfer(size_bytes, seconds, _children_cpu() - cpu_before - idle_cpu_seconds, messages)


async def _drain(process: asyncio.subprocess.Process, size_bytes: int) -> float:
    """Read a child's stdout to its end; returns the seconds between its first and last bytes."""
    assert process.stdout is not None
    assert process.stdin is not None
    async with asyncio.timeout(_RUN_SECONDS):
        received = len(await process.stdout.read(1))
        started_at = ended_at = NOW()
        while data := await process.stdout.read(1 << 20):
            received += len(data)
            ended_at = NOW()
        process.stdin.close()
        await process.wait()
    if received != size_bytes:
        raise RuntimeError(f"{received} bytes arrived instead of {size_bytes}")
    return max(ended_at - started_at, 1e-6)


async def _plain_upload(file: str) -> _Transfer:
    async with _sink(_UP_BYTES) as (sink, port):
        with open(file, "rb") as opened:  # noqa: ASYNC230 -- becomes a child's stdin
            process = await asyncio.create_subprocess_exec(
                sys.executable, "-c", _PLAIN_UP, str(port), stdin=opened
            )
        async with asyncio.timeout(_RUN_SECONDS):
            await sink.is_complete.wait()
            await process.wait()
    return _Transfer(_UP_BYTES, sink.ended_at - sink.started_at, 0.0)


async def _plain_download(size_bytes: int) -> _Transfer:
    async with _source(size_bytes) as port:
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-c", _PLAIN_DOWN, str(port), stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
        return _Transfer(size_bytes, await _drain(process, size_bytes), 0.0)


def _children_cpu() -> float:
    """CPU seconds of all children that have ended."""
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


# --- through OpenSSH -------------------------------------------------------------------------------------


async def _measure_ssh(file: str) -> None:
    rows = []
    async with set_stage(FAST, authorized=True) as stage:
        large = stage.folder / "large"
        large.touch()
        os.truncate(large, _DIRECT_BYTES)
        direct = ["-o", "HostName=127.0.0.1", "-p", str(stage.node.ssh_port)]
        proxied = ["-o", f"ProxyCommand={' '.join(stage.proxy_command('%h', '%p', '%r'))}"]
        for title, options, up_file, size in (
            ("ssh without proxy", direct, str(large), _DIRECT_BYTES),
            ("ssh through proxy", proxied, file, _UP_BYTES),
        ):
            empty = min([await _time_ssh(stage, options, "true") for _ in range(_IDLE_RUNS)])
            up = await _time_ssh(stage, options, "cat >/dev/null", up_file) - empty
            down = await _time_ssh(stage, options, f"head -c {size} /dev/zero") - empty
            rates = [f"{size / seconds / _MEGABYTE:.1f}" for seconds in (up, down)]
            rows.append([title, f"{empty:.2f}", *rates])
    header = ["", "s for `ssh true`", "MB/s up", "MB/s down"]
    show("OpenSSH's ssh, an agent that does not sleep", header, rows)


async def _time_ssh(stage: Stage, options: Sequence[str], command: str, file: str = os.devnull) -> float:
    started_at = NOW()
    with open(file, "rb") as opened:  # noqa: ASYNC230 -- becomes a child's stdin
        process = await asyncio.create_subprocess_exec(
            *stage.ssh_command(*options, stage.node_id, command),
            env=stage.environment,
            stdin=opened,
            stdout=subprocess.DEVNULL,
        )
    async with asyncio.timeout(_RUN_SECONDS):
        status = await process.wait()
    seconds = NOW() - started_at
    if status:
        raise RuntimeError(f"ssh failed with status {status}")
    await stage.wait_until_idle()
    return seconds


if __name__ == "__main__":
    main()
