"""Every file of config_templates/ is valid as it stands and is found by the loader."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from ssm_ssh.config_template import config_template_names, read_config_template
from tests.requirement import need_program

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
