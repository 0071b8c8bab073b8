"""Faults: everything that can go wrong on purpose, as values that may change while the emulator runs.

All chance comes from ``random.Random`` seeded with ``Faults.seed``, the session's ordinal number and the
direction, so that a run can be repeated.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Any


class Direction(StrEnum):
    """Which way a message goes."""

    TO_AGENT = "to-agent"
    TO_CLIENT = "to-client"


class Side(StrEnum):
    """Whose connection to the gateway is meant."""

    CLIENT = "client"
    AGENT = "agent"
    BOTH = "both"


class Oversize(StrEnum):
    """What happens to a client's message above ``Faults.largest_message_bytes``."""

    CLOSE = "close"
    """The WebSocket is closed with 1009."""
    CUT = "cut"
    """The connection is cut."""
    SWALLOW = "swallow"
    """The message vanishes."""


# Ours to play with: given a message, the messages to pass on in its place.
Script = Callable[[Direction, bytes], Sequence[bytes]]


@dataclass(frozen=True, slots=True)
class Faults:
    """What goes wrong. The defaults are a service without faults.

    Probabilities are 0.0 to 1.0 for each relayed message, acknowledgements included.

    Attributes:
        reordering: Chance that a message is held back 5 to 30 ms, so that later ones overtake it.
        delay_seconds: One-way delay of every relayed message.
        bandwidth_bytes_per_second: Of each direction of each session.
        script: Replaces each relayed message; runs on the emulator's loop, before the other faults.
        cut_every_seconds: Live sessions are cut this often, abruptly, without a close frame.
        message_limit_per_second: A client that sends more messages in a second is cut.
        is_silent: The gateway accepts a WebSocket and then neither says nor passes on anything.
        api_delay_seconds: Every API answer waits this long; what was asked for is done before.
        refused_upgrade_status: HTTP status that refuses every WebSocket upgrade, such as 403 or 503.
        garbage: A binary message sent to the client as soon as its data channel is open.
        omits_token: StartSession and ResumeSession answer without TokenValue.
        stream_url: Replaces StreamUrl; ``{session_id}`` in it is filled in.
        throttle_per_second: Calls of each operation allowed in a second, by operation name or ``*``.
        denied_actions: IAM actions that are denied, such as ``ssm:StartSession``.
        has_expired_credentials: Every signed request is answered with ExpiredTokenException.
        touches_messages: Whether relayed messages need more than to be passed on.
        publication_storm_seconds: Pause and start of publication are sent in turn, this often, to both sides.
    """

    seed: int = 0
    loss: float = 0.0
    duplication: float = 0.0
    reordering: float = 0.0
    delay_seconds: float = 0.0
    bandwidth_bytes_per_second: float | None = None
    script: Script | None = None
    cut_every_seconds: float | None = None
    cut_side: Side = Side.CLIENT
    message_limit_per_second: int | None = None
    is_silent: bool = False
    api_delay_seconds: float = 0.0
    refused_upgrade_status: int | None = None
    largest_message_bytes: int | None = None
    oversize: Oversize = Oversize.CLOSE
    garbage: bytes | None = None
    omits_token: bool = False
    stream_url: str | None = None
    throttle_per_second: Mapping[str, float] = field(default_factory=dict)
    denied_actions: frozenset[str] = frozenset()
    has_expired_credentials: bool = False
    publication_storm_seconds: float | None = None

    # Worked out once, because it is asked for every message.
    touches_messages: bool = field(init=False, default=False)

    def __post_init__(self) -> None:
        """Work out ``touches_messages``."""
        impairments = (
            self.loss,
            self.duplication,
            self.reordering,
            self.delay_seconds,
            self.bandwidth_bytes_per_second,
            self.script,
        )
        object.__setattr__(self, "touches_messages", any(impairments))


class FaultSwitch:
    """The faults in force, and word of every change.

    Attributes:
        now: The faults in force.
    """

    def __init__(self, faults: Faults) -> None:
        self.now = faults
        self._changed = asyncio.Event()

    def change(self, **changes: Any) -> None:  # noqa: ANN401 -- the fields of Faults, by name
        """Set some faults and leave the others. Raises ``TypeError`` for a name that is none."""
        self.now = replace(self.now, **changes)
        self._changed.set()
        self._changed = asyncio.Event()

    async def wait_for_change(self, seconds: float | None) -> bool:
        """Wait for the next change, at most ``seconds``; whether there was one."""
        changed = self._changed
        try:
            async with asyncio.timeout(seconds):
                await changed.wait()
        except TimeoutError:
            return False
        return True

    def random(self, session_number: int, direction: Direction) -> random.Random:
        """The source of chance of one direction of one session."""
        # Not for secrets: a fault must be repeatable.
        return random.Random(f"{self.now.seed}/{session_number}/{direction}")  # noqa: S311
