"""From the config file to an order that another process can carry out."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ssm_ssh.errors import InvalidForward, InvalidOption, UsageError
from ssm_ssh.forward.order import TunnelOrder, order_tunnels, read_order
from ssm_ssh.forward.spec import parse_dynamic_forward, parse_local_forward
from ssm_ssh.session.settings import Settings
from ssm_ssh.session.settings_text import parse_settings

CONFIG = b"""\
[defaults]
region = "eu-west-1"
resume_minutes = 3
payload_size = 2048
[aliases.db]
target = "db-1"
profile = "prod"
document = "Acme-Port"
[tunnels.plain]
target = "bastion"
forwards = ["5432:db:5432", "6379:cache:6379"]
[tunnels.other]
target = "db"
region = "us-east-1"
sessions = 4
forwards = ["0:22"]
socks = "1080"
"""


def settings(text: bytes = CONFIG) -> Settings:
    """What a config file says."""
    return parse_settings(text, Path("/c.toml"))


PLAIN = TunnelOrder(
    "plain",
    "bastion",
    ("5432:db:5432", "6379:cache:6379"),
    region="eu-west-1",
    resume_minutes=3,
    payload_bytes=2048,
)
OTHER = TunnelOrder(
    "other",
    "db-1",
    ("0:22",),
    "1080",
    profile="prod",
    region="us-east-1",
    sessions=4,
    document_name="Acme-Port",
    resume_minutes=3,
    payload_bytes=2048,
)


def test_a_tunnel_is_ordered_with_everything_that_was_said_of_it() -> None:
    """Its own words, its alias's, the defaults; all tunnels where no name is given, each once."""
    assert order_tunnels(settings(), []) == [PLAIN, OTHER]
    assert order_tunnels(settings(), ["other", "other"]) == [OTHER]
    assert PLAIN.read_forwards() == [parse_local_forward(text) for text in PLAIN.forwards]
    assert OTHER.read_forwards() == [parse_local_forward("0:22"), parse_dynamic_forward("1080")]


def test_without_defaults_it_resumes_for_ten_minutes() -> None:
    """As ``ssm-ssh tunnel``."""
    (order,) = order_tunnels(settings(b'[tunnels.a]\ntarget = "x"\nforwards = ["1:2"]'), [])
    assert order == TunnelOrder("a", "x", ("1:2",))
    assert order.resume_minutes == 10


def test_an_unknown_name_is_told_with_those_that_are_known() -> None:
    """And where to write one if there is none."""
    with pytest.raises(InvalidOption, match="no tunnel 'x'") as caught:
        order_tunnels(settings(), ["x"])
    assert caught.value.hint == "there are other, plain"
    for empty in (Settings(), settings(b"")):
        for names in ([], ["x"]):
            with pytest.raises(InvalidOption, match="no tunnel") as caught:
                order_tunnels(empty, names)
            assert "config.toml" in str(caught.value.hint) or "/c.toml" in str(caught.value.hint)


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ('forwards = ["1:2", "x"]', "'x' is not a forward"),
        ('socks = "x"', "'x' in 'x' is not a port"),
    ],
)
def test_a_forward_that_is_none_is_told_with_its_section(line: str, says: str) -> None:
    """File and line, as every mistake in that file."""
    with pytest.raises(InvalidForward, match=r"^/c\.toml:2: ") as caught:
        order_tunnels(settings(f'# mine\n[tunnels.a]\ntarget = "x"\n{line}'.encode()), [])
    assert says in str(caught.value)


def test_an_order_goes_from_process_to_process() -> None:
    """What is read is what was written."""
    for order in (PLAIN, OTHER):
        fields = order.as_json()
        assert read_order({**fields, "forwards": list(order.forwards)}) == order


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("name", 1),
        ("target", None),
        ("profile", 1),
        ("document_name", "!"),
        ("forwards", "1:2"),
        ("forwards", [1]),
        ("forwards", ["x"]),
        ("sessions", 0),
        ("sessions", True),
        ("sessions", "1"),
        ("resume_minutes", 1e9),
        ("payload_bytes", 1),
        ("socks", "x"),
        ("socks", 1080),
    ],
)
def test_what_another_version_may_say_is_refused(name: str, value: object) -> None:
    """Nothing is carried out half understood."""
    with pytest.raises(UsageError):
        read_order({**OTHER.as_json(), "forwards": ["0:22"], name: value})


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(),
        lambda inner: st.lists(inner) | st.dictionaries(st.sampled_from(sorted(PLAIN.as_json())), inner),
    )
)
def test_anything_is_an_order_or_refused(fields: object) -> None:
    """Nothing else is ever raised; a key more or less is refused."""
    with pytest.raises(UsageError):
        read_order(fields)
    with pytest.raises(UsageError):
        read_order({**PLAIN.as_json(), "colour": fields})
