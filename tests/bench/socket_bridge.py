"""What a socket pair between a blocking caller and asyncio in a thread costs: round trip and throughput."""

from __future__ import annotations

import asyncio
import socket
import statistics
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

from tests.bench.stage import NOW
from tests.bench.table import machine, say, show

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

_ROUND_TRIPS: Final = 20_000
_THROUGHPUT_BYTES: Final = 512 * 1024 * 1024
_PIECE_BYTES: Final = 64 * 1024
_ROUNDS: Final = 3


def main() -> None:
    """Measure and print."""
    size = f"{_THROUGHPUT_BYTES // 2**20} MiB"
    say(f"socket_bridge: {_ROUND_TRIPS} round trips of one byte, {size} each way ({machine()})")
    say()
    ends: dict[str, Callable[[socket.socket], None]] = {
        "a blocking thread at the other end": _echo_blocking,
        "asyncio in a thread at the other end": _echo_by_asyncio,
    }
    figures: dict[str, list[tuple[float, float]]] = {name: [] for name in ends}
    for _ in range(_ROUNDS):
        for name, echo in ends.items():
            with _pair(echo) as caller:
                round_trip = _time_round_trips(caller)
            with _pair(echo) as caller:
                figures[name].append((round_trip, _time_throughput(caller)))
    rows = []
    for name, taken in figures.items():
        round_trip = statistics.median(trip for trip, _ in taken)
        rate = statistics.median(rate for _, rate in taken)
        rows.append([name, f"{1e6 * round_trip:.1f}", f"{rate / 2**30:.2f}"])
    show("a caller and an echo, over one socket pair", ["", "µs a round trip", "GiB/s there and back"], rows)


@contextmanager
def _pair(echo: Callable[[socket.socket], None]) -> Iterator[socket.socket]:
    """The caller's end of a pair whose other end is echoed in a thread."""
    caller, other = socket.socketpair()
    thread = threading.Thread(target=echo, args=(other,))
    thread.start()
    with caller:
        yield caller
    thread.join()


def _echo_blocking(end: socket.socket) -> None:
    with end:
        while data := end.recv(_PIECE_BYTES):
            end.sendall(data)


def _echo_by_asyncio(end: socket.socket) -> None:
    asyncio.run(_echo(end))


async def _echo(end: socket.socket) -> None:
    reader, writer = await asyncio.open_connection(sock=end)
    while data := await reader.read(_PIECE_BYTES):
        writer.write(data)
        await writer.drain()
    writer.close()
    await writer.wait_closed()


def _time_round_trips(caller: socket.socket) -> float:
    started_at = NOW()
    for _ in range(_ROUND_TRIPS):
        caller.sendall(b"x")
        caller.recv(1)
    return (NOW() - started_at) / _ROUND_TRIPS


def _time_throughput(caller: socket.socket) -> float:
    """Bytes a second that come back while another thread sends them."""
    started_at = NOW()
    sender = threading.Thread(target=_send, args=(caller,))
    sender.start()
    left = _THROUGHPUT_BYTES
    while left > 0:
        left -= len(caller.recv(_PIECE_BYTES))
    sender.join()
    return _THROUGHPUT_BYTES / (NOW() - started_at)


def _send(caller: socket.socket) -> None:
    piece = bytes(_PIECE_BYTES)
    for _ in range(_THROUGHPUT_BYTES // _PIECE_BYTES):
        caller.sendall(piece)


if __name__ == "__main__":
    main()
