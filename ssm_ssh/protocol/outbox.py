"""Sent and not acknowledged: every message is kept until the agent says it arrived.

Three things send a message again:

- evidence: messages sent well after it were acknowledged. At once, and once.
- time: its acknowledgement is overdue. One overdue message goes; each of them that is acknowledged lets one
  more go beside it: a stalled agent is asked with one message, an outage repaired in a few round trips.
- a resume: everything unacknowledged, in order, at once.

A message that is *eager* is sent again every few milliseconds: the agent refuses the first data after the
handshake until its port is connected, and keeps everything behind it waiting (protocol 5.3).
"""

from __future__ import annotations

import heapq
from collections import OrderedDict, deque
from typing import Final

from ssm_ssh.protocol.round_trip import RoundTrip
from ssm_ssh.protocol.window import Window

# Ours: bounds memory together with the window's bytes when messages are tiny.
OUTBOX_MESSAGES: Final = 4096
# Ours: a message is lost if one sent so many transmissions later was acknowledged, and its acknowledgement is
# late by a tolerated part of a round trip; less of either may be reordering. The tolerance grows by a step
# with every message that was sent again too early, and fades with every one that was really lost.
EVIDENCE_TRANSMISSIONS: Final = 3
TOLERANCE_STEP: Final = 0.25
MAX_TOLERANCE: Final = 2.0
_FADING: Final = 0.9
# Ours: an acknowledgement so soon after a repair, in round trips, belongs to the transmission before.
_TOO_SOON: Final = 0.5
# Ours: the pauses between an eager message's transmissions; the last one repeats.
EAGER_SECONDS: Final = (0.01, 0.02, 0.05)
# Ours: after so many an eager message is an ordinary one (the port takes its time, or nothing listens there).
EAGER_TRANSMISSIONS: Final = 60


class _Sent:
    """One unacknowledged message.

    Attributes:
        attempts: How often it has left on this stream.
        patience: The least number of doublings of its time: what was known of the way when it left first.
        is_sample: Whether its acknowledgement tells how long the way is: it has left once, and the way has
            not stood still since (Karn's rule).
        first_sent_at: When it left for the first time.
        order: The number of its last transmission, counted over all messages; 0 before the first.
    """

    __slots__ = (
        "attempts",
        "encoded",
        "first_sent_at",
        "is_eager",
        "is_sample",
        "last_sent_at",
        "order",
        "patience",
    )

    def __init__(self, encoded: bytes, *, is_eager: bool) -> None:
        self.encoded = encoded
        self.is_eager = is_eager
        self.is_sample = True
        self.attempts = 0
        self.patience = 0
        self.first_sent_at = 0.0
        self.last_sent_at = 0.0
        self.order = 0


class Outbox:
    """The client's sequenced messages from their making to their acknowledgement.

    If the caller adds only while there is ``has_room``, memory is bounded by ``OUTBOX_MESSAGES`` and by
    ``window.size_bytes`` plus one message.

    Attributes:
        window: How many bytes may be on their way.
        retransmissions: How many messages were sent again so far.
    """

    def __init__(self) -> None:
        self.window = Window()
        self.retransmissions = 0
        self._round_trip = RoundTrip()
        self._unacknowledged: dict[int, _Sent] = {}
        self._bytes = 0
        self._transmissions = 0
        # The messages to send next, as their numbers.
        self._leaving: deque[int] = deque()
        # Every message that has left and is not about to leave again is timed in one of two ways. Those sent
        # once share one timer and stand in the order they left in; the others (eager, or in repair) are few,
        # and each has its own in the heap: due at, order of that transmission, number.
        self._sent_once: OrderedDict[int, _Sent] = OrderedDict()
        self._timers: list[tuple[float, int, int]] = []
        # Eager, or in repair: on their way or about to leave.
        self._repaired: dict[int, _Sent] = {}
        # How many messages may be in repair before another overdue one joins them.
        self._repairs = 1
        # How much of a round trip a message may be late without being lost.
        self._tolerance = TOLERANCE_STEP
        # When something was acknowledged for the last time, or could not be before.
        self._progress_at = 0.0

    def __len__(self) -> int:
        """How many messages are unacknowledged."""
        return len(self._unacknowledged)

    @property
    def has_room(self) -> bool:
        """Whether another message may be added."""
        return self._bytes < self.window.size_bytes and len(self._unacknowledged) < OUTBOX_MESSAGES

    @property
    def leaving(self) -> int:
        """How many messages the next ``messages_to_send`` would give, at most."""
        return len(self._leaving)

    @property
    def round_trip_seconds(self) -> float | None:
        """The smoothed round-trip time, or None before the first sample."""
        return self._round_trip.smoothed_seconds

    def is_in_repair(self, sequence_number: int) -> bool:
        """Whether a message is eager, or is to leave, or has left, a second time."""
        return sequence_number in self._repaired

    def waited_seconds(self, now: float) -> float:
        """For how long nothing was acknowledged although something is on its way."""
        oldest = next(iter(self._unacknowledged.values()), None)
        if oldest is None or oldest.order == 0:
            return 0.0
        return now - max(self._progress_at, oldest.first_sent_at)

    # --- new messages, and those that arrived ---

    def add(self, sequence_number: int, encoded: bytes, *, is_eager: bool = False) -> None:
        """Take in a new message; ``messages_to_send`` gives it in its turn."""
        self._unacknowledged[sequence_number] = _Sent(encoded, is_eager=is_eager)
        self._bytes += len(encoded)
        self._leaving.append(sequence_number)

    def replace(self, sequence_number: int, encoded: bytes) -> None:
        """Put other bytes under an unacknowledged number; every further transmission sends those."""
        message = self._unacknowledged[sequence_number]
        self._bytes += len(encoded) - len(message.encoded)
        message.encoded = encoded

    def acknowledge(self, sequence_number: int, now: float) -> bool:
        """The agent has a message. Returns False for one that is not, or no longer, on its way."""
        message = self._unacknowledged.get(sequence_number)
        if message is None or message.order == 0:
            return False
        del self._unacknowledged[sequence_number]
        self._progress_at = now
        self._bytes -= len(message.encoded)
        self._sent_once.pop(sequence_number, None)
        self._repaired.pop(sequence_number, None)
        if message.is_sample:
            self._repairs = 1
            self._round_trip.sample(now - message.last_sent_at)
            self.window.acknowledged(sent_at=message.last_sent_at, now=now)
            self._take_evidence(message.order, now)
        elif message.attempts > 1 and not message.is_eager:
            self._repairs += 1
            self._round_trip.took_attempts(message.attempts)
            self._learn_tolerance(now - message.last_sent_at)
        return True

    # --- what leaves ---

    def messages_to_send(self, now: float, most: int) -> list[bytes]:
        """At most so many messages that must go out now; the caller sends all of them, in this order."""
        messages: list[bytes] = []
        while self._leaving and len(messages) < most:
            sequence_number = self._leaving.popleft()
            message = self._unacknowledged.get(sequence_number)
            # What was acknowledged while it was about to leave again is gone.
            if message is not None:
                self._depart(sequence_number, message, now)
                messages.append(message.encoded)
        return messages

    def _depart(self, sequence_number: int, message: _Sent, now: float) -> None:
        if message.order:
            self.retransmissions += 1
            message.is_sample = False
        else:
            message.first_sent_at = now
        self._transmissions += 1
        message.order = self._transmissions
        message.last_sent_at = now
        message.attempts += 1
        if message.attempts == 1:
            message.patience = self._round_trip.doublings
        if message.attempts == 1 and not message.is_eager:
            self._sent_once[sequence_number] = message
        else:
            self._repaired[sequence_number] = message
            heapq.heappush(self._timers, (self._due_at(message), message.order, sequence_number))

    # --- what is sent again ---

    def replay(self, now: float) -> None:
        """The stream is new: everything unacknowledged is sent again, in order."""
        self._leaving = deque(self._unacknowledged)
        self._sent_once.clear()
        self._timers.clear()
        self._repaired.clear()
        self._repairs = 1
        for message in self._unacknowledged.values():
            message.attempts = 0
        self._progress_at = now
        self.window.start_anew(now)

    def restart_timers(self, now: float) -> None:
        """The way stood still: what is on it gives no sample, and is not overdue for a full time from now."""
        for message in self._unacknowledged.values():
            if message.order:
                message.last_sent_at = now
                message.is_sample = False
        self._timers = [
            (self._due_at(self._unacknowledged[number]), order, number)
            for _, order, number in self._timers
            if self._is_current(order, number)
        ]
        heapq.heapify(self._timers)
        self._progress_at = now
        self.window.start_anew(now)

    def next_deadline(self) -> float | None:
        """When ``handle_deadline`` is due, or None while nothing is on its way."""
        while self._timers and not self._is_current(*self._timers[0][1:]):
            heapq.heappop(self._timers)
        deadline = self._timers[0][0] if self._timers else None
        if self._sent_once and len(self._repaired) < self._repairs:
            shared = self._due_at(next(iter(self._sent_once.values())))
            deadline = shared if deadline is None else min(deadline, shared)
        return deadline

    def handle_deadline(self, now: float) -> list[int]:
        """Let what is overdue leave again. Returns the sequence numbers."""
        overdue: list[int] = []
        while self._timers and self._timers[0][0] <= now:
            _, order, sequence_number = heapq.heappop(self._timers)
            if self._is_current(order, sequence_number):
                overdue.append(sequence_number)
        late: list[int] = []
        repairs = self._repairs - len(self._repaired)
        for sequence_number, message in self._sent_once.items():
            if len(late) >= repairs or self._due_at(message) > now:
                break
            late.append(sequence_number)
        if late and self._repairs == 1:
            # Once an outage: that repairs go on is no further hint.
            self.window.timed_out()
        for sequence_number in late:
            self._repaired[sequence_number] = self._sent_once.pop(sequence_number)
        overdue += late
        self._leaving.extend(overdue)
        return overdue

    def _take_evidence(self, acknowledged_order: int, now: float) -> None:
        """Send again what was sent well before an acknowledged transmission and is still unacknowledged."""
        assert self._round_trip.smoothed_seconds is not None
        lost_before = now - (1 + self._tolerance) * self._round_trip.smoothed_seconds
        while self._sent_once:
            sequence_number, message = next(iter(self._sent_once.items()))
            if (
                message.order > acknowledged_order - EVIDENCE_TRANSMISSIONS
                or message.last_sent_at > lost_before
            ):
                break
            self._repaired[sequence_number] = self._sent_once.pop(sequence_number)
            self._leaving.append(sequence_number)

    def _learn_tolerance(self, seconds_since_repair: float) -> None:
        if seconds_since_repair < _TOO_SOON * (self._round_trip.smoothed_seconds or 0.0):
            self._tolerance = min(MAX_TOLERANCE, self._tolerance + TOLERANCE_STEP)
        else:
            self._tolerance = max(TOLERANCE_STEP, self._tolerance * _FADING)

    def _is_current(self, order: int, sequence_number: int) -> bool:
        """Whether a timer is about a message's last transmission, and the message still unacknowledged."""
        message = self._unacknowledged.get(sequence_number)
        return message is not None and message.order == order

    def _due_at(self, message: _Sent) -> float:
        attempts = message.attempts
        if message.is_eager:
            if attempts <= EAGER_TRANSMISSIONS:
                return message.last_sent_at + EAGER_SECONDS[min(attempts, len(EAGER_SECONDS)) - 1]
            attempts -= EAGER_TRANSMISSIONS
        doublings = max(attempts - 1, message.patience)
        return message.last_sent_at + self._round_trip.retransmit_seconds(doublings)
