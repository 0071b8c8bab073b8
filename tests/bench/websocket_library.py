"""What a WebSocket costs a client: ``transport/websocket.py`` beside two libraries with loops of their own.

Every client takes messages as long as an agent's, and answers each with one as long as an acknowledgement.
The peer is a third program, the same for all.
"""

from __future__ import annotations

import asyncio
import statistics
import subprocess
import sys
import time
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Final

import aiohttp
from aiohttp import web
from websockets.asyncio.client import connect

from ssm_ssh.transport.connection import Route
from ssm_ssh.transport.stream_url import StreamAddress
from ssm_ssh.transport.websocket import open_websocket
from tests.bench.stage import REPOSITORY
from tests.bench.table import machine, milliseconds, say, show

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

_MESSAGES: Final = 30_000
# How many messages the peer sends before it waits for an answer.
_AHEAD: Final = 64
# Header and payload of an agent's data, and of an acknowledgement (protocol 3 and 4).
_DATA_BYTES: Final = 120 + 1024
_ANSWER: Final = bytes(296)
_ROUNDS: Final = 3
_IMPORT_ROUNDS: Final = 11
_IMPORTS: Final = {
    "ours (websockets without I/O)": "ssm_ssh.transport.websocket",
    "websockets' asyncio client": "websockets.asyncio.client",
    "aiohttp": "aiohttp",
}
# What ``proxy`` has loaded anyway when it comes to its WebSocket is not the WebSocket's cost.
_TIMED_IMPORT: Final = """
import gc, sys, time, asyncio, botocore.session, botocore.auth, botocore.httpsession, ssm_ssh.errors
gc.disable()
started_at = time.perf_counter()
__import__(sys.argv[1])
print(time.perf_counter() - started_at)
"""


def main() -> None:
    """Measure and print; with a client's name and a port, be that client."""
    if len(sys.argv) == 3:
        say(str(asyncio.run(_be_client(sys.argv[1], int(sys.argv[2])))))
        return
    say(f"websocket_library: {_MESSAGES} messages each, plain TCP ({machine()})")
    say()
    imports = _time_imports()
    cpu: dict[str, list[float]] = {name: [] for name in _CLIENTS}
    for _ in range(_ROUNDS):
        for name, samples in cpu.items():
            samples.append(asyncio.run(_time_client(name)))
    best = statistics.median(next(iter(cpu.values())))
    rows = []
    for name, samples in cpu.items():
        seconds = statistics.median(samples)
        rows.append(
            [name, milliseconds(imports[name]), f"{1e6 * seconds / _MESSAGES:.1f}", f"{seconds / best:.1f}"]
        )
    show("as a client", ["client", "import ms, behind botocore", "CPU µs a message", "to ours"], rows)


async def _ours(port: int) -> None:
    address = StreamAddress(f"ws://127.0.0.1:{port}/", "127.0.0.1", port, is_tls=False, path="/", query="")
    websocket = await open_websocket(address, Route(None), headers={})
    left = _MESSAGES
    while left:
        messages = await websocket.receive()
        left -= len(messages)
        await websocket.send([_ANSWER] * len(messages))
    await websocket.close()


async def _by_websockets(port: int) -> None:
    async with connect(f"ws://127.0.0.1:{port}/", proxy=None, compression=None) as websocket:
        for _ in range(_MESSAGES):
            await websocket.recv()
            await websocket.send(_ANSWER)


async def _by_aiohttp(port: int) -> None:
    async with (
        aiohttp.ClientSession() as session,
        session.ws_connect(f"ws://127.0.0.1:{port}/") as websocket,
    ):
        for _ in range(_MESSAGES):
            await websocket.receive_bytes()
            await websocket.send_bytes(_ANSWER)


_CLIENTS: Final[dict[str, Callable[[int], Awaitable[None]]]] = dict(
    zip(_IMPORTS, (_ours, _by_websockets, _by_aiohttp), strict=True)
)


async def _be_client(name: str, port: int) -> float:
    """Returns the CPU seconds of this process."""
    before = time.process_time()
    await _CLIENTS[name](port)
    return time.process_time() - before


async def _time_client(name: str) -> float:
    async with _peer() as port:
        command = [sys.executable, "-m", "tests.bench.websocket_library", name, str(port)]
        process = await asyncio.create_subprocess_exec(*command, cwd=REPOSITORY, stdout=subprocess.PIPE)
        output, _ = await process.communicate()
    return float(output)


@asynccontextmanager
async def _peer() -> AsyncIterator[int]:
    application = web.Application()
    application.add_routes([web.get("/", _send_and_count)])
    runner = web.AppRunner(application, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    try:
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        yield runner.addresses[0][1]
    finally:
        await runner.cleanup()


async def _send_and_count(request: web.Request) -> web.WebSocketResponse:
    websocket = web.WebSocketResponse(compress=False)
    await websocket.prepare(request)
    data = bytes(_DATA_BYTES)
    for _ in range(_AHEAD):
        await websocket.send_bytes(data)
    left = _MESSAGES - _AHEAD
    async for _ in websocket:
        if left:
            left -= 1
            await websocket.send_bytes(data)
    return websocket


def _time_imports() -> dict[str, float]:
    """Seconds that each client's import takes where ``proxy`` needs it."""
    samples: dict[str, list[float]] = {name: [] for name in _IMPORTS}
    for _ in range(_IMPORT_ROUNDS):
        for name, module in _IMPORTS.items():
            command = [sys.executable, "-c", _TIMED_IMPORT, module]
            run = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=True)
            samples[name].append(float(run.stdout))
    return {name: statistics.median(taken) for name, taken in samples.items()}


if __name__ == "__main__":
    main()
