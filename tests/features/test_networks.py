"""Ways to AWS: proxies, private authorities, FIPS, dual stack, moved endpoints, and where no token may go."""

from __future__ import annotations

from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING, Final

import pytest

from ssm_ssh.emulator.fault import Faults
from ssm_ssh.emulator.settings import ServiceSettings
from tests.features.connect_proxy import ConnectProxy
from tests.features.play import Play, play
from tests.features.port_node import NODE_ID, SilentPort
from tests.features.proxy_run import Outcome, assert_refused, together

if TYPE_CHECKING:
    from collections.abc import Iterator

REGION: Final = "us-east-1"
LOGIN: Final = "alice:pass/w@rd"
# A login in a URL, with what would end it escaped.
WRITTEN_LOGIN: Final = "alice:pass%2Fw%40rd"
_DOMAINS: Final = ("amazonaws.com", "api.aws")
NAMES: Final = frozenset(
    f"{service}{fips}.{REGION}.{domain}"
    for service in ("ssm", "ssmmessages")
    for fips in ("", "-fips")
    for domain in _DOMAINS
)
API: Final = f"ssm.{REGION}.amazonaws.com:443"
GATEWAY: Final = f"ssmmessages.{REGION}.amazonaws.com:443"
STREAM_PATH: Final = "/v1/data-channel/{session_id}?role=publish_subscribe"


class Region:
    """AWS's names for a region's service, leading to the stand-in through an authenticating proxy.

    Attributes:
        stage: The stand-in, with TLS.
        proxy: The only way to it.
        variables: What is to be changed in a run's environment.
    """

    def __init__(self, stage: Play, proxy: ConnectProxy) -> None:
        self.stage = stage
        self.proxy = proxy
        self.variables: dict[str, str | None] = {
            "AWS_ENDPOINT_URL": None,
            "HTTPS_PROXY": f"http://{WRITTEN_LOGIN}@127.0.0.1:{proxy.port}",
        }

    def works(self, *options: str, **changes: str | None) -> None:
        """See bytes go up and down again."""
        self.stage.download(*options, count=20_000, variables=self.variables, **changes)


@contextmanager
def region(faults: Faults | None = None) -> Iterator[Region]:
    """A region whose names only the proxy knows."""
    settings = ServiceSettings(region=REGION, server_host_names=NAMES)
    with play(settings=settings, faults=faults, has_tls=True) as stage:
        places = {f"{name}:443": stage.emulator.port for name in NAMES}
        with ConnectProxy(places, login=LOGIN) as proxy:
            yield Region(stage, proxy)


# --- proxies ---------------------------------------------------------------------------------------------


def test_api_and_stream_through_an_authenticating_proxy() -> None:
    """HTTPS_PROXY holds for both; each name is asked for once, because the stream is connected ahead."""
    with region() as aws:
        aws.works()
        assert sorted(aws.proxy.asked) == [API, GATEWAY]
        assert aws.proxy.refused == 0


def test_the_stream_is_connected_while_start_session_is_answered() -> None:
    """The connection ahead is there before AWS has answered, and is the one that is used."""
    with region(Faults(api_delay_seconds=0.8)) as aws:
        with aws.stage.dial(variables=aws.variables) as run:
            run.write(b"echo\n")
            aws.stage.echo(run, b"hello")
            assert sorted(aws.proxy.asked) == [API, GATEWAY]
            run.end_input()
            run.finish()
        assert aws.stage.session.counts.client_channels == 1


def test_a_connection_ahead_is_dropped_if_the_stream_is_elsewhere() -> None:
    """The service may name another of its hosts; then that one gets the token."""
    other = f"ssmmessages-fips.{REGION}.amazonaws.com"
    with region(Faults(stream_url=f"wss://{other}{STREAM_PATH}", api_delay_seconds=0.5)) as aws:
        aws.works()
        assert sorted(aws.proxy.asked) == sorted([API, GATEWAY, f"{other}:443"])


def test_no_proxy_holds_for_api_and_stream() -> None:
    """What NO_PROXY names is reached directly, by both."""
    with play(has_tls=True) as stage, ConnectProxy({}) as proxy:
        through: dict[str, str | None] = {"HTTPS_PROXY": f"http://127.0.0.1:{proxy.port}"}
        stage.download(count=2000, variables=through, NO_PROXY="example.com,127.0.0.1")
        assert proxy.asked == []
        assert stage.outcome(NODE_ID, variables=through).status == 255
        assert proxy.asked == [f"127.0.0.1:{stage.emulator.port}"]


def test_an_endpoint_of_ones_own_through_the_proxy() -> None:
    """A moved endpoint is reached through the proxy too, stream included, and nothing is connected ahead."""
    with play(has_tls=True) as stage:
        place = f"127.0.0.1:{stage.emulator.port}"
        with ConnectProxy({place: stage.emulator.port}, login=LOGIN) as proxy:
            stage.download(count=2000, HTTPS_PROXY=f"http://{WRITTEN_LOGIN}@127.0.0.1:{proxy.port}")
            assert proxy.asked == [place, place]


# --- trust -----------------------------------------------------------------------------------------------


def test_a_private_authority_from_the_configuration_file() -> None:
    """``ca_bundle`` of the profile is as good as AWS_CA_BUNDLE, for API and stream."""
    with play(has_tls=True) as stage:
        bundle = stage.emulator.environment["AWS_CA_BUNDLE"]
        config = stage.folder / "config"
        config.write_text(f"[default]\nca_bundle = {bundle}\n")
        stage.download(count=2000, AWS_CA_BUNDLE=None, AWS_CONFIG_FILE=str(config))


def test_a_certificate_for_another_name() -> None:
    """The right authority and the wrong name: not trusted."""
    settings = ServiceSettings(region=REGION, server_host_names=NAMES)
    wrong = "ssm.us-west-2.amazonaws.com:443"
    with play(settings=settings, has_tls=True) as stage, ConnectProxy({wrong: stage.emulator.port}) as proxy:
        outcome = stage.outcome(
            *("--region", "us-west-2", NODE_ID),
            AWS_ENDPOINT_URL=None,
            HTTPS_PROXY=f"http://127.0.0.1:{proxy.port}",
        )
    assert_refused(
        outcome, "certificate of ssm.us-west-2.amazonaws.com is not trusted: it is for", "AWS_CA_BUNDLE"
    )


# --- AWS's other names -----------------------------------------------------------------------------------


@pytest.mark.parametrize("dual_stack", [False, True])
@pytest.mark.parametrize("fips", [False, True])
def test_fips_and_dual_stack(*, fips: bool, dual_stack: bool) -> None:
    """The settings of the AWS SDKs choose the names of both, and of the connection ahead."""
    tail = f"{'-fips' if fips else ''}.{REGION}.{_DOMAINS[dual_stack]}:443"
    with region() as aws:
        aws.works(AWS_USE_FIPS_ENDPOINT=str(fips).lower(), AWS_USE_DUALSTACK_ENDPOINT=str(dual_stack).lower())
        assert sorted(aws.proxy.asked) == [f"ssm{tail}", f"ssmmessages{tail}"]


# --- moved streams ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("is_option", [False, True])
def test_a_stream_endpoint_of_ones_own(*, is_option: bool) -> None:
    """A VPC endpoint's name for streams alone; the option wins over the variable."""
    with region() as aws:
        own = f"https://127.0.0.1:{aws.stage.emulator.port}"
        directly = {"NO_PROXY": "127.0.0.1"}
        if is_option:
            wrong = "https://ssmmessages.example"
            aws.works("--stream-endpoint", own, AWS_ENDPOINT_URL_SSMMESSAGES=wrong, **directly)
        else:
            aws.works(AWS_ENDPOINT_URL_SSMMESSAGES=own, **directly)
        assert aws.proxy.asked == [API]


def test_a_plain_stream_endpoint_on_this_machine() -> None:
    """Without TLS only because the user said so, and only to this machine."""
    with play() as stage:
        stage.download(count=2000, AWS_ENDPOINT_URL_SSMMESSAGES=f"http://localhost:{stage.emulator.port}")


# --- where no token may go -------------------------------------------------------------------------------

FOREIGN: Final = {
    "another host": "wss://{foreign}" + STREAM_PATH,
    "another host without TLS": "ws://{foreign}" + STREAM_PATH,
    "the API's host": f"wss://ssm.{REGION}.amazonaws.com{STREAM_PATH}",
    "another region": f"wss://ssmmessages.us-west-2.amazonaws.com{STREAM_PATH}",
    "a longer name": f"wss://ssmmessages.{REGION}.amazonaws.com.example{STREAM_PATH}",
    "another port": f"wss://ssmmessages.{REGION}.amazonaws.com:8443{STREAM_PATH}",
    "another path": f"wss://ssmmessages.{REGION}.amazonaws.com/v1/control-channel/{{session_id}}",
    "another session": f"wss://ssmmessages.{REGION}.amazonaws.com/v1/data-channel/eve-0123",
    "a path beside": f"wss://ssmmessages.{REGION}.amazonaws.com/v1/data-channel/{{session_id}}/../x",
    "no TLS": f"ws://ssmmessages.{REGION}.amazonaws.com{STREAM_PATH}",
    "https": f"https://ssmmessages.{REGION}.amazonaws.com{STREAM_PATH}",
    "a login": f"wss://ssmmessages.{REGION}.amazonaws.com@{{foreign}}{STREAM_PATH}",
}


def _follow(url: str) -> Outcome:
    """Run with this StreamUrl, and see that nothing of the session went anywhere."""
    with SilentPort() as foreign:
        with region(Faults(stream_url=url.replace("{foreign}", foreign.address))) as aws:
            outcome = aws.stage.outcome(NODE_ID, variables=aws.variables)
            aws.stage.emulator.wait_for_live_sessions(0)
            # The connection that was made ahead goes to the region's own gateway, and carries nothing.
            assert set(aws.proxy.asked) <= {API, GATEWAY}
            assert aws.stage.session.counts.client_channels == 0
        assert foreign.connections() == 0
    return outcome


def test_a_foreign_stream_url_is_refused_before_a_byte_leaves() -> None:
    """Neither token nor signature goes anywhere else, whatever the API answers; the session is ended."""
    for outcome in together({name: partial(_follow, url) for name, url in FOREIGN.items()}).values():
        assert_refused(outcome, "refused the stream URL", "--stream-endpoint")
        assert "role=" not in outcome.stderr


def test_a_foreign_stream_url_after_a_resume() -> None:
    """The same check for every URL of a session's life; what was connected before proves nothing."""
    with SilentPort("127.0.0.2") as foreign, play() as stage:
        with stage.dial() as run:
            run.write(b"echo\n")
            stage.echo(run, b"hello")
            stage.emulator.inject(stream_url=f"ws://{foreign.address}{STREAM_PATH}")
            stage.emulator.cut()
            assert_refused(run.finish(), "refused the stream URL", "--stream-endpoint")
        assert foreign.connections() == 0
        assert stage.session.counts.client_channels == 1
