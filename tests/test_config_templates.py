"""Every file of config_templates/ is valid as it stands and is found by the loader."""

from __future__ import annotations

import plistlib
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from ssm_ssh.cli.main import COMMANDS
from ssm_ssh.config_template import config_template_names, read_config_template
from ssm_ssh.forward.order import order_tunnels
from ssm_ssh.session.settings_file import load_settings
from ssm_ssh.session.settings_text import KEYS
from tests.requirement import need_linux, need_program

if TYPE_CHECKING:
    from ssm_ssh.session.settings import Settings

TEMPLATES = Path(__file__).parent.parent / "config_templates"
SSH_CONFIG = TEMPLATES / "ssh_config"


def ssh_settings(host: str) -> dict[str, str]:
    """What the system's ssh makes of the template for ``host``, by lower-case keyword."""
    command = [need_program("ssh"), "-G", "-F", str(SSH_CONFIG), host]
    run = subprocess.run(command, capture_output=True, text=True, check=True, timeout=30)
    return dict(line.partition(" ")[::2] for line in run.stdout.splitlines())


@pytest.mark.parametrize("host", ["i-0123456789abcdef0", "mi-0123456789abcdef0"])
def test_ssh_reaches_nodes_through_the_proxy(host: str) -> None:
    """A node id gets the ProxyCommand; what may be expanded is left to ssh."""
    assert ssh_settings(host)["proxycommand"] == "ssm-ssh proxy %h %p %r"


@pytest.mark.parametrize("host", ["example.com", "i", "my-i-host"])
def test_ssh_leaves_other_hosts_alone(host: str) -> None:
    """A host that is no node id has no ProxyCommand."""
    assert "proxycommand" not in ssh_settings(host)


def test_ssh_sends_nothing_on_an_idle_session() -> None:
    """Such messages would defeat the account's idle limit; the proxy notices a dead peer without them."""
    assert ssh_settings("i-0123456789abcdef0")["serveraliveinterval"] == "0"


def template_settings(monkeypatch: pytest.MonkeyPatch) -> Settings:
    """The template of the config file, as the program reads it."""
    monkeypatch.setenv("SSM_SSH_CONFIG", str(TEMPLATES / "config.toml"))
    settings = load_settings()
    assert settings is not None
    return settings


def test_the_config_file_is_understood(monkeypatch: pytest.MonkeyPatch) -> None:
    """As it stands, its tunnels can be brought up; an alias stands for its node."""
    settings = template_settings(monkeypatch)
    orders, metrics = order_tunnels(settings, [])
    assert (orders.name, orders.profile, len(orders.forwards)) == ("orders", "prod", 2)
    assert metrics.target == settings.aliases["db-1"].target


def test_the_config_file_shows_every_key() -> None:
    """Each key stands there, commented out or not; what is not used yet says so."""
    text = read_config_template("config.toml")
    for section, keys in KEYS.items():
        for key in keys:
            assert f"\n{key} = " in text or f"\n# {key} = " in text, f"{key} of [{section}]"


def test_systemd_takes_the_unit() -> None:
    """``systemd-analyze verify`` has nothing to say about it; the command is one of ours."""
    need_linux()
    unit = TEMPLATES / "ssm-ssh.service"
    command = [need_program("systemd-analyze"), "verify", "--man=no", str(unit)]
    run = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert (run.returncode, run.stderr) == (0, "")
    (start,) = [line for line in unit.read_text("utf-8").splitlines() if line.startswith("ExecStart=")]
    assert start.split()[-3:] == ["ssm-ssh", "up", "--foreground"]


def test_launchd_s_list_is_one() -> None:
    """It is a property list, and starts the same command."""
    agent = plistlib.loads((TEMPLATES / "ssm-ssh.plist").read_bytes())
    assert agent["ProgramArguments"][-3:] == ["ssm-ssh", "up", "--foreground"]
    assert agent["KeepAlive"] == {"SuccessfulExit": False}
    assert "up" in COMMANDS


def test_the_loader_finds_every_template() -> None:
    """In a checkout the loader reads the very files of config_templates/."""
    assert config_template_names() == sorted(path.name for path in TEMPLATES.iterdir())
    for name in config_template_names():
        assert read_config_template(name) == (TEMPLATES / name).read_text(encoding="utf-8")


@pytest.mark.parametrize("name", ["", ".", "nothing", "../pyproject.toml"])
def test_the_loader_knows_only_templates(name: str) -> None:
    """A name that is no template is refused, a path above all."""
    with pytest.raises(FileNotFoundError, match="no config template"):
        read_config_template(name)
