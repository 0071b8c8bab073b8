"""Bytes arrive once, in order and unchanged: in bulk, over a bad line, one by one, and at the end."""

from __future__ import annotations

import hashlib
import random
import subprocess
import threading
from typing import TYPE_CHECKING, Final

import pytest

from ssm_ssh.cli.demo_stage import NODE_NAME, Stage, set_stage
from ssm_ssh.emulator.timing import REAL
from tests.features.node_port import listen_on_node, receive_all, receive_exactly
from tests.features.proxy_process import PATIENCE_SECONDS, proxy_command, start_proxy

if TYPE_CHECKING:
    import socket
    from pathlib import Path

_BULK_BYTES: Final = 200_000_000
_ROUGH_BYTES: Final = 20_000_000
# Ours: a slow machine's time for either of the two.
_BULK_SECONDS: Final = 240.0
# Up, the stand-in would be done before the first cut; so fast, it takes as long as three of them.
_ROUGH_BYTES_PER_SECOND: Final = 1_500_000
_ALL_VALUES: Final = bytes(range(256))


# --- bulk -------------------------------------------------------------------------------------------------


def test_200_megabytes_both_ways(stage: Stage, tmp_path: Path) -> None:
    """What the node made up arrives here, and what arrived here gets back there, bit for bit."""
    made = f"{stage.node_folder}/made"
    stage.run("ssh", NODE_NAME, f"head -c {_BULK_BYTES} /dev/urandom > {made}")
    stage.run("scp", f"{NODE_NAME}:{made}", str(tmp_path / "here"))
    digests = stage.run("ssh", NODE_NAME, f"sha256sum < {made} && rm {made}").split()
    with (tmp_path / "here").open("rb") as arrived:
        assert hashlib.file_digest(arrived, "sha256").hexdigest() == digests[0]
        arrived.seek(0)
        back = subprocess.run(
            stage.command("ssh", NODE_NAME, "sha256sum"),
            env=stage.environment,
            stdin=arrived,
            capture_output=True,
            text=True,
            check=True,
            timeout=_BULK_SECONDS,
        )
    (tmp_path / "here").unlink()
    assert back.stdout.split() == digests


def test_20_megabytes_both_ways_over_a_bad_line_at_the_real_pace(tmp_path: Path) -> None:
    """Loss, duplication, reordering and a cut every five seconds cost time, and not one byte."""
    content = random.Random(20).randbytes(_ROUGH_BYTES)
    digest = hashlib.sha256(content).hexdigest()
    (tmp_path / "up").write_bytes(content)
    with set_stage(timing=REAL) as stage:
        made = f"{stage.node_folder}/made"
        with (tmp_path / "up").open("rb") as source:
            subprocess.run(
                stage.command("ssh", NODE_NAME, f"cat > {made}"),
                env=stage.environment,
                stdin=source,
                check=True,
                timeout=PATIENCE_SECONDS,
            )
        stage.emulator.inject(
            seed=20,
            loss=0.002,
            duplication=0.02,
            reordering=0.05,
            cut_every_seconds=5.0,
            bandwidth_bytes_per_second=_ROUGH_BYTES_PER_SECOND,
        )
        sessions_before = len(stage.emulator.sessions())
        with (
            (tmp_path / "up").open("rb") as source,
            subprocess.Popen(
                stage.command("ssh", NODE_NAME, "sha256sum"),
                env=stage.environment,
                stdin=source,
                stdout=subprocess.PIPE,
                text=True,
            ) as upload,
            subprocess.Popen(
                stage.command("ssh", NODE_NAME, f"cat {made}"), env=stage.environment, stdout=subprocess.PIPE
            ) as download,
        ):
            arrived, _ = download.communicate(timeout=_BULK_SECONDS)
            told, _ = upload.communicate(timeout=_BULK_SECONDS)
        assert (upload.returncode, download.returncode) == (0, 0)
        assert hashlib.sha256(arrived).hexdigest() == digest
        assert told.split()[0] == digest
        stage.emulator.wait_for_live_sessions(0)
        for record in stage.emulator.sessions()[sessions_before:]:
            # Otherwise nothing was shown.
            assert record.counts.cuts >= 2
            assert record.counts.client_channels > record.counts.cuts
            assert record.counts.lost > 0
            assert record.counts.doubled > 0


# --- single bytes -----------------------------------------------------------------------------------------


def test_every_byte_value_passes_both_ways(stage: Stage) -> None:
    """The proxy's stdin comes back on its stdout as it was."""
    content = _ALL_VALUES * 400 + bytes(reversed(_ALL_VALUES)) * 400

    def echo(connection: socket.socket) -> None:
        connection.sendall(receive_exactly(connection, len(content)))

    with listen_on_node(echo) as port, start_proxy(stage, port) as proxy:
        assert proxy.communicate(content, timeout=PATIENCE_SECONDS) == (content, b"")
        assert proxy.returncode == 0


@pytest.mark.parametrize(
    "burst",
    [b"\n", b"\r", b"x" * 1024 + b"\n", b"\n" * 1025],
    ids=["newline", "return", "1024-newline", "1025-newlines"],
)
def test_a_lone_newline_is_a_byte_like_any_other(stage: Stage, burst: bytes) -> None:
    """A message of nothing but a newline is neither dropped nor taken for the end, alone or behind others."""

    def echo(connection: socket.socket) -> None:
        for _ in range(5):
            connection.sendall(receive_exactly(connection, len(burst)))

    with listen_on_node(echo) as port, start_proxy(stage, port) as proxy:
        assert proxy.stdin is not None
        assert proxy.stdout is not None
        for _ in range(5):
            proxy.stdin.write(burst)
            assert read_exactly(proxy, len(burst)) == burst
        assert proxy.stdout.read() == b""
        assert proxy.wait(PATIENCE_SECONDS) == 0


def test_bytes_written_one_by_one_keep_their_order(stage: Stage) -> None:
    """A thousand writes of one byte, in both directions at once, are a thousand bytes."""
    content = _ALL_VALUES * 4

    def send_and_receive(connection: socket.socket) -> None:
        for value in content:
            connection.sendall(bytes([value]))
        assert receive_exactly(connection, len(content)) == content

    with listen_on_node(send_and_receive) as port, start_proxy(stage, port) as proxy:
        assert proxy.stdin is not None
        assert proxy.stdout is not None
        for value in content:
            proxy.stdin.write(bytes([value]))
        assert read_exactly(proxy, len(content)) == content
        assert proxy.stdout.read() == b""
        assert proxy.wait(PATIENCE_SECONDS) == 0


# --- ends -------------------------------------------------------------------------------------------------


def test_what_was_written_before_the_end_of_stdin_arrives(stage: Stage) -> None:
    """The end of stdin is right behind two megabytes; the node's port gets them all before it is closed."""
    content = random.Random(2).randbytes(2_000_000)
    arrived: list[bytes] = []
    with (
        listen_on_node(lambda connection: arrived.append(receive_all(connection))) as port,
        start_proxy(stage, port) as proxy,
    ):
        assert proxy.communicate(content, timeout=PATIENCE_SECONDS) == (b"", b"")
        assert proxy.returncode == 0
    assert arrived == [content]


def test_an_answer_after_the_end_of_stdin_arrives(stage: Stage) -> None:
    """A request by pipe, whose end is the end of stdin, is answered in full a second later."""
    answer = random.Random(3).randbytes(300_000)

    def answer_late(connection: socket.socket) -> None:
        receive_exactly(connection, len(b"request"))
        threading.Event().wait(1.0)
        connection.sendall(answer)

    with listen_on_node(answer_late) as port, start_proxy(stage, port) as proxy:
        assert proxy.communicate(b"request", timeout=PATIENCE_SECONDS) == (answer, b"")
        assert proxy.returncode == 0


def test_after_the_end_of_stdin_a_silent_port_is_not_waited_for(stage: Stage) -> None:
    """Nobody will ever close: the proxy ends by itself, and the port is told."""
    is_told = threading.Event()

    def say_nothing(connection: socket.socket) -> None:
        assert receive_all(connection) == b"request"
        is_told.set()

    with listen_on_node(say_nothing) as port, start_proxy(stage, port) as proxy:
        assert proxy.communicate(b"request", timeout=PATIENCE_SECONDS) == (b"", b"")
        assert proxy.returncode == 0
        assert is_told.wait(PATIENCE_SECONDS)


def test_the_last_bytes_of_a_port_that_closes_are_delivered(stage: Stage) -> None:
    """The port closes right behind its last bytes while stdin is open: all arrive, and the status is 0."""
    content = random.Random(4).randbytes(300_000)
    with (
        listen_on_node(lambda connection: connection.sendall(content)) as port,
        start_proxy(stage, port) as proxy,
    ):
        assert proxy.stdout is not None
        assert read_exactly(proxy, len(content)) == content
        assert proxy.stdout.read() == b""
        assert proxy.wait(PATIENCE_SECONDS) == 0


def test_files_serve_as_stdin_and_stdout(stage: Stage, tmp_path: Path) -> None:
    """Redirections work as pipes do: ``ssm-ssh proxy … < request > answer``."""
    content = _ALL_VALUES * 40
    (tmp_path / "request").write_bytes(content)

    def echo(connection: socket.socket) -> None:
        connection.sendall(receive_exactly(connection, len(content)))

    with (
        listen_on_node(echo) as port,
        (tmp_path / "request").open("rb") as request,
        (tmp_path / "answer").open("wb") as answer,
    ):
        subprocess.run(
            proxy_command(stage, port),
            env=stage.environment,
            stdin=request,
            stdout=answer,
            check=True,
            timeout=PATIENCE_SECONDS,
        )
    assert (tmp_path / "answer").read_bytes() == content


def read_exactly(proxy: subprocess.Popen[bytes], size: int) -> bytes:
    """The next ``size`` bytes of its stdout, or fewer at the end."""
    assert proxy.stdout is not None
    received = bytearray()
    while len(received) < size and (data := proxy.stdout.read(size - len(received))):
        received += data
    return bytes(received)
