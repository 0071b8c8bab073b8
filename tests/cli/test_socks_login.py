"""Where ``-D``'s user and password come from."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from ssm_ssh.cli.socks_login import LOGIN_VARIABLE, read_socks_login
from ssm_ssh.errors import InvalidOption
from ssm_ssh.forward.client_request import Login

if TYPE_CHECKING:
    from pathlib import Path


def written(tmp_path: Path, data: bytes, mode: int = 0o600) -> str:
    """The path of a file with this in it."""
    path = tmp_path / "login"
    path.write_bytes(data)
    path.chmod(mode)
    return str(path)


def test_the_file_holds_over_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without either there is none; the first colon ends the user."""
    assert read_socks_login(None) is None
    monkeypatch.setenv(LOGIN_VARIABLE, "")
    assert read_socks_login(None) is None
    monkeypatch.setenv(LOGIN_VARIABLE, "bob:pass:word")
    assert read_socks_login(None) == Login(b"bob", b"pass:word")
    for line_end in (b"", b"\n", b"\r\n"):
        assert read_socks_login(written(tmp_path, b"alice:s3cret" + line_end)) == Login(b"alice", b"s3cret")


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"alice",
        b"alice:",
        b":s3cret",
        b"a:b\nc:d\n",
        b"a" * 256 + b":b",
        b"a:" + b"b" * 600,
        b"\xff:\xff",
    ],
)
def test_what_is_no_login_is_told_without_quoting_it(tmp_path: Path, data: bytes) -> None:
    """It is a secret that was mistyped."""
    with pytest.raises(InvalidOption) as caught:
        read_socks_login(written(tmp_path, data))
    assert "s3cret" not in str(caught.value) + str(caught.value.hint)


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660])
def test_a_file_that_others_can_read_is_refused(tmp_path: Path, mode: int) -> None:
    """As ssh refuses such keys."""
    with pytest.raises(InvalidOption, match="others may read") as caught:
        read_socks_login(written(tmp_path, b"alice:s3cret", mode))
    assert str(caught.value.hint).startswith("chmod 600")
