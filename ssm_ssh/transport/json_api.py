"""Calls to one AWS service that speaks JSON 1.1: signed, sent, tried again within bounds, errors told apart.

What is on the wire stands in protocol 1. Everything that must not be home-made is botocore's: signer, HTTP
session, back-off.
"""

from __future__ import annotations

import json
import socket
import threading
from dataclasses import dataclass
from itertools import count
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit

from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.exceptions import (
    BotoCoreError,
    ConnectTimeoutError,
    ProxyConnectionError,
    ReadTimeoutError,
    SSLError,
)
from botocore.httpsession import URLLib3Session
from botocore.retries.standard import (
    ExponentialBackoff,
    RetryContext,
    RetryEventAdapter,
    ThrottlingErrorDetector,
)
from botocore.utils import get_environ_proxies

from ssm_ssh.errors import ControlPlaneError, CredentialsExpired, RemoteProtocolError, Throttled
from ssm_ssh.transport.refusal import is_expired, refusal
from ssm_ssh.transport.unreachable import unreachable

if TYPE_CHECKING:
    from collections.abc import Mapping

    from botocore.awsrequest import AWSResponse

    from ssm_ssh.transport.credentials import Credentials

# Ours: long enough for a bad mobile line, short enough for a person who waits.
CONNECT_TIMEOUT_SECONDS: Final = 10
READ_TIMEOUT_SECONDS: Final = 30
# Ours: without it a call's body waits until the peer acknowledges the header: a round trip, and up to 40 ms
# of delayed acknowledgement on top.
_SOCKET_OPTIONS: Final = ((socket.IPPROTO_TCP, socket.TCP_NODELAY, 1),)
# Ours: botocore's standard mode allows three; one more, because a session under way hangs on the answer.
MAX_ATTEMPTS: Final = 4
# Ours: a back-off is a random part of botocore's formula, so many who are throttled together need more tries
# to get out of each other's way; half a minute at most.
THROTTLED_ATTEMPTS: Final = 8
# Ours: of a wait that botocore's formula gives, at most this much; a person waits.
_LONGEST_BACKOFF_SECONDS: Final = 5
_CONTENT_TYPE: Final = "application/x-amz-json-1.1"
_REDIRECT_HINT: Final = (
    "something between here and AWS redirects calls: a login page of the network, or a wrong AWS_ENDPOINT_URL"
)
_NOT_AWS_HINT: Final = (
    "something that is not AWS answered: check AWS_ENDPOINT_URL, the proxy and the network's login page"
)
# What would fail in the same way again, or has made the user wait long enough.
_FINAL_FAILURES: Final = (ConnectTimeoutError, ReadTimeoutError, ProxyConnectionError, SSLError)


@dataclass(frozen=True, slots=True)
class JsonService:
    """A service that speaks JSON 1.1, and where.

    Attributes:
        name: What signatures are for, such as ``ssm``.
        target_prefix: What stands before the operation in ``X-Amz-Target``.
    """

    url: str
    name: str
    target_prefix: str
    region: str


class JsonApi:
    """One service at one endpoint, for one caller; may be used from several threads."""

    def __init__(
        self,
        service: JsonService,
        credentials: Credentials,
        *,
        user_agent: str,
        ca_bundle: str,
    ) -> None:
        endpoint = urlsplit(service.url)
        self._url = service.url if endpoint.path else f"{service.url}/"
        self._host = endpoint.hostname or service.url
        self._service = service
        self._credentials = credentials
        self._user_agent = user_agent
        self._http = URLLib3Session(
            verify=ca_bundle,
            proxies=get_environ_proxies(self._url),
            timeout=(CONNECT_TIMEOUT_SECONDS, READ_TIMEOUT_SECONDS),
            socket_options=list(_SOCKET_OPTIONS),
        )
        self._backoff = _backoff()
        self._closed = threading.Event()

    def call(self, operation: str, body: Mapping[str, object]) -> dict[str, Any]:
        """Make one call and return its answer.

        A call that was throttled, that the service failed or that did not get through is made again,
        ``MAX_ATTEMPTS`` times in all, or ``THROTTLED_ATTEMPTS``; credentials that AWS calls expired are read
        again once.

        Raises:
            ControlPlaneError: As its subclasses say; ``EndpointUnreachable`` if nothing answered.
            RemoteProtocolError: If what answered is not AWS.
        """
        may_reread = True
        for attempt in count(1):
            response: AWSResponse | None = None
            try:
                response = self._send(operation, body)
                return self._read(operation, response)
            except BotoCoreError as error:
                if attempt >= MAX_ATTEMPTS or isinstance(error, _FINAL_FAILURES):
                    is_proxy = isinstance(error, ProxyConnectionError)
                    raise unreachable(operation, self._host, error, is_proxy=is_proxy) from error
                code = ""
            except CredentialsExpired as error:
                # Only what AWS said of the keys in hand; what the chain said, it will say again.
                if not (may_reread and is_expired(error.code) and self._credentials.reread(operation)):
                    raise
                may_reread = False
                continue
            except ControlPlaneError as error:
                most = THROTTLED_ATTEMPTS if isinstance(error, Throttled) else MAX_ATTEMPTS
                if attempt >= most or not _is_passing(error, response):
                    raise
                code = error.code
            self._wait(attempt, code, response)
        raise AssertionError("count() does not end")

    def close(self) -> None:
        """Drop the connections and cut every back-off short; calls under way come to their end."""
        self._closed.set()
        self._http.close()

    def _send(self, operation: str, body: Mapping[str, object]) -> AWSResponse:
        request = AWSRequest(
            "POST",
            self._url,
            data=json.dumps(body).encode(),
            headers={
                "Content-Type": _CONTENT_TYPE,
                "X-Amz-Target": f"{self._service.target_prefix}.{operation}",
                "User-Agent": self._user_agent,
            },
        )
        credentials = self._credentials.current(operation)
        SigV4Auth(credentials, self._service.name, self._service.region).add_auth(request)
        return self._http.send(request.prepare())

    def _read(self, operation: str, response: AWSResponse) -> dict[str, Any]:
        status = response.status_code
        request_id = response.headers.get("x-amzn-requestid")
        if 300 <= status < 400:
            raise RemoteProtocolError(f"{operation} was answered with a redirect", hint=_REDIRECT_HINT)
        try:
            answer = json.loads(response.content)
        except ValueError:
            answer = None
        if status == 200 and isinstance(answer, dict):
            return answer
        if status == 200:
            raise RemoteProtocolError(
                f"{operation} was answered with something that is no JSON", hint=_NOT_AWS_HINT
            )
        fields = answer if isinstance(answer, dict) else {}
        code = str(fields.get("__type") or response.headers.get("x-amzn-errortype") or "")
        message = str(fields.get("message") or fields.get("Message") or "")
        if not code:
            raise ControlPlaneError(
                operation, "", f"HTTP {status}", request_id=request_id, hint=_NOT_AWS_HINT
            )
        raise refusal(operation, code, message, request_id=request_id)

    def _wait(self, attempt: int, code: str, response: AWSResponse | None) -> None:
        context = RetryContext(
            attempt_number=attempt, parsed_response={"Error": {"Code": code}}, http_response=response
        )
        self._closed.wait(self._backoff.delay_amount(context))


def _is_passing(error: ControlPlaneError, response: AWSResponse | None) -> bool:
    # Without a response it was the credential chain that failed, which has its own retries.
    return response is not None and (
        isinstance(error, Throttled) or response.status_code in {429, *range(500, 600)}
    )


def _backoff() -> ExponentialBackoff:
    try:
        detector = ThrottlingErrorDetector(RetryEventAdapter())
        return ExponentialBackoff(max_backoff=_LONGEST_BACKOFF_SECONDS, throttling_detector=detector)
    except TypeError:
        # Older botocore backs off alike for every reason.
        return ExponentialBackoff(max_backoff=_LONGEST_BACKOFF_SECONDS)
