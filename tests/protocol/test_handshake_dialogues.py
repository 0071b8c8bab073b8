"""The first words of a session, in every order an agent really uses."""

from __future__ import annotations

from itertools import pairwise

import pytest

from ssm_ssh.protocol.event import ChannelEnded, SessionReady
from ssm_ssh.wire.agent_message import PayloadType
from ssm_ssh.wire.payload import RequestedAction
from tests.protocol.dialogue import Dialogue, Link
from tests.protocol.scripted_agent import PORT, ScriptedAgent

KMS = RequestedAction("KMSEncryption", {"KMSKeyId": "key", "Challenge": "AAAAAAAAAAAAAAAAAAAAAA=="})
TELEPORT = RequestedAction("Teleport", {})


@pytest.mark.parametrize("acknowledges_late", [False, True])
def test_a_port_session_in_both_orders_of_the_acknowledgement(*, acknowledges_late: bool) -> None:
    """Symptom of the official client: it hangs once in sixty where HandshakeComplete comes first."""
    talk = Dialogue()
    talk.agent.acknowledges_late = acknowledges_late
    talk.open()
    ready = talk.expect_event(SessionReady)
    assert ready == SessionReady("Port", {"portNumber": "22"}, "3.3.987.0", "")
    assert len(talk.agent.responses) == 1
    talk.client_sends(b"SSH-2.0-test\r\n")
    talk.advance(0.2)
    talk.expect_taken(b"SSH-2.0-test\r\n")


def test_a_plain_shell_has_none() -> None:
    """Its output begins at once, and is not lost."""
    talk = Dialogue(agent=ScriptedAgent(has_handshake=False))
    talk.open()
    talk.agent_sends(b"$ ")
    talk.advance(0.2)
    assert talk.expect_event(SessionReady) == SessionReady("Standard_Stream", {}, "", "")
    assert talk.received == b"$ "
    talk.client_sends(b"exit\r")
    talk.advance(0.2)
    talk.expect_taken(b"exit\r")
    assert talk.agent.responses == []


@pytest.mark.parametrize("action", [KMS, TELEPORT])
def test_what_is_not_supported_is_said_in_the_right_field(action: RequestedAction) -> None:
    """Three in ActionStatus; the official client writes it elsewhere and reports 0."""
    talk = Dialogue(agent=ScriptedAgent(actions=(PORT, action)))
    talk.open()
    (response,) = talk.agent.responses
    assert [answer.status for answer in response.actions] == [1, 3]
    assert response.client_version == "1.2.764.0"


def test_nothing_but_the_response_before_the_handshake_is_complete() -> None:
    """Whatever the caller has ready: the agent would acknowledge it and throw it away."""
    talk = Dialogue()
    talk.agent.completes_by_itself = False
    talk.client_sends(b"early" * 1000)
    talk.open(seconds=3.0)
    assert {said.payload_type for said in talk.said} == {PayloadType.HANDSHAKE_RESPONSE}
    talk.agent.complete_handshake(talk.now, "please upgrade")
    talk.advance(0.5)
    assert talk.agent.discarded == []
    talk.expect_taken(b"early" * 1000)
    assert talk.events == [SessionReady("Port", {"portNumber": "22"}, "3.3.987.0", "please upgrade")]


@pytest.mark.parametrize("seed", range(10))
def test_a_doubled_and_disordered_handshake_is_answered_once(seed: int) -> None:
    """A second response blocks the agent's reading for good."""
    talk = Dialogue(up=Link(duplication=0.5, reordering=0.5, loss=0.2), seed=seed)
    talk.client_sends(b"x")
    talk.channel.open("token")
    talk.advance_until_quiet(at_most=60)
    assert (
        len({said.number for said in talk.said if said.payload_type == PayloadType.HANDSHAKE_RESPONSE}) == 1
    )
    assert len(talk.agent.responses) == 1
    talk.expect_taken(b"x")


def test_the_stream_breaks_in_the_middle_of_the_handshake() -> None:
    """It goes on where it was; the response is repeated, not made anew."""
    talk = Dialogue()
    talk.channel.open("token")
    talk.advance(0.032)
    talk.cut()
    talk.client_sends(b"x")
    talk.advance_until_quiet(at_most=10)
    assert len(talk.agent.openings) == 2
    assert len(talk.agent.responses) == 1
    talk.expect_taken(b"x")


@pytest.mark.parametrize("refusals", [1, 3, 10])
def test_the_first_data_is_refused_and_taken_soon_after(refusals: int) -> None:
    """The node's port is not connected yet; everything behind waits (protocol 5.3)."""
    talk = Dialogue()
    talk.open()
    talk.agent.refuses = refusals
    started = talk.now
    talk.client_sends(bytes(range(256)) * 20)
    took = talk.advance_until_quiet(at_most=5)
    assert took < 0.1 + 0.05 * refusals
    first = talk.transmissions(1)
    assert first[0] == started
    pauses = [later - earlier for earlier, later in pairwise(first)]
    assert all(0.009 < pause < 0.051 for pause in pauses)
    assert {said.number for said in talk.said if len(talk.transmissions(said.number)) > 1} == {1}
    talk.expect_taken(bytes(range(256)) * 20)


@pytest.mark.parametrize("payload_type", [None, 0])
def test_the_service_closes_with_a_text(payload_type: int | None) -> None:
    """The short header too; the text is for the user, and afterwards nobody speaks."""
    talk = Dialogue()
    talk.open()
    talk.client_sends(b"x")
    talk.advance(0.001)
    talk.service_closes("Plugin with name Port is not supported", payload_type=payload_type)
    said = len(talk.said)
    talk.advance(5)
    assert talk.expect_event(ChannelEnded) == ChannelEnded("Plugin with name Port is not supported")
    assert len(talk.said) <= said + 1
    assert talk.channel.is_ended
