"""Constraints on request fields, checked and worded as AWS does."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ssm_ssh.emulator.api_error import validation

if TYPE_CHECKING:
    from collections.abc import Mapping


@dataclass(frozen=True, slots=True)
class Text:
    """A field that is a string.

    Attributes:
        shortest: Least length in characters.
        longest: Greatest length in characters.
        pattern: What the whole value must match.
    """

    is_required: bool = False
    shortest: int = 0
    longest: int | None = None
    pattern: str | None = None
    choices: tuple[str, ...] = ()

    def finding(self, name: str, value: object) -> str | None:
        """What is wrong with ``value``, or None."""
        if value is None:
            return _finding(name, value, "Member must not be null") if self.is_required else None
        if not isinstance(value, str):
            return _finding(name, value, "Member must be a string")
        if len(value) < self.shortest:
            rule = f"Member must have length greater than or equal to {self.shortest}"
        elif self.longest is not None and len(value) > self.longest:
            rule = f"Member must have length less than or equal to {self.longest}"
        elif self.pattern is not None and re.fullmatch(self.pattern, value) is None:
            rule = f"Member must satisfy regular expression pattern: {self.pattern}"
        elif self.choices and value not in self.choices:
            rule = f"Member must satisfy enum value set: [{', '.join(self.choices)}]"
        else:
            return None
        return _finding(name, value, rule)


@dataclass(frozen=True, slots=True)
class Number:
    """A field that is an optional whole number between two limits."""

    least: int
    greatest: int

    def finding(self, name: str, value: object) -> str | None:
        """What is wrong with ``value``, or None."""
        if value is None:
            return None
        if not isinstance(value, int) or isinstance(value, bool):
            return _finding(name, value, "Member must be a number")
        if value < self.least:
            return _finding(name, value, f"Member must have value greater than or equal to {self.least}")
        if value > self.greatest:
            return _finding(name, value, f"Member must have value less than or equal to {self.greatest}")
        return None


def check(parameters: Mapping[str, Any], rules: Mapping[str, Text | Number]) -> None:
    """Accept the parameters or raise an ``ApiError`` that names every field that breaks its rule."""
    findings = [rule.finding(name, parameters.get(name)) for name, rule in rules.items()]
    wrong = [finding for finding in findings if finding is not None]
    if wrong:
        raise validation(*wrong)


def _finding(name: str, value: object, rule: str) -> str:
    member = name[:1].lower() + name[1:]
    shown = "" if value is None else f" '{value}'"
    return f"Value{shown} at '{member}' failed to satisfy constraint: {rule}"
