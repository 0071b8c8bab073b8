"""The answers to the agent's requested actions."""

from __future__ import annotations

import pytest

from ssm_ssh.errors import MalformedMessage
from ssm_ssh.protocol.handshake import CLIENT_VERSION, answer_handshake
from ssm_ssh.wire.payload import ActionStatus, HandshakeRequest, RequestedAction

PORT = RequestedAction("SessionType", {"SessionType": "Port", "Properties": {"portNumber": "22"}})
KMS = RequestedAction("KMSEncryption", {"KMSKeyId": "k", "Challenge": "AAAA"})


def test_the_session_type_is_accepted_and_announced() -> None:
    """Status 1, no result, no error, and the properties for the caller."""
    response, announced = answer_handshake(HandshakeRequest("3.3.987.0", (PORT,)))
    assert response.client_version == CLIENT_VERSION
    assert response.errors == ()
    (action,) = response.actions
    assert (action.action_type, action.status, action.result, action.error) == ("SessionType", 1, None, "")
    assert (announced.session_type, announced.properties) == ("Port", {"portNumber": "22"})


@pytest.mark.parametrize("unknown", [KMS, RequestedAction("Teleport", {})])
def test_what_is_not_known_is_unsupported(unknown: RequestedAction) -> None:
    """Three in ActionStatus, where the agent looks for it, and a text that it shows."""
    response, announced = answer_handshake(HandshakeRequest("3.3.987.0", (unknown, PORT)))
    declined, accepted = response.actions
    assert declined.status == 3
    assert unknown.action_type in declined.error
    assert accepted.status == ActionStatus.SUCCESS
    assert announced.session_type == "Port"


def test_a_kind_of_session_that_nobody_knows_is_still_heard() -> None:
    """Whether it is of use is the caller's question."""
    odd = RequestedAction("SessionType", {"SessionType": "Telepathy", "Properties": None})
    response, announced = answer_handshake(HandshakeRequest("", (odd,)))
    assert response.actions[0].status == ActionStatus.SUCCESS
    assert (announced.session_type, announced.properties) == ("Telepathy", {})


@pytest.mark.parametrize("actions", [(), (KMS,)])
def test_a_request_without_a_session_type_is_malformed(actions: tuple[RequestedAction, ...]) -> None:
    """There is nothing to start then."""
    with pytest.raises(MalformedMessage):
        answer_handshake(HandshakeRequest("3.3.987.0", actions))


def test_the_reported_version_is_one_the_service_still_takes() -> None:
    """Four parts, at least 1.2.764.0: agents compare, the service refuses older ones."""
    parts = [int(part) for part in CLIENT_VERSION.split(".")]
    assert len(parts) == 4
    assert parts >= [1, 2, 764, 0]
