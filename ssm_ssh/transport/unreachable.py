"""Why nothing answered: one reading of network failures for the API calls and for the stream.

The libraries above wrap the system's own error in errors of theirs; it is found again in their chain, because
only it tells a misspelt region from a proxy or a private certificate authority.
"""

from __future__ import annotations

import socket
import ssl
from typing import TYPE_CHECKING, Final

from ssm_ssh.errors import EndpointUnreachable

if TYPE_CHECKING:
    from collections.abc import Iterator

_NAME_HINT: Final = "check the region and your DNS; behind a proxy, set HTTPS_PROXY"
_CERTIFICATE_HINT: Final = (
    "where a company's proxy opens TLS, point AWS_CA_BUNDLE (or ca_bundle of the profile) to its certificate"
)
# What urllib3 raises where it compares the names itself; of no use as a class, because nothing else loads it.
_NAME_MISMATCH: Final = "CertificateError"
_TLS_HINT: Final = (
    "something between here and AWS does not speak TLS: check HTTPS_PROXY, NO_PROXY and the port"
)
_PROXY_HINT: Final = "check HTTPS_PROXY and NO_PROXY"
_PROXY_LOGIN_HINT: Final = "the proxy wants a login: HTTPS_PROXY=http://USER:PASSWORD@HOST:PORT"
_TIMEOUT_HINT: Final = (
    "check network and firewall; without Internet access a VPC endpoint or a proxy (HTTPS_PROXY) is needed"
)
_NETWORK_HINT: Final = "check the network, HTTPS_PROXY and any endpoint override"


class ProxyRefusal(Exception):
    """A proxy's refusal to connect us, on its way to ``unreachable``; never leaves this floor."""

    def __init__(self, status: int, reason: str) -> None:
        super().__init__(status, reason)
        self.status = status
        self.reason = reason

    def __str__(self) -> str:
        return f"the proxy answered {self.status} {self.reason}".rstrip()


def unreachable(
    operation: str, host: str, failure: BaseException, *, is_proxy: bool = False
) -> EndpointUnreachable:
    """Turn a failure to reach ``host`` into the exception that tells the user what to try.

    Args:
        operation: What was tried, such as ``StartSession``.
        host: Whom we wanted to reach.
        failure: What was raised, with its chain of causes.
        is_proxy: Whether the failure is known to be the proxy's.
    """
    text, hint = _diagnosis(host, failure, is_proxy=is_proxy)
    return EndpointUnreachable(operation, "", text, hint=hint)


def _diagnosis(host: str, failure: BaseException, *, is_proxy: bool) -> tuple[str, str]:
    chain = list(_chain(failure))
    found = _tls_diagnosis(host, chain)
    if found is None:
        is_proxy = is_proxy or isinstance(failure, ProxyRefusal)
        found = _proxy_diagnosis(host, chain) if is_proxy else _network_diagnosis(host, chain)
    return found


def _tls_diagnosis(host: str, chain: list[BaseException]) -> tuple[str, str] | None:
    for error in chain:
        if isinstance(error, ssl.SSLCertVerificationError):
            words = getattr(error, "verify_message", error)
            return f"the certificate of {host} is not trusted: {words}", _CERTIFICATE_HINT
        if type(error).__name__ == _NAME_MISMATCH:
            return f"the certificate of {host} is not trusted: it is for another name", _CERTIFICATE_HINT
        if isinstance(error, ssl.SSLError):
            # Only OpenSSL's own errors have a reason, and not all of them.
            return f"no TLS with {host}: {getattr(error, 'reason', None) or error}", _TLS_HINT
    return None


def _proxy_diagnosis(host: str, chain: list[BaseException]) -> tuple[str, str]:
    words = _own_words(chain)
    if any("407" in str(error) for error in chain):
        return f"the proxy on the way to {host} refused us: {words}", _PROXY_LOGIN_HINT
    return f"the proxy on the way to {host} failed: {words}", _PROXY_HINT


def _network_diagnosis(host: str, chain: list[BaseException]) -> tuple[str, str]:
    if any(isinstance(error, socket.gaierror) for error in chain):
        return f"the name {host} cannot be resolved", _NAME_HINT
    if any(isinstance(error, TimeoutError) or "Timeout" in type(error).__name__ for error in chain):
        return f"no answer from {host} in time", _TIMEOUT_HINT
    return f"no connection to {host}: {_own_words(chain)}", _NETWORK_HINT


def _own_words(chain: list[BaseException]) -> str:
    for error in chain:
        if isinstance(error, OSError) and error.strerror:
            return error.strerror
    return str(chain[-1]) or type(chain[-1]).__name__


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        yield error
        error = error.__cause__ or error.__context__
