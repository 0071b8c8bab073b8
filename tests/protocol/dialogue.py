"""A client and an agent joined in memory, on a clock that moves only when told to.

    talk = Dialogue()
    talk.open()
    talk.drop(1)
    talk.client_sends(b"x")
    talk.advance(0.5)
    talk.expect_retransmit(sequence_number=1)

Everything that goes wrong on the way is decided by a seed, so a run repeats to the byte.
"""

from __future__ import annotations

import heapq
import itertools
from collections import Counter, deque
from dataclasses import dataclass
from enum import Enum, auto
from random import Random
from typing import Final

from ssm_ssh.protocol.data_channel import DataChannel, PathLimits
from ssm_ssh.protocol.event import DataReceived, Event
from ssm_ssh.wire.agent_message import AgentMessage, MessageType
from ssm_ssh.wire.payload import ChannelClosed
from tests.protocol.scripted_agent import DATE_MS, TICK_SECONDS, ScriptedAgent

# Ours: how long the virtual session floor takes to resume.
RESUME_SECONDS: Final = 0.25


class Oversize(Enum):
    """What the service does with a message that is too large for it."""

    SWALLOW = auto()
    BREAK = auto()


@dataclass(frozen=True)
class Link:
    """One direction of the way. Probabilities are for each message.

    Attributes:
        reordering: Chance that a message takes 5 to 30 ms longer, and is overtaken.
        bytes_per_second: The bandwidth; None for no limit.
        largest_bytes: A larger message is treated as ``oversize`` says.
    """

    delay_seconds: float = 0.015
    loss: float = 0.0
    duplication: float = 0.0
    reordering: float = 0.0
    bytes_per_second: float | None = None
    largest_bytes: int | None = None
    oversize: Oversize = Oversize.SWALLOW


@dataclass(frozen=True)
class Said:
    """One transmission of one of the client's sequenced messages."""

    at: float
    number: int
    payload_type: int | None
    payload: bytes


class Dialogue:
    """The two ends, the way between them and all that was said.

    Attributes:
        now: The clock.
        said: Every transmission of the client's sequenced messages, those that got lost included.
        events: What the channel reported, data joined in ``received``.
        lost: How many messages the way lost, both directions, cuts not counted.
        tears_down_above: Messages a second above which the service breaks the stream, or None.
        cuts: How often the stream was broken.
        resumes_by_itself: Whether a broken stream is resumed after ``RESUME_SECONDS``.
    """

    def __init__(
        self,
        *,
        agent: ScriptedAgent | None = None,
        up: Link | None = None,
        down: Link | None = None,
        seed: int = 0,
        limits: PathLimits | None = None,
        payload_bytes: int | None = None,
    ) -> None:
        self.now = 1000.0
        self.agent = agent or ScriptedAgent()
        self.up = up or Link()
        self.down = down or self.up
        self.said: list[Said] = []
        self.events: list[Event] = []
        self.received = bytearray()
        self.lost = 0
        self.tears_down_above: int | None = None
        self.cuts = 0
        self.resumes_by_itself = True
        self._random = Random(seed)
        self._order = itertools.count()
        # Due at, order, number of the client's stream or None towards the agent, message.
        self._on_the_way: list[tuple[float, int, int | None, bytes | str]] = []
        self._free_at = {True: 0.0, False: 0.0}
        self._stream = 0
        self._resume_at: float | None = None
        self._ticks_at = self.now + TICK_SECONDS
        self._to_drop = 0
        self._unsent = bytearray()
        self._rate: deque[float] = deque()
        ids = itertools.count(1)
        self.channel = DataChannel(
            client_id="9c89f3a0-0000-4000-8000-000000000000",
            wall_clock_ms=lambda: DATE_MS,
            limits=limits,
            payload_bytes=payload_bytes,
            new_message_id=lambda: next(ids).to_bytes(16, "big"),
        )

    # --- the caller of the channel ---

    def open(self, *, seconds: float = 0.2) -> None:
        """Open the channel and let the handshake pass."""
        self.channel.open("token-0")
        self.advance(seconds)

    def client_sends(self, data: bytes) -> None:
        """Give the client bytes; they wait outside while the channel has no room."""
        self._unsent += data
        self._offer()

    def agent_sends(self, data: bytes) -> None:
        """The node's port says this."""
        self.agent.say_data(data, self.now)

    def service_sends(self, message_type: str, payload: bytes = b"", *, payload_type: int | None = 0) -> None:
        """The service itself says something to the client."""
        raw = AgentMessage(message_type, 0, payload, payload_type, bytes(16), DATE_MS).encode()
        self._carry(raw, to_client=True)

    def service_closes(self, output: str = "", *, payload_type: int | None = None) -> None:
        """The service ends the session, by default with its short header."""
        payload = ChannelClosed("session", output).encode()
        self.service_sends(MessageType.CHANNEL_CLOSED, payload, payload_type=payload_type)

    # --- what goes wrong ---

    def drop(self, messages: int) -> None:
        """Lose the next so many of the client's sequenced messages."""
        self._to_drop += messages

    def cut(self, *, is_orderly: bool = False) -> None:
        """Break the client's stream: what is on its way to and from it is lost."""
        self.cuts += 1
        self._stream += 1
        if not is_orderly:
            self._on_the_way = [
                entry for entry in self._on_the_way if entry[2] is None and self._keeps(entry)
            ]
        heapq.heapify(self._on_the_way)
        self._rate.clear()
        self.channel.connection_lost(self.now, is_orderly=is_orderly)
        if self.resumes_by_itself:
            self._resume_at = self.now + RESUME_SECONDS

    def resume(self) -> None:
        """A new stream is there."""
        self._resume_at = None
        self.channel.reopen(f"token-{self._stream}", self.now)

    def _keeps(self, entry: tuple[float, int, int | None, bytes | str]) -> bool:
        # Half way is the gateway: what has passed it reaches the agent.
        return entry[0] - self.now <= self.up.delay_seconds / 2

    # --- the clock ---

    def advance(self, seconds: float) -> None:
        """Let so much time pass, with all that happens in it."""
        end = self.now + seconds
        self._settle()
        while (due := self._next_moment()) <= end:
            self.now = max(self.now, due)
            self._pass_on()
            if self._ticks_at <= self.now:
                self.agent.tick(self.now)
                self._ticks_at += TICK_SECONDS
            if self._resume_at is not None and self._resume_at <= self.now:
                self.resume()
            self.channel.handle_deadline(self.now)
            self._settle()
        self.now = end

    def advance_until_quiet(self, *, at_most: float) -> float:
        """Let time pass until both sides have everything; returns how long it took."""
        started = self.now
        while not self.is_quiet:
            assert self.now - started < at_most, f"still not quiet after {at_most} s: {self}"
            self.advance(0.05)
        return self.now - started

    @property
    def is_quiet(self) -> bool:
        """Whether all bytes have arrived and were acknowledged, both ways."""
        return not self._unsent and self.channel.is_drained and self.agent.is_drained

    def _next_moment(self) -> float:
        moments = [self._ticks_at]
        if self._on_the_way:
            moments.append(self._on_the_way[0][0])
        deadline = self.channel.next_deadline()
        if deadline is not None:
            moments.append(deadline)
        if self._resume_at is not None:
            moments.append(self._resume_at)
        return min(moments)

    def _pass_on(self) -> None:
        while self._on_the_way and self._on_the_way[0][0] <= self.now:
            _, _, stream, message = heapq.heappop(self._on_the_way)
            if stream is None:
                self.agent.receive(message, self.now)
            elif stream == self._stream:
                self.channel.receive_message(message, self.now)

    def _settle(self) -> None:
        """Let both sides say what they have to say now."""
        self._collect()
        self._offer()
        while messages := self.channel.messages_to_send(self.now):
            for message in messages:
                self._say(message)
            self._offer()
        deadline = self.channel.next_deadline()
        assert deadline is None or deadline > self.now, "a deadline that has passed and does not go away"
        replies, self.agent.to_client = self.agent.to_client, []
        for reply in replies:
            self._carry(reply, to_client=True)

    def _collect(self) -> None:
        for event in self.channel.events_received():
            if isinstance(event, DataReceived):
                assert event.data, "empty bytes mean an end"
                self.received += event.data
            else:
                self.events.append(event)

    def _offer(self) -> None:
        room = self.channel.room_bytes
        if self._unsent and room:
            self.channel.send(bytes(self._unsent[:room]))
            del self._unsent[:room]

    # --- the way ---

    def _say(self, message: bytes | str) -> None:
        if isinstance(message, bytes):
            decoded = AgentMessage.decode(message)
            if decoded.message_type == MessageType.INPUT_STREAM_DATA:
                self.said.append(
                    Said(self.now, decoded.sequence_number, decoded.payload_type, decoded.payload)
                )
                if self._to_drop:
                    self._to_drop -= 1
                    self.lost += 1
                    return
        stream = self._stream
        self._carry(message, to_client=False)
        if stream == self._stream and self._is_too_fast():
            self.cut()

    def _is_too_fast(self) -> bool:
        if self.tears_down_above is None:
            return False
        self._rate.append(self.now)
        while self._rate[0] < self.now - 1:
            self._rate.popleft()
        return len(self._rate) > self.tears_down_above

    def _carry(self, message: bytes | str, *, to_client: bool) -> None:
        link = self.down if to_client else self.up
        if link.largest_bytes is not None and len(message) > link.largest_bytes:
            if link.oversize is Oversize.BREAK:
                self.cut()
            return
        # The opening is the WebSocket's own affair: it is never lost on a stream that lives.
        if isinstance(message, bytes) and self._random.random() < link.loss:
            self.lost += 1
            return
        copies = 2 if self._random.random() < link.duplication else 1
        for _ in range(copies):
            due = self.now + link.delay_seconds
            if link.bytes_per_second is not None:
                self._free_at[to_client] = max(self._free_at[to_client], self.now)
                self._free_at[to_client] += len(message) / link.bytes_per_second
                due = self._free_at[to_client] + link.delay_seconds
            if self._random.random() < link.reordering:
                due += self._random.uniform(0.005, 0.03)
            stream = self._stream if to_client else None
            heapq.heappush(self._on_the_way, (due, next(self._order), stream, message))

    # --- what is expected ---

    def transmissions(self, sequence_number: int) -> list[float]:
        """When the client sent this number."""
        return [said.at for said in self.said if said.number == sequence_number]

    def expect_retransmit(self, *, sequence_number: int) -> None:
        """The client has sent this number more than once."""
        assert len(self.transmissions(sequence_number)) > 1, f"{sequence_number} was not sent again"

    def expect_no_retransmit(self) -> None:
        """The client has sent no number more than once."""
        again = [number for number, times in Counter(said.number for said in self.said).items() if times > 1]
        assert not again, f"sent again: {again}"
        assert self.channel.retransmissions == 0

    def expect_taken(self, data: bytes) -> None:
        """The node's port got exactly this, and the client knows."""
        assert bytes(self.agent.taken) == data
        assert self.channel.is_drained

    def expect_event(self, kind: type[Event]) -> Event:
        """Exactly one event of this kind was reported; returns it."""
        (event,) = [event for event in self.events if isinstance(event, kind)]
        return event

    def __str__(self) -> str:
        return (
            f"client unsent {len(self._unsent)}, drained {self.channel.is_drained}, agent has "
            f"{len(self.agent.taken)}, agent unacknowledged {self.agent.unacknowledged[:5]}, "
            f"client has {len(self.received)}, cuts {self.cuts}, lost {self.lost}, "
            f"retransmissions {self.channel.retransmissions}"
        )
