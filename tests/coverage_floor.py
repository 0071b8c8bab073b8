"""The floor of every module's coverage, branches included, in a run of all tests.

Run as ``python -m tests.coverage_floor`` after ``coverage combine``. The exceptions may only shrink: an entry
that has become better than it says fails too, until it is raised or removed.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

FLOOR_PERCENT: Final = 95
WHOLE_PERCENT: Final = 100
WHOLE: Final = ("ssm_ssh/wire/", "ssm_ssh/protocol/")
# An exception this much better than its entry has to be raised; less is noise between machines.
SLACK_PERCENT: Final = 3

# Module: the per cent it reaches, and on the same line why it cannot reach the floor. Entries only go.
EXCEPTIONS: Final[Mapping[str, int]] = {}


def complaints(percents: Mapping[str, float], exceptions: Mapping[str, int]) -> Iterator[str]:
    """One line for each module below its floor and each exception that is out of date.

    Args:
        percents: Covered per cent by module path, as coverage.py counts lines and branches together.
        exceptions: Like ``EXCEPTIONS``.
    """
    for module, percent in sorted(percents.items()):
        normal = WHOLE_PERCENT if module.startswith(WHOLE) else FLOOR_PERCENT
        floor = exceptions.get(module, normal)
        if percent < floor:
            yield f"{module}: {percent:.1f} % is covered, {floor} % is the floor"
        elif module in exceptions and (percent >= normal or percent >= floor + SLACK_PERCENT):
            yield f"{module}: {percent:.1f} % is covered, its exception of {floor} % is out of date"
    for module in sorted(exceptions.keys() - percents.keys()):
        yield f"{module}: has an exception and does not exist"


def measured() -> dict[str, float]:
    """Covered per cent by module path, from the data of the run before."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "coverage.json")
        subprocess.run([sys.executable, "-m", "coverage", "json", "--quiet", "-o", str(path)], check=True)
        files = json.loads(path.read_text("utf-8"))["files"]
    return {Path(name).as_posix(): float(file["summary"]["percent_covered"]) for name, file in files.items()}


def main() -> int:
    """Check every module; say what is below its floor."""
    found = list(complaints(measured(), EXCEPTIONS))
    for line in found:
        sys.stdout.write(f"{line}\n")
    return 1 if found else 0


if __name__ == "__main__":
    raise SystemExit(main())
