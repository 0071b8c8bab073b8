"""A whole session in memory: a control plane, a message gateway and an agent, and a way to open it."""

from __future__ import annotations

import asyncio
import contextlib
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, cast

from ssm_ssh.errors import EndpointUnreachable, SsmSshError
from ssm_ssh.session.session import Session, SessionOptions, open_session
from ssm_ssh.transport.control_plane import StartedSession
from ssm_ssh.transport.stream_url import StreamAddress
from tests.session.memory_socket import MemorySocket
from tests.session.scripted_agent import ScriptedAgent
from tests.virtual_loop import virtual_loop

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Mapping, Sequence

    from ssm_ssh.transport.connection import Connection, Route
    from ssm_ssh.transport.control_plane import ControlPlane, NodeSummary

SESSION_ID = "session-1"
TOKEN = "secret-token"
SIGNATURE = "secret-signature"


@dataclass
class Dial:
    """One stream that the client asked for."""

    at: float
    url: str
    headers: Mapping[str, str]
    timeout_seconds: float


class FakeControlPlane:
    """The calls of ``ControlPlane``, answered from memory, each in no time unless ``seconds`` says.

    Attributes:
        calls: The operations called, in order.
        answers: What the next calls of an operation meet: an error to raise, or None for an ended session.
        seconds: How long an operation takes.
    """

    def __init__(self) -> None:
        self.region = "eu-central-1"
        self.calls: list[str] = []
        self.called_at: list[float] = []
        self.answers: dict[str, list[SsmSshError | None]] = {}
        self.seconds: dict[str, float] = {}
        self.expected: StreamAddress | None = None
        self._streams = 0

    def start_session(
        self,
        *,
        target: str,
        document_name: str | None = None,
        parameters: Mapping[str, Sequence[str]] | None = None,
        reason: str | None = None,
    ) -> StartedSession:
        """As ``ControlPlane``."""
        self._call("StartSession")
        return self.started()

    def resume_session(self, _session_id: str) -> StartedSession | None:
        """As ``ControlPlane``."""
        return self.started() if self._call("ResumeSession") else None

    def terminate_session(self, session_id: str) -> None:
        """As ``ControlPlane``."""
        assert session_id == SESSION_ID
        self._call("TerminateSession")

    def nodes_by_name(self, _name: str) -> list[NodeSummary]:
        """As ``ControlPlane``."""
        self._call("DescribeInstanceInformation")
        return []

    def stream_address(self, started: StartedSession) -> StreamAddress:
        """As ``ControlPlane``."""
        return StreamAddress(started.stream_url, "127.0.0.1", 1, is_tls=False, path="/", query="")

    def expected_stream_address(self) -> StreamAddress | None:
        """As ``ControlPlane``."""
        return self.expected

    def stream_headers(self, _address: StreamAddress) -> dict[str, str]:
        """As ``ControlPlane``."""
        self._call("OpenDataChannel")
        return {"Authorization": f"{SIGNATURE}-{self.calls.count('OpenDataChannel')}"}

    def proxy_for(self, _address: StreamAddress) -> str | None:
        """As ``ControlPlane``."""
        return None

    def started(self) -> StartedSession:
        """A session with a token and a URL that were never used before."""
        self._streams += 1
        return StartedSession(SESSION_ID, f"{TOKEN}-{self._streams}", f"ws://127.0.0.1:1/{self._streams}")

    def _call(self, operation: str) -> bool:
        """Note a call and raise what is scripted for it; False where the script says None."""
        self.calls.append(operation)
        self.called_at.append(virtual_loop().time())
        virtual_loop().work_seconds = self.seconds.get(operation, 0.0)
        answers = self.answers.get(operation)
        if not answers:
            return True
        # The last answer repeats.
        answer = answers.pop(0) if len(answers) > 1 else answers[0]
        if isinstance(answer, SsmSshError):
            raise answer
        return False


@dataclass
class Stage:
    """The world of one session.

    Attributes:
        refusals: What the next streams meet; the last one repeats until it is taken away.
        is_black_hole: Whether streams are neither opened nor refused.
        dials: The streams asked for.
    """

    agent: ScriptedAgent = field(default_factory=ScriptedAgent)
    api: FakeControlPlane = field(default_factory=FakeControlPlane)
    refusals: list[SsmSshError] = field(default_factory=list)
    is_black_hole: bool = False
    dials: list[Dial] = field(default_factory=list)
    sockets: list[MemorySocket] = field(default_factory=list)

    @property
    def control_plane(self) -> ControlPlane:
        """The fake as the session's type has it."""
        return cast("ControlPlane", self.api)

    async def connect(
        self,
        address: StreamAddress,
        route: Route,
        *,
        headers: Mapping[str, str],
        ahead: Connection | None,
        timeout_seconds: float,
    ) -> MemorySocket:
        """The message gateway, in place of ``open_websocket``."""
        assert route.proxy is None
        assert ahead is None
        self.dials.append(Dial(virtual_loop().time(), address.url, headers, timeout_seconds))
        if self.is_black_hole:
            await asyncio.sleep(timeout_seconds)
            raise EndpointUnreachable("OpenDataChannel", "", "no answer in time", hint="check the network")
        if self.refusals:
            raise self.refusals.pop(0) if len(self.refusals) > 1 else self.refusals[0]
        socket = MemorySocket(self.agent.receive)
        self.sockets.append(socket)
        self.agent.attach(socket)
        return socket

    @asynccontextmanager
    async def session(
        self, options: SessionOptions | None = None, *, starting: Awaitable[StartedSession] | None = None
    ) -> AsyncIterator[Session]:
        """A session on this stage; at its end nothing of it is left."""
        tasks = asyncio.all_tasks()
        try:
            async with open_session(
                self.control_plane,
                starting or self.start(),
                options or SessionOptions(),
                connect=self.connect,
            ) as session:
                yield session
        finally:
            assert all(socket.is_closed for socket in self.sockets)
            assert asyncio.all_tasks() <= tasks

    def start(self, seconds: float = 0.0) -> asyncio.Future[StartedSession]:
        """StartSession on its way, answered after ``seconds``."""
        future: asyncio.Future[StartedSession] = virtual_loop().create_future()

        def answer() -> None:
            with contextlib.suppress(asyncio.InvalidStateError):
                future.set_result(self.api.start_session(target="i-0123456789abcdef0"))

        virtual_loop().call_later(seconds, answer)
        return future

    @property
    def is_over(self) -> bool:
        """Whether the service knows that the session is over: the agent or the API has ended it."""
        return self.agent.has_ended or "TerminateSession" in self.api.calls
