"""Endpoints are where botocore's rules and the user's settings put them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from botocore.exceptions import BotoCoreError

from ssm_ssh.errors import InvalidOption
from ssm_ssh.transport.aws_session import open_session
from ssm_ssh.transport.endpoint import Endpoints, resolve_endpoints
from ssm_ssh.transport.stream_url import Origin

if TYPE_CHECKING:
    from pathlib import Path


def endpoints(region: str = "eu-central-1", stream_endpoint: str | None = None) -> Endpoints:
    """What a new session finds."""
    return resolve_endpoints(open_session(), region, stream_endpoint=stream_endpoint)


@pytest.mark.usefixtures("aws_home")
@pytest.mark.parametrize(
    ("region", "suffix"),
    [
        ("eu-central-1", "amazonaws.com"),
        ("cn-north-1", "amazonaws.com.cn"),
        ("us-gov-west-1", "amazonaws.com"),
        ("us-iso-east-1", "c2s.ic.gov"),
        ("us-isob-east-1", "sc2s.sgov.gov"),
        ("eu-isoe-west-1", "cloud.adc-e.uk"),
        ("us-isof-south-1", "csp.hci.ic.gov"),
    ],
)
def test_partitions(region: str, suffix: str) -> None:
    """Each partition has its own names."""
    found = endpoints(region)
    assert found.ssm_url == f"https://ssm.{region}.{suffix}"
    assert found.gateway == f"ssmmessages.{region}.{suffix}"
    # Older botocore knows no dual-stack names of its own for some partitions.
    assert len(found.stream_hosts) in {2, 4}
    assert found.gateway in found.stream_hosts
    assert (found.ssm_override, found.stream_override) == (None, None)


@pytest.mark.usefixtures("aws_home")
@pytest.mark.parametrize(
    ("fips", "dual_stack", "ssm", "gateway"),
    [
        ("true", "false", "ssm-fips.us-east-1.amazonaws.com", "ssmmessages-fips.us-east-1.amazonaws.com"),
        ("false", "true", "ssm.us-east-1.api.aws", "ssmmessages.us-east-1.api.aws"),
        ("true", "true", "ssm-fips.us-east-1.api.aws", "ssmmessages-fips.us-east-1.api.aws"),
    ],
)
def test_fips_and_dual_stack(
    monkeypatch: pytest.MonkeyPatch, fips: str, dual_stack: str, ssm: str, gateway: str
) -> None:
    """Both settings move both names, into hosts that are accepted."""
    monkeypatch.setenv("AWS_USE_FIPS_ENDPOINT", fips)
    monkeypatch.setenv("AWS_USE_DUALSTACK_ENDPOINT", dual_stack)
    found = endpoints("us-east-1")
    assert found.ssm_url == f"https://{ssm}"
    assert found.gateway == gateway
    assert gateway in found.stream_hosts


@pytest.mark.usefixtures("aws_home")
def test_an_endpoint_for_everything_moves_the_calls_only(monkeypatch: pytest.MonkeyPatch) -> None:
    """AWS_ENDPOINT_URL wins over FIPS, as in botocore, and the moved API names the stream's place."""
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:4566")
    monkeypatch.setenv("AWS_USE_FIPS_ENDPOINT", "true")
    found = endpoints()
    assert found.ssm_url == "http://127.0.0.1:4566"
    assert found.ssm_override == Origin("127.0.0.1", 4566, is_tls=False)
    assert found.stream_override is None


@pytest.mark.usefixtures("aws_home")
def test_endpoints_of_the_two_services(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each service has its own variable; an explicit stream endpoint wins."""
    monkeypatch.setenv("AWS_ENDPOINT_URL_SSM", "https://ssm.example")
    monkeypatch.setenv("AWS_ENDPOINT_URL_SSMMESSAGES", "https://gateway.example:8443")
    found = endpoints()
    assert found.ssm_url == "https://ssm.example"
    assert found.stream_override == Origin("gateway.example", 8443, is_tls=True)
    explicit = endpoints(stream_endpoint="wss://other.example").stream_override
    assert explicit == Origin("other.example", 443, is_tls=True)


def test_services_sections(aws_home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The configuration file can say the same, and one setting ignores all of it."""
    (aws_home / ".aws" / "config").write_text(
        "[default]\nservices = mine\nendpoint_url = https://all.example\n"
        "[services mine]\nssm =\n  endpoint_url = https://ssm.example\n"
        "ssmmessages =\n  endpoint_url = https://gateway.example\n"
    )
    found = endpoints()
    assert found.ssm_url == "https://ssm.example"
    assert found.stream_override == Origin("gateway.example", 443, is_tls=True)
    monkeypatch.setenv("AWS_IGNORE_CONFIGURED_ENDPOINT_URLS", "true")
    found = endpoints()
    assert found.ssm_url == "https://ssm.eu-central-1.amazonaws.com"
    assert found.stream_override is None


@pytest.mark.usefixtures("aws_home")
def test_a_stream_endpoint_must_be_one() -> None:
    """A plain endpoint elsewhere is refused before anything is sent."""
    with pytest.raises(InvalidOption, match="https"):
        endpoints(stream_endpoint="ws://gateway.example")


def test_contradictions_are_botocores(aws_home: Path) -> None:
    """A services section that is not there is an error, as for every SDK."""
    (aws_home / ".aws" / "config").write_text("[default]\nservices = missing\n")
    with pytest.raises(BotoCoreError):
        endpoints()
