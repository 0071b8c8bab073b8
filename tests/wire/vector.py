"""Vectors: messages spelled by hand, one to a file of ``vectors/``.

A file has a head of ``key: value`` lines (``name``, ``source``, ``expect`` which is success or malformed,
``offset`` where a malformed message must be blamed, ``comment``), an empty line, and then the message in
hexadecimal, one field to a line or more, with ``#`` before the field's name.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Final

FOLDER: Final = Path(__file__).parent / "vectors"


@dataclass(frozen=True, slots=True)
class Vector:
    """One message and what must come of it.

    Attributes:
        stem: The file's name without its suffix.
        offset: What ``MalformedMessage.offset`` must be; None for a success.
    """

    stem: str
    is_malformed: bool
    offset: int | None
    raw: bytes

    def __str__(self) -> str:
        return self.stem


def read_vector(path: Path) -> Vector:
    """Read one file; a head that is incomplete or says something unknown is an error."""
    head, _, body = path.read_text(encoding="utf-8").partition("\n\n")
    facts = dict(line.split(": ", 1) for line in head.splitlines())
    expect = facts.pop("expect")
    offset = int(facts.pop("offset")) if expect == "malformed" else None
    assert expect in {"success", "malformed"}, path
    assert facts.keys() == {"name", "source", "comment"}, path
    digits = "".join(line.partition("#")[0] for line in body.splitlines())
    return Vector(path.stem, expect == "malformed", offset, bytes.fromhex(digits))


VECTORS: Final = {path.stem: read_vector(path) for path in sorted(FOLDER.glob("*.txt"))}
