"""Two hundred connections at once over a few sessions of a bad network: every byte arrives, once."""

from __future__ import annotations

import hashlib
import random
import socket
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Final

from ssm_ssh.emulator.fault import Faults
from ssm_ssh.emulator.start import start_emulator
from ssm_ssh.emulator.timing import REAL
from tests.features.port_node import Depot, PortNode, seeded_bytes
from tests.features.tunnel_run import led_to, running_tunnel

_CONNECTIONS: Final = 200
_SESSIONS: Final = 4
_LARGEST_BYTES: Final = 5_000_000
_ALL_BYTES: Final = 40_000_000
_SEED: Final = 20
_FAULTS: Final = Faults(seed=_SEED, loss=0.002, duplication=0.02, reordering=0.05, cut_every_seconds=5.0)
# A broken tunnel shall fail the test, not stop it.
_SECONDS: Final = 130.0
# What one stream may leave unread is 8 MiB; twice that has to be too much for somebody.
_UNREAD_BYTES: Final = 24_000_000
# Ours: interpreter and imports take 60 MB; four sessions may hold 4 MiB of frames each way and one reader
# that rests 8 MiB; the rest is what the allocator keeps of all that passed.
_MEMORY_BYTES: Final = 150_000_000


def sizes(source: random.Random) -> list[int]:
    """How much each connection carries one way: log-uniform, and in all no more than ``_ALL_BYTES``."""
    drawn = [round(_LARGEST_BYTES ** source.random()) for _ in range(_CONNECTIONS)]
    while sum(drawn) > _ALL_BYTES:
        drawn[drawn.index(max(drawn))] = round(_LARGEST_BYTES ** source.random())
    return drawn


def _exchange(port: int, number: int, size: int) -> bool:
    """Send ``size`` bytes to an echo, and see whether the same came back."""
    data = seeded_bytes(size, number)
    heard = hashlib.sha256()
    with socket.create_connection(("127.0.0.1", port), timeout=_SECONDS) as connection:
        sender = threading.Thread(target=connection.sendall, args=(b"echo\n" + data,))
        sender.start()
        while size and (piece := connection.recv(min(size, 65_536))):
            heard.update(piece)
            size -= len(piece)
        sender.join()
    return heard.digest() == hashlib.sha256(data).digest()


def test_two_hundred_connections_on_a_bad_network() -> None:
    """Every echo is whole, although one more program asks for much and never reads; memory stays bounded."""
    drawn = sizes(random.Random(_SEED))
    assert max(drawn) > _LARGEST_BYTES // 3
    with (
        Depot() as depot,
        start_emulator([PortNode(timing=REAL)], faults=_FAULTS) as emulator,
        led_to(emulator),
        running_tunnel("web-1", "-L", f"0:{depot.port}", "--sessions", str(_SESSIONS)) as tunnel,
        socket.create_connection(("127.0.0.1", tunnel.port)) as deaf,
        ThreadPoolExecutor(_CONNECTIONS) as programs,
    ):
        deaf.sendall(b"give %d 1\n" % _UNREAD_BYTES)
        are_whole = programs.map(_exchange, [tunnel.port] * _CONNECTIONS, range(_CONNECTIONS), drawn)
        assert list(are_whole) == [True] * _CONNECTIONS
        assert len(emulator.sessions()) == _SESSIONS
        assert all(record.counts.client_channels > 1 for record in emulator.sessions())
        assert tunnel.memory_bytes(peak=True) < _MEMORY_BYTES
