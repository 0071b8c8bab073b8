"""The emulator's options: what they mean, and that nothing else is taken."""

from __future__ import annotations

import pytest

from ssm_ssh.emulator.fault import Faults, Oversize, Side
from ssm_ssh.emulator.node import NodeSpec
from ssm_ssh.emulator.options import FAULT_NAMES, parse_faults, parse_node
from ssm_ssh.errors import InvalidOption


def test_nodes() -> None:
    """A name alone, and everything."""
    assert parse_node("web-1") == NodeSpec("web-1")
    text = "db-1,id=mi-0123456789abcdef0,tag:env=prod,tag:a:b=c=d,platform=Windows,agent=2.3.672.0,user=ann"
    assert parse_node(text) == NodeSpec(
        "db-1",
        node_id="mi-0123456789abcdef0",
        tags={"env": "prod", "a:b": "c=d"},
        platform="Windows",
        agent_version="2.3.672.0",
        user="ann",
    )


@pytest.mark.parametrize(
    "text",
    [
        "",
        ",id=i-01234567",
        "a,id=i-0",
        "a,id=web",
        "a,colour=red",
        "a,platform=linux",
        "a,agent=3",
        "a,tag:=x",
    ],
)
def test_what_is_no_node(text: str) -> None:
    """Each is refused with a sentence, not taken for something else."""
    with pytest.raises(InvalidOption):
        parse_node(text)


def test_faults() -> None:
    """Every name, with the units that people write."""
    assert parse_faults("") == Faults()
    assert parse_faults("loss=0.2%,dup=0.02,reorder=5%,cut=5s,seed=7") == Faults(
        loss=0.002, duplication=0.02, reordering=0.05, cut_every_seconds=5.0, seed=7
    )
    text = (
        "delay=50ms,bandwidth=1e6,side=both,rate=500,silent=yes,api-delay=1m,refuse=403,largest=4096,"
        "oversize=swallow,throttle=StartSession:5,deny=ssm:StartSession+ssm:ResumeSession,expired=no,storm=1"
    )
    assert parse_faults(text) == Faults(
        delay_seconds=0.05,
        bandwidth_bytes_per_second=1e6,
        cut_side=Side.BOTH,
        message_limit_per_second=500,
        is_silent=True,
        api_delay_seconds=60.0,
        refused_upgrade_status=403,
        largest_message_bytes=4096,
        oversize=Oversize.SWALLOW,
        throttle_per_second={"StartSession": 5.0},
        denied_actions=frozenset({"ssm:StartSession", "ssm:ResumeSession"}),
        publication_storm_seconds=1.0,
    )
    assert parse_faults("throttle=3").throttle_per_second == {"*": 3.0}
    assert "loss" in FAULT_NAMES


@pytest.mark.parametrize(
    "text",
    ["los=1", "loss", "loss=2", "loss=-1", "cut=soon", "side=up", "silent=maybe", "seed=x", "script=x"],
)
def test_what_is_no_fault(text: str) -> None:
    """A misspelt fault must not be a fault that never happens."""
    with pytest.raises(InvalidOption):
        parse_faults(text)
