"""The coverage rules catch what they are for."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.coverage_by_own_test import complaint, own_tests
from tests.coverage_floor import complaints

if TYPE_CHECKING:
    from pathlib import Path


def test_a_module_below_its_floor_is_named() -> None:
    """Wire must be whole, the rest nearly; a module on its floor is fine."""
    percents = {"ssm_ssh/wire/payload.py": 99.9, "ssm_ssh/cli/main.py": 94.9, "ssm_ssh/errors.py": 95.0}
    assert list(complaints(percents, {})) == [
        "ssm_ssh/cli/main.py: 94.9 % is covered, 95 % is the floor",
        "ssm_ssh/wire/payload.py: 99.9 % is covered, 100 % is the floor",
    ]


def test_an_exception_lowers_the_floor_of_one_module() -> None:
    """An exception is a floor too."""
    assert list(complaints({"a.py": 80.0, "b.py": 79.0}, {"a.py": 80, "b.py": 80})) == [
        "b.py: 79.0 % is covered, 80 % is the floor"
    ]


def test_an_exception_that_is_no_longer_needed_must_go() -> None:
    """The list only shrinks: better figures and vanished modules are complaints."""
    percents = {"better.py": 88.0, "fine.py": 87.9}
    assert list(complaints(percents, {"better.py": 80, "fine.py": 80, "gone.py": 50})) == [
        "better.py: 88.0 % is covered, its exception of 80 % is out of date",
        "gone.py: has an exception and does not exist",
    ]


def test_a_module_needs_a_test_file_of_its_own(tmp_path: Path) -> None:
    """A module of the lowest floors without its file is a complaint; a room that is not there is none."""
    _write(tmp_path, "ssm_ssh/wire/letter.py", "")
    ((module, test),) = own_tests(tmp_path)
    assert "has no test file of its own" in complaint(tmp_path, module, test)


def test_a_module_must_be_covered_by_its_own_file(tmp_path: Path) -> None:
    """A branch that the module's own tests do not take is a complaint that names the line."""
    source = "def sign(number):\n    if number < 0:\n        return '-'\n    return '+'\n"
    _write(tmp_path, "ssm_ssh/__init__.py", "")
    _write(tmp_path, "ssm_ssh/wire/letter.py", source)
    _write(
        tmp_path,
        "pyproject.toml",
        "[tool.coverage.run]\nparallel = true\n[tool.pytest.ini_options]\npythonpath = ['.']",
    )
    test = "from ssm_ssh.wire.letter import sign\ndef test_plus():\n    assert sign(1) == '+'\n"
    _write(tmp_path, "tests/wire/test_letter.py", test)
    ((module, test_path),) = own_tests(tmp_path)
    found = complaint(tmp_path, module, test_path)
    assert "not wholly covered by" in found
    assert "75%" in found.replace(" ", "") or "67%" in found.replace(" ", "")

    _write(tmp_path, "tests/wire/test_letter.py", test + "def test_minus():\n    assert sign(-1) == '-'\n")
    assert complaint(tmp_path, module, test_path) == ""


def _write(folder: Path, name: str, text: str) -> None:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
