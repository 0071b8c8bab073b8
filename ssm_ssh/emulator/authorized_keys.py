"""Which public keys open a node, and until when."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

# EC2 Instance Connect's own rule for an OS user (protocol 10.1), which also keeps the name a safe file name.
_OS_USER: Final = re.compile(r"[A-Za-z_0-9][A-Za-z0-9@._-]{0,31}\$?")
# A key type, base64 and perhaps a comment on one line: no options, which could run commands.
_KEY_LINE: Final = re.compile(r"(ssh|ecdsa|sk-ssh|sk-ecdsa)-[a-z0-9@.-]+ [A-Za-z0-9+/]+={0,2}( [^\r\n]*)?")


class AuthorizedKeys:
    """The keys of every OS user of one node.

    Args:
        permanent: Key lines by OS user that never expire.
        clock: Seconds on any axis; decides when a pushed key expires.
    """

    def __init__(self, permanent: Mapping[str, Sequence[str]], *, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._permanent = {user: list(lines) for user, lines in permanent.items()}
        self._pushed: dict[str, dict[str, float]] = {}

    def push(self, os_user: str, public_key: str, *, seconds: float) -> None:
        """Let ``public_key`` open ``os_user`` for ``seconds`` from now.

        Raises:
            ValueError: If either is not what EC2 Instance Connect would take.
        """
        line = public_key.strip()
        if not _OS_USER.fullmatch(os_user):
            raise ValueError(f"{os_user!r} is no OS user")
        if not _KEY_LINE.fullmatch(line):
            raise ValueError("this is no public key in OpenSSH's one-line format")
        self._pushed.setdefault(os_user, {})[line] = self._clock() + seconds

    def users(self) -> set[str]:
        """Everybody who has, or had, a key."""
        return self._permanent.keys() | self._pushed.keys()

    def of(self, os_user: str) -> list[str]:
        """The lines that open ``os_user`` now."""
        now = self._clock()
        pushed = {line: until for line, until in self._pushed.get(os_user, {}).items() if now < until}
        if os_user in self._pushed:
            self._pushed[os_user] = pushed
        return [*self._permanent.get(os_user, ()), *pushed]
