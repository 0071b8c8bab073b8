"""Calls to the wide API (EC2, RDS, EKS …) by botocore's own clients.

For commands that somebody waits for anyway: a client costs 50 to 100 ms of loading service models, which a
session's start does not pay (``control_plane``).
"""

from __future__ import annotations

import base64
import threading
from typing import TYPE_CHECKING, Any, Final, Self

from botocore import xform_name
from botocore.auth import SigV4QueryAuth
from botocore.awsrequest import AWSRequest
from botocore.config import Config
from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    ConnectionError,  # noqa: A004 -- botocore's name
    HTTPClientError,
    ProxyConnectionError,
)

from ssm_ssh.errors import ControlPlaneError
from ssm_ssh.transport.aws_session import open_in_region, unusable
from ssm_ssh.transport.credentials import Credentials, refusal_of
from ssm_ssh.transport.json_api import CONNECT_TIMEOUT_SECONDS, MAX_ATTEMPTS, READ_TIMEOUT_SECONDS
from ssm_ssh.transport.unreachable import unreachable

if TYPE_CHECKING:
    from collections.abc import Iterator

    from botocore.client import BaseClient
    from botocore.session import Session

_CONFIG: Final = Config(
    connect_timeout=CONNECT_TIMEOUT_SECONDS,
    read_timeout=READ_TIMEOUT_SECONDS,
    retries={"mode": "standard", "max_attempts": MAX_ATTEMPTS},
)
# Ours: who has more than this needs a more exact question; bounds time and memory.
_MOST_PAGES: Final = 50
# Specification: what EKS takes (aws-iam-authenticator), in the form that the AWS CLI sends.
_STS_VERSION: Final = "2011-06-15"
_QUESTION_SECONDS: Final = 60
_TOKEN_PREFIX: Final = "k8s-aws-v1."  # noqa: S105 -- only its beginning


class ServiceCalls:
    """One caller's calls in one region. Blocks; may be used from several threads."""

    def __init__(self, session: Session, *, profile: str | None, region: str) -> None:
        self.region: Final = region
        self._session = session
        self._credentials = Credentials(session, profile=profile, region=region)
        self._clients: dict[str, BaseClient] = {}
        self._lock = threading.Lock()

    @classmethod
    def connect(cls, *, profile: str | None = None, region: str | None = None) -> Self:
        """Read the AWS configuration; nothing goes to the network yet.

        Raises:
            RegionMissing: If no region is configured.
            InvalidOption: If the profile, the region or the AWS configuration cannot be used.
        """
        try:
            session, region = open_in_region(profile=profile, region=region)
        except BotoCoreError as error:
            raise unusable(error) from error
        return cls(session, profile=profile, region=region)

    def call(self, service: str, operation: str, **parameters: object) -> dict[str, Any]:
        """Make one call, such as ``call("ec2", "GetPasswordData", InstanceId=…)``, and return its answer.

        Raises:
            ControlPlaneError: As its subclasses say; ``EndpointUnreachable`` if nothing answered.
            InvalidOption: If the AWS configuration cannot be used.
        """
        with _Translated(service, operation):
            client = self._client(service, operation)
            answer: dict[str, Any] = getattr(client, xform_name(operation))(**parameters)
            return answer

    def pages(self, service: str, operation: str, **parameters: object) -> Iterator[dict[str, Any]]:
        """The answers to one call and to those that ask for the rest.

        Raises:
            ControlPlaneError: As ``call``.
            InvalidOption: As ``call``.
        """
        with _Translated(service, operation):
            client = self._client(service, operation)
            pages = client.get_paginator(xform_name(operation)).paginate(**parameters)
            for _, page in zip(range(_MOST_PAGES), pages, strict=False):
                yield page

    def database_token(self, host: str, port: int, user: str) -> str:
        """A password for a database that knows IAM users: valid for 15 minutes, for this host and port only.

        Raises:
            ControlPlaneError: If there are no credentials now.
        """
        operation = "GenerateDbAuthToken"
        with _Translated("rds", operation):
            client = self._client("rds", operation)
            return str(client.generate_db_auth_token(host, port, user, self.region))

    def cluster_token(self, cluster: str) -> str:
        """A bearer token for the API server of an EKS cluster, which takes it for 15 minutes.

        It is a signed question to STS who the caller is, which the cluster puts in the caller's place.

        Raises:
            ControlPlaneError: If there are no credentials now.
        """
        operation = "GetCallerIdentity"
        with _Translated("sts", operation):
            client = self._client("sts", operation)
            url = f"{client.meta.endpoint_url.rstrip('/')}/?Action={operation}&Version={_STS_VERSION}"
            request = AWSRequest("GET", url, headers={"x-k8s-aws-id": cluster})
            credentials = self._credentials.current(operation)
            signer = SigV4QueryAuth(credentials, "sts", self.region, expires=_QUESTION_SECONDS)
            signer.add_auth(request)
        return _TOKEN_PREFIX + base64.urlsafe_b64encode(request.url.encode()).rstrip(b"=").decode("ascii")

    def close(self) -> None:
        """Drop the connections; twice is fine."""
        with self._lock:
            for client in self._clients.values():
                client.close()
            self._clients.clear()

    def _client(self, service: str, operation: str) -> BaseClient:
        # What is wrong with the credentials is told better here than by a client that meets it.
        self._credentials.current(operation)
        with self._lock:
            client = self._clients.get(service)
            if client is None:
                client = self._session.create_client(service, region_name=self.region, config=_CONFIG)
                self._clients[service] = client
            return client


class _Translated:
    """Botocore's exceptions as ours, for the length of a block."""

    def __init__(self, service: str, operation: str) -> None:
        self._service = service
        self._operation = operation

    def __enter__(self) -> None:
        return

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if isinstance(error, ClientError):
            raise refusal_of(error) from error
        if isinstance(error, ConnectionError | HTTPClientError):
            is_proxy = isinstance(error, ProxyConnectionError)
            place = f"the endpoint of {self._service}"
            raise unreachable(self._operation, place, error, is_proxy=is_proxy) from error
        if isinstance(error, BotoCoreError):
            raise ControlPlaneError(self._operation, "", " ".join(str(error).split())) from error
