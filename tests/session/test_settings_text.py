"""Every mistake in a config file is one line that names the file, the line and what to write instead."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import Final

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from ssm_ssh.config_template import read_config_template
from ssm_ssh.errors import InvalidOption
from ssm_ssh.session.settings import Settings
from ssm_ssh.session.settings_text import KEYS, line_of, parse_settings, place_of

PATH: Final = Path("/home/me/config.toml")
TEMPLATE: Final = read_config_template("config.toml")
# Each line of the template that sets a key: its number, the key and the value.
ASSIGNMENTS: Final = [
    (number, *line.split(" = ", 1))
    for number, line in enumerate(TEMPLATE.splitlines(), start=1)
    if re.match(r"[a-z_]+ = ", line)
]


def mistake(text: str | bytes) -> InvalidOption:
    """The error that a file earns; its text is one line and begins with a place."""
    raw = text.encode() if isinstance(text, str) else text
    with pytest.raises(InvalidOption) as caught:
        parse_settings(raw, PATH)
    assert re.match(re.escape(str(PATH)) + r":\d+: \S", str(caught.value))
    assert "\n" not in str(caught.value)
    return caught.value


MISTAKES: Final = {
    "unknown section": ('[default]\nregion = "x"', 1, "no section 'default'", "did you mean 'defaults'?"),
    "unknown key": (
        '# mine\n[defaults]\n\nregoin = "x"',
        4,
        "no 'regoin' in [defaults]",
        "did you mean 'region'?",
    ),
    "nothing near": ("[ssh]\ncolour = 1", 2, "no 'colour' in [ssh]", "there are ephemeral_key, on_new"),
    "unknown key of a tunnel": (
        '[tunnels.a]\ntarget = "x"\nforwards = ["1:2"]\n[tunnels.b]\ntarget = "y"\nforward = ["1:2"]',
        6,
        "no 'forward' in [tunnels.b]",
        "did you mean 'forwards'?",
    ),
    "wrong type": ("[defaults]\nprofile = 1", 2, "profile in [defaults] cannot be 1", "text on one line"),
    "a flag in quotes": ('[ssh]\nstart_instances = "no"', 2, "cannot be 'no'", "true or false"),
    "true is no number": ("[defaults]\nresume_minutes = true", 2, "cannot be True", "0 to 1440"),
    "out of range": ("[defaults]\npayload_size = 1", 2, "cannot be 1", "from 64 to 65536"),
    "another word": ('[ssh]\non_new_node = "maybe"', 2, "cannot be 'maybe'", '"refuse" or "ask"'),
    "text for a list": (
        '[tunnels.a]\ntarget = "x"\nforwards = "1:2"',
        3,
        "forwards in [tunnels.a] cannot be '1:2'",
        "a list of texts",
    ),
    "a list with a number": (
        '[tunnels.a]\ntarget = "x"\nforwards = [\n  "1:2",\n  3,\n]\n',
        3,
        "cannot be ['1:2', 3]",
        "a list of texts",
    ),
    "an empty list": ('[tunnels.a]\ntarget = "x"\nforwards = []', 3, "cannot be []", "a list of texts"),
    "no target": ('\n[tunnels.a]\nforwards = ["1:2"]', 2, "[tunnels.a] has no target", "target ="),
    "nothing to forward": ('[tunnels.a]\ntarget = "x"', 1, "has nothing to forward", "forwards ="),
    "no possible target": (
        '[tunnels.a]\ntarget = "-x"\nsocks = "1"',
        2,
        "'-x' cannot be used",
        "a node id",
    ),
    "no possible target of an alias": ('[aliases.a]\ntarget = "-x"', 2, "cannot be '-x'", "a node id"),
    "an alias of a name that is none": (
        '[aliases."a+b@c"]\nregion = "x"\n[aliases."tag:x"]\nregion = "x"',
        3,
        "[aliases.tag:x] needs a target",
        "",
    ),
    "no possible document": ('[aliases.a]\ndocument = "!"', 2, "cannot be '!'", "3 to 128"),
    "no name": ('[aliases."a b"]\ntarget = "x"', 1, "'a b' cannot be a name", "letters, digits"),
    "no section for a name": ("tunnels = 3", 1, "tunnels is not a section", "write [tunnels.NAME]"),
    "a list of sections": ("[[defaults]]", 1, "defaults is not a section", "write [defaults]"),
    "a key for a name": ("[tunnels]\na = 1", 2, "tunnels.a is not a section", "write [tunnels.a]"),
    "control characters": ('[defaults]\nprofile = "a\\nb"', 2, "cannot be 'a\\nb'", "text on one line"),
    "no TOML": ("[defaults]\nregion = eu-west-1", 2, "Invalid value", "text stands in quotes"),
    "cut off": ("[defaults]\nregion =", 2, "Invalid value", "text stands in quotes"),
    "twice": ('[ssh]\n[defaults]\nregion = "a"\nregion = "b"\n', 4, "Cannot overwrite a value", ""),
    "in one line": ('ssh = { ephemeral_key = true, colour = "x" }', 1, "no 'colour' in [ssh]", ""),
    "with dots": ('aliases.a.target = "x"\naliases.a.colour = "x"', 2, "no 'colour' in [aliases.a]", ""),
    "long": (
        f'[defaults]\npayload_size = "{"x" * 99}"',
        2,
        "payload_size in [defaults] cannot be 'xxx",
        "",
    ),
}


@pytest.mark.parametrize(("text", "line", "says", "hint"), MISTAKES.values(), ids=MISTAKES)
def test_a_mistake_is_told_with_its_place(text: str, line: int, says: str, hint: str) -> None:
    """Where it is, what it is, and what would be right."""
    error = mistake(text)
    assert str(error).startswith(f"{PATH}:{line}: ")
    assert says in str(error)
    assert hint in (error.hint or "")
    assert len(str(error)) < 200


def test_what_is_no_text_is_told_with_its_line() -> None:
    """A file saved in another encoding."""
    assert str(mistake("# mine\n# \xe9\n".encode("latin-1"))) == f"{PATH}:2: this is not UTF-8"


def test_what_is_nested_beyond_measure_is_told() -> None:
    """No recursion error leaves the parser."""
    mistake(f"a = {'[' * 100_000}")


def test_windows_editors_are_forgiven() -> None:
    """Their line ends and their byte order mark."""
    settings = parse_settings(b'\xef\xbb\xbf[defaults]\r\nregion = "x"\r\n', PATH)
    assert settings.defaults.region == "x"
    assert str(mistake(b"[defaults]\r\nregion = 1\r\n")).startswith(f"{PATH}:2: ")


def test_an_alias_may_stand_for_what_is_no_target() -> None:
    """A tunnel's target is looked up among the aliases first."""
    text = '[aliases."a+b"]\ntarget = "web-1"\n[tunnels.t]\ntarget = "a+b"\nsocks = "1080"\n'
    settings = parse_settings(text.encode(), PATH)
    assert settings.tunnels["t"].target == "a+b"
    assert place_of(settings, "tunnels", "t") == f"{PATH}:3"


@given(st.sampled_from(ASSIGNMENTS), st.text("abcdefghijklmnopqrstuvwxyz_", min_size=1, max_size=20))
def test_any_other_key_is_unknown_on_its_line(assignment: tuple[int, str, str], key: str) -> None:
    """Wherever a key of the template is misspelled, that line is named."""
    number, _, value = assignment
    assume(all(key not in known for known in KEYS.values()))
    lines = TEMPLATE.splitlines()
    lines[number - 1] = f"{key} = {value}"
    assert str(mistake("\n".join(lines))).startswith(f"{PATH}:{number}: there is no {key!r} in [")


@given(st.sampled_from(ASSIGNMENTS), st.sampled_from(["1.5", "1979-05-27", "[[]]", "{}", "-1", '""']))
def test_any_value_of_another_kind_is_refused_on_its_line(
    assignment: tuple[int, str, str], value: str
) -> None:
    """Wherever a value of the template is replaced by what no key may be, that line is named."""
    number, key, _ = assignment
    lines = TEMPLATE.splitlines()
    lines[number - 1] = f"{key} = {value}"
    assert str(mistake("\n".join(lines))).startswith(f"{PATH}:{number}: {key} in [")


@given(st.binary(max_size=200) | st.text("abt[]{}=\"'.\n#1, ", max_size=200).map(str.encode))
def test_any_bytes_are_settings_or_one_error(raw: bytes) -> None:
    """Nothing else is ever raised, and every error has a place."""
    try:
        assert isinstance(parse_settings(raw, PATH), Settings)
    except InvalidOption as error:
        assert re.match(re.escape(str(PATH)) + r":\d+: ", str(error))  # noqa: PT017 -- both ends are good


@given(st.data())
def test_a_statement_is_found_on_its_first_line(data: st.DataObject) -> None:
    """Whatever stands before it, and over however many lines its value goes."""
    before = data.draw(
        st.lists(st.sampled_from(["", "# x", "a = 1", 'b = """\nz = 1\n"""', "c = [\n1,\n]"]), unique=True)
    )
    value = data.draw(st.sampled_from(["1", "[\n1,\n# y\n2]", '"""\nz = 2\n"""', "{ y = 1 }"]))
    beginning = "".join(f"{part}\n" for part in before)
    text = f"{beginning}z = {value}\nlast = 1"
    assert "z" in tomllib.loads(text)
    assert line_of(text, ["z"]) == beginning.count("\n") + 1
