"""What passes between the emulated service and an emulated agent.

The service knows an agent only as ``Agent``, an agent knows the service only as ``Dial``; neither imports the
other.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ssm_ssh.emulator.placement import Placement
    from ssm_ssh.emulator.windows_launch import WindowsLaunch


class LinkCut(Exception):
    """The agent's WebSocket to the message gateway is gone; the agent may dial again."""


class AgentLink(Protocol):
    """One WebSocket between an agent and the message gateway, as the agent sees it."""

    async def send(self, message: str | bytes) -> None:
        """Hand one text or binary message to the gateway; waits while the gateway is full.

        Raises:
            LinkCut: If the link is gone.
        """

    async def receive(self) -> str | bytes:
        """The next message from the gateway.

        Raises:
            LinkCut: If the link is gone.
        """

    async def close(self) -> None:
        """Drop the link at once, without a close frame, as the real agent does. Never raises."""


# CreateDataChannel and the WebSocket's upgrade in one; the agent still sends its OpenDataChannel text first.
# Raises LinkCut while the gateway does not answer, and SessionOver once the session is terminated.
Dial = Callable[[], Awaitable[AgentLink]]


class SessionOver(Exception):
    """The service no longer knows the session: the agent must stop trying to reconnect."""


@dataclass(frozen=True, slots=True)
class SessionOrder:
    """What the service tells an agent on its control channel when a session starts (protocol 12.3).

    Attributes:
        session_type: The document's ``sessionType``.
        properties: The document's ``properties`` with ``{{ name }}`` still in place: the agent substitutes.
        parameters: The values for the names, defaults filled in, each a scalar.
        inputs: The document's ``inputs``.
    """

    session_id: str
    document_name: str
    session_type: str
    properties: Mapping[str, Any]
    parameters: Mapping[str, str]
    inputs: Mapping[str, Any] = field(default_factory=dict)


class TaskStatus(StrEnum):
    """How an agent says that a session went."""

    SUCCESS = "Success"
    FAILED = "Failed"
    CANCELLED = "Cancelled"


@dataclass(frozen=True, slots=True)
class TaskComplete:
    """The agent's last word on a session (``agent_task_complete``).

    Attributes:
        output: The text that reaches the user in ``channel_closed``; empty after success.
    """

    status: TaskStatus
    output: str = ""


class Agent(Protocol):
    """An agent as the service sees it."""

    async def run_session(self, order: SessionOrder, dial: Dial) -> TaskComplete:
        """Carry one session from order to end. Cancelling it is the control channel's channel_closed."""


class EmulatedNode(Protocol):
    """A node as the service sees it: what it is, its agent, and its door for pushed keys."""

    @property
    def name(self) -> str:
        """The value of the tag ``Name``."""

    @property
    def node_id(self) -> str:
        """``i-…`` or ``mi-…``."""

    @property
    def tags(self) -> Mapping[str, str]:
        """All tags, ``Name`` included or not."""

    @property
    def platform(self) -> str:
        """``Linux``, ``Windows`` or ``MacOS``."""

    @property
    def agent_version(self) -> str:
        """Four numbers with dots between."""

    @property
    def ip_address(self) -> str:
        """Its private IPv4 address."""

    @property
    def placement(self) -> Placement:
        """Its subnet and VPC."""

    @property
    def windows_launch(self) -> WindowsLaunch | None:
        """What EC2Launch left, on a Windows node."""

    @property
    def is_online(self) -> bool:
        """Whether the agent is connected to the service."""

    @property
    def agent(self) -> Agent:
        """What runs the sessions."""

    async def start(self) -> None:
        """Come up; nothing else may be called before."""

    async def stop(self) -> None:
        """Go down. Called once, after every session has ended."""

    def authorize_key(self, os_user: str, public_key: str, *, seconds: float = 60.0) -> None:
        """Let ``public_key`` log in as ``os_user`` for ``seconds`` from now; never waits.

        Raises:
            ValueError: If the user or the key cannot be used.
        """
