"""What an agent's last words mean to a user."""

from __future__ import annotations

from typing import Final

from ssm_ssh.errors import SessionFailed

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
