"""Rooms of services that speak AWS's Query protocol: forms in, XML with a result element out."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, TypeAlias
from urllib.parse import parse_qsl
from xml.etree import ElementTree as ET

from ssm_ssh.emulator.api_error import ApiError
from ssm_ssh.emulator.api_room import xml_response

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from aiohttp import web

    from ssm_ssh.emulator.api_room import Call

_FORM_TYPE: Final = "application/x-www-form-urlencoded"
# The codes that this protocol spells differently from the JSON ones, with its own statuses.
_CODES: Final[dict[str, tuple[str, int]]] = {
    "AccessDeniedException": ("AccessDenied", 403),
    "ThrottlingException": ("Throttling", 400),
    "ExpiredTokenException": ("ExpiredToken", 403),
    "UnrecognizedClientException": ("InvalidClientTokenId", 403),
    "InvalidSignatureException": ("SignatureDoesNotMatch", 403),
    "IncompleteSignatureException": ("IncompleteSignature", 400),
    "MissingAuthenticationTokenException": ("MissingAuthenticationToken", 403),
}


@dataclass(frozen=True, slots=True)
class Listed:
    """A list in an answer: each of ``entries`` in an element called ``name``."""

    name: str
    entries: Sequence[Any]


# A member's value: text, number, truth, members of its own, or a list; None leaves the member out.
Value: TypeAlias = "str | int | bool | Mapping[str, Any] | Listed | None"


@dataclass(frozen=True, slots=True)
class FormRoom:
    """One such service.

    Attributes:
        version: The API version that its calls name; no two services here share one.
        namespace: Of the answers.
        operations: Each returns the members of its result.
    """

    signing_name: str
    version: str
    namespace: str
    operations: Mapping[str, Callable[[Call], Mapping[str, Any]]]

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
        root = ET.Element(f"{call.operation}Response", {"xmlns": self.namespace})
        result = ET.SubElement(root, f"{call.operation}Result")
        fill(result, self.operations[call.operation](call))
        fill(root, {"ResponseMetadata": {"RequestId": call.request_id}})
        return xml_response(root, 200, call.request_id)

    def refusal(self, error: ApiError, request_id: str) -> web.Response:
        """See ``Room``."""
        code, status = _CODES.get(error.code, (error.code, error.status))
        root = ET.Element("ErrorResponse", {"xmlns": self.namespace})
        sender = {"Type": "Sender", "Code": code, "Message": error.message}
        fill(root, {"Error": sender, "RequestId": request_id})
        return xml_response(root, status, request_id)


def fill(element: ET.Element, members: Mapping[str, Value]) -> None:
    """Add the members below ``element``."""
    for name, value in members.items():
        if value is not None:
            _write(ET.SubElement(element, name), value)


def _write(element: ET.Element, value: Value) -> None:
    if isinstance(value, Listed):
        for entry in value.entries:
            _write(ET.SubElement(element, value.name), entry)
    elif isinstance(value, bool):
        element.text = "true" if value else "false"
    elif isinstance(value, str | int):
        element.text = str(value)
    elif value is not None:
        fill(element, value)


def tag_list(tags: Mapping[str, str]) -> Listed:
    """Tags as these services list them."""
    return Listed("Tag", [{"Key": key, "Value": value} for key, value in tags.items()])


def filters(form: Mapping[str, Any]) -> dict[str, list[str]]:
    """The call's ``Filters``: allowed values by name."""
    found: dict[str, list[str]] = {}
    while (prefix := f"Filters.Filter.{len(found) + 1}") and f"{prefix}.Name" in form:
        values: list[str] = []
        while (name := f"{prefix}.Values.Value.{len(values) + 1}") in form:
            values.append(str(form[name]))
        found[str(form[f"{prefix}.Name"])] = values
    return found
