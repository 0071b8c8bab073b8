"""Writes the client's messages: the one place that knows ids, dates and flags."""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING, Final

from ssm_ssh.protocol.handshake import CLIENT_VERSION
from ssm_ssh.wire.agent_message import AgentMessage, Flags, MessageType, PayloadType, uuid_text
from ssm_ssh.wire.payload import Acknowledge, OpenDataChannel

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

# Ours: asking the system for every id alone would cost more than all the rest of a message.
_IDS_AT_A_TIME: Final = 256

_OUTPUT: Final = MessageType.OUTPUT_STREAM_DATA.value
_INPUT: Final = MessageType.INPUT_STREAM_DATA.value
_ACKNOWLEDGE: Final = MessageType.ACKNOWLEDGE.value
# Protocol 3.1: agents on Windows were seen to stall on other flags in an acknowledgement; the official client
# sends none with its data, not even with its first message.
_ACKNOWLEDGE_FLAGS: Final = int(Flags.SYN | Flags.FIN)
_DATA_FLAGS: Final = int(Flags.NONE)


def random_message_ids() -> Iterator[bytes]:
    """Version-4 UUIDs, 16 bytes each, without end."""
    while True:
        pool = secrets.token_bytes(16 * _IDS_AT_A_TIME)
        for start in range(0, len(pool), 16):
            digits = bytearray(pool[start : start + 16])
            digits[6] = digits[6] & 0x0F | 0x40
            digits[8] = digits[8] & 0x3F | 0x80
            yield bytes(digits)


class Composer:
    """Turns what the client has to say into messages, ready for the WebSocket."""

    def __init__(
        self, *, client_id: str, wall_clock_ms: Callable[[], int], new_message_id: Callable[[], bytes]
    ) -> None:
        self._client_id = client_id
        self._wall_clock_ms = wall_clock_ms
        self._new_message_id = new_message_id

    def opening(self, token: str) -> str:
        """The text that opens a channel on a fresh WebSocket."""
        return OpenDataChannel(
            request_id=uuid_text(self._new_message_id()),
            token=token,
            client_id=self._client_id,
            client_version=CLIENT_VERSION,
        ).encode()

    def acknowledgement(self, received: AgentMessage) -> bytes:
        """Says that ``received`` has arrived."""
        acknowledge = Acknowledge(_OUTPUT, uuid_text(received.message_id), received.sequence_number)
        return AgentMessage(
            _ACKNOWLEDGE,
            0,
            acknowledge.encode(),
            PayloadType.UNDEFINED,
            self._new_message_id(),
            self._wall_clock_ms(),
            _ACKNOWLEDGE_FLAGS,
        ).encode()

    def sequenced(self, number: int, payload_type: PayloadType, payload: bytes) -> bytes:
        """The message of the client's stream with this number."""
        return AgentMessage(
            _INPUT,
            number,
            payload,
            payload_type,
            self._new_message_id(),
            self._wall_clock_ms(),
            _DATA_FLAGS,
        ).encode()
