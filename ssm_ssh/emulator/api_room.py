"""Rooms of the API: one AWS service each, its operations in a table.

A new service is a new file with a ``JsonRoom``, a ``QueryRoom`` or a ``FormRoom``, added to the list in
``emulator.py``; one that answers in another way needs the methods of ``Room``, and one whose calls differ by
their paths those of ``PathRoom``.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final, Protocol
from urllib.parse import parse_qsl
from xml.etree import ElementTree as ET

from aiohttp import web

from ssm_ssh.emulator.api_error import ApiError

_JSON_TYPE: Final = "application/x-amz-json-1.1"
_FORM_TYPE: Final = "application/x-www-form-urlencoded"
# AWS spells the member "Message" in modelled errors and "message" in the others.
_UNMODELLED: Final = frozenset(
    {"ValidationException", "ThrottlingException", "UnrecognizedClientException", "ExpiredTokenException"}
)
# EC2 has its own codes for what the JSON protocols share, with its own statuses.
_QUERY_CODES: Final[dict[str, tuple[str, int]]] = {
    "AccessDeniedException": ("UnauthorizedOperation", 403),
    "ThrottlingException": ("RequestLimitExceeded", 503),
    "ExpiredTokenException": ("RequestExpired", 400),
    "UnrecognizedClientException": ("AuthFailure", 401),
    "InvalidSignatureException": ("SignatureDoesNotMatch", 403),
    "IncompleteSignatureException": ("IncompleteSignature", 400),
    "MissingAuthenticationTokenException": ("MissingAuthenticationToken", 403),
}


@dataclass(frozen=True, slots=True)
class Call:
    """One call of an operation, its signature checked already.

    Attributes:
        parameters: The JSON body, or the form's fields.
        host: The Host header.
        is_secure: Whether it came over TLS.
    """

    operation: str
    parameters: Mapping[str, Any]
    request_id: str
    host: str
    is_secure: bool
    user_agent: str


Operation = Callable[[Call], Any]


class Answering(Protocol):
    """What all rooms do with a call once it is known."""

    @property
    def signing_name(self) -> str:
        """The service's name in a credential scope."""

    def answer(self, call: Call) -> web.Response:
        """Carry out the call. Raises ``ApiError``."""

    def refusal(self, error: ApiError, request_id: str) -> web.Response:
        """The answer to a call that was refused."""


class PathRoom(Answering, Protocol):
    """One AWS service that is called by method and path."""

    @property
    def operations(self) -> Mapping[tuple[str, str], str]:
        """The operations by method and path, whose ``{name}`` parts are the call's parameters."""


class Room(Answering, Protocol):
    """One AWS service whose every call is a ``POST /``."""

    def operation(self, headers: Mapping[str, str], body: bytes) -> str | None:
        """The operation that a request names, or None if the request is not for this room."""

    def parameters(self, body: bytes) -> Mapping[str, Any]:
        """The call's parameters. Raises ``ApiError`` for a body that cannot be read."""


@dataclass(frozen=True, slots=True)
class JsonRoom:
    """A service that speaks JSON 1.1.

    Attributes:
        target_prefix: What stands before the dot in ``X-Amz-Target``.
    """

    signing_name: str
    target_prefix: str
    operations: Mapping[str, Operation]

    def operation(self, headers: Mapping[str, str], body: bytes) -> str | None:
        """See ``Room``."""
        prefix, _, name = headers.get("x-amz-target", "").partition(".")
        return name if prefix == self.target_prefix else None

    def parameters(self, body: bytes) -> Mapping[str, Any]:
        """See ``Room``."""
        try:
            fields = json.loads(body or b"{}")
        except ValueError:
            fields = None
        if not isinstance(fields, dict):
            raise ApiError("SerializationException", "the body is no JSON object")
        return fields

    def answer(self, call: Call) -> web.Response:
        """See ``Room``."""
        if call.operation not in self.operations:
            raise ApiError("UnknownOperationException", f"{call.operation} is not part of this stand-in")
        fields = self.operations[call.operation](call)
        return _json_response(fields, 200, call.request_id)

    def refusal(self, error: ApiError, request_id: str) -> web.Response:
        """See ``Room``."""
        member = "message" if error.code in _UNMODELLED else "Message"
        return _json_response({"__type": error.code, member: error.message}, error.status, request_id)


@dataclass(frozen=True, slots=True)
class QueryRoom:
    """A service that takes forms and answers with XML, in EC2's way.

    Attributes:
        version: The API version that its calls name.
        operations: Each adds its answer below the response element that it is given.
    """

    signing_name: str
    version: str
    operations: Mapping[str, Callable[[Call, ET.Element], None]]

    def operation(self, headers: Mapping[str, str], body: bytes) -> str | None:
        """See ``Room``."""
        if not headers.get("content-type", "").startswith(_FORM_TYPE):
            return None
        form = self.parameters(body)
        return str(form.get("Action", "")) if form.get("Version") == self.version else None

    def parameters(self, body: bytes) -> Mapping[str, Any]:
        """See ``Room``."""
        return dict(parse_qsl(body.decode("utf-8", "replace"), keep_blank_values=True))

    def answer(self, call: Call) -> web.Response:
        """See ``Room``."""
        if call.operation not in self.operations:
            raise ApiError("InvalidAction", f"The action {call.operation} is not part of this stand-in")
        root = ET.Element(
            f"{call.operation}Response", {"xmlns": f"http://ec2.amazonaws.com/doc/{self.version}/"}
        )
        ET.SubElement(root, "requestId").text = call.request_id
        self.operations[call.operation](call, root)
        return xml_response(root, 200, call.request_id)

    def refusal(self, error: ApiError, request_id: str) -> web.Response:
        """See ``Room``."""
        code, status = _QUERY_CODES.get(error.code, (error.code, error.status))
        root = ET.Element("Response")
        entry = ET.SubElement(ET.SubElement(root, "Errors"), "Error")
        ET.SubElement(entry, "Code").text = code
        ET.SubElement(entry, "Message").text = error.message
        ET.SubElement(root, "RequestID").text = request_id
        return xml_response(root, status, request_id)


def _json_response(fields: object, status: int, request_id: str) -> web.Response:
    return web.Response(
        status=status,
        body=json.dumps(fields).encode(),
        content_type=_JSON_TYPE,
        headers={"x-amzn-RequestId": request_id},
    )


def xml_response(root: ET.Element, status: int, request_id: str) -> web.Response:
    """An XML document as an answer."""
    return web.Response(
        status=status,
        body=ET.tostring(root, encoding="UTF-8", xml_declaration=True),
        content_type="text/xml",
        charset="UTF-8",
        headers={"x-amzn-RequestId": request_id},
    )
