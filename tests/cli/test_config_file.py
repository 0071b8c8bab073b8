"""What the config file says is what the commands do, unless their words say otherwise."""

from __future__ import annotations

import logging
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import pytest

from ssm_ssh.cli import proxy, tunnel
from ssm_ssh.cli.main import run
from ssm_ssh.errors import InvalidForward

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator
    from pathlib import Path

    from ssm_ssh.ssh.options import ProxyOptions

CONFIG = """\
[defaults]
profile = "work"
region = "eu-west-1"
resume_minutes = 3
payload_size = 2048
[aliases.db]
target = "db-1"
profile = "prod"
document = "Acme-Port"
"""


@pytest.fixture(autouse=True)
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A user's config file."""
    path = tmp_path / "config.toml"
    path.write_text(CONFIG)
    monkeypatch.setenv("SSM_SSH_CONFIG", str(path))
    return path


@pytest.fixture(autouse=True)
def package_log() -> Iterator[None]:
    """The log as it was before the test."""
    package = logging.getLogger("ssm_ssh")
    before = package.level, package.propagate, list(package.handlers)
    yield
    level, package.propagate, package.handlers = before
    package.setLevel(level)


@pytest.fixture
def proxied(monkeypatch: pytest.MonkeyPatch) -> list[ProxyOptions]:
    """What ``proxy`` would carry."""
    options: list[ProxyOptions] = []
    monkeypatch.setattr(proxy, "run_proxy", options.append)
    return options


def test_proxy_takes_aliases_and_defaults(proxied: list[ProxyOptions]) -> None:
    """The alias's own words, and the defaults for the rest."""
    assert run(["proxy", "db", "22", "alice"]) == 0
    (options,) = proxied
    assert (options.target, options.profile, options.region) == ("db-1", "prod", "eu-west-1")
    assert (options.document_name, options.resume_seconds, options.payload_bytes) == (
        "Acme-Port",
        180.0,
        2048,
    )
    assert (options.port, options.os_user) == (22, "alice")


def test_proxy_s_own_words_come_first(proxied: list[ProxyOptions]) -> None:
    """All of them."""
    words = ["--profile", "p", "--region", "r", "--document-name", "Own-Port", "--resume-minutes", "0"]
    assert run(["proxy", *words, "--payload-size", "64", "db"]) == 0
    (options,) = proxied
    assert (options.target, options.profile, options.region) == ("db-1", "p", "r")
    assert (options.document_name, options.resume_seconds, options.payload_bytes) == ("Own-Port", 0.0, 64)


def test_without_a_file_nothing_changes(proxied: list[ProxyOptions], config: Path) -> None:
    """An empty one is as good as none."""
    config.write_text("")
    assert run(["proxy", "db"]) == 0
    (options,) = proxied
    assert (options.target, options.profile, options.region, options.document_name) == (
        "db",
        None,
        None,
        None,
    )
    assert (options.resume_seconds, options.payload_bytes) == (600.0, None)


def test_tunnel_takes_aliases_and_defaults(monkeypatch: pytest.MonkeyPatch) -> None:
    """Likewise; and its own words come first."""

    @asynccontextmanager
    async def note(target: str, forwards: Any, account: Any, options: Any) -> AsyncIterator[None]:  # noqa: ANN401
        noted.append(
            (
                target,
                account.profile,
                account.region,
                options.document_name,
                options.session.resume_seconds,
                options.session.payload_bytes,
            )
        )
        raise InvalidForward("enough")
        yield

    noted: list[tuple[object, ...]] = []
    monkeypatch.setattr(tunnel, "open_tunnel_to", note)
    assert run(["tunnel", "db", "-L", "0:22"]) == 2
    words = ["--profile", "p", "--region", "r", "--document-name", "Own-Port", "--resume-minutes", "0"]
    assert run(["tunnel", "db", "-L", "0:22", *words, "--payload-size", "64"]) == 2
    assert noted == [
        ("db-1", "prod", "eu-west-1", "Acme-Port", 180.0, 2048),
        ("db-1", "p", "r", "Own-Port", 0.0, 64),
    ]


@pytest.mark.parametrize(
    ("words", "status"), [(["proxy", "db"], 255), (["tunnel", "db", "-L", "0:22"], 2), (["up"], 2)]
)
def test_a_mistake_in_the_file_is_told_by_every_command(
    words: list[str], status: int, config: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Before anything is started, with its place."""
    config.write_text("[defaults]\nregoin = 1\n")
    assert run(words) == status
    error, hint = capsys.readouterr().err.splitlines()
    assert error == f"ssm-ssh: error: {config}:2: there is no 'regoin' in [defaults]"
    assert hint == "ssm-ssh: hint: did you mean 'region'?"
