"""EC2's forms and XML: how its calls spell lists, and its answers texts."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from xml.etree import ElementTree as ET

if TYPE_CHECKING:
    from collections.abc import Mapping


def add(element: ET.Element, texts: Mapping[str, str]) -> None:
    """Add an element for each text."""
    for name, text in texts.items():
        ET.SubElement(element, name).text = text


def form_filters(form: Mapping[str, Any]) -> list[tuple[str, list[str]]]:
    """The call's filters: names and patterns."""
    filters = []
    number = 1
    while f"Filter.{number}.Name" in form:
        values = form_list(form, f"Filter.{number}.Value")
        filters.append((str(form[f"Filter.{number}.Name"]), values))
        number += 1
    return filters


def form_list(form: Mapping[str, Any], name: str) -> list[str]:
    """The form's ``name.1``, ``name.2`` and so on."""
    values: list[str] = []
    while f"{name}.{len(values) + 1}" in form:
        values.append(str(form[f"{name}.{len(values) + 1}"]))
    return values
