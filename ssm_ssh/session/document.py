"""Session documents and what a session is started with."""

from __future__ import annotations

import getpass
import re
import socket
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from ssm_ssh.errors import InvalidOption

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

SSH_DOCUMENT: Final = "AWS-StartSSHSession"
_PORTS: Final = range(1, 65_536)
# Specification: StartSession's limits (protocol 1.1).
_DOCUMENT_NAME: Final = r"[a-zA-Z0-9_\-.:/]{3,128}"
_REASON_CHARACTERS: Final = 256


@dataclass(frozen=True, slots=True)
class SessionRequest:
    """What StartSession is asked for.

    Attributes:
        target: A node id.
        parameters: The document's parameters; every value is a list, as the API wants it.
    """

    target: str
    document_name: str
    parameters: Mapping[str, Sequence[str]] = field(default_factory=dict)
    reason: str | None = None


def ssh_request(
    target: str,
    port: int,
    *,
    document_name: str | None = None,
    parameters: Mapping[str, Sequence[str]] | None = None,
    reason: str | None = None,
) -> SessionRequest:
    """The request for one port of a node, as OpenSSH wants it.

    With a document of one's own only its own parameters are sent: what it calls its port, and whether it has
    one, is the account's business.
    """
    if document_name is None:
        return SessionRequest(target, SSH_DOCUMENT, {"portNumber": [str(port)], **(parameters or {})}, reason)
    return SessionRequest(target, document_name, parameters or {}, reason)


def parse_port(text: str) -> int:
    """A port number from 1 to 65535. Raises ``InvalidOption`` for anything else."""
    if text.isascii() and text.isdigit() and len(text) <= 5 and int(text) in _PORTS:
        return int(text)
    raise InvalidOption(f"{text!r} is not a port", hint="ports are numbers from 1 to 65535")


def parse_document_name(text: str) -> str:
    """A document's name or ARN. Raises ``InvalidOption`` for what the API would refuse."""
    if re.fullmatch(_DOCUMENT_NAME, text):
        return text
    raise InvalidOption(
        f"{text!r} is not a document name",
        hint="3 to 128 letters, digits and _ - . : /, as in AWS-StartSSHSession",
    )


def parse_parameters(words: Iterable[str]) -> dict[str, list[str]]:
    """``name=value`` words as a document's parameters; a repeated name makes a longer list."""
    parameters: dict[str, list[str]] = {}
    for word in words:
        name, separator, value = word.partition("=")
        if not separator or not name or not value:
            raise InvalidOption(f"{word!r} is not a parameter", hint="write --parameters NAME=VALUE")
        parameters.setdefault(name, []).append(value)
    return parameters


def parse_reason(text: str) -> str:
    """A session's reason. Raises ``InvalidOption`` for what the API would refuse."""
    if text.isprintable() and 1 <= len(text) <= _REASON_CHARACTERS:
        return text
    raise InvalidOption(
        "this reason cannot be used", hint=f"1 to {_REASON_CHARACTERS} characters, all on one line"
    )


def default_reason(verb: str) -> str:
    """What CloudTrail and the session list show where the user gave no reason: who asked, from where."""
    try:
        user = getpass.getuser()
    except (OSError, KeyError, ImportError):
        # A uid without a name, as in containers; Windows without USERNAME.
        user = "unknown"
    reason = f"ssm-ssh {verb} {user}@{socket.gethostname()}"
    # Both names are whatever somebody set them to, and the API takes one line.
    printable = "".join(character if character.isprintable() else "?" for character in reason)
    return printable[:_REASON_CHARACTERS]
