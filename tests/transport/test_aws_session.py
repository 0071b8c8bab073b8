"""Botocore's chain, cached as the AWS CLI caches, and never reading stdin."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest
from botocore.exceptions import ProfileNotFound

from ssm_ssh import __version__
from ssm_ssh.errors import CredentialsMissing
from ssm_ssh.transport.aws_session import is_mfa_derived, open_session, refuse_to_ask

if TYPE_CHECKING:
    from pathlib import Path

    from botocore.session import Session

_ASK = "from ssm_ssh.transport.aws_session import ask_on_terminal; print(ask_on_terminal('MFA code: '))"


def folder_of(session: Session, method: str) -> str | None:
    """The folder in which a credential source caches, or None if it does not."""
    cache = session.get_component("credential_provider").get_provider(method).cache
    return getattr(cache, "_working_dir", None)


def test_caches(aws_home: Path) -> None:
    """Roles and SSO are cached where the AWS CLI does; web identity stays in memory."""
    session = open_session()
    folder = str(aws_home / ".aws" / "cli" / "cache")
    assert folder_of(session, "assume-role") == folder
    assert folder_of(session, "sso") == folder
    assert folder_of(session, "assume-role-with-web-identity") is None


def test_what_rests_on_mfa_is_not_cached(aws_home: Path) -> None:
    """An MFA code's fruit does not lie on disk."""
    (aws_home / ".aws" / "config").write_text(
        "[profile base]\nregion = x\n[profile mfa]\nrole_arn = r\nmfa_serial = s\nsource_profile = base\n"
    )
    session = open_session(profile="mfa")
    assert folder_of(session, "assume-role") is None
    assert folder_of(session, "sso") is None


@pytest.mark.parametrize(
    ("name", "expected"),
    [("plain", False), ("role", False), ("mfa", True), ("on-mfa", True), ("ring", False), ("absent", False)],
)
def test_mfa_is_found_along_the_chain_of_profiles(name: str, *, expected: bool) -> None:
    """A role assumed from an MFA role rests on the code too; a ring of profiles ends."""
    profiles = {
        "plain": {"mfa_serial": "without a role it asks nothing"},
        "role": {"role_arn": "r", "source_profile": "plain"},
        "mfa": {"role_arn": "r", "mfa_serial": "s", "source_profile": "plain"},
        "on-mfa": {"role_arn": "r", "source_profile": "mfa"},
        "ring": {"role_arn": "r", "source_profile": "ring"},
    }
    assert is_mfa_derived(profiles, name) is expected


def test_a_cache_that_cannot_be_written_is_done_without(aws_home: Path) -> None:
    """A home without room costs the cache, not the session."""
    (aws_home / ".aws" / "cli").write_text("a file where a folder should be")
    cache = open_session().get_component("credential_provider").get_provider("assume-role").cache
    cache["key"] = {"a": 1}
    assert "key" not in cache


@pytest.mark.usefixtures("aws_home")
def test_region_and_user_agent(monkeypatch: pytest.MonkeyPatch) -> None:
    """AWS_REGION counts, an explicit region more; CloudTrail can tell who called."""
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    session = open_session()
    assert session.get_config_variable("region") == "eu-central-1"
    assert session.user_agent().startswith(f"ssm-ssh/{__version__} ")
    assert "Botocore/" in session.user_agent()
    assert open_session(region="eu-west-1").get_config_variable("region") == "eu-west-1"


@pytest.mark.usefixtures("aws_home")
def test_an_unknown_profile() -> None:
    """A profile that is nowhere is noticed at once."""
    with pytest.raises(ProfileNotFound):
        open_session(profile="nobody")


def test_refusing_to_ask() -> None:
    """Nobody is asked when nobody looks."""
    with pytest.raises(CredentialsMissing) as caught:
        refuse_to_ask("code?")
    assert "terminal" in str(caught.value.hint)


@pytest.mark.skipif(os.name == "nt", reason="needs POSIX terminals")
def test_without_a_terminal_stdin_is_not_read() -> None:
    """The tunnel's bytes stay the tunnel's."""
    script = f"""
import os, sys
from ssm_ssh.errors import CredentialsMissing
try:
    {_ASK}
except CredentialsMissing as error:
    print(os.read(0, 100).decode(), error.hint)
"""
    done = subprocess.run(
        [sys.executable, "-c", script],
        input=b"SSH-2.0-tunnel",
        capture_output=True,
        start_new_session=True,
        check=True,
    )
    assert done.stdout.startswith(b"SSH-2.0-tunnel run the command in a terminal")


@pytest.mark.skipif(os.name == "nt", reason="needs POSIX terminals")
def test_with_a_terminal_it_is_asked_and_stdin_is_not_read(tmp_path: Path) -> None:
    """The question goes to the terminal although stdin and stdout are none."""
    (tmp_path / "in").write_bytes(b"SSH-2.0-tunnel")
    terminal, other_end = os.openpty()
    # A new session takes the first terminal that it opens as its own.
    script = f"import os; os.open({os.ttyname(other_end)!r}, os.O_RDWR); {_ASK}; print(os.read(0, 100))"
    with (tmp_path / "in").open("rb") as tunnel:
        child = subprocess.Popen(
            [sys.executable, "-c", script], stdin=tunnel, stdout=subprocess.PIPE, start_new_session=True
        )
        seen = b""
        while b"MFA code: " not in seen:
            seen += os.read(terminal, 1000)
        os.write(terminal, b"123456\n")
        out, _ = child.communicate()
    os.close(other_end)
    os.close(terminal)
    assert child.returncode == 0
    assert out == b"123456\nb'SSH-2.0-tunnel'\n"
