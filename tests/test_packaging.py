"""What a user installs: the wheel holds the templates, the type marker and nothing of the tests."""

from __future__ import annotations

import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path
from typing import Any

import pytest

import ssm_ssh
from tests.requirement import need_module

REPOSITORY = Path(__file__).parent.parent


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel of this checkout, built without a network."""
    need_module("hatchling")
    folder = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "hatchling", "build", "--target", "wheel", "--directory", str(folder)]
    subprocess.run(command, cwd=REPOSITORY, check=True, capture_output=True, timeout=120)
    (path,) = folder.glob("*.whl")
    return path


def test_the_wheel_holds_the_templates_and_the_loader_finds_them(wheel: Path, tmp_path: Path) -> None:
    """Away from any checkout the loader reads the same texts from inside the package."""
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(tmp_path)
    program = (
        "from ssm_ssh.config_template import config_template_names as names, read_config_template as read\n"
        "import ssm_ssh, sys\n"
        "assert ssm_ssh.__file__.startswith(sys.argv[1]), ssm_ssh.__file__\n"
        "sys.stdout.write('\\0'.join(name + '\\0' + read(name) for name in names()))"
    )
    command = [sys.executable, "-c", program, str(tmp_path)]
    environment = {"PYTHONPATH": str(tmp_path), "PYTHONUTF8": "1"}
    run = subprocess.run(
        command, cwd=tmp_path, env=environment, capture_output=True, encoding="utf-8", check=True, timeout=60
    )
    found = run.stdout.split("\0")
    expected = {path.name: path.read_text("utf-8") for path in (REPOSITORY / "config_templates").iterdir()}
    assert dict(zip(found[::2], found[1::2], strict=True)) == expected


def test_the_wheel_holds_the_package_and_nothing_else(wheel: Path) -> None:
    """Types are marked, tests and documents stay out."""
    names = zipfile.ZipFile(wheel).namelist()
    assert "ssm_ssh/py.typed" in names
    version = ssm_ssh.__version__
    assert {name.split("/")[0] for name in names} == {"ssm_ssh", f"ssm_ssh-{version}.dist-info"}


def test_the_console_script_and_the_module_are_one_program() -> None:
    """``ssm-ssh`` is what ``python -m ssm_ssh`` runs."""
    scripts = _project()["scripts"]
    assert scripts == {"ssm-ssh": "ssm_ssh.__main__:main"}
    command = [sys.executable, "-m", "ssm_ssh", "--version"]
    run = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)
    assert run.stdout == f"ssm-ssh {ssm_ssh.__version__}\n"


def test_the_changelog_and_the_version_agree() -> None:
    """The version has its section in the changelog."""
    changelog = (REPOSITORY / "CHANGELOG.md").read_text("utf-8")
    assert f"## [{ssm_ssh.__version__}]" in changelog


def _project() -> dict[str, Any]:
    project: dict[str, Any] = tomllib.loads((REPOSITORY / "pyproject.toml").read_text("utf-8"))["project"]
    return project
