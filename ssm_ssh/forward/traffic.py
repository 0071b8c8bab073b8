"""How much a forward has carried."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ssm_ssh.forward.relay import Relay


@dataclass(frozen=True, slots=True)
class Traffic:
    """What a forward has carried so far.

    Attributes:
        connections: Local connections served, those that are open included.
        open_connections: Those that are open.
        sent_bytes: From local programs.
        received_bytes: To them.
    """

    connections: int
    open_connections: int
    sent_bytes: int
    received_bytes: int


class TrafficMeter:
    """Counts what relays move, while they do and afterwards."""

    def __init__(self) -> None:
        self._relays: set[Relay] = set()
        self._connections = 0
        self._sent_bytes = 0
        self._received_bytes = 0

    @property
    def traffic(self) -> Traffic:
        """Everything so far."""
        return Traffic(
            self._connections,
            len(self._relays),
            self._sent_bytes + sum(relay.sent_bytes for relay in self._relays),
            self._received_bytes + sum(relay.received_bytes for relay in self._relays),
        )

    @contextmanager
    def counting(self, relay: Relay) -> Iterator[None]:
        """Count one connection for the length of a block."""
        self._connections += 1
        self._relays.add(relay)
        try:
            yield
        finally:
            self._relays.remove(relay)
            self._sent_bytes += relay.sent_bytes
            self._received_bytes += relay.received_bytes
