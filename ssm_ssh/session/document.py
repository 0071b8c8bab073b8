"""Session documents and what a session is started with."""

from __future__ import annotations

import getpass
import logging
import re
import socket
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, Protocol

from ssm_ssh.errors import AccessDenied, InvalidOption

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

_log = logging.getLogger(__name__)

SSH_DOCUMENT: Final = "AWS-StartSSHSession"
FORWARD_DOCUMENT: Final = "AWS-StartPortForwardingSession"
REMOTE_HOST_DOCUMENT: Final = "AWS-StartPortForwardingSessionToRemoteHost"
_PORTS: Final = range(1, 65_536)
# Specification: StartSession's limits (protocol 1.1).
_DOCUMENT_NAME: Final = r"[a-zA-Z0-9_\-.:/]{3,128}"
_REASON_CHARACTERS: Final = 256


class DocumentDirectory(Protocol):
    """Whoever can look a document up."""

    def document_parameters(self, name: str) -> frozenset[str]:
        """The names of the parameters that the document declares. Raises ``ControlPlaneError``."""


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


@dataclass(frozen=True, slots=True)
class Destination:
    """Where the node connects to.

    Attributes:
        host: Resolved by the node; None for the node itself.
    """

    host: str | None
    port: int

    def __str__(self) -> str:
        host = self.host or "localhost"
        return f"[{host}]:{self.port}" if ":" in host else f"{host}:{self.port}"


@dataclass(frozen=True, slots=True)
class OwnDocument:
    """A session document of the account's own.

    Attributes:
        declared: The names of its parameters; None where they may not be looked up.
    """

    name: str
    declared: frozenset[str] | None


def find_own_document(name: str, directory: DocumentDirectory) -> OwnDocument:
    """Look up what a document declares; many policies forbid that, and it is told then."""
    try:
        return OwnDocument(name, directory.document_parameters(name))
    except AccessDenied as denied:
        _log.warning("only what --parameters says is sent to the document %s: %s", name, denied)
        return OwnDocument(name, None)


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


def forward_request(
    target: str,
    destination: Destination,
    *,
    own: OwnDocument | None = None,
    parameters: Mapping[str, Sequence[str]] | None = None,
    reason: str | None = None,
) -> SessionRequest:
    """The request for a port that the node reaches.

    Args:
        target: A node id.
        destination: Where the node connects to.
        own: A document of the account's own: what it does not declare is not sent.
        parameters: The user's; they hold over what ``destination`` says.
        reason: What the session list shows.

    Raises:
        InvalidOption: If the user gave a parameter that the document does not declare.
    """
    given = dict(parameters or {})
    ours: dict[str, Sequence[str]] = {"portNumber": [str(destination.port)], "localPortNumber": ["0"]}
    if destination.host is not None:
        ours["host"] = [destination.host]
    if own is None:
        document_name = FORWARD_DOCUMENT if destination.host is None else REMOTE_HOST_DOCUMENT
        return SessionRequest(target, document_name, {**ours, **given}, reason)
    declared = own.declared or frozenset()
    unknown = sorted(given.keys() - declared)
    if unknown and own.declared is not None:
        raise InvalidOption(
            f"the document {own.name} declares no parameter {unknown[0]!r}",
            hint=f"it declares {', '.join(sorted(declared)) or 'none'}",
        )
    accepted = {name: values for name, values in ours.items() if name in declared}
    return SessionRequest(target, own.name, {**accepted, **given}, reason)


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
