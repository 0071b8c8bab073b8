"""The documents keep their promises where a program can check them: links, commands, options, errors."""

from __future__ import annotations

import inspect
import re
import subprocess
import sys
from pathlib import Path
from typing import Final

import pytest

from ssm_ssh import errors
from ssm_ssh.cli.main import COMMANDS

REPOSITORY: Final = Path(__file__).parent.parent
DOCUMENTS: Final = sorted([*REPOSITORY.glob("*.md"), *REPOSITORY.glob("docs/**/*.md")])
# Documented ahead of their code; the entry goes when the last of them is there.
LANDING: Final[frozenset[str]] = frozenset()

_LINK = re.compile(r"\[[^\]]+\]\((?!https?:)([^)\s]+)\)")
_HEADING = re.compile(r"^#+ +(.+)$", re.MULTILINE)
_FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_COMMAND = re.compile(r"(?:^\$ |ProxyCommand )(?:\S*/)?(ssm-ssh|make) (\S+)", re.MULTILINE)
_OPTION = re.compile(r"(?<![\w-])--[a-z][a-z-]+")


def fences(text: str) -> str:
    """The code blocks of a document, one after another."""
    return "\n".join(block for _, block in _FENCE.findall(text))


def anchors(text: str) -> set[str]:
    """The anchors that a renderer makes of a document's headings."""
    headings = _HEADING.findall(_FENCE.sub("", text))
    return {re.sub(r"[^\w\- ]", "", heading.lower()).strip().replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(REPOSITORY)))
def test_every_relative_link_resolves(document: Path) -> None:
    """The file is there, and so is the heading where the link names one."""
    for link in _LINK.findall(_FENCE.sub("", document.read_text("utf-8"))):
        name, _, anchor = link.partition("#")
        target = document.parent / name if name else document
        assert target.exists(), link
        assert not anchor or anchor in anchors(target.read_text("utf-8")), link


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(REPOSITORY)))
def test_every_command_shown_exists(document: Path) -> None:
    """What a reader is told to type is a command of the program or a target of the Makefile."""
    targets = set(re.findall(r"^([a-z]+):", (REPOSITORY / "Makefile").read_text("utf-8"), re.MULTILINE))
    known = {"ssm-ssh": {*COMMANDS, *LANDING, "--version", "--help"}, "make": targets}
    for program, word in _COMMAND.findall(fences(document.read_text("utf-8"))):
        assert word in known[program], f"{program} {word}"


def test_nothing_waits_for_a_landing_that_is_over() -> None:
    """When all commands that were documented ahead are there, the exception is removed."""
    still_missing = LANDING - COMMANDS.keys()
    assert still_missing or not LANDING, "make LANDING of tests/test_docs.py empty"


def test_the_quick_start_is_quick() -> None:
    """At most twenty lines from nothing to a prompt."""
    text = (REPOSITORY / "README.md").read_text("utf-8")
    quick_start = text.partition("## Quick start")[2].partition("\n## ")[0]
    assert len(quick_start.strip().splitlines()) <= 20
    assert "proxy %h %p %r" in quick_start


def test_the_reference_and_the_help_name_the_same_options() -> None:
    """Every option of every command's ``--help`` is documented, and no other."""
    text = (REPOSITORY / "docs/reference/cli.md").read_text("utf-8")
    everywhere = text.partition("## Everywhere")[2].partition("\n## ")[0]
    shared = set(_OPTION.findall(everywhere)) | {"--help", "--version"}
    for command in COMMANDS:
        section = text.partition(f"## ssm-ssh {command}\n")[2].partition("\n## ")[0]
        assert section, f"docs/reference/cli.md has no section for {command}"
        rows = "\n".join(line for line in section.splitlines() if line.startswith("| `-"))
        documented, offered = set(_OPTION.findall(rows)), set(_OPTION.findall(help_text(command)))
        assert documented - offered == set(), f"{command}: documented, but not in --help"
        assert offered - documented - shared == set(), f"{command}: in --help, but not documented"


def help_text(command: str) -> str:
    """What ``ssm-ssh COMMAND --help`` prints."""
    arguments = [sys.executable, "-m", "ssm_ssh", command, "--help"]
    return subprocess.run(arguments, capture_output=True, text=True, check=True, timeout=60).stdout


def test_every_error_is_in_the_reference() -> None:
    """Each exception is in the table with its exit status, and the table has no others."""
    table = (REPOSITORY / "docs/reference/errors.md").read_text("utf-8")
    documented = dict(re.findall(r"^\| `(\w+)` \| .* \| (\d+) \|", table, re.MULTILINE))
    classes = [value for _, value in inspect.getmembers(errors, inspect.isclass)]
    statuses = {
        value.__name__: str(int(value.exit_status))
        for value in classes
        if issubclass(value, errors.SsmSshError)
    }
    assert documented == statuses


def test_the_checks_see_what_is_wrong() -> None:
    """The patterns find the links, the commands and the headings that they are for."""
    text = "# A & b: c\n[x](there.md#y) [z](https://z)\n```console\n$ ssm-ssh fly\n```\n"
    assert _LINK.findall(text) == ["there.md#y"]
    assert _COMMAND.findall(fences(text)) == [("ssm-ssh", "fly")]
    assert anchors(text) == {"a--b-c"}
