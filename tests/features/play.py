"""A stand-in with one node and its depot, and ``proxy`` to run against it."""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ssm_ssh.emulator.start import RunningEmulator, start_emulator
from tests.features.port_node import NODE_ID, Depot, PortNode, seeded_bytes
from tests.features.proxy_run import Outcome, ProxyRun

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from ssm_ssh.emulator.fault import Faults
    from ssm_ssh.emulator.link import EmulatedNode
    from ssm_ssh.emulator.session_record import SessionRecord
    from ssm_ssh.emulator.settings import ServiceSettings

    # Changes of the environment: None unsets.
    Variables = Mapping[str, str | None]


class Play:
    """What a test plays on.

    Attributes:
        emulator: The stand-in.
        depot: What listens on the node.
        folder: A temporary folder; the caches are below it.
    """

    def __init__(self, emulator: RunningEmulator, depot: Depot, folder: Path) -> None:
        self.emulator = emulator
        self.depot = depot
        self.folder = folder
        self.cache = folder / "cache"

    def environment(self, variables: Variables | None = None, **changes: str | None) -> dict[str, str]:
        """The variables of a run, with some of them set or, where None, unset."""
        merged: dict[str, str | None] = {
            **os.environ,
            **self.emulator.environment,
            "XDG_CACHE_HOME": str(self.cache),
            "HOME": str(self.folder),
            **(variables or {}),
            **changes,
        }
        return {name: value for name, value in merged.items() if value is not None}

    def run(self, *words: str | bytes, variables: Variables | None = None, **changes: str | None) -> ProxyRun:
        """Start ``proxy`` with these words and environment changes."""
        return ProxyRun(*words, environment=self.environment(variables, **changes))

    def dial(self, *options: str, variables: Variables | None = None, **changes: str | None) -> ProxyRun:
        """Start ``proxy`` to the depot."""
        return self.run(*options, NODE_ID, str(self.depot.port), variables=variables, **changes)

    def outcome(
        self, *words: str | bytes, variables: Variables | None = None, **changes: str | None
    ) -> Outcome:
        """Run ``proxy`` to its own end, its stdin open and silent."""
        with self.run(*words, variables=variables, **changes) as run:
            return run.finish()

    def echo(self, run: ProxyRun, data: bytes) -> None:
        """Send ``data`` through an echoing connection and see it come back."""
        assert digest(run.exchange(data, len(data))) == digest(data)

    def upload(self, *options: str, count: int) -> Outcome:
        """Upload so many bytes and see that they arrived."""
        data = seeded_bytes(count)
        with self.dial(*options) as run:
            said = run.exchange(b"take %d 0\n" % count + data, 64)
            outcome = run.finish()
        assert said.decode() == digest(data), outcome
        assert outcome.status == 0, outcome
        return outcome

    def download(
        self, *options: str, count: int, variables: Variables | None = None, **changes: str | None
    ) -> Outcome:
        """Download so many bytes and see that they arrived."""
        with self.dial(*options, variables=variables, **changes) as run:
            run.write(b"give %d 1\n" % count)
            got = run.read(count)
            outcome = run.finish()
        assert digest(got) == digest(seeded_bytes(count)), (len(got), outcome)
        assert outcome.status == 0, outcome
        return outcome

    @property
    def session(self) -> SessionRecord:
        """The latest session."""
        return self.emulator.sessions()[-1]

    def remembered(self) -> dict[str, Any]:
        """What the cache holds about the way to the region."""
        (file,) = self.cache.rglob("*.json")
        fields: dict[str, Any] = json.loads(file.read_text())
        return fields


@contextmanager
def play(
    *nodes: EmulatedNode,
    settings: ServiceSettings | None = None,
    faults: Faults | None = None,
    has_tls: bool = False,
) -> Iterator[Play]:
    """Start everything; at the end see that no session was left open."""
    with (
        tempfile.TemporaryDirectory(prefix="play-") as folder,
        Depot() as depot,
        start_emulator(nodes or [PortNode()], settings=settings, faults=faults, has_tls=has_tls) as emulator,
    ):
        yield Play(emulator, depot, Path(folder))
        emulator.wait_for_live_sessions(0)


def digest(data: bytes) -> str:
    """SHA-256, so that a failed comparison stays short."""
    return hashlib.sha256(data).hexdigest()
