"""The package's log on stderr, and tracebacks for those who ask."""

from __future__ import annotations

import logging

import pytest

from ssm_ssh.cli.log import show_log, show_traceback
from ssm_ssh.errors import SessionLost


@pytest.mark.parametrize(
    ("verbosity", "shown"),
    [(0, ["w"]), (1, ["i", "w"]), (2, ["d", "i", "w"]), (3, ["d", "i", "w"]), (9, ["d", "i", "w"])],
)
def test_verbosity(verbosity: int, shown: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    """Warnings always, more with each v, all with our prefix and nothing on stdout."""
    show_log(verbosity)
    log = logging.getLogger("ssm_ssh.session.session")
    log.debug("d")
    log.info("i")
    log.warning("%s", "w")
    captured = capsys.readouterr()
    assert captured.err.splitlines() == [f"ssm-ssh: {line}" for line in shown]
    assert captured.out == ""


def test_foreign_text_cannot_steer_the_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    """A customer message, a reason, an agent's text: one line, nothing that moves the cursor."""
    show_log(0)
    logging.getLogger("ssm_ssh.session.session").warning("%s", "a\x1b[2J\nb\u202e")
    assert capsys.readouterr().err == "ssm-ssh: a\\x1b[2J\\nb\\u202e\n"


def test_other_packages_stay_silent(capsys: pytest.CaptureFixture[str]) -> None:
    """Botocore's log holds signatures; it is not ours to show."""
    show_log(2)
    logging.getLogger("botocore.auth").debug("signature")
    assert "signature" not in capsys.readouterr().err


def failure() -> SessionLost:
    """An error with a cause."""
    error = SessionLost("lost")
    error.__cause__ = OSError("why")
    return error


@pytest.mark.parametrize("verbosity", [0, 1])
def test_no_traceback_unless_asked(verbosity: int, capsys: pytest.CaptureFixture[str]) -> None:
    """Two lines are enough for most."""
    show_traceback(failure(), verbosity)
    assert capsys.readouterr().err == ""


def test_a_traceback_can_be_read(capsys: pytest.CaptureFixture[str]) -> None:
    """Symptom: its line breaks were shown as backslash and n."""
    show_traceback(failure(), 2)
    err = capsys.readouterr().err
    assert "ssm-ssh: OSError: why\n" in err
    assert "SessionLost: lost\n" in err
    assert "\\n" not in err
