"""Where a session's token may go: the check of every stream URL that AWS answers with.

The token opens a shell on a node, and the upgrade that precedes it is signed with the caller's credentials.
Both go only to an address that the caller could have named: the service's own host of the session's region,
or an endpoint that the caller configured. The URL is read by one strict pattern instead of a forgiving
parser, so that nothing which two parsers could read in two ways gets through.
"""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final
from urllib.parse import unquote

from ssm_ssh.errors import InvalidOption, UntrustedStreamUrl

if TYPE_CHECKING:
    from collections.abc import Collection

# Specification: the action that opens a stream, as policies and errors name it (protocol 2).
OPEN_DATA_CHANNEL: Final = "OpenDataChannel"
# Specification: the path of a data channel, before the session id.
_PATH_PREFIX: Final = "/v1/data-channel/"
# Specification: ports a URL means when it names none.
_TLS_PORT: Final = 443
_PLAIN_PORT: Final = 80
_ENDPOINT_HINT: Final = "write https://HOST or https://HOST:PORT"

_AUTHORITY: Final = r"(?P<host>[a-z0-9.-]+|\[[0-9a-f:.]+\])(?::(?P<port>[1-9][0-9]{0,4}))?"
_STREAM_URL: Final = re.compile(
    rf"(?P<scheme>wss?)://{_AUTHORITY}"
    r"(?P<path>/[A-Za-z0-9\-._~!$&'()*+,;=:@/%]*)"
    r"(?:\?(?P<query>[A-Za-z0-9\-._~!$&'()*+,;=:@/?%]*))?"
)
_ENDPOINT_URL: Final = re.compile(rf"(?P<scheme>wss?|https?)://{_AUTHORITY}(?P<path>/[^?#\s]*)?")
# Specification: a user's or role session's name, a hyphen and an id (protocol 1.1).
_SESSION_ID: Final = re.compile(r"[A-Za-z0-9_+=,.@-]{1,96}")
# Of these characters only the four that a URL may reasonably write as an escape are accepted as one.
_SESSION_ID_IN_PATH: Final = re.compile(r"(?:[A-Za-z0-9_+=,.@-]|%40|%2[BbCc]|%3[Dd])+")


@dataclass(frozen=True, slots=True)
class StreamAddress:
    """An address that may be given a token, and how to reach it.

    Attributes:
        url: What goes on the wire, to the byte.
        host: Lower case; an IPv6 address without its brackets.
        query: Raw, without the question mark; empty if there is none.
    """

    url: str = field(repr=False)
    host: str
    port: int
    is_tls: bool
    path: str
    query: str = field(repr=False)

    @property
    def netloc(self) -> str:
        """Host and port as a URL writes them: brackets around IPv6, no port where it is the scheme's own."""
        return _netloc(self.host, self.port, is_tls=self.is_tls)


@dataclass(frozen=True, slots=True)
class Origin:
    """Scheme, host and port of an endpoint that the user named, and whether a path follows them."""

    host: str
    port: int
    is_tls: bool
    has_path: bool = False

    @classmethod
    def parse(cls, url: str, *, setting: str) -> Origin:
        """Read an endpoint as a user writes it; ``https`` and ``wss`` mean the same, and so do the plain two.

        Raises:
            InvalidOption: If ``url``, the value of ``setting``, names no host or more than an endpoint.
        """
        match = _ENDPOINT_URL.fullmatch(url.strip().lower())
        port = _port(match) if match else None
        if match is None or port is None:
            # What stands before an @ may be a password.
            shown = url.rpartition("@")[2]
            raise InvalidOption(f"{setting} is no endpoint: {shown!r}", hint=_ENDPOINT_HINT)
        has_path = match["path"] not in {None, "/"}
        return cls(match["host"].strip("[]"), port, match["scheme"] in {"wss", "https"}, has_path)


def is_loopback(host: str) -> bool:
    """Whether a host, written as in a URL but without brackets, is this machine itself."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def parse_stream_override(url: str, *, setting: str) -> Origin:
    """Read an endpoint that shall replace scheme, host and port of stream URLs.

    Raises:
        InvalidOption: If it is no endpoint, has a path, or is plain and not on this machine.
    """
    origin = Origin.parse(url, setting=setting)
    if origin.has_path:
        raise InvalidOption(f"{setting} has a path: {url!r}", hint=_ENDPOINT_HINT)
    if not origin.is_tls and not is_loopback(origin.host):
        raise InvalidOption(
            f"{setting} must be https: {url!r}", hint="only this machine may be reached without TLS"
        )
    return origin


def check_stream_url(
    url: str,
    *,
    session_id: str,
    hosts: Collection[str],
    override: Origin | None = None,
    ssm_override: Origin | None = None,
) -> StreamAddress:
    """Decide whether the token of ``session_id`` may go to ``url``.

    Args:
        url: As AWS answered it.
        session_id: The session that the answer is for.
        hosts: The service's own, of the session's region, as ``service_hosts`` tells.
        override: The user's own stream endpoint; replaces scheme, host and port of ``url``.
        ssm_override: The user's own endpoint for the API calls; its host is trusted on any port.

    Raises:
        UntrustedStreamUrl: If it may not. Nothing else is ever raised, whatever the URL.
    """
    match = _STREAM_URL.fullmatch(url)
    port = _port(match) if match else None
    if match is None or port is None:
        raise UntrustedStreamUrl(url, "it is not of the form wss://HOST/PATH?QUERY")
    if not _is_path_of(session_id, match["path"]):
        raise UntrustedStreamUrl(url, f"its path is not {_PATH_PREFIX}{session_id}")
    host, is_tls = match["host"].strip("[]"), match["scheme"] == "wss"
    if override is not None:
        return _at(override, path=match["path"], query=match["query"])
    if host in hosts:
        if not is_tls or port != _TLS_PORT:
            raise UntrustedStreamUrl(url, "the service is reached by wss on port 443 only")
    elif ssm_override is None or host != ssm_override.host:
        raise UntrustedStreamUrl(url, "its host is not the message gateway of the session's region")
    elif not is_tls and not is_loopback(ssm_override.host):
        raise UntrustedStreamUrl(url, "it is not encrypted")
    return StreamAddress(url, host, port, is_tls, match["path"], match["query"] or "")


def service_hosts(region: str, suffixes: Collection[str]) -> frozenset[str]:
    """The hosts at which a region's message gateway may be found.

    Args:
        region: The session's region.
        suffixes: The DNS suffixes of the region's partition, plain and dual stack.
    """
    return frozenset(f"ssmmessages{fips}.{region}.{suffix}" for fips in ("", "-fips") for suffix in suffixes)


def address_of_host(host: str) -> StreamAddress:
    """The address of a host of the service as far as it is known before a session is."""
    return StreamAddress(f"wss://{host}", host, _TLS_PORT, is_tls=True, path="", query="")


def is_presigned(query: str) -> bool:
    """Whether a stream URL's query already carries a signature (protocol 2.1)."""
    return any(unquote(pair).lower().startswith("x-amz-") for pair in query.split("&"))


def _is_path_of(session_id: str, path: str) -> bool:
    if not _SESSION_ID.fullmatch(session_id) or session_id in {".", ".."}:
        return False
    if not path.startswith(_PATH_PREFIX):
        return False
    segment = path.removeprefix(_PATH_PREFIX)
    return _SESSION_ID_IN_PATH.fullmatch(segment) is not None and unquote(segment) == session_id


def _port(match: re.Match[str]) -> int | None:
    if match["port"] is None:
        return _TLS_PORT if match["scheme"] in {"wss", "https"} else _PLAIN_PORT
    port = int(match["port"])
    return port if port <= 65_535 else None


def _at(origin: Origin, *, path: str, query: str | None) -> StreamAddress:
    scheme = "wss" if origin.is_tls else "ws"
    tail = path if query is None else f"{path}?{query}"
    netloc = _netloc(origin.host, origin.port, is_tls=origin.is_tls)
    return StreamAddress(
        f"{scheme}://{netloc}{tail}", origin.host, origin.port, origin.is_tls, path, query or ""
    )


def _netloc(host: str, port: int, *, is_tls: bool) -> str:
    written = f"[{host}]" if ":" in host else host
    return written if port == (_TLS_PORT if is_tls else _PLAIN_PORT) else f"{written}:{port}"
