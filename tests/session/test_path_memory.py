"""What is remembered of the way: private, whole or not at all, and never in the way."""

from __future__ import annotations

import json
import os
import stat
from pathlib import Path

import pytest

from ssm_ssh.protocol.data_channel import PathLimits
from ssm_ssh.session.path_memory import recall_limits, remember_limits

LIMITS = PathLimits(16_384, 32_768, 900.0)
NOW = 1_700_000_000.0
WEEK = 7 * 24 * 3600


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache folder that does not exist yet."""
    folder = tmp_path / "not" / "yet"
    monkeypatch.setenv("XDG_CACHE_HOME", str(folder))
    return folder


def only_file(folder: Path) -> Path:
    """The one file below a folder."""
    (file,) = (path for path in folder.rglob("*") if path.is_file())
    return file


def test_what_is_remembered_is_recalled(cache: Path) -> None:
    """For its region, and only for that."""
    remember_limits("eu-central-1", LIMITS, now=NOW)
    assert recall_limits("eu-central-1", now=NOW) == LIMITS
    assert recall_limits("us-east-1", now=NOW) is None
    remember_limits("eu-central-1", PathLimits(), now=NOW)
    assert recall_limits("eu-central-1", now=NOW) == PathLimits()
    assert only_file(cache).name == "eu-central-1.json"


def test_it_is_ours_alone(cache: Path) -> None:
    """0600 for the file, 0700 for every folder that we make, whatever the umask."""
    old = os.umask(0)
    try:
        remember_limits("eu-central-1", LIMITS)
    finally:
        os.umask(old)
    file = only_file(cache)
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    for folder in (file.parent, file.parent.parent, cache, cache.parent):
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700


def test_it_expires(cache: Path) -> None:
    """After a week, and if it comes from the future."""
    remember_limits("eu-central-1", LIMITS, now=NOW)
    assert recall_limits("eu-central-1", now=NOW + WEEK) == LIMITS
    assert recall_limits("eu-central-1", now=NOW + WEEK + 1) is None
    assert recall_limits("eu-central-1", now=NOW - 1) is None
    assert only_file(cache).exists()


def written(**changes: object) -> str:
    """A good file's text with some fields changed."""
    fields = {
        "saved_at": NOW,
        "payload_bytes": 16_384,
        "payload_cap_bytes": 32_768,
        "messages_per_second": 900.0,
    }
    return json.dumps(fields | changes)


GARBAGE = {
    "empty": "",
    "no JSON": "{",
    "a list": "[1]",
    "a number": "7",
    "null": "null",
    "nested beyond measure": "[" * 4000,
    "a text for a size": written(payload_bytes="many"),
    "a list for a size": written(payload_bytes=[1]),
    "an infinite size": written(payload_bytes=float("inf")),
    "no size": "{}",
    "no date": written(saved_at=None),
    "a rate of nothing": written(messages_per_second=0),
    "a negative rate": written(messages_per_second=-5),
    "a rate below every blame": written(messages_per_second=10),
    "no number for a rate": written(messages_per_second=float("nan")),
    "an infinite rate": written(messages_per_second=float("inf")),
    "a date that is no number": written(saved_at=float("nan")),
    "longer than any of ours": " " * 5000 + written(),
}


@pytest.mark.parametrize("text", GARBAGE.values(), ids=GARBAGE)
def test_garbage_is_taken_as_unknown(cache: Path, text: str) -> None:
    """Whatever stands in the file, it is at worst not known."""
    remember_limits("eu-central-1", LIMITS, now=NOW)
    file = only_file(cache)
    file.write_text(text, encoding="utf-8")
    assert recall_limits("eu-central-1", now=NOW) is None
    remember_limits("eu-central-1", LIMITS, now=NOW)
    assert recall_limits("eu-central-1", now=NOW) == LIMITS


def test_bytes_that_are_no_text_are_taken_as_unknown(cache: Path) -> None:
    """A file of another program's, or of a broken disk."""
    remember_limits("eu-central-1", LIMITS, now=NOW)
    only_file(cache).write_bytes(b"\xff\xfe\x00")
    assert recall_limits("eu-central-1", now=NOW) is None


def test_it_is_written_whole_or_not_at_all(cache: Path) -> None:
    """The file is replaced, never written into: a reader that has it open reads the old one to its end."""
    remember_limits("eu-central-1", LIMITS, now=NOW)
    file = only_file(cache)
    with file.open("rb") as opened:
        remember_limits("eu-central-1", PathLimits(), now=NOW)
        assert json.loads(opened.read())["payload_bytes"] == LIMITS.payload_bytes
    assert only_file(cache) == file


def test_a_folder_in_its_place_is_left_alone(cache: Path) -> None:
    """What cannot be written is let go, and nothing is left lying about."""
    remember_limits("eu-central-1", LIMITS, now=NOW)
    file = only_file(cache)
    file.unlink()
    file.mkdir()
    remember_limits("eu-central-1", LIMITS, now=NOW)
    assert recall_limits("eu-central-1", now=NOW) is None
    assert list(file.parent.iterdir()) == [file]


def test_a_file_in_place_of_a_folder_is_no_trouble(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The cache folder cannot be made: nothing is remembered, and nobody is told."""
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    remember_limits("eu-central-1", LIMITS)
    assert recall_limits("eu-central-1") is None


@pytest.mark.parametrize("value", [None, "", "relative/cache", "."])
def test_an_odd_cache_home_means_the_default(
    value: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """XDG's rule: unset, empty and relative values mean ~/.cache."""
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    if value is not None:
        monkeypatch.setenv("XDG_CACHE_HOME", value)
    remember_limits("eu-central-1", LIMITS)
    assert only_file(tmp_path).is_relative_to(tmp_path / ".cache" / "ssm-ssh")
    assert recall_limits("eu-central-1") == LIMITS


@pytest.mark.parametrize("region", ["", "..", "../../evil", "EU", "a/b", "eu-central-1\n", "x" * 65])
def test_a_region_that_is_none_names_no_file(region: str, cache: Path) -> None:
    """What goes into a file name is checked."""
    remember_limits(region, LIMITS)
    assert recall_limits(region) is None
    assert not cache.exists()


def test_without_a_home_nothing_is_remembered(monkeypatch: pytest.MonkeyPatch) -> None:
    """Symptom: a user without a home, as in containers, got a traceback."""

    def no_home() -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setattr(Path, "home", no_home)
    remember_limits("eu-central-1", LIMITS)
    assert recall_limits("eu-central-1") is None
