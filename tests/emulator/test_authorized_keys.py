"""Which keys open what, and until when."""

from __future__ import annotations

import pytest

from ssm_ssh.emulator.authorized_keys import AuthorizedKeys

KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIPfrzQwDSEV148BTEoyao0WzqHEar1aSXfNsZODfXPVN"


class Clock:
    """A clock that is set by hand."""

    now = 1000.0

    def __call__(self) -> float:
        """The time that was set."""
        return self.now


def test_a_pushed_key_lasts_as_long_as_said() -> None:
    """To the moment, and from the last push."""
    clock = Clock()
    keys = AuthorizedKeys({}, clock=clock)
    keys.push("ec2-user", KEY, seconds=60)
    clock.now += 59.9
    assert keys.of("ec2-user") == [KEY]
    keys.push("ec2-user", f"{KEY}\n", seconds=60)
    clock.now += 59.9
    assert keys.of("ec2-user") == [KEY]
    clock.now += 0.1
    assert keys.of("ec2-user") == []
    assert keys.users() == {"ec2-user"}


def test_a_key_opens_one_user() -> None:
    """Permanent ones stay."""
    keys = AuthorizedKeys({"alice": ["p"]}, clock=Clock())
    keys.push("bob", KEY, seconds=1)
    assert (keys.of("alice"), keys.of("bob"), keys.of("carol")) == (["p"], [KEY], [])


@pytest.mark.parametrize("user", ["", "../x", ".x", "a/b", "a b", "a\n", "x" * 40, "-x"])
def test_refuses_what_is_no_user(user: str) -> None:
    """The name becomes a file's name."""
    with pytest.raises(ValueError, match="no OS user"):
        AuthorizedKeys({}, clock=Clock()).push(user, KEY, seconds=1)


@pytest.mark.parametrize("line", ["", "x", f'command="id" {KEY}', f"{KEY}\n{KEY}", f"{KEY} a\rb", "ssh-rsa"])
def test_refuses_what_is_no_key(line: str) -> None:
    """No options, no second line: a pushed key opens a door and does nothing else."""
    with pytest.raises(ValueError, match="no public key"):
        AuthorizedKeys({}, clock=Clock()).push("ec2-user", line, seconds=1)
