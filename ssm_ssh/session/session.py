"""A session from StartSession to its end: opened, resumed when its stream is lost, always terminated."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
import uuid
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from ssm_ssh.errors import (
    AccessDenied,
    DataChannelLost,
    HandshakeError,
    SessionFailed,
    SessionLost,
    SessionTimeout,
    SsmSshError,
)
from ssm_ssh.protocol.data_channel import DataChannel, PathLimits
from ssm_ssh.protocol.event import ChannelEnded, DataReceived, Event, FlagReceived, SessionReady
from ssm_ssh.session.ahead import ConnectionAhead, find_route
from ssm_ssh.session.ending import explain_ending
from ssm_ssh.session.outage import Outage, may_pass
from ssm_ssh.session.port_stream import PortStream
from ssm_ssh.transport.driver import Driver, single_cause
from ssm_ssh.transport.websocket import open_websocket
from ssm_ssh.wire.payload import SessionType

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable

    from ssm_ssh.transport.control_plane import ControlPlane, StartedSession
    from ssm_ssh.transport.websocket import WebSocket

_log = logging.getLogger(__name__)

# Ours: how long one try for a stream may take, a first stream with all its tries, and an agent to speak.
STREAM_SECONDS: Final = 15.0
OPEN_SECONDS: Final = 30.0
HANDSHAKE_SECONDS: Final = 30.0
# Ours: how long a session may take to end after the flag; the agent drains for up to two (protocol 7.2).
FLAG_SECONDS: Final = 3.0
# Specification: the service closes every stream hourly with this code; it means "resume" (protocol 2.4).
_ORDERLY_CLOSE: Final = 1000
# Specification: older agents ignore the TerminateSession flag (protocol 1.4).
_FLAG_AGENT_VERSION: Final = (2, 3, 722, 0)


@dataclass(frozen=True, slots=True)
class SessionOptions:
    """What a user may choose about every session.

    Attributes:
        resume_seconds: How long to go on trying to resume.
        payload_bytes: A fixed payload size, or None to search.
        limits: What is known about the way to the region.
    """

    resume_seconds: float = 600.0
    payload_bytes: int | None = None
    limits: PathLimits | None = None


class Session:
    """One live session; made by ``open_session``.

    Attributes:
        stream: The port's bytes, once ``wait_ready`` has returned.
    """

    def __init__(
        self,
        control_plane: ControlPlane,
        started: StartedSession,
        options: SessionOptions,
        ahead: ConnectionAhead,
    ) -> None:
        self._control_plane = control_plane
        self._started = started
        self._options = options
        self._ahead = ahead
        self._channel = DataChannel(
            client_id=str(uuid.uuid4()),
            wall_clock_ms=lambda: time.time_ns() // 1_000_000,
            limits=options.limits,
            payload_bytes=options.payload_bytes,
        )
        self._driver = Driver(self._channel, self._deliver)
        self.stream = PortStream(self._channel, self._driver)
        self._ready: SessionReady | None = None
        self._failure: SsmSshError | None = None
        self._is_opened = False
        self._is_carried = True
        # The service has said that the session is over; until then it must be terminated.
        self._is_over = False
        self.resumes = 0

    @property
    def session_id(self) -> str:
        """The id that AWS gave it."""
        return self._started.session_id

    @property
    def limits(self) -> PathLimits:
        """What is known about the way to the region by now."""
        return self._channel.limits

    async def wait_ready(self) -> SessionReady:
        """Wait for the agent; returns what kind of session it is.

        Raises:
            SessionTimeout: If the agent does not speak.
            SsmSshError: Why the session ended first.
        """
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
                f"the session document starts a session of another kind ({ready.session_type})",
                hint="use a document like AWS-StartSSHSession: Port, and no type in its properties",
            )
        return ready

    # --- one task's life: carry, resume, carry … ---

    async def carry(self) -> None:
        """Keep the channel on a stream until the session ends; why it ended is told by the stream."""
        try:
            await self._carry()
        except SsmSshError as failure:
            self._failure = failure
        finally:
            self._is_carried = False
            self._channel.close()
            self.stream.finish(self._failure)

    async def _carry(self) -> None:
        loop = asyncio.get_running_loop()
        outage = Outage(loop.time(), OPEN_SECONDS)
        while True:
            heard = self._driver.messages_heard
            failure = await self._carry_once()
            if failure is None:
                return
            is_orderly = isinstance(failure, DataChannelLost) and failure.close_code == _ORDERLY_CLOSE
            self._channel.connection_lost(loop.time(), is_orderly=is_orderly)
            if self._driver.messages_heard > heard:
                outage = Outage(loop.time(), self._options.resume_seconds)
            _log.info("session %s: %s; resuming", self.session_id, failure)
            self._started = await self._resume(outage, failure)

    async def _carry_once(self) -> SsmSshError | None:
        """Carry the channel on one stream. Returns None at the session's end, else what may pass."""
        try:
            websocket = await self._connect()
            try:
                await self._driver.run(websocket)
            finally:
                await websocket.close()
        except SsmSshError as failure:
            if may_pass(failure):
                return failure
            raise
        return None

    async def _connect(self) -> WebSocket:
        """A stream with the channel opened on it."""
        # Where token and signature go is checked anew for every stream URL, before either leaves.
        address = self._control_plane.stream_address(self._started)
        headers = await asyncio.to_thread(self._control_plane.stream_headers, address)
        websocket = await open_websocket(
            address,
            await find_route(self._control_plane, address),
            headers=headers,
            ahead=await self._ahead.take(address),
            timeout_seconds=STREAM_SECONDS,
        )
        if self._is_opened:
            self._channel.reopen(self._started.token, asyncio.get_running_loop().time())
        else:
            self._channel.open(self._started.token)
            self._is_opened = True
        return websocket

    async def _resume(self, outage: Outage, failure: SsmSshError) -> StartedSession:
        """A new token and URL for the session.

        Raises:
            SessionLost: If that was not to be had in time.
            SessionFailed: If the service says that the session is over.
        """
        loop = asyncio.get_running_loop()
        while not outage.is_over_limit(loop.time()):
            await asyncio.sleep(outage.next_pause(loop.time()))
            try:
                resumed = await asyncio.to_thread(self._control_plane.resume_session, self.session_id)
            except SsmSshError as error:
                if not may_pass(error):
                    raise
                failure = error
                continue
            if resumed is None:
                self._is_over = True
                raise explain_ending(self.session_id, "it ended while its stream was away")
            self.resumes += 1
            return resumed
        step = "resumed" if self._is_opened else "opened"
        raise SessionLost(
            f"session {self.session_id} could not be {step} within {outage.seconds:g} seconds: {failure}"
        ) from failure

    async def _deliver(self, event: Event) -> None:
        match event:
            case SessionReady():
                self._ready = event
                if event.customer_message:
                    _log.warning("%s", event.customer_message)
            case DataReceived(data):
                await self.stream.feed(data)
            case FlagReceived():
                # Protocol 7.2: agents send one flag, and only in mux sessions.
                pass
            case ChannelEnded(output):
                self._is_over = True
                if output:
                    self._failure = explain_ending(self.session_id, output)
        self._driver.progress.set()

    # --- the end ---

    async def terminate(self) -> None:
        """End the session at the service unless it is over: by the flag where that works, else by the API."""
        if self._is_over:
            return
        if self._ready is not None and self._is_carried and _knows_flag(self._ready.agent_version):
            self._channel.terminate()
            self._driver.wake()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(FLAG_SECONDS):
                    await self._driver.wait_for(lambda: not self._is_carried)
        if not self._is_over:
            await asyncio.to_thread(end_session, self._control_plane, self.session_id)


def end_session(control_plane: ControlPlane, session_id: str) -> None:
    """Call TerminateSession; that it cannot be called is told under -v and is no failure."""
    try:
        control_plane.terminate_session(session_id)
    except AccessDenied as denied:
        # Many policies forbid it; the service ends the session at its idle limit.
        _log.info("session %s stays open until its idle limit: %s", session_id, denied)
    except SsmSshError as error:
        _log.warning("session %s could not be terminated: %s", session_id, error)


def _knows_flag(agent_version: str) -> bool:
    """Whether an agent acts on the TerminateSession flag. No version (a shell) or an odd one: no."""
    parts = agent_version.split(".")
    return all(part.isdecimal() for part in parts) and tuple(map(int, parts)) > _FLAG_AGENT_VERSION


@asynccontextmanager
async def open_session(
    control_plane: ControlPlane, starting: Awaitable[StartedSession], options: SessionOptions
) -> AsyncIterator[Session]:
    """Carry a session while the body runs, and terminate it on every way out.

    Args:
        control_plane: The account's and region's API.
        starting: StartSession's answer, maybe still on its way. If the caller is cancelled meanwhile, the
            answer is awaited and its session terminated: nothing is left open.
        options: The user's choices.
    """
    try:
        async with asyncio.TaskGroup() as tasks, ConnectionAhead(control_plane, tasks) as ahead:
            started = await _started(control_plane, starting)
            session = Session(control_plane, started, options, ahead)
            carrying = tasks.create_task(session.carry())
            try:
                yield session
            finally:
                await session.terminate()
                carrying.cancel()
    except BaseExceptionGroup as group:
        raise single_cause(group) from None


async def _started(control_plane: ControlPlane, starting: Awaitable[StartedSession]) -> StartedSession:
    future = asyncio.ensure_future(starting)
    try:
        return await asyncio.shield(future)
    except asyncio.CancelledError:
        with contextlib.suppress(SsmSshError):
            started = await future
            await asyncio.to_thread(end_session, control_plane, started.session_id)
        raise
