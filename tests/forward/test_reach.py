"""Where ``-D`` may lead to: the node's own addresses in all their spellings, and what the user allows."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ssm_ssh.errors import InvalidForward, InvalidOption
from ssm_ssh.forward.reach import Reach, parse_allowance, parse_host
from ssm_ssh.forward.spec import HOST, to_destination

if TYPE_CHECKING:
    from ipaddress import IPv4Address

LOOPBACK = [
    *("localhost", "LocalHost", "localhost.", "a.localhost", "localhost.localdomain", "ip6-localhost"),
    *("127.0.0.1", "127.0.0.1.", "127.1", "127.0.1", "2130706433", "0x7f000001", "0x7F.1", "0177.0.0.1"),
    *("017700000001", "127.255.255.254", "0", "0x", "0.0.0.0", "00.00.00.00", ".", ".."),
    *("::1", "[::1]", "0:0:0:0:0:0:0:1", "::1%lo", "::", "::ffff:127.0.0.1", "::ffff:7f00:1"),
    *("::127.0.0.1", "64:ff9b::127.0.0.1", "::ffff:0:127.0.0.1", "::FFFF:0.0.0.0"),
]
LINK_LOCAL = [
    *("169.254.169.254", "169.254.43518", "2852039166", "0xa9fea9fe", "::ffff:169.254.169.254"),
    *("fe80::1", "fe80::1%eth0", "FEBF::1", "fd00:ec2::254"),
]
ELSEWHERE = [
    *("db.internal", "10.0.0.1", "172.31.0.2", "8.8.8.8", "2001:db8::1", "fd00::1", "::ffff:10.0.0.1"),
    *("localhost.example.com", "notlocalhost", "1.2.3.4.5", "128.0.0.1", "999.1.1.1", "08.1.1.1"),
]


def reach(*words: str) -> Reach:
    """What these ``--socks-allow`` make."""
    return Reach([parse_allowance(word) for word in words])


@pytest.mark.parametrize("host", [*LOOPBACK, *LINK_LOCAL])
def test_the_node_s_own_is_not_reached_unasked(host: str) -> None:
    """However it is spelled, and neither by a pattern nor by a network that says nothing of it."""
    for allowed in (reach(), reach("*"), reach("0.0.0.0/0", "::/0"), reach("local*"), reach("*.internal")):
        refusal = allowed.refusal(parse_host(host))
        assert refusal is not None
        assert "--socks-allow" in refusal


@pytest.mark.parametrize("host", [*LOOPBACK, *LINK_LOCAL])
def test_the_node_s_own_is_reached_when_named(host: str) -> None:
    """As the refusal says it would be, and as it was spelled."""
    assert reach(parse_host(host).text).refusal(parse_host(host)) is None
    if host.strip("."):
        assert reach(host).refusal(parse_host(host)) is None


@pytest.mark.parametrize(
    ("allowed", "host"),
    [
        ("localhost", "127.0.0.1"),
        ("localhost", "::1"),
        ("localhost", "a.localhost"),
        ("127.0.0.0/8", "localhost"),
        ("127.0.0.0/8", "127.0.0.53"),
        ("127.0.0.1", "0x7f.1"),
        ("::1", "localhost"),
        ("169.254.0.0/16", "169.254.1.1"),
        ("fe80::/10", "fe80::1%eth0"),
    ],
)
def test_one_name_of_the_node_s_own_is_as_good_as_another(allowed: str, host: str) -> None:
    """Who allows localhost means what it is."""
    assert reach(allowed).refusal(parse_host(host)) is None


@pytest.mark.parametrize("host", ELSEWHERE)
def test_everything_else_is_reached_until_something_is_allowed(host: str) -> None:
    """Then only that."""
    assert reach().refusal(parse_host(host)) is None
    assert reach("*").refusal(parse_host(host)) is None
    assert reach("localhost").refusal(parse_host(host)) is not None


@pytest.mark.parametrize(
    ("allowed", "host", "is_reached"),
    [
        ("*.internal", "db.internal", True),
        ("*.Internal.", "DB.internal.", True),
        ("*.internal", "internal", False),
        ("*.internal", "db.internal.example.com", False),
        ("db?.internal", "db1.internal", True),
        ("db[12].internal", "db3.internal", False),
        ("10.0.0.0/8", "10.1.2.3", True),
        ("10.0.0.7/8", "10.1.2.3", True),
        ("10.0.0.0/8", "::ffff:10.1.2.3", True),
        ("10.0.0.0/8", "167837955", True),
        ("10.0.0.0/8", "11.0.0.1", False),
        ("10.0.0.0/8", "ten.internal", False),
        ("10.0.*", "10.0.3.4", True),
        ("2001:db8::/32", "2001:DB8::7", True),
        ("[2001:db8::7]", "2001:db8::7", True),
        ("2001:db8::/32", "10.0.0.1", False),
    ],
)
def test_patterns_and_networks(allowed: str, host: str, *, is_reached: bool) -> None:
    """Names by pattern, addresses by network, in any spelling."""
    assert (reach(allowed).refusal(parse_host(host)) is None) == is_reached


@pytest.mark.parametrize("text", ["", "10.0.0.0/99", "a b", "http://x/", "db:80/", "a,b", "ä"])
def test_what_is_no_allowance_is_told(text: str) -> None:
    """With the three forms."""
    with pytest.raises(InvalidOption) as caught:
        parse_allowance(text)
    assert "network" in str(caught.value.hint)


@given(st.from_regex(HOST, fullmatch=True))
def test_no_spelling_slips_through(text: str) -> None:
    """What would be sent as the node itself, or read as one of its addresses, is known as its own."""
    host = parse_host(text)
    assert parse_host(host.text) == host
    try:
        destination = to_destination(host.text, 80)
    except InvalidForward:
        return
    assert destination.host is not None or host.is_own


@given(st.ip_addresses(v=4))
def test_all_spellings_of_an_address_are_one(address: IPv4Address) -> None:
    """Decimal, hexadecimal, octal, short, mapped: the node is told the usual one."""
    number, parts = int(address), address.packed
    for text in (
        str(number),
        hex(number),
        f"0{number:o}",
        f"{parts[0]}.{number & 0xFFFFFF}",
        ".".join(f"0{part:o}" for part in parts),
        ".".join(map(hex, parts)),
        f"::ffff:{address}",
        f"{address}.",
    ):
        assert parse_host(text).text == str(address)
