"""The table of tunnels, as people read it."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

import pytest

from ssm_ssh.cli.main import run
from ssm_ssh.cli.status import age_text, size_text, table_lines

if TYPE_CHECKING:
    from pathlib import Path

NOW: Final = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
TUNNEL: Final[dict[str, Any]] = {
    "name": "orders",
    "state": "up",
    "target": "bastion",
    "listeners": [
        {"addresses": ["127.0.0.1:5432", "[::1]:5432"], "destination": "db:5432"},
        {"addresses": ["/run/cache.sock"], "destination": "cache:6379"},
        {"addresses": ["127.0.0.1:1080"], "destination": None},
    ],
    "connections": 12,
    "open_connections": 3,
    "sent_bytes": 1_234,
    "received_bytes": 98_765_432,
    "round_trip_seconds": 0.0123,
    "resumes": 2,
    "since": "2026-01-02T01:00:00+00:00",
    "next_try_seconds": None,
    "last_end": None,
}
WAITING: Final[dict[str, Any]] = {
    **TUNNEL,
    "name": "metrics\x1b[2J",
    "state": "waiting",
    "listeners": [],
    "round_trip_seconds": None,
    "next_try_seconds": 3.6,
    "last_end": "busy\x1b[2J",
}


def test_the_table_is_aligned() -> None:
    """A row for each forward, the cause of the last end below, what steers a terminal escaped."""
    down = {"name": "other", "state": "down", "target": "web-1"}
    table = """\
NAME            STATE          LISTENING ON               LEADS TO            CONN  SENT    RECEIVED  RTT    RESUMES  FOR
metrics\\x1b[2J  waiting (4 s)  -                          bastion             3/12  1.2 kB  98.8 MB   -      2        2 h 4 min
    last end: busy\\x1b[2J
orders          up             127.0.0.1:5432 [::1]:5432  bastion db:5432     3/12  1.2 kB  98.8 MB   12 ms  2        2 h 4 min
                               /run/cache.sock            bastion cache:6379
                               127.0.0.1:1080             bastion (socks)
other           down           -                          web-1               -     -       -         -      -        -
"""  # noqa: E501 -- as wide as it is
    assert table_lines([WAITING, TUNNEL, down], NOW) == table.splitlines()


def test_an_empty_table_says_so() -> None:
    """Rather than a line of titles."""
    assert table_lines([], NOW) == ["no tunnel is up, and the config file has none"]


@pytest.mark.parametrize(
    ("size", "text"),
    [
        (0, "0 B"),
        (999, "999 B"),
        (1000, "1.0 kB"),
        (99_400, "99.4 kB"),
        (99_960, "100 kB"),
        (999_499, "999 kB"),
        (999_500, "1.0 MB"),
        (5 * 10**9, "5.0 GB"),
        (10**16, "10000 TB"),
    ],
)
def test_sizes_have_three_digits_and_a_unit(size: int, text: str) -> None:
    """Until there is no larger unit."""
    assert size_text(size) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(-1, "0 s"), (59.9, "59 s"), (60, "1 min"), (3599, "59 min"), (3600, "1 h 0 min"), (180_000, "2 d 2 h")],
)
def test_ages_have_two_units(seconds: float, text: str) -> None:
    """A clock that was set back makes nothing negative."""
    assert age_text(seconds) == text


def test_tunnels_that_are_not_up_are_shown(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """From the config file; as JSON, too."""
    config = tmp_path / "config.toml"
    config.write_text('[tunnels.a]\ntarget = "web-1"\nforwards = ["1:2"]\n')
    monkeypatch.setenv("SSM_SSH_CONFIG", str(config))
    assert run(["status"]) == 0
    assert capsys.readouterr().out.splitlines()[1].split()[:4] == ["a", "down", "-", "web-1"]
    assert run(["status", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == {
        "version": 1,
        "supervisor": None,
        "tunnels": [{"name": "a", "state": "down", "target": "web-1"}],
    }
    config.write_text("[tunnel]")
    assert run(["status"]) == 0
    said = capsys.readouterr()
    assert said.out == "no tunnel is up, and the config file has none\n"
    assert said.err.startswith(f"ssm-ssh: warning: {config}:1: there is no section 'tunnel'")


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["status", "--watch"], "--watch needs a terminal"),
        (["status", "--watch", "--json"], "not allowed with"),
        (["status", "x"], "unrecognized arguments: x"),
        (["down", "x"], "x is not up"),
        (["up", "x"], "the config file has no tunnel 'x'"),
        (["up"], "there is no tunnel to bring up"),
    ],
)
def test_mistakes_are_told(words: list[str], says: str, capsys: pytest.CaptureFixture[str]) -> None:
    """An error line, a hint line, and 2; nothing is started for them."""
    assert run(words) == 2
    error, hint = capsys.readouterr().err.splitlines()
    assert says in error
    assert hint.startswith("ssm-ssh: hint: ")
