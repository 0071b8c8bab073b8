"""Tokens: each opens one data channel of one session, once and soon."""

from __future__ import annotations

import hmac
import secrets
import time
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable

_TOKEN_BYTES: Final = 160


class SessionToken:
    """The one token of a session that is good now.

    A refused WebSocket does not use it up: the official client tries a first open again with the same token
    (protocol 2.4).
    """

    def __init__(self, valid_seconds: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._valid_seconds = valid_seconds
        self._clock = clock
        self._token = ""
        self._good_until = 0.0

    def renew(self) -> str:
        """A fresh token; the one before is dead."""
        self._token = secrets.token_urlsafe(_TOKEN_BYTES)
        self._good_until = self._clock() + self._valid_seconds
        return self._token

    def use(self, token: str) -> bool:
        """Whether ``token`` is the good one; if so, it is good no more."""
        is_good = (
            bool(self._token)
            and self._clock() <= self._good_until
            and hmac.compare_digest(token.encode("utf-8", "surrogatepass"), self._token.encode())
        )
        if is_good:
            self._token = ""
        return is_good
