"""A session from StartSession to its end: opened, resumed when its stream is lost, always terminated."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
import uuid
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

from ssm_ssh.errors import (
    HandshakeError,
    SessionEnded,
    SessionFailed,
    SessionTimeout,
    SsmSshError,
    StreamReset,
)
from ssm_ssh.protocol.data_channel import DataChannel, PathLimits
from ssm_ssh.protocol.event import ChannelEnded, DataReceived, Event, FlagReceived, SessionReady
from ssm_ssh.session.agent_version import knows_terminate_flag
from ssm_ssh.session.ahead import ConnectionAhead
from ssm_ssh.session.carriage import STREAM_SECONDS, Carriage, Connect
from ssm_ssh.session.ending import end_session, explain_ending
from ssm_ssh.session.limits import DEFAULT_RESUME_MINUTES
from ssm_ssh.session.port_stream import PortStream
from ssm_ssh.session.uninterrupted import uninterrupted
from ssm_ssh.transport.driver import Driver, single_cause
from ssm_ssh.transport.websocket import open_websocket
from ssm_ssh.wire.payload import SessionType

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

    from ssm_ssh.transport.control_plane import ControlPlane, StartedSession

_log = logging.getLogger(__name__)

# Ours: how long an agent may take to speak.
HANDSHAKE_SECONDS: Final = 30.0
# Ours: how long a session may take to end after the flag; the agent drains for up to two (protocol 7.2).
FLAG_SECONDS: Final = 3.0


@dataclass(frozen=True, slots=True)
class SessionOptions:
    """What a user may choose about every session.

    Attributes:
        resume_seconds: How long to go on trying to resume.
        payload_bytes: A fixed payload size, or None to search.
        limits: What is known about the way to the region.
    """

    resume_seconds: float = 60.0 * DEFAULT_RESUME_MINUTES
    payload_bytes: int | None = None
    limits: PathLimits | None = None


class Session:
    """One live session; made by ``open_session``.

    Attributes:
        session_id: The id that AWS gave it.
        stream: The port's bytes, once ``wait_ready`` has returned.
        received_bytes: How much of the port's bytes has arrived.
    """

    def __init__(
        self,
        control_plane: ControlPlane,
        started: StartedSession,
        options: SessionOptions,
        *,
        ahead: ConnectionAhead,
        connect: Connect,
    ) -> None:
        self._control_plane = control_plane
        self.session_id = started.session_id
        self._options = options
        self._channel = DataChannel(
            client_id=str(uuid.uuid4()),
            wall_clock_ms=lambda: time.time_ns() // 1_000_000,
            limits=options.limits,
            payload_bytes=options.payload_bytes,
        )
        self._driver = Driver(self._channel, self._deliver, self._wait_room)
        self.stream = PortStream(self._channel, self._driver)
        self._carriage = Carriage(
            control_plane,
            started,
            self._channel,
            self._driver,
            ahead=ahead,
            connect=connect,
            resume_seconds=options.resume_seconds,
            has_worked=lambda: self._ready is not None,
        )
        self._ready: SessionReady | None = None
        self._heed_flag: Callable[[int], None] | None = None
        self._failure: SsmSshError | None = None
        self._is_carried = True
        self._is_closed_by_service = False
        self.received_bytes = 0

    @property
    def is_live(self) -> bool:
        """Whether it has not ended."""
        return self._is_carried

    @property
    def is_streaming(self) -> bool:
        """Whether a stream is there; if not, it is being opened or resumed, or all is over."""
        return self._carriage.is_streaming

    @property
    def resumes(self) -> int:
        """How often a lost stream was replaced."""
        return self._carriage.resumes

    @property
    def failure(self) -> SsmSshError | None:
        """Why it ended, if that was no normal end; None while it lives, too."""
        return self._failure

    @property
    def stalled_seconds(self) -> float:
        """For how long the agent has acknowledged nothing, although a stream is there and data on its way."""
        return self._channel.stalled_seconds(asyncio.get_running_loop().time())

    @property
    def round_trip_seconds(self) -> float | None:
        """The smoothed time to the agent and back, or None before it is known."""
        return self._channel.round_trip_seconds

    @property
    def limits(self) -> PathLimits:
        """What is known about the way to the region by now, what was known before included."""
        learned, known = self._channel.limits, self._options.limits or PathLimits()
        if self._options.payload_bytes is not None:
            # A fixed size says nothing about others.
            return replace(known, messages_per_second=learned.messages_per_second)
        cap_bytes = learned.payload_cap_bytes
        # A session that sent little probed nothing, which is no reason to forget.
        payload_bytes = max(learned.payload_bytes, known.payload_bytes)
        if cap_bytes is not None:
            payload_bytes = min(payload_bytes, cap_bytes)
        return replace(learned, payload_bytes=payload_bytes)

    async def wait_ready(self) -> SessionReady:
        """Wait for the agent; returns what kind of session it is.

        Raises:
            SessionTimeout: If the agent does not speak.
            SsmSshError: Why the session ended first.
        """
        # A stream that does not open has limits of its own, and errors that say more.
        await self._driver.wait_for(lambda: self._carriage.is_opened or not self._is_carried)
        try:
            async with asyncio.timeout(HANDSHAKE_SECONDS):
                await self._driver.wait_for(lambda: self._ready is not None or not self._is_carried)
        except TimeoutError:
            raise SessionTimeout(
                "waiting for the agent",
                HANDSHAKE_SECONDS,
                hint="the agent on the node may be stuck: restart it (amazon-ssm-agent), or try another node",
            ) from None
        if self._ready is None:
            raise self._failure or SessionFailed(self.session_id, "it ended before it began")
        return self._ready

    async def wait_port(self) -> SessionReady:
        """``wait_ready``, for a session that must carry one connection to a port.

        Raises:
            HandshakeError: If the session document asks for anything else.
        """
        ready = await self.wait_ready()
        if ready.session_type != SessionType.PORT or ready.properties.get("type") == "LocalPortForwarding":
            raise HandshakeError(
                f"the session document starts a session that ssh cannot use ({_kind_of(ready)})",
                hint="use a document like AWS-StartSSHSession, or ssm-ssh tunnel for one that forwards ports",
            )
        return ready

    def listen_for_flags(self, heed: Callable[[int], None]) -> None:
        """Have ``heed`` called with each flag of the agent's, in order with the data around it."""
        self._heed_flag = heed

    async def wait_over(self) -> None:
        """Wait until the session has ended, however; ``failure`` tells why."""
        await self._driver.wait_for(lambda: not self._is_carried)

    # --- one task's life ---

    async def carry(self) -> None:
        """Keep the channel on a stream until the session ends; why it ended is told by the stream."""
        try:
            await self._carriage.run()
        except SsmSshError as failure:
            self._failure = failure
        except BaseException:
            # Our own doing, or a bug: who still reads must not take it for the end of the node's server.
            self._failure = self._failure or SessionEnded()
            raise
        finally:
            self._is_carried = False
            self._channel.close()
            self.stream.finish(self._failure)

    def _deliver(self, event: Event) -> None:
        match event:
            case SessionReady():
                self._ready = event
                if event.customer_message:
                    _log.warning("%s", event.customer_message)
            case DataReceived(data):
                self.received_bytes += len(data)
                self.stream.feed(data)
            case FlagReceived(flag):
                # Protocol 7.2: agents send one flag, and only in mux sessions.
                if self._heed_flag is not None:
                    self._heed_flag(flag)
            case ChannelEnded(output, is_whole):
                self._is_closed_by_service = True
                if output:
                    self._failure = explain_ending(self.session_id, output)
                elif not is_whole:
                    self._failure = StreamReset("the session ended before all bytes of the node had arrived")

    async def _wait_room(self) -> None:
        await self.stream.wait_room()

    # --- the end ---

    @property
    def _is_over(self) -> bool:
        """Whether the service has said that the session is over; until then it must be terminated."""
        return self._is_closed_by_service or self._carriage.is_session_over

    async def terminate(self) -> None:
        """End the session at the service unless it is over: by the flag where that works, else by the API."""
        # Nobody reads any more, and what is unread must not stand before the word that the session is over.
        await self.stream.close()
        if self._is_over:
            return
        ready = self._ready if self.is_streaming else None
        if ready is not None and knows_terminate_flag(ready.agent_version):
            self._channel.terminate()
            self._driver.wake()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(FLAG_SECONDS):
                    await self._driver.wait_for(lambda: not self.is_streaming)
        if not self._is_over:
            await asyncio.to_thread(end_session, self._control_plane, self.session_id)


def _kind_of(ready: SessionReady) -> str:
    return " ".join(filter(None, (ready.session_type, ready.properties.get("type"))))


@asynccontextmanager
async def open_session(
    control_plane: ControlPlane,
    starting: Awaitable[StartedSession],
    options: SessionOptions,
    *,
    connect: Connect = open_websocket,
) -> AsyncIterator[Session]:
    """Carry a session while the body runs, and terminate it on every way out.

    Args:
        control_plane: The account's and region's API.
        starting: StartSession's answer, maybe still on its way. If the caller is cancelled meanwhile, the
            answer is awaited and its session terminated: nothing is left open.
        options: The user's choices.
        connect: Opens a stream.
    """
    try:
        async with (
            asyncio.TaskGroup() as tasks,
            ConnectionAhead(control_plane, tasks, timeout_seconds=STREAM_SECONDS) as ahead,
        ):
            started = await _started(control_plane, starting)
            session = Session(control_plane, started, options, ahead=ahead, connect=connect)
            carrying = tasks.create_task(session.carry())
            try:
                yield session
            finally:
                await uninterrupted(session.terminate())
                carrying.cancel()
    except BaseExceptionGroup as group:
        cause = single_cause(group)
        raise cause from cause.__cause__


async def _started(control_plane: ControlPlane, starting: Awaitable[StartedSession]) -> StartedSession:
    future = asyncio.ensure_future(starting)
    try:
        return await asyncio.shield(future)
    except asyncio.CancelledError:
        await uninterrupted(_abandon(control_plane, future))
        raise


async def _abandon(control_plane: ControlPlane, starting: asyncio.Future[StartedSession]) -> None:
    with contextlib.suppress(SsmSshError, asyncio.CancelledError):
        started = await starting
        await asyncio.to_thread(end_session, control_plane, started.session_id)
