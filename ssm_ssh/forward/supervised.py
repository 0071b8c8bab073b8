"""One tunnel that is kept up: opened, watched, opened again when it fails."""

from __future__ import annotations

import asyncio
import logging
import random
import time
from contextvars import ContextVar
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final, Protocol

from ssm_ssh.errors import SsmSshError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from contextlib import AbstractAsyncContextManager

    from ssm_ssh.forward.listener import Listener
    from ssm_ssh.forward.traffic import Traffic
    from ssm_ssh.session.document import Destination
    from ssm_ssh.session.forward_session import ForwardSession

_log = logging.getLogger(__name__)

# Ours: pauses between tries double from the first to the last.
FIRST_PAUSE_SECONDS: Final = 1.0
LAST_PAUSE_SECONDS: Final = 60.0
# Ours: tunnels that failed together shall not all come back at one moment.
_JITTER: Final = 0.25
# Ours: a tunnel that was up for so long failed for a new reason: the pauses begin anew.
_PROVEN_SECONDS: Final = 60.0

# Whose doings the log tells, in every task that belongs to a tunnel.
tunnel_name: ContextVar[str] = ContextVar("tunnel_name", default="")


class WatchedForward(Protocol):
    """An ``OpenForward`` or ``OpenDynamicForward``, as far as it is watched."""

    @property
    def listener(self) -> Listener:
        """Where local programs connect to."""

    @property
    def destination(self) -> Destination | None:
        """Where the node connects to; None if that is for programs to say."""

    @property
    def sessions(self) -> Sequence[ForwardSession]:
        """The sessions that are up for it."""

    @property
    def traffic(self) -> Traffic:
        """What it has carried so far."""

    @property
    def resumes(self) -> int:
        """How often a lost WebSocket of its sessions was replaced."""

    @property
    def last_end(self) -> str | None:
        """Why one of its sessions last ended or could not be started; None if none did."""


class OpenTunnel(Protocol):
    """A tunnel that is up, as far as it is watched."""

    @property
    def node_id(self) -> str:
        """The node in the middle."""

    @property
    def forwards(self) -> Sequence[WatchedForward]:
        """What it forwards."""


class Order(Protocol):
    """What is kept up: a ``TunnelOrder``, or a test's own."""

    @property
    def name(self) -> str:
        """What the user calls it."""

    @property
    def target(self) -> str:
        """Where it leads."""

    def open(self) -> AbstractAsyncContextManager[OpenTunnel]:
        """The tunnel, up for the length of the block."""


@dataclass(slots=True)
class _Past:
    """What earlier openings of a tunnel have carried."""

    connections: int = 0
    sent_bytes: int = 0
    received_bytes: int = 0
    resumes: int = 0

    def add(self, forwards: Sequence[WatchedForward]) -> None:
        for forward in forwards:
            traffic = forward.traffic
            self.connections += traffic.connections
            self.sent_bytes += traffic.sent_bytes
            self.received_bytes += traffic.received_bytes
        # Forwards to one destination share their sessions.
        self.resumes += sum({forward.destination: forward.resumes for forward in forwards}.values())


class SupervisedTunnel:
    """A tunnel from ``up`` to ``down``.

    Attributes:
        order: What is kept up.
        failure: Why the last try failed; None while it is up.
    """

    def __init__(
        self,
        order: Order,
        *,
        spread: Callable[[float, float], float] = random.uniform,
        wall_clock: Callable[[], float] = time.time,
    ) -> None:
        """Start with nothing open.

        Args:
            order: What to keep up.
            spread: A number between two; spreads load, guards nothing.
            wall_clock: Seconds since 1970.
        """
        self.order = order
        self.failure: SsmSshError | None = None
        self._spread = spread
        self._wall_clock = wall_clock
        self._tunnel: OpenTunnel | None = None
        self._tried = asyncio.Event()
        self._is_down = False
        self._since = wall_clock()
        self._failures = 0
        self._next_try_at = 0.0
        self._past = _Past()
        self._last_end: str | None = None

    async def keep_up(self) -> None:
        """Have it up until cancelled; at the end its sessions are terminated and nobody listens."""
        tunnel_name.set(self.order.name)
        try:
            await self._keep_up()
        finally:
            self._is_down = True
            # Nobody may wait for a try that will not come.
            self._tried.set()

    async def _keep_up(self) -> None:
        loop = asyncio.get_running_loop()
        pause_seconds = 0.0
        while True:
            opened_at = loop.time()
            try:
                await self._hold_open()
            except SsmSshError as error:
                self._note_failure(error)
            except Exception as error:
                # A bug; the other tunnels shall not suffer, and neither shall this one for ever.
                _log.exception("the tunnel failed unexpectedly")
                self._note_failure(SsmSshError(f"{type(error).__name__}: {error}"))
            if loop.time() - opened_at >= _PROVEN_SECONDS:
                pause_seconds = 0.0
            pause_seconds = min(LAST_PAUSE_SECONDS, max(FIRST_PAUSE_SECONDS, 2 * pause_seconds))
            pause = pause_seconds * self._spread(1 - _JITTER, 1 + _JITTER)
            self._next_try_at = loop.time() + pause
            _log.warning("%s; the next try is in %.0f seconds", self.failure, pause)
            await asyncio.sleep(pause)

    async def wait_tried(self) -> None:
        """Wait until the first try has succeeded or failed, as ``failure`` tells, or there will be none."""
        await self._tried.wait()

    async def _hold_open(self) -> None:
        async with self.order.open() as tunnel:
            self._tunnel = tunnel
            self.failure = None
            self._since = self._wall_clock()
            self._tried.set()
            listeners = [forward.listener for forward in tunnel.forwards]
            addresses = [address for listener in listeners for address in listener.addresses]
            _log.info("up, listening on %s", " and ".join(addresses))
            try:
                await asyncio.get_running_loop().create_future()
            finally:
                self._last_end = self._end_of_sessions() or self._last_end
                self._tunnel = None
                self._past.add(tunnel.forwards)

    def _note_failure(self, failure: SsmSshError) -> None:
        self.failure = failure
        self._last_end = str(failure)
        self._failures += 1
        self._since = self._wall_clock()
        self._tried.set()

    # --- what can be told ---

    @property
    def state(self) -> str:
        """One word.

        ``up``: a session is there. ``idle``: none is, and the next connection starts one. ``resuming``: the
        sessions' streams are lost. ``waiting``: it could not be opened, and is tried again. ``starting``.
        ``down``: it is not kept up any more.
        """
        if self._is_down:
            return "down"
        if self._tunnel is None:
            return "starting" if self.failure is None else "waiting"
        sessions = [session for forward in self._tunnel.forwards for session in forward.sessions]
        if not sessions:
            return "idle"
        return "up" if any(session.is_streaming for session in sessions) else "resuming"

    def status(self) -> dict[str, Any]:
        """Everything, as JSON has it."""
        forwards = () if self._tunnel is None else self._tunnel.forwards
        total = _Past(**{name: getattr(self._past, name) for name in _Past.__slots__})
        total.add(forwards)
        sessions = {session.session_id: session for forward in forwards for session in forward.sessions}
        times = [seconds for one in sessions.values() if (seconds := one.round_trip_seconds) is not None]
        state = self.state
        left = self._next_try_at - asyncio.get_running_loop().time()
        return {
            "name": self.order.name,
            "state": state,
            "target": self.order.target,
            "node_id": None if self._tunnel is None else self._tunnel.node_id,
            "listeners": [
                {"addresses": forward.listener.addresses, "destination": _shown(forward.destination)}
                for forward in forwards
            ],
            "session_ids": list(sessions),
            "connections": total.connections,
            "open_connections": sum(forward.traffic.open_connections for forward in forwards),
            "sent_bytes": total.sent_bytes,
            "received_bytes": total.received_bytes,
            "round_trip_seconds": min(times, default=None),
            "resumes": total.resumes,
            "failures": self._failures,
            "since": datetime.fromtimestamp(self._since, UTC).isoformat(timespec="seconds"),
            "next_try_seconds": round(max(0.0, left), 1) if state == "waiting" else None,
            "last_end": self._end_of_sessions() or self._last_end,
        }

    def _end_of_sessions(self) -> str | None:
        """Why a session of the tunnel that is open ended last, as far as it can be told."""
        forwards = () if self._tunnel is None else self._tunnel.forwards
        return next((forward.last_end for forward in forwards if forward.last_end is not None), None)


def _shown(destination: Destination | None) -> str | None:
    return None if destination is None else str(destination)
