"""What a user may choose about a tunnel."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from ssm_ssh.forward.reach import Reach
from ssm_ssh.session.session import SessionOptions

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from ssm_ssh.forward.client_request import Login


@dataclass(frozen=True, slots=True)
class DynamicOptions:
    """What a user may choose about ``-D``.

    Attributes:
        reach: What programs may ask for.
        login: What they have to give; None for nothing.
        allows_remote: Listen on addresses that other machines reach; only with a login.
    """

    reach: Reach = field(default_factory=Reach)
    login: Login | None = None
    allows_remote: bool = False


@dataclass(frozen=True, slots=True)
class TunnelOptions:
    """What a user may choose about a tunnel.

    Attributes:
        sessions: How many sessions to spread the connections to one destination over.
        keeps_alive: Keep idle sessions from reaching the account's idle limit.
        allows_other_users: Serve other users of this machine, too.
        document_name: A session document of the account's own.
        parameters: Parameters of the session document.
        reason: What the session list and CloudTrail show.
        session: Choices about every session.
        dynamic: Choices about ``-D``.
    """

    sessions: int = 1
    keeps_alive: bool = False
    allows_other_users: bool = False
    document_name: str | None = None
    parameters: Mapping[str, Sequence[str]] = field(default_factory=dict)
    reason: str | None = None
    session: SessionOptions = field(default_factory=SessionOptions)
    dynamic: DynamicOptions = field(default_factory=DynamicOptions)


@dataclass(frozen=True, slots=True)
class Account:
    """Whose nodes: as boto3 means it, None for what the environment and the configuration say.

    Attributes:
        stream_endpoint: Where streams go instead of the service's name.
    """

    profile: str | None = None
    region: str | None = None
    stream_endpoint: str | None = None
