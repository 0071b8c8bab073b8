"""A botocore session of ours: the standard credential chain, cached as the AWS CLI caches, deaf to stdin.

The chain is botocore's own, so every kind of credential works that works for the AWS SDKs. Two things are
added: credentials of assumed roles and of SSO are kept in the AWS CLI's own cache folder instead of being
fetched by every process, and a question for an MFA code goes to the terminal, never to stdin, which is the
tunnel.
"""

from __future__ import annotations

import contextlib
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import botocore
from botocore.exceptions import UnknownCredentialError
from botocore.session import Session
from botocore.utils import JSONFileCache, validate_region_name

from ssm_ssh import __version__
from ssm_ssh.errors import CredentialsMissing, InvalidOption, RegionMissing

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from botocore.exceptions import BotoCoreError

# As the AWS CLI does, and other SDKs: botocore alone reads only the second.
_SESSION_VARIABLES: Final = {"region": ("region", ["AWS_REGION", "AWS_DEFAULT_REGION"], None, None)}
# The AWS CLI's folder, so that a role assumed there is not assumed again here, and the other way round.
_CACHE_FOLDER: Final = Path("~", ".aws", "cli", "cache")
# Web identity is left out on purpose: what a pod or a CI job was given stays in memory.
_CACHED_METHODS: Final = ("assume-role", "sso")
_READ_TERMINAL, _WRITE_TERMINAL = ("CONIN$", "CONOUT$") if os.name == "nt" else ("/dev/tty", "/dev/tty")


class _Cache(JSONFileCache):  # type: ignore[misc]  # botocore ships no types
    """The AWS CLI's credential cache; a home that cannot be written costs the cache and nothing else."""

    def __setitem__(self, cache_key: str, value: object) -> None:
        with contextlib.suppress(OSError):
            super().__setitem__(cache_key, value)


def open_session(
    *, profile: str | None = None, region: str | None = None, ask: Callable[[str], str] | None = None
) -> Session:
    """Make a botocore session whose credential chain never reads stdin.

    Args:
        profile: As ``--profile``; wins over credentials in the environment, which ``AWS_PROFILE`` does not.
        region: As ``--region``; wins over what is configured.
        ask: Puts a question to the user and returns the answer; the terminal if None.

    Raises:
        BotoCoreError: If there is no such profile, or the AWS configuration cannot be read.
    """
    session = Session(session_vars=_SESSION_VARIABLES, profile=profile)
    session.user_agent_name = "ssm-ssh"
    session.user_agent_version = __version__
    session.user_agent_extra = f"Botocore/{botocore.__version__}"
    if region is not None:
        session.set_config_variable("region", region)
    profiles = session.full_config.get("profiles", {})
    chain = session.get_component("credential_provider")
    if not is_mfa_derived(profiles, session.get_config_variable("profile") or "default"):
        for method in _CACHED_METHODS:
            # Not every chain has every method: an explicit profile drops some.
            with contextlib.suppress(UnknownCredentialError):
                chain.get_provider(method).cache = _Cache(str(_CACHE_FOLDER.expanduser()))
    # The constructor of the chain takes no prompter, and its default reads stdin where there is no terminal.
    chain.get_provider("assume-role")._prompter = ask or ask_on_terminal  # noqa: SLF001 -- no public way in
    return session


def open_in_region(*, profile: str | None = None, region: str | None = None) -> tuple[Session, str]:
    """``open_session``, and the region that it is for.

    Raises:
        RegionMissing: If no region is configured.
        BotoCoreError: As ``open_session``, and if there can be no such region.
    """
    session = open_session(profile=profile, region=region)
    region = session.get_config_variable("region")
    if not region:
        raise RegionMissing("connect", "", "no region is configured")
    validate_region_name(region)
    return session, region


def unusable(error: BotoCoreError) -> InvalidOption:
    """The exception for an AWS configuration that botocore cannot use; its words are put on one line."""
    return InvalidOption(" ".join(str(error).split()), hint="check --profile, --region and ~/.aws/config")


def is_mfa_derived(profiles: Mapping[str, Mapping[str, Any]], name: str) -> bool:
    """Whether a profile's credentials rest on an MFA code, its own or that of a profile it builds on."""
    seen: set[str] = set()
    while name not in seen:
        seen.add(name)
        profile = profiles.get(name, {})
        if "role_arn" in profile and "mfa_serial" in profile:
            return True
        name = profile.get("source_profile", name)
    return False


def ask_on_terminal(question: str) -> str:
    """Put a question to the terminal this process belongs to, whatever stdin and stdout are.

    Raises:
        CredentialsMissing: If there is no terminal, or another program has it.
    """
    try:
        with (
            Path(_READ_TERMINAL).open(encoding="utf-8") as answers,
            Path(_WRITE_TERMINAL).open("w", encoding="utf-8") as questions,
        ):
            if not _is_in_foreground(answers.fileno()):
                raise _nobody_to_ask()
            questions.write(f"ssm-ssh: {question}")
            questions.flush()
            return answers.readline().strip()
    except OSError as error:
        raise _nobody_to_ask() from error


def refuse_to_ask(_question: str) -> str:
    """The answer to questions that come when the user is no longer looking, such as at a resume.

    Raises:
        CredentialsMissing: Always.
    """
    raise _nobody_to_ask()


def _is_in_foreground(terminal: int) -> bool:
    # A background job that reads the terminal is stopped by it, and would hang for ever.
    get_foreground_group = getattr(os, "tcgetpgrp", None)
    return get_foreground_group is None or get_foreground_group(terminal) == os.getpgrp()


def _nobody_to_ask() -> CredentialsMissing:
    return CredentialsMissing(
        "AssumeRole",
        "",
        "the profile needs an MFA code, and there is no terminal to ask for it",
        hint="run the command in a terminal, or get the role's credentials first (aws sts, aws-vault, …)",
    )
