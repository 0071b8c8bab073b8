"""What the config file's settings mean, and who is heard first where several places speak."""

from __future__ import annotations

from pathlib import Path

import pytest

from ssm_ssh.errors import InvalidOption
from ssm_ssh.session.settings import Alias, ChosenTarget, Defaults, Settings, choose_target
from ssm_ssh.session.settings_file import load_settings

SETTINGS = Settings(
    defaults=Defaults(profile="default-profile", region="default-region"),
    aliases={
        "db": Alias("db-1", "alias-profile", "alias-region", document="Acme-Port"),
        "loop": Alias("db"),
        "same": Alias(profile="alias-profile"),
    },
)


def test_without_settings_everything_is_as_it_was_given() -> None:
    """No file, no change."""
    assert choose_target(Settings(), "web-1") == ChosenTarget("web-1", None, None, None)


def test_defaults_hold_where_nobody_else_speaks() -> None:
    """An ordinary target in a bare environment."""
    assert choose_target(SETTINGS, "web-1") == ChosenTarget(
        "web-1", "default-profile", "default-region", None
    )


@pytest.mark.parametrize(
    "variable", ["AWS_PROFILE", "AWS_DEFAULT_PROFILE", "AWS_ACCESS_KEY_ID", "AWS_WEB_IDENTITY_TOKEN_FILE"]
)
def test_the_environment_beats_the_default_profile(monkeypatch: pytest.MonkeyPatch, variable: str) -> None:
    """Botocore hears these by itself, and a profile of ours would silence them; the region stays ours."""
    monkeypatch.setenv(variable, "x")
    assert choose_target(SETTINGS, "web-1") == ChosenTarget("web-1", None, "default-region", None)


@pytest.mark.parametrize("variable", ["AWS_REGION", "AWS_DEFAULT_REGION"])
def test_the_environment_beats_the_default_region(monkeypatch: pytest.MonkeyPatch, variable: str) -> None:
    """Likewise."""
    monkeypatch.setenv(variable, "x")
    assert choose_target(SETTINGS, "web-1") == ChosenTarget("web-1", "default-profile", None, None)


def test_an_empty_variable_says_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """As for botocore."""
    monkeypatch.setenv("AWS_PROFILE", "")
    assert choose_target(SETTINGS, "web-1").profile == "default-profile"


def test_an_alias_beats_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Who names an alias with a profile means that profile."""
    monkeypatch.setenv("AWS_PROFILE", "shell")
    monkeypatch.setenv("AWS_REGION", "shell")
    assert choose_target(SETTINGS, "db") == ChosenTarget("db-1", "alias-profile", "alias-region", "Acme-Port")


def test_the_command_line_beats_everything() -> None:
    """What was typed together with the target."""
    chosen = choose_target(SETTINGS, "db", profile="p", region="r", document_name="Own-Port")
    assert chosen == ChosenTarget("db-1", "p", "r", "Own-Port")


def test_an_alias_of_an_alias_is_not_followed() -> None:
    """So no ring of them can be made; one without a target stands for its own name."""
    assert choose_target(SETTINGS, "loop").target == "db"
    assert choose_target(SETTINGS, "same") == ChosenTarget("same", "alias-profile", "default-region", None)


# --- the file ---


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty home without XDG folders."""
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("XDG_CONFIG_HOME")
    return tmp_path


def write_config(folder: Path) -> None:
    """A config file below ``folder``."""
    (folder / "ssm-ssh").mkdir(parents=True)
    (folder / "ssm-ssh" / "config.toml").write_text('[defaults]\nregion = "eu-west-1"\n', "utf-8")


def test_without_a_file_there_are_no_settings(home: Path) -> None:
    """Neither where a folder is missing nor where it is no folder."""
    assert load_settings() is None
    (home / ".config").write_text("")
    assert load_settings() is None


def test_the_file_is_found_where_the_system_keeps_such_files(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """``~/.config``, or ``XDG_CONFIG_HOME`` unless that is relative."""
    write_config(home / ".config")
    monkeypatch.setenv("XDG_CONFIG_HOME", "relative")
    settings = load_settings()
    assert settings is not None
    assert settings.path == home / ".config" / "ssm-ssh" / "config.toml"
    assert settings.defaults == Defaults(region="eu-west-1")
    monkeypatch.setenv("XDG_CONFIG_HOME", str(home / "other"))
    assert load_settings() is None
    write_config(home / "other")
    assert load_settings() is not None


def test_a_user_without_a_home_has_no_file(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As in some containers; that is no mistake."""

    def homeless() -> Path:
        raise RuntimeError

    monkeypatch.setattr(Path, "home", homeless)
    assert load_settings() is None


def test_a_named_file_must_be_there(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Who names one relies on it; an empty name is none, and /dev/null is an empty file."""
    monkeypatch.setenv("SSM_SSH_CONFIG", str(home / "mine.toml"))
    with pytest.raises(InvalidOption, match=r"mine\.toml cannot be read: No such file"):
        load_settings()
    monkeypatch.setenv("SSM_SSH_CONFIG", "")
    assert load_settings() is None
    monkeypatch.setenv("SSM_SSH_CONFIG", "/dev/null")
    assert load_settings() == Settings(load_settings().path)  # type: ignore[union-attr]  # it is not None


def test_what_is_no_file_or_no_end_is_told(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A folder cannot be read; what does not end is not read to its end."""
    monkeypatch.setenv("SSM_SSH_CONFIG", str(home))
    with pytest.raises(InvalidOption, match="cannot be read: Is a directory"):
        load_settings()
    monkeypatch.setenv("SSM_SSH_CONFIG", "/dev/zero")
    with pytest.raises(InvalidOption, match="larger than 262144 bytes"):
        load_settings()
