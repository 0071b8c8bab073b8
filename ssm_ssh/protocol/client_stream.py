"""What the client says in its sequenced messages: accepted, cut, sent, acknowledged.

Composed of the queue of what was accepted, the size of the payloads it is cut into, the pace they leave at
and the outbox that keeps them.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from ssm_ssh.protocol.outbox import Outbox
from ssm_ssh.protocol.pace import Pace
from ssm_ssh.protocol.payload_size import SAFE_PAYLOAD_BYTES, PayloadSize
from ssm_ssh.protocol.send_queue import SendQueue
from ssm_ssh.wire.agent_message import PayloadType
from ssm_ssh.wire.payload import Flag, TerminalSize

if TYPE_CHECKING:
    from ssm_ssh.protocol.composer import Composer

# Ours: so much leaves at a time, so that acknowledgements get their turn between.
BATCH_BYTES: Final = 256 * 1024
BATCH_MESSAGES: Final = 256
# Ours: what may wait to be cut into messages. No more than half a window: a keystroke waits behind both.
QUEUE_BYTES: Final = 128 * 1024
# Ours: larger payloads would leave too few acknowledgements in a window to tell how it does.
_PAYLOADS_PER_WINDOW: Final = 4
# Ours: what a probe says; in port sessions nobody reads it.
_PROBE: Final = TerminalSize(columns=80, rows=24)


@dataclass(frozen=True, slots=True)
class PathLimits:
    """What was learned about the way to a region, for the next session.

    Attributes:
        payload_bytes: The largest payload that passed.
        payload_cap_bytes: The largest payload still worth a try, or None while none has failed.
        messages_per_second: A rate to stay below, or None.
    """

    payload_bytes: int = SAFE_PAYLOAD_BYTES
    payload_cap_bytes: int | None = None
    messages_per_second: float | None = None


class ClientStream:
    """The client's data, flags and handshake response. Memory: ``QUEUE_BYTES`` and the outbox's limits."""

    def __init__(self, composer: Composer, limits: PathLimits, payload_bytes: int | None) -> None:
        self._composer = composer
        self._queue = SendQueue()
        self._outbox = Outbox()
        self._pace = Pace(limits.messages_per_second)
        self._payload_size = PayloadSize(
            fixed=payload_bytes, known=limits.payload_bytes, cap=limits.payload_cap_bytes
        )
        self._next_number = 0
        self._probe_number: int | None = None
        # When data may leave: never yet, at a time, or (minus infinity) now.
        self._allowed_at = math.inf
        self._may_probe = False
        self._has_sent_data = False

    # --- what is to be said ---

    @property
    def room_bytes(self) -> int:
        """How much data ``add`` accepts now."""
        limit = min(QUEUE_BYTES, self._outbox.window.size_bytes // 2)
        return max(0, limit - self._queue.size_bytes)

    def add(self, data: bytes) -> None:
        """Accept data, not empty."""
        self._queue.add(data)

    def add_flag(self, flag: Flag) -> None:
        """Accept a flag, behind all data accepted so far."""
        self._queue.add_flag(flag)

    def drop_unsent(self) -> None:
        """Forget the data and flags that have not been cut into messages yet."""
        self._queue.clear()

    def respond(self, response: bytes) -> None:
        """Say the handshake response: the only thing that may leave before ``allow_data``."""
        self._say(PayloadType.HANDSHAKE_RESPONSE, response)

    def allow_data(self, *, may_probe: bool, at: float = -math.inf) -> None:
        """Data and flags may leave from now on, or from ``at`` on.

        Args:
            may_probe: Whether the agent ignores messages about a terminal's size (protocol 11.3).
            at: When an agent that loses what comes too early will be ready.
        """
        self._allowed_at = at
        self._may_probe = may_probe

    def hear_data(self) -> None:
        """The agent has sent data, so it is ready for ours."""
        self._allowed_at = -math.inf

    # --- what becomes of it ---

    def acknowledge(self, sequence_number: int, now: float) -> None:
        """The agent has one message."""
        if self._outbox.acknowledge(sequence_number, now) and sequence_number == self._probe_number:
            self._payload_size.probe_passed()
            self._probe_number = None
        self._judge_probe()

    def lose_connection(self, now: float) -> None:
        """The WebSocket broke, and perhaps it was our doing."""
        if self._probe_number is not None:
            self._payload_size.probe_broke_stream()
            self._give_up_probe()
        elif not self.is_drained:
            self._pace.torn_down(now)

    def replay(self, now: float) -> None:
        """There is a new WebSocket: say everything unacknowledged again."""
        self._outbox.replay(now)

    def restart_timers(self, now: float) -> None:
        """The way stood still until now."""
        self._outbox.restart_timers(now)

    def handle_deadline(self, now: float) -> None:
        """Do what was due at ``next_deadline``."""
        self._outbox.handle_deadline(now)
        self._judge_probe()

    # --- what leaves ---

    def messages_to_send(self, now: float) -> list[bytes]:
        """What must go out now, in this order; call until it is empty."""
        allowance = self._pace.allowance(now)
        if now >= self._allowed_at:
            self._allowed_at = -math.inf
            self._cut_queue(allowance - self._outbox.leaving, now)
        messages = self._outbox.messages_to_send(now, int(min(BATCH_MESSAGES, allowance)))
        if messages:
            self._pace.sent(len(messages), now)
        return messages

    def next_deadline(self) -> float | None:
        """When to call ``handle_deadline`` and ``messages_to_send`` if nothing else happens, or None."""
        deadlines = [self._outbox.next_deadline()]
        is_allowed = self._allowed_at == -math.inf
        if self._outbox.leaving or (is_allowed and self._queue and self._outbox.has_room):
            deadlines.append(self._pace.next_allowance_at())
        if self._queue and math.isfinite(self._allowed_at):
            deadlines.append(self._allowed_at)
        return min((deadline for deadline in deadlines if deadline is not None), default=None)

    # --- what is known ---

    @property
    def is_drained(self) -> bool:
        """Whether everything accepted has been acknowledged."""
        return not self._queue and not len(self._outbox)

    @property
    def limits(self) -> PathLimits:
        """What is known about the way by now."""
        return PathLimits(self._payload_size.known_bytes, self._payload_size.cap_bytes, self._pace.limit)

    @property
    def round_trip_seconds(self) -> float | None:
        """The smoothed time from a message to its acknowledgement, or None before the first."""
        return self._outbox.round_trip_seconds

    def waited_seconds(self, now: float) -> float:
        """For how long nothing was acknowledged although something is on its way."""
        return self._outbox.waited_seconds(now)

    @property
    def retransmissions(self) -> int:
        """How many messages were sent again so far."""
        return self._outbox.retransmissions

    # --- inside ---

    def _cut_queue(self, allowance: float, now: float) -> None:
        """Turn what is queued into messages as far as window, pace and batch allow."""
        batch_bytes = 0
        while self._queue and batch_bytes < BATCH_BYTES and allowance >= 1:
            if not self._outbox.has_room:
                self._outbox.window.note_full()
                return
            largest = max(SAFE_PAYLOAD_BYTES, self._outbox.window.size_bytes // _PAYLOADS_PER_WINDOW)
            payload_type, payload = self._queue.take(min(self._payload_size.data_bytes, largest))
            self._say(payload_type, payload, is_eager=not self._has_sent_data)
            self._has_sent_data = True
            self._payload_size.sent(len(payload), now)
            batch_bytes += len(payload)
            allowance -= 1
            if self._may_probe:
                self._probe(largest)

    def _probe(self, largest: int) -> None:
        """Try a larger payload if there is enough to send to make it worth while."""
        size = self._payload_size.next_probe(largest)
        if size is not None:
            self._probe_number = self._next_number
            self._say(PayloadType.SIZE, _PROBE.encode(padded_to=size))

    def _judge_probe(self) -> None:
        """A probe that would have to be sent again has not passed: what leaves in its place is short."""
        if self._probe_number is not None and self._outbox.is_in_repair(self._probe_number):
            self._payload_size.probe_vanished()
            self._give_up_probe()

    def _give_up_probe(self) -> None:
        """Send something short under the probe's number from now on: the agent waits for that number."""
        assert self._probe_number is not None
        short = self._composer.sequenced(self._probe_number, PayloadType.SIZE, _PROBE.encode())
        self._outbox.replace(self._probe_number, short)
        self._probe_number = None

    def _say(self, payload_type: PayloadType, payload: bytes, *, is_eager: bool = False) -> None:
        encoded = self._composer.sequenced(self._next_number, payload_type, payload)
        self._outbox.add(self._next_number, encoded, is_eager=is_eager)
        self._next_number += 1
