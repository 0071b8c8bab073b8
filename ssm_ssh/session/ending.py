"""A session's end: the call that brings it about, and what an agent's last words mean to a user."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Final

from ssm_ssh.errors import AccessDenied, SessionFailed, SsmSshError

if TYPE_CHECKING:
    from ssm_ssh.transport.control_plane import ControlPlane

_log = logging.getLogger(__name__)

# The agent's texts (protocol 12.4 and 7.3), by a part that stays the same between versions.
_HINTS: Final = (
    (
        "not supported by this version of ssm agent",
        "the agent on the node is too old for SSH: update it to 2.3.672.0 or later",
    ),
    (
        "Unable to connect to specified port",
        "nothing listens on that port of the node: is sshd running there?",
    ),
    (
        "document process failed unexpectedly",
        "most often nothing listens on that port of the node: is sshd running there?",
    ),
    (
        "is forbidden",
        "agents never forward to addresses of metadata, DNS and time, nor to those a VPC keeps to itself",
    ),
    (
        "no such host",
        "the name is looked up on the node: check its spelling and the node's DNS, or give an address",
    ),
    ("Handshake timed out", "the agent got no answer in time: try again, and with -vv if it happens twice"),
    (
        "while its stream was away",
        "its idle limit or maximum time was reached, or somebody ended it; connect again",
    ),
    ("KMSEncryption", "the account encrypts sessions of this kind, which this version cannot do yet"),
)
_ELSE: Final = "these are the agent's words; its log on the node is in /var/log/amazon/ssm"


def explain_ending(session_id: str, output: str) -> SessionFailed:
    """The error for a session that was ended with ``output``."""
    hint = next((hint for part, hint in _HINTS if part in output), _ELSE)
    return SessionFailed(session_id, output.replace("----------ERROR-------", "").strip(), hint=hint)


def end_session(control_plane: ControlPlane, session_id: str) -> None:
    """Call TerminateSession; that it cannot be called is told under -v and is no failure. Blocks."""
    try:
        control_plane.terminate_session(session_id)
    except AccessDenied as denied:
        # Many policies forbid it; the service ends the session at its idle limit.
        _log.info("session %s stays open until its idle limit: %s", session_id, denied)
    except SsmSshError as error:
        _log.warning("session %s could not be terminated: %s", session_id, error)
