"""A failure to connect is told by its cause, however deep a library has wrapped it."""

from __future__ import annotations

import socket
import ssl

import pytest
from urllib3.util.ssl_match_hostname import CertificateError

from ssm_ssh.transport.unreachable import ProxyRefusal, unreachable

HOST = "ssm.eu-central-1.amazonaws.com"


def wrapped(cause: BaseException) -> BaseException:
    """The cause inside two exceptions of somebody's library, one chained openly and one in passing."""
    inner, outer = RuntimeError("inner"), LookupError("outer")
    inner.__cause__, outer.__context__ = cause, inner
    return outer


def untrusted() -> ssl.SSLCertVerificationError:
    """What OpenSSL says of an unknown authority."""
    error = ssl.SSLCertVerificationError(1, "certificate verify failed")
    error.verify_message = "unable to get local issuer certificate"
    return error


@pytest.mark.parametrize(
    ("cause", "text", "hint"),
    [
        (socket.gaierror(-2, "Name or service not known"), "cannot be resolved", "region"),
        (untrusted(), "unable to get local issuer certificate", "AWS_CA_BUNDLE"),
        (CertificateError("hostname 'a' doesn't match 'b'"), "it is for another name", "AWS_CA_BUNDLE"),
        (ssl.SSLError(1, "WRONG_VERSION_NUMBER"), "no TLS", "HTTPS_PROXY"),
        (TimeoutError(), "in time", "firewall"),
        (ConnectionRefusedError(111, "Connection refused"), "Connection refused", "network"),
        (ValueError("odd"), "odd", "network"),
        (ValueError(), "ValueError", "network"),
        (ProxyRefusal(403, "Forbidden"), "Forbidden", "network"),
    ],
)
def test_causes(cause: BaseException, text: str, hint: str) -> None:
    """Each cause has its words and its hint."""
    error = unreachable("StartSession", HOST, wrapped(cause))
    assert text in str(error)
    assert HOST in str(error)
    assert hint in str(error.hint)


@pytest.mark.parametrize(
    ("failure", "text", "hint"),
    [
        (ProxyRefusal(407, "Proxy Authentication Required"), "407", "USER:PASSWORD"),
        (ProxyRefusal(403, "Forbidden"), "403 Forbidden", "NO_PROXY"),
        (wrapped(ConnectionRefusedError(111, "Connection refused")), "proxy", "HTTPS_PROXY"),
        (wrapped(socket.gaierror(-2, "Name or service not known")), "proxy", "HTTPS_PROXY"),
    ],
)
def test_the_proxys_causes(failure: BaseException, text: str, hint: str) -> None:
    """A proxy's failure is not blamed on AWS."""
    error = unreachable("StartSession", HOST, failure, is_proxy=not isinstance(failure, ProxyRefusal))
    assert text in str(error)
    assert hint in str(error.hint)


def test_a_ring_of_causes_ends() -> None:
    """Exceptions that name each other as causes do not hang the diagnosis."""
    first, second = ValueError("first"), ValueError("second")
    first.__cause__, second.__cause__ = second, first
    assert "second" in str(unreachable("X", HOST, first))
