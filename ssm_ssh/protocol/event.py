"""What a data channel reports to its caller."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping


@dataclass(frozen=True, slots=True)
class SessionReady:
    """The handshake is over, or there was none: data may flow.

    Attributes:
        session_type: What the session document asked for, as the agent spells it.
        properties: The document's properties; a port session's say what its port is.
        agent_version: Empty for sessions without a handshake: they carry none.
        customer_message: Text to show to the user; usually empty.
    """

    session_type: str
    properties: Mapping[str, str]
    agent_version: str
    customer_message: str


@dataclass(frozen=True, slots=True)
class DataReceived:
    """The next bytes of the agent's stream."""

    data: bytes


@dataclass(frozen=True, slots=True)
class FlagReceived:
    """The agent sent a flag; see ``ssm_ssh.wire.payload.Flag`` for the known ones."""

    flag: int


@dataclass(frozen=True, slots=True)
class ChannelEnded:
    """The service closed the channel: the session is over and nothing more will be sent or reported.

    Attributes:
        output: Empty for a normal end, else the agent's or the service's text.
        is_whole: False if the agent had sent bytes that never arrived before others that did: an agent
            repeats what was lost for two seconds after its port has closed, and no longer (protocol 4.5).
    """

    output: str
    is_whole: bool = True


Event = SessionReady | DataReceived | FlagReceived | ChannelEnded
