"""``ssm-ssh proxy`` as ssh runs it: with a pipe in and a pipe out."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ssm_ssh.cli.demo_stage import Stage

PATIENCE_SECONDS = 30.0


def proxy_command(stage: Stage, port: int = 22) -> list[str]:
    """The words that carry ``port`` of the stage's node."""
    return [sys.executable, "-m", "ssm_ssh", "proxy", stage.node_id, str(port)]


def start_proxy(stage: Stage, port: int = 22, *, prefix: Sequence[str] = ()) -> subprocess.Popen[bytes]:
    """Start it, unbuffered, with pipes for all three; use it as a context manager."""
    return subprocess.Popen(
        [*prefix, *proxy_command(stage, port)],
        env=stage.environment,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        bufsize=0,
    )
