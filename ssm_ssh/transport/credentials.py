"""The caller's credentials, fresh for every use.

A session lives for hours, and its resume needs credentials as good as its start did. What can renew itself
does so inside botocore; what cannot (keys in the environment, a file that another program rewrites) is read
again when AWS calls it expired.
"""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    ConfigParseError,
    ConnectionError,  # noqa: A004 -- botocore's name
    HTTPClientError,
    InvalidConfigError,
    ProfileNotFound,
    ProxyConnectionError,
    RefreshWithMFAUnsupportedError,
    SSOError,
    TokenRetrievalError,
)

from ssm_ssh.errors import ControlPlaneError, CredentialsExpired, CredentialsMissing, InvalidOption
from ssm_ssh.transport.aws_session import open_session, refuse_to_ask
from ssm_ssh.transport.refusal import refusal
from ssm_ssh.transport.unreachable import unreachable

if TYPE_CHECKING:
    from botocore.credentials import ReadOnlyCredentials
    from botocore.session import Session


class Credentials:
    """Botocore's credential chain for one caller; may be used from several threads."""

    def __init__(self, session: Session, *, profile: str | None, region: str) -> None:
        self._session = session
        self._profile = profile
        self._region = region
        self._lock = threading.Lock()

    def current(self, operation: str) -> ReadOnlyCredentials:
        """The credentials to sign with now, renewed where they can be.

        Args:
            operation: What they are for, to be named in the error.

        Raises:
            ControlPlaneError: ``CredentialsMissing`` or ``CredentialsExpired``, or what AWS answered to the
                call that was to fetch them (``AccessDenied`` to AssumeRole, ``EndpointUnreachable`` …).
            InvalidOption: If the AWS configuration cannot be used.
        """
        with self._lock:
            try:
                credentials = self._session.get_credentials()
                if credentials is not None:
                    return credentials.get_frozen_credentials()
            except (BotoCoreError, ClientError) as error:
                raise self._translated(operation, error) from error
            except RuntimeError as error:
                # Botocore's only use of it: a source that answers with credentials that are expired already.
                raise CredentialsExpired(operation, "", str(error)) from error
        raise CredentialsMissing(operation, "", "no credentials were found")

    def reread(self, operation: str) -> bool:
        """Read everything anew, as another program may have renewed it; tell whether it changed."""
        before = self.current(operation)
        renewed = open_session(profile=self._profile, region=self._region, ask=refuse_to_ask)
        with self._lock:
            self._session = renewed
        return bool(self.current(operation) != before)

    def _translated(
        self, operation: str, error: BotoCoreError | ClientError
    ) -> ControlPlaneError | InvalidOption:
        text = " ".join(str(error).split())
        if isinstance(error, ClientError):
            return refusal_of(error)
        if isinstance(error, ConnectionError | HTTPClientError):
            is_proxy = isinstance(error, ProxyConnectionError)
            return unreachable(operation, "the credentials' source", error, is_proxy=is_proxy)
        if isinstance(error, InvalidConfigError | ProfileNotFound | ConfigParseError):
            return InvalidOption(text, hint="correct ~/.aws/config")
        hint = self._renewal_hint(error)
        failure = CredentialsMissing if hint is None else CredentialsExpired
        return failure(operation, "", text, hint=hint)

    def _renewal_hint(self, error: BotoCoreError) -> str | None:
        profile = f" --profile {self._profile}" if self._profile else ""
        if isinstance(error, SSOError | TokenRetrievalError):
            return f"run `aws sso login{profile}` and try again"
        if isinstance(error, RefreshWithMFAUnsupportedError):
            return "the role was assumed with an MFA code: connect again to be asked for a new one"
        # By name, because the oldest supported botocore has no `aws login`.
        if type(error).__name__.startswith("Login"):
            return f"run `aws login{profile}` and try again"
        return None


def refusal_of(error: ClientError) -> ControlPlaneError:
    """The exception for what AWS answered to a call of botocore's own."""
    answer = error.response.get("Error", {})
    request_id = error.response.get("ResponseMetadata", {}).get("RequestId")
    code, message = str(answer.get("Code", "")), str(answer.get("Message", ""))
    return refusal(error.operation_name, code, message, request_id=request_id)
