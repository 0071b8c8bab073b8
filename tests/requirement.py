"""What a test needs of the machine, asked for by name.

On an ordinary machine a test whose need is not met is skipped and the skip names the need. Under ``CI=true``
the same call fails the test, because there everything is installed and a skip would hide a loss.
"""

from __future__ import annotations

import importlib
import os
import shutil
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Final, NoReturn

import pytest

if TYPE_CHECKING:
    from collections.abc import Sequence
    from types import ModuleType

# Where servers live that are not on an ordinary user's PATH.
_SERVER_FOLDERS: Final = (
    *("/usr/local/sbin", "/usr/sbin", "/sbin", "/usr/lib/openssh", "/usr/libexec"),
    # Debian keeps each release of PostgreSQL in a folder of its own.
    *map(str, sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)),
)


def is_ci() -> bool:
    """Whether nothing may be skipped."""
    return os.environ.get("CI") == "true"


def unmet(need: str) -> NoReturn:
    """End the test because of ``need``: a skip, or a failure under ``CI=true``."""
    if is_ci():
        pytest.fail(f"needs {need}, and under CI=true nothing may be skipped", pytrace=False)
    pytest.skip(f"needs {need}")


def need_program(name: str) -> str:
    """The absolute path of a program, servers' folders included."""
    folders = os.pathsep.join([os.environ.get("PATH", os.defpath), *_SERVER_FOLDERS])
    return shutil.which(name, path=folders) or unmet(f"the program {name}")


def need_module(name: str) -> ModuleType:
    """A module of an optional dependency, imported."""
    try:
        return importlib.import_module(name)
    except ImportError:
        unmet(f"the Python module {name}")


def need_linux() -> None:
    """Linux: namespaces, /proc, strace."""
    if sys.platform != "linux":
        unmet("Linux")


def need_root() -> None:
    """Root, on a system that knows one."""
    if not hasattr(os, "geteuid") or os.geteuid() != 0:
        unmet("root")


def without_privileges(command: Sequence[str]) -> list[str]:
    """``command`` such that permissions hold for it even if the tests run as root.

    As root it runs as another user (nobody), who keeps only the right to search and read, so that a Python
    under root's home can start. A refusal to *read* can therefore not be tested with it; to write, to
    bind a low port, to signal or to become somebody else can.
    """
    if not hasattr(os, "geteuid") or os.geteuid() != 0:
        return list(command)
    setpriv = need_program("setpriv")
    # Nobody may not write coverage data here, and would say so on stderr.
    unmeasured = ["env", "--unset=COVERAGE_PROCESS_CONFIG", "--unset=COVERAGE_PROCESS_START"]
    read_only = ["--inh-caps=-all,+dac_read_search", "--ambient-caps=-all,+dac_read_search"]
    identity = ["--reuid=65534", "--regid=65534", "--clear-groups"]
    return [
        setpriv,
        *identity,
        *read_only,
        "--bounding-set=-all,+dac_read_search",
        "--",
        *unmeasured,
        *command,
    ]
