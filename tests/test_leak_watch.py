"""The watch over all tests is itself tested: by sessions of pytest that leak, skip or look around."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.requirement import need_linux

REPOSITORY = Path(__file__).parent.parent
CONFTEST = "from tests.conftest import pytest_configure, pytest_unconfigure\n"
SETTINGS = "[pytest]\nmarkers =\n    interop: x\n    soak: x\naddopts = --import-mode=importlib\n"


def outcome(folder: Path, source: str, *arguments: str, **environment: str) -> tuple[int, str]:
    """Exit status and output of a pytest session of its own over one test file with our conftest."""
    (folder / "conftest.py").write_text(CONFTEST, "utf-8")
    (folder / "pytest.ini").write_text(SETTINGS, "utf-8")
    (folder / "test_it.py").write_text(source, "utf-8")
    variables = {name: value for name, value in os.environ.items() if name not in {"CI", "SSM_SSH_PLUGIN"}}
    run = subprocess.run(
        [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", *arguments, str(folder)],
        env=variables | {"PYTHONPATH": str(REPOSITORY)} | environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=100,
    )
    return run.returncode, run.stdout + run.stderr


FORGOTTEN_THREAD = """
import threading
def test_leaks():
    threading.Thread(target=threading.Event().wait, name="forgotten", daemon=True).start()
def test_is_not_blamed(): pass
"""

FORGOTTEN_CHILD = """
import subprocess
def test_leaks():
    global child
    child = subprocess.Popen(["sleep", "60"])
def test_is_not_blamed():
    child.returncode = 0
"""

FORGOTTEN_DESCRIPTORS = """
import os
def test_leaks():
    for _ in range(30):
        os.open(os.devnull, os.O_RDONLY)
"""

KEPT_BY_A_WIDER_FIXTURE = """
import subprocess, threading, pytest
@pytest.fixture(scope="module")
def world():
    stop = threading.Event()
    thread = threading.Thread(target=stop.wait)
    thread.start()
    with subprocess.Popen(["sleep", "60"]) as child:
        yield
        child.kill()
    stop.set()
    thread.join()
def test_one(world): pass
def test_two(world): pass
"""


def test_a_forgotten_thread_fails_its_test_alone(tmp_path: Path) -> None:
    """The test that left the thread behind errs, the next one does not."""
    status, text = outcome(tmp_path, FORGOTTEN_THREAD)
    assert status == pytest.ExitCode.TESTS_FAILED
    assert "test_leaks left behind: thread forgotten" in text
    assert "2 passed, 1 error" in text


def test_a_forgotten_child_fails_its_test_alone(tmp_path: Path) -> None:
    """The child is named, ended, and nobody else is blamed."""
    need_linux()
    status, text = outcome(tmp_path, FORGOTTEN_CHILD)
    assert status == pytest.ExitCode.TESTS_FAILED
    assert "(sleep 60)" in text
    assert "2 passed, 1 error" in text


def test_forgotten_descriptors_fail_the_session(tmp_path: Path) -> None:
    """All tests passed and yet the session fails and says why."""
    status, text = outcome(tmp_path, FORGOTTEN_DESCRIPTORS)
    assert status == pytest.ExitCode.TESTS_FAILED
    assert "descriptors more than at the start" in text


def test_a_wider_fixture_keeps_what_it_started(tmp_path: Path) -> None:
    """A module's fixture may hold a thread and a child over its tests."""
    status, text = outcome(tmp_path, KEPT_BY_A_WIDER_FIXTURE)
    assert status == pytest.ExitCode.OK, text


SKIPS = {
    "a call": "import pytest\ndef test_it(): pytest.skip('no')\ndef test_ok(): pass",
    "a mark": "import pytest\n@pytest.mark.skip\ndef test_it(): pass\ndef test_ok(): pass",
    "a module": "import pytest\npytest.skip('no', allow_module_level=True)",
    "a need": "from tests.requirement import need_program\ndef test_it(): need_program('no-such-program')",
}


@pytest.mark.parametrize("source", SKIPS.values(), ids=SKIPS)
def test_under_ci_a_skip_is_a_failure(tmp_path: Path, source: str) -> None:
    """However a test is skipped, the session fails under CI=true and passes elsewhere."""
    status, text = outcome(tmp_path, source, CI="true")
    assert status != pytest.ExitCode.OK
    assert "CI=true" in text
    status, _ = outcome(tmp_path, source)
    assert status in {pytest.ExitCode.OK, pytest.ExitCode.NO_TESTS_COLLECTED}


MARKED = """
import pytest
@pytest.mark.interop
def test_interop(): pass
@pytest.mark.soak
def test_soak(): pass
def test_plain(): pass
"""


@pytest.mark.parametrize(
    ("arguments", "environment", "closing"),
    [
        ([], {}, "1 passed, 2 deselected"),
        ([], {"CI": "true"}, "1 passed, 2 deselected"),
        (["-m", "soak"], {}, "1 passed, 2 deselected"),
        (["-m", "soak or not soak"], {}, "2 passed, 1 deselected"),
        ([], {"SSM_SSH_PLUGIN": "/some/plugin"}, "2 passed, 1 deselected"),
        (["-m", "interop"], {"SSM_SSH_PLUGIN": "/some/plugin"}, "1 passed, 2 deselected"),
    ],
)
def test_marked_tests_run_only_on_request(
    tmp_path: Path, arguments: list[str], environment: dict[str, str], closing: str
) -> None:
    """Interop needs its plugin, soak its mark; deselecting them is no skip, not even under CI."""
    status, text = outcome(tmp_path, MARKED, *arguments, **environment)
    assert status == pytest.ExitCode.OK
    assert closing in text


ENVIRONMENT = """
import os, pathlib
def test_it():
    assert "AWS_PROFILE" not in os.environ
    assert "SSH_AUTH_SOCK" not in os.environ
    assert "https_proxy" not in os.environ
    assert pathlib.Path.home() != pathlib.Path(os.environ["REAL_HOME"])
    assert not (pathlib.Path.home() / ".aws").exists()
    assert os.environ["SSM_SSH_PLUGIN"] == "/some/plugin"
"""


def test_tests_do_not_see_the_developer(tmp_path: Path) -> None:
    """Neither home nor credentials nor agent nor proxy of the person at the keyboard."""
    (tmp_path / ".aws").mkdir()
    status, text = outcome(
        tmp_path,
        ENVIRONMENT,
        HOME=str(tmp_path),
        REAL_HOME=str(tmp_path),
        AWS_PROFILE="production",
        SSH_AUTH_SOCK="/run/agent",
        https_proxy="http://proxy.invalid",
        SSM_SSH_PLUGIN="/some/plugin",
    )
    assert status == pytest.ExitCode.OK, text
