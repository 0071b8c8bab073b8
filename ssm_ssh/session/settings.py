"""What the config file says, as values, and what holds where several places speak.

The order, for everything: the command line, then what stands in the file under the very name that was given
(an alias, a tunnel), then the environment, then the file's ``[defaults]``, then the AWS configuration. So it
is with the AWS CLI and with git, whose variables beat their files; but somebody who names an alias with a
profile of its own means that profile, whatever the shell was set to an hour ago, as with a ``Host`` of ssh.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

# Any of these says whose credentials to use, to botocore as to the AWS CLI.
_PROFILE_VARIABLES: Final = (
    "AWS_PROFILE",
    "AWS_DEFAULT_PROFILE",
    "AWS_ACCESS_KEY_ID",
    "AWS_WEB_IDENTITY_TOKEN_FILE",
)
_REGION_VARIABLES: Final = ("AWS_REGION", "AWS_DEFAULT_REGION")


@dataclass(frozen=True, slots=True)
class Defaults:
    """``[defaults]``: what holds where nothing else was said.

    Attributes:
        user: Whom to log in as on a node; not used yet.
        payload_size: A fixed message size in bytes.
        resume_minutes: How long to try to resume a session whose stream was lost.
        record: Where to write a line for each session; not used yet.
    """

    profile: str | None = None
    region: str | None = None
    user: str | None = None
    payload_size: int | None = None
    resume_minutes: int | None = None
    record: str | None = None


@dataclass(frozen=True, slots=True)
class Alias:
    """``[aliases.NAME]``: a target by a name of the user's own.

    Attributes:
        target: A node id or a Name tag; the alias itself if None.
        user: Whom to log in as on the node; not used yet.
        document: A session document of the account's own.
    """

    target: str | None = None
    profile: str | None = None
    region: str | None = None
    user: str | None = None
    document: str | None = None


@dataclass(frozen=True, slots=True)
class TunnelSettings:
    """``[tunnels.NAME]``: a tunnel that ``ssm-ssh up`` knows by name.

    Attributes:
        target: A node id, a Name tag or an alias.
        sessions: How many sessions to spread the connections to one destination over.
        document: A session document of the account's own.
        forwards: As after ``-L``.
        socks: As after ``-D``.
    """

    target: str
    profile: str | None = None
    region: str | None = None
    sessions: int = 1
    document: str | None = None
    forwards: tuple[str, ...] = ()
    socks: str | None = None


@dataclass(frozen=True, slots=True)
class SshSettings:
    """``[ssh]``: logging in on nodes; not used yet."""

    ephemeral_key: bool = True
    on_new_host_key: str = "refuse"
    on_new_node: str = "ask"
    start_instances: bool = False


@dataclass(frozen=True, slots=True)
class Settings:
    """A whole config file.

    Attributes:
        path: Where it is; None if there is none.
        text: What is in it.
    """

    path: Path | None = None
    text: str = field(default="", repr=False)
    defaults: Defaults = field(default_factory=Defaults)
    aliases: Mapping[str, Alias] = field(default_factory=dict)
    tunnels: Mapping[str, TunnelSettings] = field(default_factory=dict)
    ssh: SshSettings = field(default_factory=SshSettings)


@dataclass(frozen=True, slots=True)
class ChosenTarget:
    """A target and whose it is, after everybody has spoken.

    Attributes:
        target: A node id or a Name tag; no alias any more.
        profile: None for what the environment and the AWS configuration say; likewise the region.
        document_name: A session document of the account's own.
    """

    target: str
    profile: str | None
    region: str | None
    document_name: str | None


def choose_target(
    settings: Settings,
    target: str,
    *,
    profile: str | None = None,
    region: str | None = None,
    document_name: str | None = None,
) -> ChosenTarget:
    """What ``target`` stands for.

    Args:
        settings: The config file's.
        target: As the user typed it, maybe an alias. An alias of an alias is not followed.
        profile: As given together with the target, or None.
        region: Likewise.
        document_name: Likewise.
    """
    alias = settings.aliases.get(target, Alias())
    return ChosenTarget(
        alias.target or target,
        profile or alias.profile or _default(settings.defaults.profile, _PROFILE_VARIABLES),
        region or alias.region or _default(settings.defaults.region, _REGION_VARIABLES),
        document_name or alias.document,
    )


def _default(setting: str | None, variables: tuple[str, ...]) -> str | None:
    """The setting, unless the environment has something to say, which botocore hears by itself."""
    return None if any(os.environ.get(name) for name in variables) else setting
