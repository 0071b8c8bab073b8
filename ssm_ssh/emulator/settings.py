"""What the stand-in of the service is set to: AWS's habits, as numbers a test may change."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum


class EndedResume(StrEnum):
    """How ResumeSession speaks of a session that has ended; both are seen from AWS."""

    EMPTY_TOKEN = "empty-token"  # noqa: S105 -- the name of an answer
    DOES_NOT_EXIST = "does-not-exist"


@dataclass(frozen=True, slots=True)
class ServiceSettings:
    """The service's habits; the defaults are AWS's where they are known (protocol 1 and 2).

    Attributes:
        account_id: Twelve digits; appears in ARNs only.
        role_session_name: Who calls; session ids start with it.
        requires_signed_stream: Refuse an unsigned WebSocket upgrade, as AWS does since 2026 (protocol 2.1).
        token_seconds: How long a token opens a data channel.
        open_seconds: How long the gateway waits for OpenDataChannel on a fresh WebSocket.
        bye_seconds: Age at which the gateway closes a WebSocket with 1000 "Bye" (protocol 2.4).
        idle_seconds: Silence of the client after which a session ends; what the agent says does not count.
        session_seconds: Longest life of a session, or None for no limit.
        agent_grace_seconds: How long an agent may take to leave after channel_closed; it drains for 2 s.
        ended_resume: How ResumeSession answers for an ended session.
        server_host_names: Host names beyond loopback that requests may name; for tests with a proxy that
            maps AWS's own names to this process.
    """

    region: str = "eu-central-1"
    account_id: str = "123456789012"
    role_session_name: str = "alice"
    requires_signed_stream: bool = True
    token_seconds: float = 60.0
    open_seconds: float = 15.0
    bye_seconds: float = 3600.0
    idle_seconds: float = 20 * 60.0
    session_seconds: float | None = None
    agent_grace_seconds: float = 3.0
    ended_resume: EndedResume = EndedResume.EMPTY_TOKEN
    server_host_names: frozenset[str] = field(default_factory=frozenset)

    @property
    def caller_arn(self) -> str:
        """The identity whose credentials every start makes anew."""
        return f"arn:aws:sts::{self.account_id}:assumed-role/emulator/{self.role_session_name}"

    def arn(self, service: str, resource: str) -> str:
        """The ARN of a resource in this account and region."""
        return f"arn:aws:{service}:{self.region}:{self.account_id}:{resource}"
