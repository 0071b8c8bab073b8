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

from collections import OrderedDict
from typing import Final

from ssm_ssh.protocol.round_trip import RoundTrip
from ssm_ssh.protocol.window import Window

# Ours: bounds memory together with the window's bytes when messages are tiny.
OUTBOX_MESSAGES: Final = 4096
# Ours: a message is lost if one sent so many transmissions later was acknowledged and its acknowledgement
# is late by so much of a round trip; less of either may be reordering.
EVIDENCE_TRANSMISSIONS: Final = 3
EVIDENCE_ROUND_TRIPS: Final = 1.25
# Ours: the pauses between an eager message's transmissions; the last one repeats.
EAGER_SECONDS: Final = (0.01, 0.02, 0.05)
# Ours: after so many an eager message is an ordinary one (the port takes its time, or nothing listens there).
EAGER_TRANSMISSIONS: Final = 60


class _Sent:
    """One message on its way."""

    __slots__ = ("encoded", "is_eager", "last_sent_at", "order", "transmissions")

    def __init__(self, encoded: bytes, *, is_eager: bool) -> None:
        self.encoded = encoded
        self.is_eager = is_eager
        self.transmissions = 0
        self.last_sent_at = 0.0
        # The number of its last transmission, counted over all messages.
        self.order = 0


class Outbox:
    """The client's sequenced messages between their first transmission and their acknowledgement.

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
        self._to_send: list[int] = []
        self._transmissions = 0
        # Every unacknowledged message is in one of these. The first share one timer, oldest first; the others
        # (eager, or sent more than once) are few and have one each.
        self._sent_once: OrderedDict[int, _Sent] = OrderedDict()
        self._timed_singly: dict[int, _Sent] = {}
        # How many messages may be timed singly before another overdue one joins them.
        self._repairs = 1

    def __len__(self) -> int:
        """How many messages are unacknowledged."""
        return len(self._unacknowledged)

    @property
    def has_room(self) -> bool:
        """Whether another message may be added."""
        return self._bytes < self.window.size_bytes and len(self._unacknowledged) < OUTBOX_MESSAGES

    @property
    def round_trip_seconds(self) -> float | None:
        """The smoothed round-trip time, or None before the first acknowledgement."""
        return self._round_trip.smoothed_seconds

    def add(self, sequence_number: int, encoded: bytes, now: float, *, is_eager: bool = False) -> None:
        """Take in a new message; the next ``messages_to_send`` holds it."""
        message = _Sent(encoded, is_eager=is_eager)
        self._unacknowledged[sequence_number] = message
        self._bytes += len(encoded)
        self._queue(sequence_number, message, now)

    def replace(self, sequence_number: int, encoded: bytes) -> None:
        """Put other bytes under an unacknowledged number; every further transmission sends those."""
        message = self._unacknowledged[sequence_number]
        self._bytes += len(encoded) - len(message.encoded)
        message.encoded = encoded

    def acknowledge(self, sequence_number: int, now: float) -> bool:
        """The agent has a message. Returns False for one that is not, or no longer, on its way."""
        message = self._unacknowledged.pop(sequence_number, None)
        if message is None:
            return False
        self._bytes -= len(message.encoded)
        self._sent_once.pop(sequence_number, None)
        self._timed_singly.pop(sequence_number, None)
        if message.transmissions > 1:
            self._repairs += 1
            return True
        # Karn's rule: only what was sent once tells how long the way is and in what order things arrive.
        self._repairs = 1
        self._round_trip.sample(now - message.last_sent_at)
        self.window.acknowledged(sent_at=message.last_sent_at, now=now)
        self._take_evidence(message.order, now)
        return True

    def replay(self, now: float) -> None:
        """The stream is new: everything unacknowledged is sent again, in order."""
        self._to_send.clear()
        self._repairs = 1
        for sequence_number in sorted(self._unacknowledged):
            self._queue(sequence_number, self._unacknowledged[sequence_number], now)

    def messages_to_send(self) -> list[bytes]:
        """What must go out now; the caller sends all of it, in this order."""
        queued, self._to_send = self._to_send, []
        # What was acknowledged while it was queued to be sent again is gone.
        return [self._unacknowledged[number].encoded for number in queued if number in self._unacknowledged]

    def next_deadline(self) -> float | None:
        """When ``handle_deadline`` is due, or None while nothing is on its way."""
        deadlines = [self._due_at(message) for message in self._timed_singly.values()]
        if self._sent_once and len(self._timed_singly) < self._repairs:
            deadlines.append(self._due_at(next(iter(self._sent_once.values()))))
        return min(deadlines, default=None)

    def handle_deadline(self, now: float) -> list[int]:
        """Queue what is overdue. Returns the sequence numbers queued."""
        overdue = [number for number, message in self._timed_singly.items() if self._due_at(message) <= now]
        repairs = self._repairs - len(self._timed_singly)
        for sequence_number, message in self._sent_once.items():
            if repairs <= 0 or self._due_at(message) > now:
                break
            repairs -= 1
            overdue.append(sequence_number)
            self.window.timed_out()
        for sequence_number in overdue:
            self._queue(sequence_number, self._unacknowledged[sequence_number], now)
        return overdue

    def _queue(self, sequence_number: int, message: _Sent, now: float) -> None:
        """One more transmission of a message, which leaves with the next ``messages_to_send``."""
        self._transmissions += 1
        message.order = self._transmissions
        message.last_sent_at = now
        message.transmissions += 1
        if message.transmissions > 1:
            self.retransmissions += 1
        if message.transmissions == 1 and not message.is_eager:
            self._sent_once[sequence_number] = message
        else:
            self._sent_once.pop(sequence_number, None)
            self._timed_singly[sequence_number] = message
        self._to_send.append(sequence_number)

    def _take_evidence(self, acknowledged_order: int, now: float) -> None:
        """Send again what was sent well before an acknowledged transmission and is still unacknowledged."""
        assert self._round_trip.smoothed_seconds is not None
        lost_before = now - EVIDENCE_ROUND_TRIPS * self._round_trip.smoothed_seconds
        lost = []
        for sequence_number, message in self._sent_once.items():
            if (
                message.order > acknowledged_order - EVIDENCE_TRANSMISSIONS
                or message.last_sent_at > lost_before
            ):
                break
            lost.append(sequence_number)
        for sequence_number in lost:
            self._queue(sequence_number, self._unacknowledged[sequence_number], now)

    def _due_at(self, message: _Sent) -> float:
        if message.is_eager and message.transmissions <= EAGER_TRANSMISSIONS:
            return message.last_sent_at + EAGER_SECONDS[min(message.transmissions, len(EAGER_SECONDS)) - 1]
        return message.last_sent_at + self._round_trip.retransmit_seconds(message.transmissions)
