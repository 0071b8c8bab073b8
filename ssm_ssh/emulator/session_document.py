"""Session documents: the built-in ones and those of an account (protocol 1.3).

The patterns of ports are AWS's. How AWS words a parameter that is not declared or breaks its pattern is not
published; the words here are ours.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from ssm_ssh.emulator.api_error import ApiError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

# Specification: 1 to 65535; a local port may also be 0.
PORT_PATTERN: Final = (
    "^([1-9]|[1-9][0-9]{1,3}|[1-5][0-9]{4}|6[0-4][0-9]{3}|65[0-4][0-9]{2}|655[0-2][0-9]|6553[0-5])$"
)
LOCAL_PORT_PATTERN: Final = PORT_PATTERN.replace("^([1-9]|", "^([0-9]|", 1)
DEFAULT_DOCUMENT: Final = "SSM-SessionManagerRunShell"
_SCHEMA_VERSION: Final = "1.0"


@dataclass(frozen=True, slots=True)
class ParameterRule:
    """One parameter of a document.

    Attributes:
        default: Filled in where the caller says nothing; None makes the parameter required.
        pattern: What the whole value must match, or None for anything.
    """

    default: str | None = None
    pattern: str | None = None


@dataclass(frozen=True, slots=True)
class SessionDocument:
    """One document of type Session.

    Attributes:
        session_type: ``Port``, ``Standard_Stream``, ``InteractiveCommands`` or ``NonInteractiveCommands``.
        properties: With ``{{ name }}`` in place: the agent substitutes.
    """

    name: str
    session_type: str
    parameters: Mapping[str, ParameterRule] = field(default_factory=dict)
    properties: Mapping[str, Any] = field(default_factory=dict)
    inputs: Mapping[str, Any] = field(default_factory=dict)
    description: str = "Document to start a session"

    def values(self, given: Mapping[str, Sequence[str]]) -> dict[str, str]:
        """The parameters' values, checked, defaults filled in.

        Raises:
            ApiError: ``InvalidParameters`` for a name that the document lacks, ``ValidationException`` for a
                missing, a repeated or an unfitting value.
        """
        for name in given:
            if name not in self.parameters:
                raise ApiError(
                    "InvalidParameters", f'Parameter "{name}" is not defined in the document {self.name}.'
                )
        return {name: self._value(name, rule, given.get(name)) for name, rule in self.parameters.items()}

    def content(self) -> str:
        """The document as GetDocument shows it."""
        parameters = {
            name: {
                "type": "String",
                **({} if rule.default is None else {"default": rule.default}),
                **({} if rule.pattern is None else {"allowedPattern": rule.pattern}),
            }
            for name, rule in self.parameters.items()
        }
        fields = {
            "schemaVersion": _SCHEMA_VERSION,
            "description": self.description,
            "sessionType": self.session_type,
            "inputs": self.inputs,
            "parameters": parameters,
            "properties": self.properties,
        }
        kept = {name: value for name, value in fields.items() if value}
        return json.dumps(kept, indent=2)

    def _value(self, name: str, rule: ParameterRule, given: Sequence[str] | None) -> str:
        if given is None:
            if rule.default is None:
                raise ApiError("ValidationException", f"Parameter {name} of {self.name} is required.")
            return rule.default
        if len(given) != 1:
            raise ApiError("ValidationException", f"Parameter {name} of {self.name} takes one value.")
        if rule.pattern is not None and re.fullmatch(rule.pattern, given[0]) is None:
            raise ApiError(
                "ValidationException",
                f"Value {given[0]!r} of parameter {name} does not match the pattern {rule.pattern}",
            )
        return given[0]


_PORT = ParameterRule("80", PORT_PATTERN)
_LOCAL_PORT = ParameterRule("0", LOCAL_PORT_PATTERN)
_COMMAND_PROPERTIES: Final = {
    platform: {"commands": "{{ command }}", "runAsElevated": False}
    for platform in ("linux", "windows", "macos")
}

BUILT_IN: Final = (
    SessionDocument(DEFAULT_DOCUMENT, "Standard_Stream", inputs={"runAsEnabled": False}),
    SessionDocument(
        "AWS-StartSSHSession",
        "Port",
        parameters={"portNumber": ParameterRule("22", PORT_PATTERN)},
        properties={"portNumber": "{{ portNumber }}"},
    ),
    SessionDocument(
        "AWS-StartPortForwardingSession",
        "Port",
        parameters={"portNumber": _PORT, "localPortNumber": _LOCAL_PORT},
        properties={
            "portNumber": "{{ portNumber }}",
            "type": "LocalPortForwarding",
            "localPortNumber": "{{ localPortNumber }}",
        },
    ),
    SessionDocument(
        "AWS-StartPortForwardingSessionToRemoteHost",
        "Port",
        parameters={"portNumber": _PORT, "localPortNumber": _LOCAL_PORT, "host": ParameterRule("localhost")},
        properties={
            "portNumber": "{{ portNumber }}",
            "type": "LocalPortForwarding",
            "localPortNumber": "{{ localPortNumber }}",
            "host": "{{ host }}",
        },
    ),
    SessionDocument(
        "AWS-StartPortForwardingSessionToSocket",
        "Port",
        parameters={"portNumber": _PORT, "localUnixSocket": ParameterRule()},
        properties={
            "portNumber": "{{ portNumber }}",
            "type": "LocalPortForwarding",
            "localConnectionType": "unix",
            "localUnixSocket": "{{ localUnixSocket }}",
        },
    ),
    SessionDocument(
        "AWS-StartInteractiveCommand",
        "InteractiveCommands",
        parameters={"command": ParameterRule()},
        properties=_COMMAND_PROPERTIES,
    ),
    SessionDocument(
        "AWS-StartNonInteractiveCommand",
        "NonInteractiveCommands",
        parameters={"command": ParameterRule()},
        properties=_COMMAND_PROPERTIES,
    ),
)


class DocumentTable:
    """The documents of an account: the built-in ones and any that are added."""

    def __init__(self, own: Sequence[SessionDocument] = ()) -> None:
        self._documents = {document.name: document for document in (*BUILT_IN, *own)}

    def find(self, name: str) -> SessionDocument:
        """The document of that name or ARN.

        Raises:
            ApiError: ``InvalidDocument``.
        """
        document = self._documents.get(name.rpartition("document/")[2])
        if document is None:
            raise ApiError("InvalidDocument", f"Document with name {name} does not exist.")
        return document

    def add(self, document: SessionDocument) -> None:
        """Add a document, or replace the one of that name."""
        self._documents[document.name] = document
