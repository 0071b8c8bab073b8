"""Agents of every age: real ssh to a real server through each, a command and a megabyte each way."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from functools import partial
from pathlib import Path
from typing import Final

from ssm_ssh.emulator.node import Node, NodeSpec
from ssm_ssh.emulator.start import RunningEmulator, start_emulator
from tests.features.play import play
from tests.features.port_node import PortNode, seeded_bytes
from tests.features.proxy_run import Outcome, together
from tests.requirement import need_program

# The first with ports; without the terminate flag; muxing; with a broken keepalive; of today.
VERSIONS: Final = ("2.3.672.0", "2.3.722.0", "3.0.222.0", "3.1.1446.0", "3.3.987.0")
MEGABYTE: Final = 1_000_000


def _ssh(emulator: RunningEmulator, folder: Path, node: Node, command: str, sent: bytes) -> Outcome:
    ssh = need_program("ssh")
    done = subprocess.run(
        [
            *(ssh, "-F", "none", "-T", "-i", str(folder / "key"), "-o", "IdentitiesOnly=yes"),
            *("-o", "StrictHostKeyChecking=yes", "-o", f"UserKnownHostsFile={folder / 'known_hosts'}"),
            *("-o", f"ProxyCommand={sys.executable} -m ssm_ssh proxy %h %p %r"),
            *(f"{node.user}@{node.node_id}", command),
        ],
        env=_environment(emulator, folder),
        input=sent,
        capture_output=True,
        timeout=60,
        check=False,
    )
    return Outcome(done.returncode, done.stdout, done.stderr.decode(), 0.0)


def _environment(emulator: RunningEmulator, folder: Path) -> dict[str, str]:
    return {**os.environ, **emulator.environment, "XDG_CACHE_HOME": str(folder / "cache")}


def test_ssh_through_agents_of_every_age() -> None:
    """A command with its exit status, and a megabyte there and back."""
    data = seeded_bytes(MEGABYTE)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        keygen = [need_program("ssh-keygen"), "-q", "-t", "ed25519", "-N", "", "-f", str(folder / "key")]
        subprocess.run(keygen, check=True, timeout=30)
        key = (folder / "key.pub").read_text().strip()
        nodes = {
            version: Node(
                NodeSpec(f"node-{number}", agent_version=version, authorized_keys=[key]),
            )
            for number, version in enumerate(VERSIONS)
        }
        with start_emulator(list(nodes.values())) as emulator:
            (folder / "known_hosts").write_text(
                "".join(f"{node.node_id} {line}\n" for node in nodes.values() for line in node.host_keys)
            )
            outcomes = together(
                {
                    version: partial(_ssh, emulator, folder, node, "cat; exit 7", data)
                    for version, node in nodes.items()
                }
            )
            emulator.wait_for_live_sessions(0)
    for version, outcome in outcomes.items():
        assert (outcome.status, outcome.stderr) == (7, ""), version
        assert outcome.stdout == data, version


def test_the_first_words_reach_old_agents() -> None:
    """Agents before 3.0.655 acknowledge what comes before they are ready, and throw it away."""

    def talk_first(version: str) -> Outcome:
        with play(PortNode(agent_version=version)) as stage:
            return stage.download(count=1000)

    outcomes = together({version: partial(talk_first, version) for version in VERSIONS})
    assert all(outcome.stderr == "" for outcome in outcomes.values())
