"""The API calls of a session's life, as small and as early on the wire as they can be.

Calls are botocore's in everything that matters (credential chain, SigV4, HTTP session with its proxies, trust
and time-outs, endpoint rules, back-off) but without a service model and without a client, which cost as much
time as all of a session's start. Everything here blocks; nothing here imports asyncio, so that StartSession
can be under way before asyncio is loaded.
"""

from __future__ import annotations

import contextlib
import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import parse_qsl

from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.exceptions import BotoCoreError
from botocore.httpsession import ProxyConfiguration
from botocore.utils import get_environ_proxies

from ssm_ssh.errors import (
    ControlPlaneError,
    RemoteProtocolError,
    SsmSshError,
)
from ssm_ssh.transport.aws_session import open_in_region, unusable
from ssm_ssh.transport.credentials import Credentials
from ssm_ssh.transport.endpoint import resolve_endpoints
from ssm_ssh.transport.json_api import JsonApi, JsonService
from ssm_ssh.transport.stream_url import (
    OPEN_DATA_CHANNEL,
    StreamAddress,
    address_of_host,
    check_stream_url,
    is_presigned,
)
from ssm_ssh.transport.trust import ca_bundle, client_context

if TYPE_CHECKING:
    import ssl
    from collections.abc import Iterator, Mapping, Sequence

    from ssm_ssh.transport.endpoint import Endpoints

# Specification: the name that the stream's upgrade is signed for (protocol 2.1).
_STREAM_SERVICE: Final = "ssmmessages"
# Specification: the most DescribeInstanceInformation returns at once.
_PAGE_SIZE: Final = 50
# Ours: who has more nodes of one name than this needs another way to say which; bounds time and memory.
_MOST_PAGES: Final = 20
# Specification: how terminating an ended session is answered (protocol 1.2).
_ENDED_CODE: Final = "DoesNotExistException"
_ENDED_WORDS: Final = "not in a valid state"


@dataclass(frozen=True, slots=True)
class StartedSession:
    """What StartSession and ResumeSession answer: a session, and where its data channel opens.

    Attributes:
        token: Opens the data channel once, soon; never shown.
        stream_url: Unchecked: pass the whole to ``ControlPlane.stream_address`` before anything goes there.
    """

    session_id: str
    token: str = field(repr=False)
    stream_url: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class NodeSummary:
    """What Systems Manager knows of a node.

    Attributes:
        is_online: Whether the agent reported lately.
        platform: ``Linux``, ``Windows`` or ``MacOS``; empty if the agent never said.
    """

    node_id: str
    name: str
    is_online: bool
    platform: str
    agent_version: str
    ip_address: str


class ControlPlane:
    """One caller's view of Systems Manager in one region. Blocks; may be used from several threads."""

    def __init__(
        self, endpoints: Endpoints, credentials: Credentials, *, user_agent: str, ca_bundle: str
    ) -> None:
        self.region: Final = endpoints.region
        self._endpoints = endpoints
        self._credentials = credentials
        self._user_agent = user_agent
        self._ca_bundle = ca_bundle
        self._ssl_context: ssl.SSLContext | None = None
        service = JsonService(endpoints.ssm_url, "ssm", "AmazonSSM", endpoints.region)
        self._api = JsonApi(service, credentials, user_agent=user_agent, ca_bundle=ca_bundle)

    @classmethod
    def connect(
        cls, *, profile: str | None = None, region: str | None = None, stream_endpoint: str | None = None
    ) -> ControlPlane:
        """Read the AWS configuration and make ready to call; nothing goes to the network yet.

        Args:
            profile: As ``--profile``.
            region: As ``--region``.
            stream_endpoint: As ``--stream-endpoint``: replaces scheme, host and port of stream URLs.

        Raises:
            RegionMissing: If no region is configured.
            InvalidOption: If the profile, the region, an endpoint or the AWS configuration cannot be used.
        """
        try:
            session, region = open_in_region(profile=profile, region=region)
            endpoints = resolve_endpoints(session, region, stream_endpoint=stream_endpoint)
            bundle = ca_bundle(session)
        except BotoCoreError as error:
            raise unusable(error) from error
        credentials = Credentials(session, profile=profile, region=region)
        return cls(endpoints, credentials, user_agent=session.user_agent(), ca_bundle=bundle)

    def close(self) -> None:
        """Drop the connections to AWS; twice is fine."""
        self._api.close()

    # --- sessions ----------------------------------------------------------------------------------------

    def start_session(
        self,
        *,
        target: str,
        document_name: str | None = None,
        parameters: Mapping[str, Sequence[str]] | None = None,
        reason: str | None = None,
    ) -> StartedSession:
        """Start a session on a node.

        Raises:
            ControlPlaneError: As ``JsonApi.call``: ``TargetNotConnected``, ``AccessDenied`` and so on.
            RemoteProtocolError: If the answer lacks session id, token or stream URL.
        """
        body: dict[str, object] = {"Target": target}
        if document_name is not None:
            body["DocumentName"] = document_name
        if parameters:
            body["Parameters"] = {name: list(values) for name, values in parameters.items()}
        if reason is not None:
            body["Reason"] = reason
        answer = self._api.call("StartSession", body)
        session_id = _text("StartSession", answer, "SessionId")
        try:
            return _started("StartSession", session_id, answer)
        except RemoteProtocolError:
            # The service has started it all the same, and nobody else knows its id.
            with contextlib.suppress(SsmSshError):
                self.terminate_session(session_id)
            raise

    def resume_session(self, session_id: str) -> StartedSession | None:
        """Get a new token and stream URL for a session, or None if the session is over.

        Raises:
            ControlPlaneError: As ``JsonApi.call``.
            RemoteProtocolError: If the answer is another session's, or a token without a stream URL.
        """
        try:
            answer = self._api.call("ResumeSession", {"SessionId": session_id})
        except ControlPlaneError as error:
            if error.code == _ENDED_CODE:
                return None
            raise
        # Protocol 2.4: an ended session is answered without a token.
        if not answer.get("TokenValue"):
            return None
        if answer.get("SessionId", session_id) != session_id:
            raise RemoteProtocolError("ResumeSession was answered with another session")
        return _started("ResumeSession", session_id, answer)

    def terminate_session(self, session_id: str) -> None:
        """End a session; one that has ended already is fine.

        Raises:
            ControlPlaneError: As ``JsonApi.call``; many policies forbid the call (``AccessDenied``), and the
                service ends a session without it too, later.
        """
        try:
            self._api.call("TerminateSession", {"SessionId": session_id})
        except ControlPlaneError as error:
            if error.code != _ENDED_CODE and _ENDED_WORDS not in error.message:
                raise

    def document_parameters(self, name: str) -> frozenset[str]:
        """The names of the parameters that a session document declares.

        Raises:
            ControlPlaneError: As ``JsonApi.call``; many policies forbid the call (``AccessDenied``).
            RemoteProtocolError: If the document cannot be read.
        """
        answer = self._api.call("GetDocument", {"Name": name, "DocumentFormat": "JSON"})
        try:
            parameters = json.loads(_text("GetDocument", answer, "Content")).get("parameters") or {}
            return frozenset(map(str, parameters.keys()))
        except (ValueError, AttributeError, RecursionError):
            raise RemoteProtocolError(f"the document {name} is not what a session document is") from None

    # --- nodes -------------------------------------------------------------------------------------------

    def nodes_by_name(self, name: str) -> list[NodeSummary]:
        """The nodes whose ``Name`` tag is exactly ``name``.

        Raises:
            ControlPlaneError: As ``JsonApi.call``.
        """
        filters: list[dict[str, object]] = [{"Key": "tag:Name", "Values": [name]}]
        return [_node(name, item) for item in self._pages(filters) if item.get("InstanceId")]

    def connection_status(self, target: str) -> bool:
        """Whether the service has a connected agent for the target right now.

        Raises:
            ControlPlaneError: As ``JsonApi.call``.
        """
        return self._api.call("GetConnectionStatus", {"Target": target}).get("Status") == "connected"

    def _pages(self, filters: list[dict[str, object]]) -> Iterator[dict[str, Any]]:
        body: dict[str, object] = {"Filters": filters, "MaxResults": _PAGE_SIZE}
        for _ in range(_MOST_PAGES):
            answer = self._api.call("DescribeInstanceInformation", body)
            yield from answer.get("InstanceInformationList") or ()
            if not answer.get("NextToken"):
                return
            body["NextToken"] = answer["NextToken"]

    # --- the stream --------------------------------------------------------------------------------------

    def stream_address(self, started: StartedSession) -> StreamAddress:
        """Where the data channel of a session opens, if its token may go there.

        Raises:
            UntrustedStreamUrl: If it may not.
        """
        return check_stream_url(
            started.stream_url,
            session_id=started.session_id,
            hosts=self._endpoints.stream_hosts,
            override=self._endpoints.stream_override,
            ssm_override=self._endpoints.ssm_override,
        )

    def expected_stream_address(self) -> StreamAddress | None:
        """Where a stream will most likely go, to connect ahead; None where the user moved an endpoint."""
        if self._endpoints.stream_override is not None or self._endpoints.ssm_override is not None:
            return None
        return address_of_host(self._endpoints.gateway)

    def stream_headers(self, address: StreamAddress) -> dict[str, str]:
        """The headers of the upgrade at ``address``, signed with credentials that are fresh now.

        Raises:
            ControlPlaneError: If there are no credentials now.
        """
        headers = {"User-Agent": self._user_agent}
        if is_presigned(address.query):
            return headers
        # Protocol 2.1: the canonical query is the decoded one, encoded again (a literal + is a
        # space), while the URL goes out verbatim. The signer does so for parameters and not for a URL.
        request = AWSRequest(
            "GET",
            f"{'https' if address.is_tls else 'http'}://{address.netloc}{address.path}",
            params=parse_qsl(address.query, keep_blank_values=True),
        )
        SigV4Auth(self._credentials.current(OPEN_DATA_CHANNEL), _STREAM_SERVICE, self.region).add_auth(
            request
        )
        return headers | {str(name): str(value) for name, value in request.headers.items()}

    def ssl_context(self) -> ssl.SSLContext:
        """The TLS context for streams, trusting what the API calls trust; made once.

        Raises:
            InvalidOption: If the configured CA bundle cannot be used.
        """
        if self._ssl_context is None:
            self._ssl_context = client_context(self._ca_bundle)
        return self._ssl_context

    def proxy_for(self, address: StreamAddress) -> str | None:
        """The URL of the proxy that botocore would use, password included; None if there is none."""
        if not address.is_tls:
            # Plain streams go to this machine only, and a proxy's "this machine" is another one.
            return None
        url = f"https://{address.netloc}/"
        proxy = ProxyConfiguration(proxies=get_environ_proxies(url)).proxy_url_for(url)
        return None if proxy is None else str(proxy)


def _started(operation: str, session_id: str, answer: Mapping[str, Any]) -> StartedSession:
    token, stream_url = _text(operation, answer, "TokenValue"), _text(operation, answer, "StreamUrl")
    return StartedSession(session_id, token, stream_url)


def _text(operation: str, answer: Mapping[str, Any], name: str) -> str:
    value = answer.get(name)
    if not isinstance(value, str) or not value:
        raise RemoteProtocolError(f"{operation} was answered without {name}")
    return value


def _node(name: str, item: Mapping[str, Any]) -> NodeSummary:
    return NodeSummary(
        node_id=str(item["InstanceId"]),
        name=name,
        is_online=item.get("PingStatus") == "Online",
        platform=str(item.get("PlatformType", "")),
        agent_version=str(item.get("AgentVersion", "")),
        ip_address=str(item.get("IPAddress", "")),
    )
