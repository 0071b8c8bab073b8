"""A token goes to the service or to an endpoint the user named, and nowhere else."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ssm_ssh.errors import InvalidOption, UntrustedStreamUrl
from ssm_ssh.transport.stream_url import (
    Origin,
    StreamAddress,
    address_of_host,
    check_stream_url,
    is_loopback,
    is_presigned,
    parse_stream_override,
    service_hosts,
)

SESSION = "jane-0123456789abcdef0"
HOSTS = service_hosts("eu-central-1", ("amazonaws.com", "api.aws"))
HOST = "ssmmessages.eu-central-1.amazonaws.com"
PATH = f"/v1/data-channel/{SESSION}"
GOOD = f"wss://{HOST}{PATH}?role=publish_subscribe&cell-number=AAE+x/y=="


def check(url: str, **overrides: Origin) -> StreamAddress:
    """Check a URL of one session in one region."""
    return check_stream_url(url, session_id=SESSION, hosts=HOSTS, **overrides)


def test_accepts_what_the_service_answers_to_the_byte() -> None:
    """The URL of a real answer is taken verbatim."""
    address = check(GOOD)
    assert address.url == GOOD
    assert (address.host, address.port, address.is_tls) == (HOST, 443, True)
    assert address.path == PATH
    assert address.query == "role=publish_subscribe&cell-number=AAE+x/y=="
    assert address.netloc == HOST


@pytest.mark.parametrize(
    "host",
    [
        "ssmmessages-fips.eu-central-1.amazonaws.com",
        "ssmmessages.eu-central-1.api.aws",
        "ssmmessages-fips.eu-central-1.api.aws",
    ],
)
def test_accepts_fips_and_dual_stack(host: str) -> None:
    """Every host that the service has in the region is its host."""
    assert check(f"wss://{host}:443{PATH}").host == host


@pytest.mark.parametrize(
    "url",
    [
        "",
        "wss://",
        f"ws://{HOST}{PATH}",
        f"https://{HOST}{PATH}",
        f"WSS://{HOST}{PATH}",
        f"wss:{HOST}{PATH}",
        f"wss:///{HOST}{PATH}",
        f"wss://{HOST}:444{PATH}",
        f"wss://{HOST}:0443{PATH}",
        f"wss://{HOST}:{PATH}",
        f"wss://{HOST}:65536{PATH}",
        f"wss://{HOST}:443443{PATH}",
        f"wss://{HOST.upper()}{PATH}",
        f"wss://{HOST}.{PATH}",
        f"wss://{HOST}.evil.example{PATH}",
        f"wss://evil.example/{HOST}{PATH}",
        f"wss://evil.example#{HOST}{PATH}",
        f"wss://evil.example?{HOST}{PATH}",
        f"wss://evil.example\\@{HOST}{PATH}",
        f"wss://evil.example\\.{HOST}{PATH}",
        f"wss://user@{HOST}{PATH}",
        f"wss://user:word@{HOST}{PATH}",
        f"wss://{HOST}@evil.example{PATH}",
        f"wss://{HOST}%2eevil.example{PATH}",
        f"wss://{HOST}%00.evil.example{PATH}",
        f"wss://ssmmessages.us-east-1.amazonaws.com{PATH}",
        f"wss://ssm.eu-central-1.amazonaws.com{PATH}",
        f"wss://xssmmessages.eu-central-1.amazonaws.com{PATH}",
        f"wss://ssmmessages.eu-central-1.amazonaws.com.cn{PATH}",
        f"wss://ssmmessages.eu-central-1.amaz\u043enaws.com{PATH}",
        f"wss://ssmmessages\u3002eu-central-1.amazonaws.com{PATH}",
        f"wss://127.0.0.1{PATH}",
        f"wss://[::1]{PATH}",
        f"wss://[::ffff:127.0.0.1]{PATH}",
        f"wss://{HOST}{PATH}#fragment",
        f"wss://{HOST}{PATH}/",
        f"wss://{HOST}{PATH}/..",
        f"wss://{HOST}/v1/data-channel/../data-channel/{SESSION}",
        f"wss://{HOST}/v1//data-channel/{SESSION}",
        f"wss://{HOST}/v1/data-channel/{SESSION.replace('-', '%2d')}",
        f"wss://{HOST}/v1/data-channel/{SESSION}x",
        f"wss://{HOST}/v1/data-channel/",
        f"wss://{HOST}/v1/control-channel/{SESSION}",
        f"wss://{HOST}/V1/data-channel/{SESSION}",
        f"wss://{HOST}/",
        f"wss://{HOST}",
        f" {GOOD}",
        f"{GOOD}\n",
        f"wss://{HOST}\t{PATH}",
        f"wss://{HOST}{PATH}?a=b\r\nX-Evil: 1",
        f"wss://{HOST}{PATH}?a=b c",
        f"wss://{HOST}{PATH}?a=\u00e4",
    ],
)
def test_refuses_everything_else(url: str) -> None:
    """What could lead a token elsewhere, in any parser's reading, is refused."""
    with pytest.raises(UntrustedStreamUrl):
        check(url)


@pytest.mark.parametrize(
    ("region", "suffixes"),
    [
        ("us-east-1", ("amazonaws.com", "api.aws")),
        ("cn-north-1", ("amazonaws.com.cn", "api.amazonwebservices.com.cn")),
        ("us-gov-west-1", ("amazonaws.com", "api.aws")),
        ("us-iso-east-1", ("c2s.ic.gov", "api.aws.ic.gov")),
        ("us-isob-east-1", ("sc2s.sgov.gov", "api.aws.scloud")),
        ("eu-isoe-west-1", ("cloud.adc-e.uk", "api.cloud-aws.adc-e.uk")),
        ("us-isof-south-1", ("csp.hci.ic.gov", "api.aws.hci.ic.gov")),
        ("eusc-de-east-1", ("amazonaws.eu", "api.amazonwebservices.eu")),
    ],
)
def test_every_partition_has_its_own_hosts(region: str, suffixes: tuple[str, str]) -> None:
    """A partition's gateway is accepted in it and refused elsewhere."""
    hosts = service_hosts(region, suffixes)
    for suffix in suffixes:
        for service in ("ssmmessages", "ssmmessages-fips"):
            url = f"wss://{service}.{region}.{suffix}{PATH}?role=publish_subscribe"
            assert check_stream_url(url, session_id=SESSION, hosts=hosts).url == url
            with pytest.raises(UntrustedStreamUrl):
                check(url)


@pytest.mark.parametrize(
    ("session_id", "segment"),
    [
        ("jane.doe@example.com-0abc", "jane.doe@example.com-0abc"),
        ("jane.doe@example.com-0abc", "jane.doe%40example.com-0abc"),
        ("a+b=c,d_e-0abc", "a+b=c,d_e-0abc"),
        ("a+b=c,d_e-0abc", "a%2bb%3Dc%2Cd_e-0abc"),
    ],
)
def test_accepts_session_ids_raw_or_escaped(session_id: str, segment: str) -> None:
    """A role session's name may hold characters that a URL may escape."""
    url = f"wss://{HOST}/v1/data-channel/{segment}"
    assert check_stream_url(url, session_id=session_id, hosts=HOSTS).path.endswith(segment)


@pytest.mark.parametrize("session_id", ["", ".", "..", "a/b", "a?b", "a b", "a%40b", "a" * 97, "\u00e4-0"])
def test_refuses_session_ids_that_are_none(session_id: str) -> None:
    """An odd session id cannot bend the path."""
    url = f"wss://{HOST}/v1/data-channel/{session_id}"
    with pytest.raises(UntrustedStreamUrl):
        check_stream_url(url, session_id=session_id, hosts=HOSTS)


def test_a_refusal_does_not_show_the_query() -> None:
    """A query may hold a signature."""
    with pytest.raises(UntrustedStreamUrl) as caught:
        check(f"wss://evil.example{PATH}?X-Amz-Signature=secret")
    assert "secret" not in str(caught.value)
    assert "evil.example" in str(caught.value)


def test_an_override_replaces_scheme_host_and_port() -> None:
    """A VPC endpoint takes the place of the answered one; path and query stay to the byte."""
    override = parse_stream_override(
        "https://vpce-0a.ssmmessages.eu-central-1.vpce.amazonaws.com", setting="x"
    )
    address = check(GOOD, override=override)
    assert address.url == GOOD.replace(HOST, "vpce-0a.ssmmessages.eu-central-1.vpce.amazonaws.com")
    with pytest.raises(UntrustedStreamUrl, match="path"):
        check(f"wss://{HOST}/else", override=override)


def test_an_override_on_this_machine_may_be_plain() -> None:
    """The stand-in is reached without TLS."""
    address = check(GOOD, override=parse_stream_override("http://[::1]:8080/", setting="x"))
    assert address.url.startswith("ws://[::1]:8080/v1/")
    assert (address.host, address.port, address.is_tls) == ("::1", 8080, False)
    assert is_loopback(address.host)


@pytest.mark.parametrize(
    "url",
    ["http://gateway.example", "https://a/b", "https://a?b", "ftp://a", "a", "https://", "https://u:pw@h"],
)
def test_refuses_overrides_that_are_none(url: str) -> None:
    """An endpoint is scheme, host and port, encrypted unless it is this machine; no password is repeated."""
    with pytest.raises(InvalidOption) as caught:
        parse_stream_override(url, setting="--stream-endpoint")
    assert "pw" not in str(caught.value)


def test_the_users_own_ssm_endpoint_is_trusted_on_any_port() -> None:
    """Who answers the calls may also carry the stream."""
    override = Origin.parse("https://ssm.internal.example:8443", setting="x")
    address = check(f"wss://ssm.internal.example:9000{PATH}", ssm_override=override)
    assert (address.port, address.netloc) == (9000, "ssm.internal.example:9000")
    assert check(GOOD, ssm_override=override).host == HOST
    with pytest.raises(UntrustedStreamUrl, match="encrypted"):
        check(f"ws://ssm.internal.example:9000{PATH}", ssm_override=override)
    with pytest.raises(UntrustedStreamUrl, match="host"):
        check(f"wss://other.example{PATH}", ssm_override=override)


def test_plain_needs_a_loopback_override() -> None:
    """Plain is allowed by what the user wrote, never by what an answer says."""
    here = Origin.parse("http://127.0.0.1:4566", setting="x")
    assert not check(f"ws://127.0.0.1:4567{PATH}", ssm_override=here).is_tls
    for url in (f"ws://{HOST}{PATH}", f"ws://127.0.0.2:4567{PATH}", f"ws://localhost{PATH}"):
        with pytest.raises(UntrustedStreamUrl):
            check(url, ssm_override=here)


@pytest.mark.parametrize(
    ("host", "expected"),
    [
        ("localhost", True),
        ("127.0.0.1", True),
        ("127.9.9.9", True),
        ("::1", True),
        ("localhost.evil.example", False),
        ("127.0.0.1.evil.example", False),
        ("10.0.0.1", False),
        ("0.0.0.0", False),
    ],
)
def test_loopback(host: str, *, expected: bool) -> None:
    """Only this machine is loopback."""
    assert is_loopback(host) is expected


def test_presigned_urls_are_recognised() -> None:
    """A signature in the query, spelled in any case or escape, is one."""
    assert is_presigned("role=x&X-Amz-Signature=1")
    assert is_presigned("x%2Damz-credential=1")
    assert not is_presigned("role=x&cell-number=X-Amz-Date")
    assert not is_presigned("")


def test_an_address_known_ahead() -> None:
    """Host and port are known before a session is."""
    assert address_of_host(HOST).netloc == HOST


def test_what_an_address_shows() -> None:
    """The query stays out of logs."""
    assert "cell-number" not in repr(check(GOOD))


@given(st.text(max_size=80), st.sampled_from(["", "wss://", f"wss://{HOST}", f"wss://{HOST}{PATH}", GOOD]))
def test_any_text_is_accepted_or_refused(text: str, start: str) -> None:
    """Whatever the URL, an address of the service comes out, or the one exception."""
    try:
        address = check(start + text)
    except UntrustedStreamUrl:
        return
    assert address.host in HOSTS
    assert (address.port, address.is_tls, address.path) == (443, True, PATH)
