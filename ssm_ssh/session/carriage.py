"""A channel's streams, one after the other: opened, driven, and resumed when they are lost."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Final, Protocol

from ssm_ssh.errors import DataChannelLost, SessionLost, SsmSshError
from ssm_ssh.session.ahead import ConnectionAhead, find_route
from ssm_ssh.session.ending import explain_ending
from ssm_ssh.session.outage import Outage, is_lasting, may_pass

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from ssm_ssh.protocol.data_channel import DataChannel
    from ssm_ssh.transport.connection import Connection, Route
    from ssm_ssh.transport.control_plane import ControlPlane, StartedSession
    from ssm_ssh.transport.driver import Driver, MessageSocket
    from ssm_ssh.transport.stream_url import StreamAddress

_log = logging.getLogger(__name__)

# Ours: how long one try for a stream may take.
STREAM_SECONDS: Final = 15.0
# A try that begins in time may end so much later: cut short, it would say nothing about the reason.
LAST_TRY_SECONDS: Final = 2.0
# Specification: the agent waits so long for the client's answer (protocol 5.3); later nobody is there. So it
# limits a first stream, with all its tries.
OPEN_SECONDS: Final = 15.0
# Specification: the service closes every stream hourly with this code; it means "resume" (protocol 2.4).
_ORDERLY_CLOSE: Final = 1000


class Connect(Protocol):
    """What opens a stream: ``open_websocket``, or a test's own."""

    async def __call__(
        self,
        address: StreamAddress,
        route: Route,
        *,
        headers: Mapping[str, str],
        ahead: Connection | None,
        timeout_seconds: float,
    ) -> MessageSocket:
        """See ``open_websocket``."""


class Carriage:
    """Keeps one channel on a stream until the channel ends.

    Attributes:
        is_opened: Whether the channel was opened, on a first stream.
        is_streaming: Whether a stream is there; if not, it is being opened or resumed, or all is over.
        is_session_over: Whether the service answered that there is nothing to resume any more.
        resumes: How often a lost stream was replaced.
    """

    def __init__(  # noqa: PLR0913 -- made in one place
        self,
        control_plane: ControlPlane,
        started: StartedSession,
        channel: DataChannel,
        driver: Driver,
        *,
        ahead: ConnectionAhead,
        connect: Connect,
        resume_seconds: float,
        has_worked: Callable[[], bool],
    ) -> None:
        """Make a carriage that has opened nothing yet.

        Args:
            control_plane: Signs streams and resumes the session.
            started: StartSession's answer.
            channel: What to carry.
            driver: Runs it on each stream.
            ahead: The connection for the first stream, perhaps.
            connect: Opens a stream.
            resume_seconds: How long to go on trying to resume.
            has_worked: Whether the agent has ever been ready for data: before that a failure that somebody
                has to mend is final, afterwards a laptop may have moved.
        """
        self.is_opened = False
        self.is_streaming = False
        self.is_session_over = False
        self.resumes = 0
        self._control_plane = control_plane
        self._started = started
        self._channel = channel
        self._driver = driver
        self._ahead = ahead
        self._connect = connect
        self._resume_seconds = resume_seconds
        self._has_worked = has_worked

    async def run(self) -> None:
        """Carry the channel until it ends.

        Raises:
            SessionLost: If a lost stream could not be resumed in time.
            SessionFailed: If the service says that the session is over.
            SsmSshError: Why the channel could not be carried, or not any more.
        """
        outage = Outage(asyncio.get_running_loop().time(), OPEN_SECONDS)
        while True:
            failure = await self._carry_once(outage)
            if failure is None:
                return
            _log.info("session %s: %s; resuming", self._started.session_id, failure)
            self._started = await self._resume(outage, failure)

    async def _carry_once(self, outage: Outage) -> SsmSshError | None:
        """Carry the channel on one stream. Returns None at the session's end, else what may pass."""
        try:
            socket = await self._open(outage)
            try:
                await self._drive(socket, outage)
            finally:
                await socket.close()
        except SsmSshError as failure:
            if not may_pass(failure) or (not self._has_worked() and is_lasting(failure)):
                raise
            return failure
        return None

    async def _open(self, outage: Outage) -> MessageSocket:
        """A stream with the channel opened on it."""
        loop = asyncio.get_running_loop()
        seconds = min(STREAM_SECONDS, max(LAST_TRY_SECONDS, outage.seconds_left(loop.time())))
        deadline = loop.time() + seconds
        # Where token and signature go is checked anew for every stream URL, before either leaves.
        address = self._control_plane.stream_address(self._started)
        try:
            async with asyncio.timeout_at(deadline):
                headers = await asyncio.to_thread(self._control_plane.stream_headers, address)
                route = await find_route(self._control_plane, address)
                ahead = await self._ahead.take(address)
        except TimeoutError:
            raise DataChannelLost(f"it could not be opened within {seconds:g} seconds") from None
        socket = await self._connect(
            address, route, headers=headers, ahead=ahead, timeout_seconds=max(0.0, deadline - loop.time())
        )
        if self.is_opened:
            self._channel.reopen(self._started.token, loop.time())
        else:
            self._channel.open(self._started.token)
            self.is_opened = True
            self._driver.progress.set()
        return socket

    async def _drive(self, socket: MessageSocket, outage: Outage) -> None:
        """Run the channel on an open stream until one of them ends."""
        loop = asyncio.get_running_loop()
        opened_at, heard = loop.time(), self._driver.messages_heard
        self.is_streaming = True
        try:
            await self._driver.run(socket)
        except DataChannelLost as failure:
            now = loop.time()
            self._channel.connection_lost(now, is_orderly=failure.close_code == _ORDERLY_CLOSE)
            outage.stream_lost(
                now,
                self._resume_seconds,
                lived_seconds=now - opened_at,
                has_heard=self._driver.messages_heard > heard,
            )
            raise
        finally:
            self.is_streaming = False
            self._driver.progress.set()

    async def _resume(self, outage: Outage, failure: SsmSshError) -> StartedSession:
        """A new token and URL for the session.

        Raises:
            SessionLost: If that was not to be had in time.
            SessionFailed: If the service says that the session is over.
            SsmSshError: ``failure`` itself, if the session never got to work: its hint says what to do.
        """
        loop, session_id = asyncio.get_running_loop(), self._started.session_id
        while True:
            await asyncio.sleep(outage.next_pause(loop.time()))
            if outage.seconds_left(loop.time()) <= 0:
                break
            try:
                resumed = await asyncio.to_thread(self._control_plane.resume_session, session_id)
            except SsmSshError as error:
                if not may_pass(error):
                    raise
                failure = error
                continue
            if resumed is None:
                self.is_session_over = True
                if not self._has_worked():
                    # The agent gave up while we could not come: why we could not is the news.
                    raise failure
                raise explain_ending(session_id, "it ended while its stream was away")
            self.resumes += 1
            return resumed
        if not self._has_worked():
            raise failure
        raise SessionLost(
            f"session {session_id} could not be resumed within {outage.seconds:g} seconds: {failure}"
        ) from failure
