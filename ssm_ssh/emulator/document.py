"""Filling in a session document on the agent (protocol 1.3)."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Mapping

_PARAMETER: Final = re.compile(r"\{\{\s*([A-Za-z0-9_]+)\s*\}\}")


def resolve(value: Any, parameters: Mapping[str, str]) -> Any:  # noqa: ANN401 -- a document is untyped JSON
    """``value`` with each ``{{ name }}`` replaced, in whatever depth; unknown names stay as they are."""
    if isinstance(value, str):
        return _PARAMETER.sub(lambda found: str(parameters.get(found[1], found[0])), value)
    if isinstance(value, dict):
        return {name: resolve(inner, parameters) for name, inner in value.items()}
    if isinstance(value, list):
        return [resolve(inner, parameters) for inner in value]
    return value
