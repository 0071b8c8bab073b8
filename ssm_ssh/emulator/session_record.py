"""What the service remembers of a session: while it lives, and afterwards as history."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import StrEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping


class SessionStatus(StrEnum):
    """The states of DescribeSessions."""

    CONNECTING = "Connecting"
    CONNECTED = "Connected"
    DISCONNECTED = "Disconnected"
    TERMINATING = "Terminating"
    TERMINATED = "Terminated"
    FAILED = "Failed"

    @property
    def is_over(self) -> bool:
        """Whether nothing can happen to the session any more."""
        return self in {SessionStatus.TERMINATED, SessionStatus.FAILED}


@dataclass(slots=True)
class MessageCounts:
    """What passed the gateway for one session, in messages.

    Attributes:
        from_client: Binary messages taken from the client.
        to_client: Binary messages given to the client's WebSocket.
        from_agent: Binary messages taken from the agent.
        to_agent: Binary messages given to the agent's link.
        lost: Lost by faults and cuts.
        doubled: Doubled by faults.
        refused: Client messages that are no message a client may send; they go nowhere.
        pings: Pings seen from the client.
        cuts: Cuts of either side.
        client_channels: Data channels that clients opened: 1, and one more for every resume.
        agent_channels: The same for the agent.
    """

    from_client: int = 0
    to_client: int = 0
    from_agent: int = 0
    to_agent: int = 0
    lost: int = 0
    doubled: int = 0
    refused: int = 0
    pings: int = 0
    cuts: int = 0
    client_channels: int = 0
    agent_channels: int = 0


@dataclass(slots=True)
class SessionRecord:
    """One session as the API tells of it.

    Attributes:
        number: 1 for the first session of this emulator.
        parameters: Values of the document's parameters, defaults filled in.
        reason: What the caller gave, or None.
        user_agent: Of the StartSession call.
    """

    number: int
    session_id: str
    target: str
    document_name: str
    parameters: Mapping[str, str]
    reason: str | None
    owner: str
    user_agent: str
    start: datetime = field(default_factory=lambda: datetime.now(UTC))
    end: datetime | None = None
    status: SessionStatus = SessionStatus.CONNECTING
    output: str = ""
    counts: MessageCounts = field(default_factory=MessageCounts)
