"""What a program asks of a ``-D`` port, and what it is told: the words that SOCKS5 and HTTP CONNECT share."""

from __future__ import annotations

import hmac
from dataclasses import dataclass, field
from enum import Enum, auto
from typing import Final

from ssm_ssh.errors import InvalidOption

# Specification: RFC 1929 counts user and password with one byte each.
_LONGEST_BYTES: Final = 255


class Outcome(Enum):
    """What became of a request."""

    CONNECTED = auto()
    FORBIDDEN = auto()
    """By us or by the agent."""
    UNREACHABLE = auto()
    """No such host, as far as the node knows."""
    REFUSED = auto()
    TIMED_OUT = auto()
    BUSY = auto()
    """There is no place for a further session."""
    FAILED = auto()


@dataclass(frozen=True, slots=True)
class Asked:
    """A program asks for a connection.

    Attributes:
        host: A name or an address as the program wrote it; plain ASCII without blanks.
        port: 1 to 65535.
        early: What it has sent already for whoever is there.
    """

    host: str
    port: int
    early: bytes = b""


@dataclass(frozen=True, slots=True)
class Rejected:
    """A program asks for what is not served here. Its reply is ready; nothing more is to be read.

    Attributes:
        reason: For the user, one of a few sentences; never what the program sent.
    """

    reason: str


@dataclass(frozen=True, slots=True)
class Login:
    """The user and password that programs have to give."""

    user: bytes
    password: bytes = field(repr=False)

    @classmethod
    def parse(cls, text: str) -> Login:
        """Read ``USER:PASSWORD``.

        Raises:
            InvalidOption: For anything else; it does not quote the text.
        """
        user, _, password = (part.encode() for part in text.partition(":"))
        if not 1 <= len(user) <= _LONGEST_BYTES or not 1 <= len(password) <= _LONGEST_BYTES:
            raise InvalidOption(
                "the login of -D is not USER:PASSWORD", hint="each of the two has 1 to 255 bytes, on one line"
            )
        return cls(user, password)

    def is_right(self, user: bytes, password: bytes) -> bool:
        """Whether these are the two; takes as long for wrong ones as for right ones."""
        is_user = hmac.compare_digest(user, self.user)
        return hmac.compare_digest(password, self.password) and is_user
