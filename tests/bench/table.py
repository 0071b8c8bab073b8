"""What every benchmark prints: a title, a plain table, and figures of equal form."""

from __future__ import annotations

import os
import platform
import statistics
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence


def say(text: str = "") -> None:
    """Print one line."""
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def show(title: str, header: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print a table; the first column is text, the others are figures."""
    widths = [max(len(row[column]) for row in (header, *rows)) for column in range(len(header))]
    say(title)
    for row in (header, ["-" * width for width in widths], *rows):
        cells = [row[0].ljust(widths[0])]
        cells += [cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=True)]
        say("  " + "  ".join(cells).rstrip())
    say()


def machine() -> str:
    """What the figures were taken on."""
    return f"{platform.system()}, {os.cpu_count()} CPUs, Python {platform.python_version()}"


def milliseconds(seconds: float) -> str:
    """A duration as a table shows it."""
    return f"{1000 * seconds:.1f}"


def timing_cells(samples: Sequence[float]) -> list[str]:
    """Median and minimum: a busy machine moves the first, the second is nearer to what the work takes."""
    return [milliseconds(statistics.median(samples)), milliseconds(min(samples))]
