"""What the agent's last words mean."""

from __future__ import annotations

import pytest

from ssm_ssh.session.ending import explain_ending


@pytest.mark.parametrize(
    ("output", "hint"),
    [
        ("Plugin with name Port is not supported by this version of ssm agent, please update", "2.3.672.0"),
        ("Unable to connect to specified port: dial tcp 127.0.0.1:22: connection refused", "sshd"),
        ("document process failed unexpectedly: ipc messaging received timeout signal", "sshd"),
        ("Handshake timed out. Please ensure that you have the latest version", "try again"),
        ("KMSEncryption failed on client with status 3", "encrypts"),
        ("something new", "agent's words"),
    ],
)
def test_hints(output: str, hint: str) -> None:
    """Known texts get the next thing to try, others their origin."""
    failure = explain_ending("session-1", f"\n----------ERROR-------\n{output}\n")
    assert failure.hint is not None
    assert hint in failure.hint
    assert str(failure) == f"session session-1 was ended: {output}"
