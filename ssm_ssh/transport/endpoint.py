"""Where the service is: botocore's own endpoint rules, settings and partition data, without a service model.

Everything that moves an endpoint for the AWS SDKs moves it here too: region and partition, FIPS, dual stack,
``AWS_ENDPOINT_URL`` and its kin, ``services`` sections and ``ignore_configured_endpoint_urls``.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from botocore.configprovider import ConfiguredEndpointProvider
from botocore.endpoint_provider import EndpointProvider

from ssm_ssh.transport.stream_url import Origin, parse_stream_override, service_hosts

if TYPE_CHECKING:
    from botocore.session import Session

# Specification: the one API version of Systems Manager. Naming it saves botocore a walk through the data of
# all services (70 ms measured), which is how it would find the latest.
_RULE_SET: Final = "ssm/2014-11-06/endpoint-rule-set-1"
_GLOBAL_SETTING: Final = "AWS_ENDPOINT_URL"


@dataclass(frozen=True, slots=True)
class Endpoints:
    """The addresses of one region's service, as configured.

    Attributes:
        ssm_url: Where API calls go.
        ssm_override: Where the user moved them, or None.
        stream_override: Where the user moved streams, or None.
        stream_hosts: Every host that the region's message gateway may have.
        gateway: The most likely one of them.
    """

    region: str
    ssm_url: str
    ssm_override: Origin | None
    stream_override: Origin | None
    stream_hosts: frozenset[str]
    gateway: str


def resolve_endpoints(session: Session, region: str, *, stream_endpoint: str | None = None) -> Endpoints:
    """Ask botocore where the service is.

    Args:
        session: Knows settings and data.
        region: The region, already checked.
        stream_endpoint: The user's explicit stream endpoint; wins over configured ones.

    Raises:
        InvalidOption: If an endpoint override cannot be used.
        BotoCoreError: If settings contradict each other.
    """
    loader = session.get_component("data_loader")
    provider = EndpointProvider(loader.load_data(_RULE_SET), loader.load_data("partitions"))
    override = _configured(session, "ssm")
    is_fips = override is None and bool(session.get_config_variable("use_fips_endpoint"))
    is_dual_stack = override is None and bool(session.get_config_variable("use_dualstack_endpoint"))
    resolved = provider.resolve_endpoint(
        Region=region, UseFIPS=is_fips, UseDualStack=is_dual_stack, Endpoint=override
    )
    partition = provider.ruleset.rule_lib.aws_partition(region)
    suffixes = (str(partition["dnsSuffix"]), str(partition["dualStackDnsSuffix"]))
    fips = "-fips" if is_fips else ""
    return Endpoints(
        region=region,
        ssm_url=str(resolved.url),
        ssm_override=None if override is None else Origin.parse(override, setting="the SSM endpoint URL"),
        stream_override=_stream_override(session, stream_endpoint),
        stream_hosts=service_hosts(region, suffixes),
        gateway=f"ssmmessages{fips}.{region}.{suffixes[1] if is_dual_stack else suffixes[0]}",
    )


def _stream_override(session: Session, explicit: str | None) -> Origin | None:
    if explicit is not None:
        return parse_stream_override(explicit, setting="--stream-endpoint")
    # An endpoint for all services is one for the API calls; the stream is moved only by a setting of its own,
    # because the answers of a moved API name the stream's place themselves.
    configured = _configured(session, "ssmmessages", is_global_heeded=False)
    if configured is None:
        return None
    return parse_stream_override(configured, setting="AWS_ENDPOINT_URL_SSMMESSAGES")


def _configured(session: Session, service: str, *, is_global_heeded: bool = True) -> str | None:
    if session.get_config_variable("ignore_configured_endpoint_urls"):
        return None
    environ, scoped = dict(os.environ), dict(session.get_scoped_config())
    if not is_global_heeded:
        environ.pop(_GLOBAL_SETTING, None)
        scoped.pop("endpoint_url", None)
    url = ConfiguredEndpointProvider(session.full_config, scoped, service, environ).provide()
    return None if url is None else str(url)
