"""One run of ``ssm-ssh tunnel`` as a real program, from when its only listener is up."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import IO

    from ssm_ssh.emulator.start import RunningEmulator

TUNNEL: Final = (sys.executable, "-m", "ssm_ssh", "tunnel")
_STOP_SECONDS: Final = 20.0


class TunnelRun:
    """A started tunnel.

    Attributes:
        said: Its line of JSON.
        port: Where it listens on both loopback addresses.
    """

    def __init__(self, process: subprocess.Popen[bytes], said: dict[str, Any], stderr: IO[bytes]) -> None:
        self.said = said
        self.port: int = said["local_port"]
        self._process = process
        self._stderr = stderr

    @property
    def messages(self) -> list[str]:
        """The lines of its stderr so far."""
        return os.pread(self._stderr.fileno(), 1 << 20, 0).decode().splitlines()

    def memory_bytes(self, *, peak: bool = False) -> int:
        """Its resident memory, now or at its highest."""
        name = "VmHWM:" if peak else "VmRSS:"
        for line in Path(f"/proc/{self._process.pid}/status").read_text().splitlines():
            if line.startswith(name):
                return int(line.split()[1]) * 1024
        raise AssertionError(f"no {name}")

    def stop(self) -> int:
        """Interrupt it and wait for its end; returns its exit status."""
        self._process.send_signal(signal.SIGINT)
        return self._process.wait(_STOP_SECONDS)


@contextmanager
def running_tunnel(*words: str) -> Iterator[TunnelRun]:
    """The tunnel for the length of a block; at its end it is interrupted, and has to end as it should."""
    with tempfile.TemporaryFile() as stderr:
        process = subprocess.Popen([*TUNNEL, "--json", *words], stdout=subprocess.PIPE, stderr=stderr)
        try:
            assert process.stdout is not None
            line = process.stdout.readline()
            assert line, os.pread(stderr.fileno(), 1 << 20, 0).decode()
            tunnel = TunnelRun(process, json.loads(line), stderr)
            try:
                yield tunnel
            finally:
                # Also after a failure, or its sessions would fail the tests to come.
                status = tunnel.stop()
            assert status == 130, tunnel.messages
        finally:
            process.kill()
            process.communicate()


@contextmanager
def led_to(emulator: RunningEmulator) -> Iterator[None]:
    """This process and its children find ``emulator`` where they look for AWS, for the length of a block."""
    with pytest.MonkeyPatch.context() as patch:
        for name in emulator.foreign_variables:
            patch.delenv(name, raising=False)
        for name, value in emulator.environment.items():
            patch.setenv(name, value)
        yield
