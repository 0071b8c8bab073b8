"""Any bytes, and envelopes with any payload: RemoteProtocolError or nothing; never another exception."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Final

from hypothesis import given
from hypothesis import strategies as st

from ssm_ssh.errors import RemoteProtocolError
from ssm_ssh.protocol.data_channel import DataChannel
from ssm_ssh.wire.agent_message import AgentMessage, MessageType, PayloadType
from ssm_ssh.wire.payload import Acknowledge, HandshakeComplete, HandshakeRequest
from tests.protocol.scripted_agent import PORT

if TYPE_CHECKING:
    from collections.abc import Sequence

REQUEST: Final = HandshakeRequest("3.3.987.0", (PORT,)).encode()
COMPLETE: Final = HandshakeComplete(1).encode()

payloads = st.one_of(
    st.binary(max_size=200),
    st.sampled_from([REQUEST, COMPLETE, b"{}", b"[]", b"\0\0\0\1", b'{"Output":7}', b"[" * 5000]),
    st.integers(-(2**63), 2**64).map(lambda number: Acknowledge("", "", number).encode()),
)
envelopes = st.builds(
    AgentMessage,
    message_type=st.sampled_from([*MessageType, "brand_new"]),
    sequence_number=st.one_of(st.integers(0, 4), st.integers(-(2**63), 2**63 - 1)),
    payload=payloads,
    payload_type=st.one_of(st.none(), st.sampled_from(PayloadType), st.integers(0, 2**32 - 1)),
    message_id=st.binary(min_size=16, max_size=16),
    created_date_ms=st.integers(0, 2**64 - 1),
).map(AgentMessage.encode)
raws = st.lists(st.one_of(envelopes, st.binary(max_size=300), st.text(max_size=100)), max_size=12)


def ready_channel() -> DataChannel:
    """A port session with a message on its way."""
    channel = DataChannel(client_id="", wall_clock_ms=lambda: 1)
    channel.open("token")
    for number, (payload_type, payload) in enumerate(
        [(PayloadType.HANDSHAKE_REQUEST, REQUEST), (PayloadType.HANDSHAKE_COMPLETE, COMPLETE)]
    ):
        message = AgentMessage(MessageType.OUTPUT_STREAM_DATA, number, payload, payload_type, bytes(16), 1)
        channel.receive_message(message.encode(), 0.0)
    channel.send(b"x")
    channel.messages_to_send(0.0)
    return channel


def feed(channel: DataChannel, messages: Sequence[bytes | str]) -> None:
    """Let them arrive, with everything else that may be called between."""
    now = 0.0
    for raw in messages:
        now += 0.1
        with contextlib.suppress(RemoteProtocolError):
            channel.receive_message(raw, now)
        channel.handle_deadline(now)
        while channel.messages_to_send(now):
            assert not channel.is_ended, "after the end nothing is sent"
        deadline = channel.next_deadline()
        assert deadline is None or deadline > now
        channel.events_received()


@given(raws)
def test_any_bytes_at_the_beginning(messages: list[bytes | str]) -> None:
    """Before the agent has spoken."""
    channel = DataChannel(client_id="", wall_clock_ms=lambda: 1)
    channel.open("token")
    feed(channel, messages)


@given(raws)
def test_any_bytes_in_the_middle(messages: list[bytes | str]) -> None:
    """While data flows."""
    feed(ready_channel(), messages)
