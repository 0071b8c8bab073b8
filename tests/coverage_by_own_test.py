"""Each module of the two lowest floors is covered wholly, branches included, by its own test file alone.

Run as ``python -m tests.coverage_by_own_test``. A module covered only by somebody else's tests is a module
whose behaviour nobody stated.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterator

REPOSITORY: Final = Path(__file__).parent.parent
ROOMS: Final = ("wire", "protocol")


def own_tests(repository: Path) -> Iterator[tuple[Path, Path]]:
    """Each module of the rooms with the test file that must cover it; both relative to the repository."""
    for room in ROOMS:
        for module in sorted((repository / "ssm_ssh" / room).glob("*.py")):
            if module.name != "__init__.py":
                yield module.relative_to(repository), Path("tests", room, f"test_{module.name}")


def complaint(repository: Path, module: Path, test: Path) -> str:
    """What is wrong with the coverage of ``module`` by ``test``; empty if nothing is."""
    if not (repository / test).is_file():
        return f"{module}: has no test file of its own, {test}"
    with tempfile.TemporaryDirectory() as folder:
        # COVERAGE_FILE keeps these figures apart from those of the whole run.
        environment = os.environ | {"COVERAGE_FILE": str(Path(folder, "data"))}
        include = f"--include={module.as_posix()}"
        # The emulator's plugin is installed with the package and of no use to these floors.
        pytest = ["-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "no:ssm_ssh_emulator", str(test)]
        for arguments in (
            ["run", include, "--branch", *pytest],
            ["combine", "--quiet"],
            ["report", include, "--show-missing", "--fail-under=100"],
        ):
            command = [sys.executable, "-m", "coverage", *arguments]
            run = subprocess.run(
                command, cwd=repository, env=environment, capture_output=True, text=True, check=False
            )
            if run.returncode != 0:
                return f"{module}: not wholly covered by {test}\n{run.stdout}{run.stderr}"
    return ""


def main() -> int:
    """Check every module; say what each lacks."""
    failures = 0
    for module, test in own_tests(REPOSITORY):
        text = complaint(REPOSITORY, module, test)
        failures += bool(text)
        sys.stdout.write(f"{text or f'{module}: 100 % by {test}'}\n")
        sys.stdout.flush()
    return 1 if failures else 0


if __name__ == "__main__":
    raise SystemExit(main())
