"""From the text of a config file to ``Settings``: what may stand in it is a table, a mistake has a line."""

from __future__ import annotations

import re
import tomllib
from bisect import bisect_left
from typing import TYPE_CHECKING, Any, Final, NoReturn

from ssm_ssh.errors import InvalidOption, UsageError
from ssm_ssh.session.document import parse_document_name
from ssm_ssh.session.limits import PAYLOAD_SIZES, RESUME_MINUTES, SESSIONS
from ssm_ssh.session.settings import Alias, Defaults, Settings, SshSettings, TunnelSettings
from ssm_ssh.session.target import parse_target

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    # Says what is wanted instead, or None if the value will do.
    _Check = Callable[[object], str | None]

# A name is typed on command lines and shown in tables.
_NAME: Final = re.compile(r"[\w.@/:+-]{1,128}")
_DECODE_LINE: Final = re.compile(r"\(at line (\d+), column \d+\)$")


def _text(value: object) -> str | None:
    is_text = isinstance(value, str) and value != "" and value.isprintable()
    return None if is_text else 'text on one line, as in "this"'


def _texts(value: object) -> str | None:
    is_list = isinstance(value, list) and value and all(_text(item) is None for item in value)
    return None if is_list else 'a list of texts, as in ["5432:db:5432"]'


def _flag(value: object) -> str | None:
    return None if isinstance(value, bool) else "true or false"


def _number(allowed: range) -> _Check:
    def check(value: object) -> str | None:
        # True is a number to Python.
        is_number = isinstance(value, int) and not isinstance(value, bool) and value in allowed
        return None if is_number else f"a whole number from {allowed[0]} to {allowed[-1]}"

    return check


def _one_of(*words: str) -> _Check:
    return lambda value: None if value in words else " or ".join(f'"{word}"' for word in words)


def _parsed_by(parse: Callable[[str], object]) -> _Check:
    def check(value: object) -> str | None:
        if _text(value) is not None:
            return _text(value)
        try:
            parse(str(value))
        except UsageError as error:
            return error.hint
        return None

    return check


_DOCUMENT: Final = _parsed_by(parse_document_name)
# What may stand in each section, and what it may be; in a section for each name, below that.
KEYS: Final[Mapping[str, Mapping[str, _Check]]] = {
    "defaults": {
        "profile": _text,
        "region": _text,
        "user": _text,
        "payload_size": _number(PAYLOAD_SIZES),
        "resume_minutes": _number(RESUME_MINUTES),
        "record": _text,
    },
    "aliases": {
        "target": _parsed_by(parse_target),
        "profile": _text,
        "region": _text,
        "user": _text,
        "document": _DOCUMENT,
    },
    "tunnels": {
        "target": _text,
        "profile": _text,
        "region": _text,
        "sessions": _number(SESSIONS),
        "document": _DOCUMENT,
        "forwards": _texts,
        "socks": _text,
    },
    "ssh": {
        "ephemeral_key": _flag,
        "on_new_host_key": _one_of("refuse", "ask", "accept"),
        "on_new_node": _one_of("refuse", "ask", "accept"),
        "start_instances": _flag,
    },
}
# Sections that hold a section for each name.
_NAMED: Final = frozenset({"aliases", "tunnels"})


def parse_settings(raw: bytes, path: Path) -> Settings:
    """Read a config file.

    Args:
        raw: What is in it.
        path: Where it is, for the errors.

    Raises:
        InvalidOption: If anything in it is not understood; names file and line.
    """
    reader = _Reader(_decoded(raw, path), path)
    return reader.settings()


def place_of(settings: Settings, *keys: str) -> str:
    """Where ``keys`` stand, as ``file:line``; the settings are those of a file that has them."""
    return f"{settings.path}:{line_of(settings.text, keys)}"


def line_of(text: str, keys: Sequence[str]) -> int:
    """On which line the statement begins that brings ``keys`` in; the text must be TOML and have them.

    A TOML file cut off after some line is a TOML file if, and only if, no statement was cut in two; and what
    it has, the longer file has too. So the line can be searched for with the parser itself.
    """
    lines = text.split("\n")
    counts = range(len(lines) + 1)
    last = bisect_left(counts, 1, key=lambda count: int(_has(_beginning(lines, count)[1], keys)))
    return _beginning(lines, last - 1)[0] + 1


def _beginning(lines: Sequence[str], count: int) -> tuple[int, dict[str, Any]]:
    """The longest beginning of at most ``count`` lines that is TOML: how many lines, and what it has."""
    while True:
        try:
            return count, tomllib.loads("\n".join(lines[:count]))
        except tomllib.TOMLDecodeError:
            count -= 1


def _has(document: object, keys: Sequence[str]) -> bool:
    for key in keys:
        if not isinstance(document, dict) or key not in document:
            return False
        document = document[key]
    return True


def _decoded(raw: bytes, path: Path) -> str:
    try:
        return raw.decode("utf-8-sig").replace("\r\n", "\n")
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        raise InvalidOption(f"{path}:{line}: this is not UTF-8", hint="save the file as UTF-8") from error


class _Reader:
    """One file on its way to ``Settings``."""

    def __init__(self, text: str, path: Path) -> None:
        self._text = text
        self._path = path
        try:
            self._document = tomllib.loads(text)
        except tomllib.TOMLDecodeError as error:
            found = _DECODE_LINE.search(str(error))
            line = int(found[1]) if found else text.rstrip("\n").count("\n") + 1
            raise InvalidOption(
                f"{path}:{line}: {_DECODE_LINE.sub('', str(error)).strip()}",
                hint="the file is TOML: text stands in quotes, lists in [ ]",
            ) from error
        except RecursionError as error:
            raise InvalidOption(f"{path}:1: it is nested too deeply", hint=None) from error

    def settings(self) -> Settings:
        for section in self._document:
            if section not in KEYS:
                self._fail_unknown((section,), KEYS, "there is no section {!r}")
        return Settings(
            self._path,
            self._text,
            Defaults(**self._section("defaults")),
            {name: self._alias(name) for name in self._names("aliases")},
            {name: self._tunnel(name) for name in self._names("tunnels")},
            SshSettings(**self._section("ssh")),
        )

    def _alias(self, name: str) -> Alias:
        alias = Alias(**self._section("aliases", name))
        if alias.target is None and (problem := KEYS["aliases"]["target"](name)) is not None:
            self._fail(("aliases", name), f"[aliases.{name}] needs a target: {problem}")
        return alias

    def _tunnel(self, name: str) -> TunnelSettings:
        keys, values = ("tunnels", name), self._section("tunnels", name)
        if "target" not in values:
            self._fail(keys, f"[tunnels.{name}] has no target", hint='say target = "…"')
        if "forwards" not in values and "socks" not in values:
            self._fail(
                keys, f"[tunnels.{name}] has nothing to forward", hint='say forwards = ["5432:db:5432"]'
            )
        target = values["target"]
        if target not in self._document.get("aliases", {}):
            problem = KEYS["aliases"]["target"](target)
            if problem is not None:
                self._fail((*keys, "target"), f"target = {target!r} cannot be used", hint=problem)
        values["forwards"] = tuple(values.get("forwards", ()))
        return TunnelSettings(**values)

    def _names(self, section: str) -> list[str]:
        names = list(self._table(section))
        for name in names:
            if not _NAME.fullmatch(name):
                hint = "a name has letters, digits and . _ - @ / : +, at most 128"
                self._fail((section, name), f"{name!r} cannot be a name in [{section}]", hint=hint)
        return names

    def _section(self, *keys: str) -> dict[str, Any]:
        """The keys and values of a section, all of them good."""
        title, known = ".".join(keys), KEYS[keys[0]]
        table = self._table(*keys)
        for key, value in table.items():
            if key not in known:
                self._fail_unknown((*keys, key), known, f"there is no {{!r}} in [{title}]")
            wanted = known[key](value)
            if wanted is not None:
                self._fail((*keys, key), f"{key} in [{title}] cannot be {_shown(value)}", hint=wanted)
        return dict(table)

    def _table(self, *keys: str) -> dict[str, Any]:
        table: Any = self._document
        for key in keys:
            table = table.get(key, {})
        if not isinstance(table, dict):
            title = ".".join(keys)
            form = f"[{title}.NAME]" if len(keys) == 1 and keys[0] in _NAMED else f"[{title}]"
            self._fail(keys, f"{title} is not a section", hint=f"write {form}, and its keys below")
        return table

    def _fail_unknown(self, keys: tuple[str, ...], known: Mapping[str, object], text: str) -> NoReturn:
        from difflib import get_close_matches  # noqa: PLC0415 -- only paid for on failure

        near = get_close_matches(keys[-1], known, n=1)
        hint = f"did you mean {near[0]!r}?" if near else f"there are {', '.join(known)}"
        self._fail(keys, text.format(keys[-1]), hint=hint)

    def _fail(self, keys: tuple[str, ...], text: str, hint: str | None = None) -> NoReturn:
        raise InvalidOption(f"{self._place(keys)}: {text}", hint=hint)

    def _place(self, keys: tuple[str, ...]) -> str:
        return f"{self._path}:{line_of(self._text, keys)}"


def _shown(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:59] + "…"
