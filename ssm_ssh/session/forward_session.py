"""A session that forwards to one port, and the streams that it can carry."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Final, Protocol

from ssm_ssh.errors import HandshakeError, SessionEnded, SessionTimeout, SsmSshError, StreamReset
from ssm_ssh.session.agent_version import knows_hosts, speaks_mux, wants_keepalive
from ssm_ssh.session.mux_session import MuxSession
from ssm_ssh.session.session import Session, SessionOptions, open_session
from ssm_ssh.session.starting import begin_session
from ssm_ssh.transport.driver import single_cause
from ssm_ssh.transport.websocket import open_websocket
from ssm_ssh.wire.payload import Flag, SessionType
from ssm_ssh.wire.smux_frame import Command, Frame, StreamId

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from ssm_ssh.protocol.data_channel import PathLimits
    from ssm_ssh.protocol.event import SessionReady
    from ssm_ssh.session.carriage import Connect
    from ssm_ssh.session.document import SessionRequest
    from ssm_ssh.transport.byte_stream import ByteStream
    from ssm_ssh.transport.control_plane import ControlPlane

# Specification: what the published port documents' properties say; without it the agent speaks to no mux.
_FORWARDING: Final = "LocalPortForwarding"
# Ours: how long an agent may look for its destination's address.
FORWARDING_SECONDS: Final = 30.0


class Streams(Protocol):
    """Where a session's streams come from."""

    @property
    def is_over(self) -> bool:
        """Whether no stream can be opened any more."""

    def __len__(self) -> int:
        """How many streams are open."""

    def open_stream(self) -> ByteStream:
        """Open a stream to the session's port. Raises ``StreamReset`` if there can be no further one."""


class OneStream:
    """The streams of a session without a mux: one, and no second.

    Between two connections of one such session nothing marks where the first one's last bytes end (protocol
    7.3), so a session is used once.
    """

    def __init__(self, session: Session) -> None:
        self._session = session
        self._is_taken = False

    @property
    def is_over(self) -> bool:
        """Whether the one stream was opened."""
        return self._is_taken

    def __len__(self) -> int:
        """One, once it was opened: how it ends, the session tells."""
        return int(self._is_taken)

    def open_stream(self) -> ByteStream:
        """The session's own stream."""
        if self._is_taken:
            raise StreamReset("this node's agent carries one connection a session")
        self._is_taken = True
        return self._session.stream


class ForwardSession:
    """One session with its streams.

    Attributes:
        streams: Where streams come from.
        is_shared: Whether it carries many streams; else one.
    """

    def __init__(self, session: Session, streams: Streams, *, is_shared: bool) -> None:
        self.streams = streams
        self.is_shared = is_shared
        self._session = session

    @property
    def session_id(self) -> str:
        """The id that AWS gave it."""
        return self._session.session_id

    @property
    def resumes(self) -> int:
        """How often a lost WebSocket was replaced."""
        return self._session.resumes

    @property
    def is_streaming(self) -> bool:
        """Whether its WebSocket is there; if not, it is being resumed."""
        return self._session.is_streaming

    @property
    def limits(self) -> PathLimits:
        """What is known about the way to the region."""
        return self._session.limits

    @property
    def round_trip_seconds(self) -> float | None:
        """The time to the agent and back, or None before it is known."""
        return self._session.round_trip_seconds

    @property
    def stalled_seconds(self) -> float:
        """For how long the agent has acknowledged nothing although data is on its way."""
        return self._session.stalled_seconds

    async def wait_over(self) -> SsmSshError | None:
        """Wait until the session has ended; why, or None if nobody said so."""
        await self._session.wait_over()
        return self._session.failure


@asynccontextmanager
async def open_forward_session(
    control_plane: ControlPlane,
    request: SessionRequest,
    options: SessionOptions,
    *,
    keeps_alive: bool = False,
    connect: Connect = open_websocket,
) -> AsyncIterator[ForwardSession]:
    """Start a session, wait until it forwards, and terminate it at the end of the block.

    Args:
        control_plane: The account's and region's API.
        request: What to start; see ``document.forward_request``.
        options: The user's choices about sessions.
        keeps_alive: Send something every ten seconds, which defeats the account's idle limit.
        connect: Opens a WebSocket.

    Raises:
        HandshakeError: If the session document does not forward a port.
        SsmSshError: Why there is no session, such as a name that the node cannot resolve.
    """
    starting = asyncio.wrap_future(begin_session(control_plane, request))
    async with open_session(control_plane, starting, options, connect=connect) as session:
        ready = await session.wait_ready()
        _check_forwards(ready)
        if not speaks_mux(ready.agent_version):
            yield ForwardSession(session, OneStream(session), is_shared=False)
            return
        await _wait_forwarding(session)
        mux = MuxSession(session.stream, keeps_alive=keeps_alive or wants_keepalive(ready.agent_version))
        session.listen_for_flags(lambda flag: _note_flag(mux, flag, session.received_bytes))
        try:
            async with asyncio.TaskGroup() as tasks:
                carrying = tasks.create_task(mux.run())
                try:
                    yield ForwardSession(session, mux, is_shared=True)
                finally:
                    carrying.cancel()
        except BaseExceptionGroup as group:
            cause = single_cause(group)
            raise cause from cause.__cause__


async def _wait_forwarding(session: Session) -> None:
    """Wait until the agent takes data, which it does once it has found the destination's address.

    A frame that means nothing is acknowledged only then (protocol 5.3); and to the agents that acknowledge
    and drop what comes too early (protocol 1.4), nothing else is lost.

    Raises:
        SsmSshError: Why there will be no forwarding: the agent has ended the session.
    """
    try:
        async with asyncio.timeout(FORWARDING_SECONDS):
            await session.stream.write(Frame(Command.NOP, StreamId(0)).encode())
            await session.stream.end()
    except TimeoutError:
        raise SessionTimeout(
            "waiting for the agent to forward",
            FORWARDING_SECONDS,
            hint="the node may be waiting for its DNS: try the host's address instead of its name",
        ) from None
    if not session.is_live:
        raise session.failure or SessionEnded


def _check_forwards(ready: SessionReady) -> None:
    if ready.session_type != SessionType.PORT or ready.properties.get("type") != _FORWARDING:
        raise HandshakeError(
            f"the session document starts a session of another kind ({ready.session_type})",
            hint="use a document like AWS-StartPortForwardingSession: Port, of the type LocalPortForwarding",
        )
    host = ready.properties.get("host")
    if host and host != "localhost" and not knows_hosts(ready.agent_version):
        # It would forward to the node's own port instead, without a word (protocol 7.1).
        raise HandshakeError(
            f"the agent on the node ({ready.agent_version}) forwards to no other host than the node",
            hint="update the agent on the node to 3.1.1374.0 or later",
        )


def _note_flag(mux: MuxSession, flag: int, after_bytes: int) -> None:
    if flag == Flag.CONNECT_TO_PORT_ERROR:
        mux.note_refusal(after_bytes)
