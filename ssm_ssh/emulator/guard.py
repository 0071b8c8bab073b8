"""Who may speak to the stand-in at all: it executes what it is asked to, so it must not be open.

Requests that name another host (a page in a browser whose name was rebound to loopback) and requests made by
a page (they carry an Origin) are refused before anything of them is read; everything else has to be signed.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

from aiohttp import web

from ssm_ssh.emulator.api_error import expired_token
from ssm_ssh.emulator.signature import Credentials, ReceivedRequest, check_signature, claimed_key

if TYPE_CHECKING:
    from aiohttp.typedefs import Handler, Middleware

    from ssm_ssh.emulator.fault import FaultSwitch
    from ssm_ssh.emulator.settings import ServiceSettings

_LOOPBACK_NAMES: Final = ("127.0.0.1", "localhost")


class Guard:
    """Checks hosts, origins and signatures.

    Attributes:
        credentials: The only ones that are good.
    """

    def __init__(
        self, credentials: Credentials, settings: ServiceSettings, faults: FaultSwitch, port: int
    ) -> None:
        self.credentials = credentials
        self._expired_keys: set[str] = set()
        self._settings = settings
        self._faults = faults
        self._hosts = {f"{name}:{port}" for name in _LOOPBACK_NAMES}
        for name in settings.server_host_names:
            self._hosts |= {name, f"{name}:443"}

    def middleware(self) -> Middleware:
        """What stands before every path, known or not."""

        @web.middleware
        async def check(request: web.Request, handler: Handler) -> web.StreamResponse:
            self._check_host(request)
            return await handler(request)

        return check

    def _check_host(self, request: web.Request) -> None:
        """Raise ``web.HTTPForbidden`` for a foreign Host and for any Origin."""
        if request.headers.get("Host", "").lower() not in self._hosts:
            raise web.HTTPForbidden(text="this host is not served here")
        if "Origin" in request.headers:
            raise web.HTTPForbidden(text="requests of web pages are not served here")

    def renew(self, credentials: Credentials) -> None:
        """Take these from now on; those before have expired."""
        self._expired_keys.add(self.credentials.access_key_id)
        self.credentials = credentials

    def check_signature(self, request: web.Request, body: bytes, service: str) -> None:
        """Raise ``ApiError`` unless the request is signed with our credentials for ``service``."""
        if claimed_key(request.headers.get("Authorization", "")) in self._expired_keys:
            raise expired_token()
        check_signature(
            received(request, body),
            self.credentials,
            service=service,
            region=self._settings.region,
            now=datetime.now(UTC),
        )
        if self._faults.now.has_expired_credentials:
            raise expired_token()


def received(request: web.Request, body: bytes) -> ReceivedRequest:
    """The request as it came, for the signature's sake."""
    path, _, query = request.raw_path.partition("?")
    headers: dict[str, str] = {}
    for name, value in request.headers.items():
        lower = name.lower()
        headers[lower] = f"{headers[lower]},{value}" if lower in headers else value
    return ReceivedRequest(request.method, path, query, headers, body)
