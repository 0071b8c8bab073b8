"""Answering the actions that an agent requests before data may flow (protocol 5)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from ssm_ssh.errors import MalformedMessage
from ssm_ssh.wire.payload import (
    ActionStatus,
    ActionType,
    HandshakeRequest,
    HandshakeResponse,
    ProcessedAction,
    RequestedAction,
    SessionTypeParameters,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

# Specification: agents switch features on by it (protocol 5.4), and the service wants at least this one.
CLIENT_VERSION: Final = "1.2.764.0"


def answer_handshake(request: HandshakeRequest) -> tuple[HandshakeResponse, SessionTypeParameters]:
    """The one response to a request, and what kind of session it announces.

    Raises:
        MalformedMessage: If the request announces no kind of session.
    """
    response = HandshakeResponse(
        client_version=CLIENT_VERSION, actions=tuple(_answer(action) for action in request.actions)
    )
    for action in request.actions:
        if action.action_type == ActionType.SESSION_TYPE:
            return response, SessionTypeParameters.from_action(action)
    raise MalformedMessage("the handshake request announces no session type")


def _answer(action: RequestedAction) -> ProcessedAction:
    return _ANSWERS.get(action.action_type, _decline)(action)


def _accept(action: RequestedAction) -> ProcessedAction:
    return ProcessedAction(action.action_type, ActionStatus.SUCCESS)


def _decline(action: RequestedAction) -> ProcessedAction:
    # Protocol 5.2: the agent fails the session with this text, so the user reads it.
    reason = f"this client does not support the action {action.action_type}"
    return ProcessedAction(action.action_type, ActionStatus.UNSUPPORTED, error=reason)


# Whether a kind of session is of use is the caller's question: the agent only wants to be heard.
_ANSWERS: Final[Mapping[str, Callable[[RequestedAction], ProcessedAction]]] = {
    ActionType.SESSION_TYPE: _accept
}
