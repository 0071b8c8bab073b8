"""Names say what a thing is: words that fit everything are banned from modules and classes."""

from __future__ import annotations

import ast
import re
from typing import TYPE_CHECKING, Final

from tests.import_rules import PACKAGE, Module, modules_below

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

BANNED: Final = frozenset(
    {"manager", "handler", "helper", "util", "misc", "common", "core", "base", "info", "object", "wrapper"}
)
_WORD: Final = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+")


def banned_names(modules: Iterable[Module]) -> Iterator[str]:
    """The module and class names that hold a banned word, in the singular or the plural."""
    for module in modules:
        classes = [node.name for node in ast.walk(ast.parse(module.source)) if isinstance(node, ast.ClassDef)]
        for name in (module.name.rpartition(".")[2], *classes):
            words = {word.lower() for word in _WORD.findall(name)}
            if not BANNED.isdisjoint(words | {word.removesuffix("s") for word in words}):
                yield f"{module.name}: {name}"


def test_no_module_and_no_class_bears_an_empty_word() -> None:
    """The whole package keeps to the vocabulary."""
    assert list(banned_names(modules_below(PACKAGE))) == []


def test_an_empty_word_is_caught() -> None:
    """As a module, in a class, in the plural, among capitals; not inside another word."""
    source = "class SSMManager: ...\nclass _PathInfo: ...\nclass Database: ...\nclass Informed: ...\n"
    assert list(banned_names([Module("ssm_ssh.wire.utils", source)])) == [
        "ssm_ssh.wire.utils: utils",
        "ssm_ssh.wire.utils: SSMManager",
        "ssm_ssh.wire.utils: _PathInfo",
    ]
