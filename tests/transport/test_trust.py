"""Trust is botocore's."""

from __future__ import annotations

import ssl
from typing import TYPE_CHECKING

import pytest
from botocore.httpsession import get_cert_path

from ssm_ssh.errors import InvalidOption
from ssm_ssh.transport.aws_session import open_session
from ssm_ssh.transport.trust import ca_bundle, client_context
from tests.transport.peers import Authority

if TYPE_CHECKING:
    from pathlib import Path


def test_the_order_of_settings(aws_home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Botocore's own, REQUESTS_CA_BUNDLE, the profile's, AWS_CA_BUNDLE: the later wins."""
    files = [aws_home / name for name in ("requests.pem", "profile.pem", "aws.pem")]
    for file in files:
        file.touch()
    assert ca_bundle(open_session()) == get_cert_path(verify=True)
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(files[0]))
    assert ca_bundle(open_session()) == str(files[0])
    (aws_home / ".aws" / "config").write_text(f"[default]\nca_bundle = {files[1]}\n")
    assert ca_bundle(open_session()) == str(files[1])
    monkeypatch.setenv("AWS_CA_BUNDLE", str(files[2]))
    assert ca_bundle(open_session()) == str(files[2])


@pytest.mark.usefixtures("aws_home")
def test_a_missing_bundle_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """A path that leads nowhere is the user's mistake, not the network's."""
    monkeypatch.setenv("AWS_CA_BUNDLE", "/nowhere.pem")
    with pytest.raises(InvalidOption, match="nowhere"):
        ca_bundle(open_session())


def test_contexts_check_certificate_and_name(tmp_path: Path) -> None:
    """A stream is no less checked than a call."""
    context = client_context(str(Authority(tmp_path).bundle))
    assert context.check_hostname
    assert context.verify_mode is ssl.CERT_REQUIRED
    assert len(context.get_ca_certs()) == 1


def test_a_bundle_without_certificates(tmp_path: Path) -> None:
    """A file that is no bundle is the user's mistake."""
    (tmp_path / "bad.pem").write_text("no certificate")
    with pytest.raises(InvalidOption, match="cannot be used"):
        client_context(str(tmp_path / "bad.pem"))
