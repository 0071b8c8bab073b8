"""The protocol floor over a lossy link on a virtual clock: its speed, and its repairs.

The official programs look every 100 ms and repeat the oldest unacknowledged message. Here both rules drive
the same channel with the same window over the same kind of link, which loses messages but never reorders
them, as WebSockets do; only what is repeated, and when, differs.
"""

from __future__ import annotations

import heapq
import json
import random
import time
from dataclasses import dataclass, field
from itertools import count
from typing import TYPE_CHECKING, Final

from ssm_ssh.protocol.data_channel import DataChannel
from ssm_ssh.protocol.event import SessionReady
from ssm_ssh.protocol.outbox import Outbox
from ssm_ssh.wire.agent_message import AgentMessage, Flags, MessageType, PayloadType, uuid_text
from ssm_ssh.wire.payload import Acknowledge
from tests.bench.table import machine, say, show

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

_SESSIONS: Final = 100
_SENT_BYTES: Final = 256 * 1024
_ONE_WAY_SECONDS: Final = 0.02
_JITTER_SECONDS: Final = 0.002
_TICK_SECONDS: Final = 0.1
_OUTAGE_STARTS_AT: Final = 0.1
# No session takes so long; one that does has lost a byte.
_LIMIT_SECONDS: Final = 3600.0


@dataclass(frozen=True, slots=True)
class _Link:
    """What the link does to a message, either way."""

    name: str
    loss: float = 0.0
    outage_seconds: float = 0.0


_LINKS: Final = (
    _Link("no loss"),
    _Link("2 % lost", loss=0.02),
    _Link("15 % lost", loss=0.15),
    _Link("an outage of 1 s", outage_seconds=1.0),
)


def main() -> None:
    """Measure and print."""
    say(
        f"lossy_link: {_SESSIONS} sessions a row, each {_SENT_BYTES // 1024} KiB up over "
        f"{2000 * _ONE_WAY_SECONDS:.0f} ms round trip ({machine()})"
    )
    say()
    rows = []
    for link in _LINKS:
        for name, new_outbox in (("ours", Outbox), ("oldest each 100 ms", OldestEachTick)):
            rows.append([f"{link.name}: {name}", *_measure(link, new_outbox)])
    header = ["link and rule", "virtual s a session", "slowest", "lost", "repeated", "repeated : lost"]
    show("all of it sent and acknowledged", [*header, "real s", "virtual : real"], rows)


class OldestEachTick(Outbox):
    """The official rule: every 100 ms the oldest unacknowledged message, and nothing else."""

    def __init__(self) -> None:
        super().__init__()
        self._tick_at = 0.0

    def next_deadline(self) -> float | None:
        """See ``Outbox``."""
        return self._tick_at if self._unacknowledged else None

    def handle_deadline(self, now: float) -> list[int]:
        """See ``Outbox``."""
        if now < self._tick_at or not self._unacknowledged:
            return []
        self._tick_at = now + _TICK_SECONDS
        number, message = next(iter(self._unacknowledged.items()))
        if not message.order or message.last_sent_at > now - _TICK_SECONDS:
            return []
        self._sent_once.pop(number, None)
        self._leaving.append(number)
        return [number]

    def _take_evidence(self, acknowledged_order: int, now: float) -> None:
        """Nothing is concluded from what arrived."""


def _measure(link: _Link, new_outbox: Callable[[], Outbox]) -> list[str]:
    started_at = time.perf_counter()
    sessions = [_Session(link, seed, new_outbox()) for seed in range(_SESSIONS)]
    seconds = [session.run() for session in sessions]
    real_seconds = time.perf_counter() - started_at
    lost = sum(session.lost for session in sessions)
    repeated = sum(session.channel.retransmissions for session in sessions)
    return [
        f"{sum(seconds) / len(seconds):.2f}",
        f"{max(seconds):.2f}",
        str(lost),
        str(repeated),
        f"{repeated / lost:.2f}" if lost else "",
        f"{real_seconds:.2f}",
        f"{sum(seconds) / real_seconds:.0f}",
    ]


@dataclass(order=True, slots=True)
class _Arrival:
    at: float
    order: int
    raw: bytes = field(compare=False)
    is_for_agent: bool = field(compare=False)


class _Session:
    """A channel, an agent that acknowledges everything, and the link between them."""

    def __init__(self, link: _Link, seed: int, outbox: Outbox) -> None:
        self.lost = 0
        self._link = link
        self._random = random.Random(seed)
        self._now = 0.0
        self._order = count()
        self._arrivals: list[_Arrival] = []
        # When the link's last message arrives, by whether it goes to the agent.
        self._latest = {False: 0.0, True: 0.0}
        self.channel = DataChannel(
            client_id="bench", wall_clock_ms=lambda: 0, new_message_id=lambda: self._random.randbytes(16)
        )
        self.channel._client_stream._outbox = outbox

    def run(self) -> float:
        """Send it all and return how long that took, in virtual seconds."""
        self._shake_hands()
        left = _SENT_BYTES
        while left or not self.channel.is_drained:
            room = min(left, self.channel.room_bytes)
            if room:
                self.channel.send(bytes(room))
                left -= room
            while messages := self.channel.messages_to_send(self._now):
                for raw in messages:
                    assert isinstance(raw, bytes)
                    self._put_on_link(raw, is_for_agent=True)
            self._advance()
        return self._now

    def _advance(self) -> None:
        """Go to the next moment at which something happens."""
        deadline = self.channel.next_deadline()
        if self._arrivals and (deadline is None or self._arrivals[0].at <= deadline):
            arrival = heapq.heappop(self._arrivals)
            self._now = arrival.at
            if arrival.is_for_agent:
                self._take_as_agent(AgentMessage.decode(arrival.raw))
            else:
                self.channel.receive_message(arrival.raw, self._now)
        else:
            assert deadline is not None, "nothing would ever happen again"
            self._now = max(self._now, deadline)
            self.channel.handle_deadline(self._now)
        assert self._now < _LIMIT_SECONDS, "the session hangs"

    def _put_on_link(self, raw: bytes, *, is_for_agent: bool) -> None:
        is_out = _OUTAGE_STARTS_AT <= self._now < _OUTAGE_STARTS_AT + self._link.outage_seconds
        if is_out or self._random.random() < self._link.loss:
            self.lost += 1
            return
        at = self._now + _ONE_WAY_SECONDS + self._random.uniform(0, _JITTER_SECONDS)
        at = self._latest[is_for_agent] = max(at, self._latest[is_for_agent])
        heapq.heappush(self._arrivals, _Arrival(at, next(self._order), raw, is_for_agent))

    # --- the agent ---

    def _shake_hands(self) -> None:
        """Open the channel, over a link that loses nothing yet."""
        channel = self.channel
        channel.open("token")
        properties = {"SessionType": "Port", "Properties": {"portNumber": "22"}}
        action = {"ActionType": "SessionType", "ActionParameters": properties}
        request = {"AgentVersion": "3.3.0.0", "RequestedClientActions": [action]}
        complete = {"HandshakeTimeToComplete": 1, "CustomerMessage": ""}
        channel.receive_message(self._from_agent(0, PayloadType.HANDSHAKE_REQUEST, request), 0.0)
        self._now = 2 * _ONE_WAY_SECONDS
        for raw in channel.messages_to_send(0.0):
            if isinstance(raw, bytes) and AgentMessage.decode(raw).message_type == "input_stream_data":
                channel.receive_message(self._acknowledgement(AgentMessage.decode(raw)), self._now)
        channel.receive_message(self._from_agent(1, PayloadType.HANDSHAKE_COMPLETE, complete), self._now)
        channel.messages_to_send(self._now)
        assert any(isinstance(event, SessionReady) for event in channel.events_received())

    def _take_as_agent(self, message: AgentMessage) -> None:
        self._put_on_link(self._acknowledgement(message), is_for_agent=False)

    def _acknowledgement(self, message: AgentMessage) -> bytes:
        acknowledge = Acknowledge(
            str(message.message_type), uuid_text(message.message_id), message.sequence_number
        )
        return self._encode(MessageType.ACKNOWLEDGE, 0, PayloadType.UNDEFINED, acknowledge.encode())

    def _from_agent(self, number: int, payload_type: PayloadType, fields: Mapping[str, object]) -> bytes:
        return self._encode(MessageType.OUTPUT_STREAM_DATA, number, payload_type, json.dumps(fields).encode())

    def _encode(
        self, message_type: MessageType, number: int, payload_type: PayloadType, payload: bytes
    ) -> bytes:
        return AgentMessage(
            message_type, number, payload, payload_type, self._random.randbytes(16), 0, Flags.NONE
        ).encode()


if __name__ == "__main__":
    main()
