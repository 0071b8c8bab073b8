"""Starting costs nothing that is not needed: measured as modules, which do not vary from run to run."""

from __future__ import annotations

import subprocess
import sys

import pytest

HEAVY = {"asyncio", "boto3", "botocore", "keyring", "paramiko", "rich", "sshtunnel", "urllib3", "websockets"}


def modules_loaded_by(source: str) -> set[str]:
    """The top-level modules that a fresh interpreter loads to run ``source``."""
    program = (
        "import sys; before = set(sys.modules)\n"
        f"{source}\n"
        "sys.stderr.write('\\n'.join({name.split('.')[0] for name in set(sys.modules) - before}))"
    )
    run = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=60
    )
    return set(run.stderr.split())


def test_importing_the_package_loads_nothing_heavy() -> None:
    """``import ssm_ssh`` loads no foreign library and no event loop."""
    loaded = modules_loaded_by("import ssm_ssh")
    assert "ssm_ssh" in loaded
    assert loaded.isdisjoint(HEAVY)


@pytest.mark.parametrize("option", ["--help", "--version"])
def test_help_and_version_load_nothing_heavy(option: str) -> None:
    """A completion or a version check pays for neither asyncio nor AWS."""
    loaded = modules_loaded_by(f"from ssm_ssh.cli.main import run; assert run([{option!r}]) == 0")
    assert "ssm_ssh" in loaded
    assert loaded.isdisjoint(HEAVY | {"argparse"})
