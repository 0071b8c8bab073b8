"""Credentials are fresh at every use, and their absence has a reason."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import pytest
from botocore import exceptions as raised

from ssm_ssh.errors import (
    AccessDenied,
    CredentialsExpired,
    CredentialsMissing,
    EndpointUnreachable,
    InvalidOption,
    SsmSshError,
)
from ssm_ssh.transport.aws_session import open_session, refuse_to_ask
from ssm_ssh.transport.credentials import Credentials

if TYPE_CHECKING:
    from pathlib import Path


class LoginRefreshRequired(raised.BotoCoreError):  # type: ignore[misc]  # botocore ships no types
    """As newer botocore has it; the oldest supported one has no ``aws login``."""


def credentials(profile: str | None = None) -> Credentials:
    """The credentials of a new session that asks nobody."""
    session = open_session(profile=profile, ask=refuse_to_ask)
    return Credentials(session, profile=profile, region="eu-central-1")


@pytest.mark.usefixtures("aws_home")
def test_the_environment() -> None:
    """The chain is botocore's; keys in the environment are its simplest case."""
    assert credentials().current("X").access_key == "AKIDEXAMPLE"


@pytest.mark.usefixtures("without_keys")
def test_none_at_all() -> None:
    """No credentials anywhere is one error with one hint."""
    with pytest.raises(CredentialsMissing) as caught:
        credentials().current("StartSession")
    assert str(caught.value).startswith("StartSession failed")
    assert "AWS_PROFILE" in str(caught.value.hint)


def test_half_a_pair_of_keys(without_keys: Path) -> None:
    """A key without its secret is told as such."""
    (without_keys / ".aws" / "credentials").write_text("[default]\naws_access_key_id = A\n")
    with pytest.raises(CredentialsMissing, match="aws_secret_access_key"):
        credentials().current("X")


def test_reading_again_tells_whether_it_changed(without_keys: Path) -> None:
    """What another program wrote meanwhile is seen."""
    keys = without_keys / ".aws" / "credentials"
    keys.write_text("[default]\naws_access_key_id = OLD\naws_secret_access_key = x\n")
    found = credentials()
    assert found.current("X").access_key == "OLD"
    assert not found.reread("X")
    keys.write_text(keys.read_text().replace("OLD", "NEW"))
    assert found.current("X").access_key == "OLD"
    assert found.reread("X")
    assert found.current("X").access_key == "NEW"


def test_a_credential_process(without_keys: Path) -> None:
    """A program's keys are used, its failure is told in its words."""
    script = without_keys / "keys.py"
    script.write_text(
        "import sys\n"
        "if sys.argv[1:]: sys.exit('vault is locked')\n"
        'print(\'{"Version": 1, "AccessKeyId": "PROC", "SecretAccessKey": "x"}\')'
    )
    (without_keys / ".aws" / "config").write_text(
        f"[profile good]\ncredential_process = {sys.executable} {script}\n"
        f"[profile bad]\ncredential_process = {sys.executable} {script} locked\n"
    )
    assert credentials("good").current("X").access_key == "PROC"
    with pytest.raises(CredentialsMissing, match="vault is locked"):
        credentials("bad").current("X")


def test_a_role_with_mfa_asks_and_is_refused(aws_home: Path) -> None:
    """Without a terminal the question for a code is an error that says what to do."""
    (aws_home / ".aws" / "credentials").write_text(
        "[base]\naws_access_key_id = A\naws_secret_access_key = x\n"
    )
    (aws_home / ".aws" / "config").write_text(
        "[profile mfa]\nrole_arn = arn:aws:iam::111122223333:role/x\nmfa_serial = s\nsource_profile = base\n"
    )
    with pytest.raises(CredentialsMissing) as caught:
        credentials("mfa").current("X")
    assert "terminal" in str(caught.value.hint)


def test_an_sso_session_that_was_never_opened(without_keys: Path) -> None:
    """The hint is the command to type, profile included."""
    (without_keys / ".aws" / "config").write_text(
        "[profile work]\nsso_session = corp\nsso_account_id = 111122223333\nsso_role_name = dev\n"
        "[sso-session corp]\nsso_start_url = https://corp.awsapps.com/start\nsso_region = eu-central-1\n"
    )
    with pytest.raises(CredentialsExpired) as caught:
        credentials("work").current("X")
    assert "aws sso login --profile work" in str(caught.value.hint)


def test_a_chain_of_profiles_that_does_not_end(without_keys: Path) -> None:
    """A wrong configuration is the user's to correct."""
    (without_keys / ".aws" / "config").write_text("[profile a]\nrole_arn = r\nsource_profile = b\n")
    with pytest.raises(InvalidOption, match="source_profile"):
        credentials("a").current("X")


@pytest.mark.usefixtures("aws_home")
@pytest.mark.parametrize(
    ("error", "expected", "hint"),
    [
        (
            raised.ClientError(
                {
                    "Error": {
                        "Code": "AccessDenied",
                        "Message": "User: u is not authorized to perform: sts:AssumeRole on resource: r",
                    },
                    "ResponseMetadata": {"RequestId": "r-1"},
                },
                "AssumeRole",
            ),
            AccessDenied,
            "sts:AssumeRole on r",
        ),
        (raised.EndpointConnectionError(endpoint_url="https://sts"), EndpointUnreachable, "network"),
        (raised.ProxyConnectionError(proxy_url="http://p"), EndpointUnreachable, "HTTPS_PROXY"),
        (raised.UnauthorizedSSOTokenError(), CredentialsExpired, "aws sso login"),
        (raised.RefreshWithMFAUnsupportedError(), CredentialsExpired, "MFA"),
        (LoginRefreshRequired(), CredentialsExpired, "aws login"),
        (raised.InvalidConfigError(error_msg="wrong"), InvalidOption, "config"),
        (raised.MetadataRetrievalError(error_msg="no"), CredentialsMissing, "AWS_PROFILE"),
        (RuntimeError("still expired"), CredentialsExpired, "renew"),
    ],
)
def test_each_failure_of_the_chain_has_its_class(
    error: Exception, expected: type[SsmSshError], hint: str
) -> None:
    """Whatever a source raises leaves as one of ours."""

    class Source:
        def get_credentials(self) -> None:
            raise error

    found = Credentials(Source(), profile=None, region="eu-central-1")
    with pytest.raises(expected) as caught:
        found.current("X")
    assert hint in str(caught.value.hint)
    assert caught.value.__cause__ is error
