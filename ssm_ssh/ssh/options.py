"""The words of a ProxyCommand, read and checked."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from ssm_ssh.session.limits import DEFAULT_RESUME_MINUTES

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence


@dataclass(frozen=True, slots=True)
class ProxyOptions:
    """What one run of the helper is asked for.

    Attributes:
        target: As the user typed it.
        os_user: Whom ssh will log in as; None where ssh did not say.
        resume_seconds: How long to go on trying to resume a lost stream.
        payload_bytes: A fixed payload size, or None to search.
    """

    target: str
    port: int = 22
    os_user: str | None = None
    profile: str | None = None
    region: str | None = None
    stream_endpoint: str | None = None
    reason: str | None = None
    document_name: str | None = None
    parameters: Mapping[str, Sequence[str]] = field(default_factory=dict)
    resume_seconds: float = 60.0 * DEFAULT_RESUME_MINUTES
    payload_bytes: int | None = None
