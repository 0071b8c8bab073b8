"""What happens inside a session on the node: one room to a kind of session, found in a table by its type."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ssm_ssh.emulator.agent_version import AgentTraits
    from ssm_ssh.emulator.link import TaskComplete
    from ssm_ssh.emulator.timing import Timing


# (address or localhost, port) → a connection made on the node. Raises OSError.
Connect: TypeAlias = Callable[[str, int], Awaitable[tuple[asyncio.StreamReader, asyncio.StreamWriter]]]
# A host as the session's properties name it → its addresses as the node knows them; none for an unknown one.
Resolve: TypeAlias = Callable[[str], Sequence[str]]


class InputRefused(Exception):
    """The room did not take a message: it stays unacknowledged."""


class NotReady(InputRefused):
    """The room cannot take anything yet."""


class WorkerCrashed(Exception):
    """The session's worker process on the node died; its text reaches the service much later."""


class Surroundings(Protocol):
    """What a room may use.

    Attributes:
        connect: Opens a connection from the node.
        resolve: Asks the node's resolver.
        vpc_networks: The address ranges of the node's VPC, such as ``10.0.0.0/16``.
    """

    traits: AgentTraits
    timing: Timing

    connect: Connect
    resolve: Resolve
    vpc_networks: Sequence[str]

    async def send(self, payload_type: int, payload: bytes) -> None:
        """Send one sequenced message; waits while the gateway is full."""

    async def wait_until_active(self) -> None:
        """Return while output may be read from its source: checked before each read (protocol 4.6)."""

    def terminate(self) -> None:
        """The client asked for the end: the session succeeds, and ``Room.run`` is cancelled."""


class Room(Protocol):
    """One session at work, after its handshake if it has one."""

    async def run(self) -> TaskComplete:
        """Work until the session ends by itself. Cancelled when it is terminated.

        Raises:
            WorkerCrashed: Where the real agent's worker would.
        """

    async def take(self, payload_type: int, payload: bytes) -> None:
        """Process one message of the client; it is acknowledged when this returns.

        Runs in the receive path: while it waits, nothing else is read from the link (protocol 7.6).

        Raises:
            InputRefused: If the message is not taken.
        """


@dataclass(frozen=True, slots=True)
class RoomKind:
    """How sessions of one type are carried out.

    Attributes:
        first_version: The first agent that can.
        has_handshake: Whether sessions of this type begin with one.
        open: Makes the room from the resolved properties and the client's version, before it is run. Raises
            ``ValueError`` with the agent's text if the properties do not suffice.
    """

    first_version: tuple[int, ...]
    has_handshake: bool
    open: Callable[[Mapping[str, Any], str, Surroundings], Room]
