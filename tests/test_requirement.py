"""Needs are answered with the thing, or with a skip that names it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.requirement import need_module, need_program, need_root, without_privileges


def test_a_program_is_found_by_its_path() -> None:
    """What is there is returned, absolute."""
    assert Path(need_program("ssh")).is_absolute()


@pytest.mark.parametrize("ci", ["", "true"])
def test_what_is_missing_is_named(monkeypatch: pytest.MonkeyPatch, ci: str) -> None:
    """A skip on an ordinary machine, a failure under CI."""
    monkeypatch.setenv("CI", ci)
    expected = pytest.fail.Exception if ci else pytest.skip.Exception
    with pytest.raises(expected, match="the program no-such-program"):
        need_program("no-such-program")
    with pytest.raises(expected, match="the Python module no_such_module"):
        need_module("no_such_module")


def test_without_privileges_permissions_hold(tmp_path: Path) -> None:
    """Root may write anywhere; the same program as nobody may not, and can still start."""
    need_root()
    tmp_path.chmod(0o555)
    program = "import os, sys; sys.stdout.write(str(os.geteuid())); open(sys.argv[1], 'w')"
    command = without_privileges([sys.executable, "-c", program, str(tmp_path / "file")])
    run = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert (run.stdout, run.returncode) == ("65534", 1)
    assert "Permission denied" in run.stderr
    assert os.geteuid() == 0
