"""``ssm-ssh eks`` with the real kubectl, up to an API server whose certificate it checks."""

from __future__ import annotations

import base64
import http.server
import json
import os
import signal
import socket
import stat
import subprocess
import sys
import threading
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import parse_qs, urlsplit

import pytest

from ssm_ssh.cli.main import run
from ssm_ssh.emulator.database import KubernetesCluster
from ssm_ssh.emulator.node import NodeSpec
from ssm_ssh.emulator.start import start_emulator
from tests.cli.database_server import certificate_of
from tests.requirement import need_program

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ssm_ssh.emulator.start import RunningEmulator

_EKS = (sys.executable, "-m", "ssm_ssh", "eks")
_SECONDS = 60
NODE = "inside"
HOST = "0123456789ABCDEF.gr7.eu-central-1.eks.amazonaws.com"
ANSWER = {"major": "1", "minor": "31"}


@dataclass
class ApiServer:
    """Answers every question alike.

    Attributes:
        tokens: What it was shown.
    """

    port: int
    authority: str
    tokens: list[str] = field(default_factory=list)


@contextmanager
def api_server() -> Iterator[ApiServer]:
    """An API server whose certificate is for ``HOST``."""
    tokens: list[str] = []

    class Answering(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            tokens.append(self.headers.get("Authorization", "").removeprefix("Bearer "))
            body = json.dumps(ANSWER).encode()
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            """Nothing on stderr."""

    with certificate_of(HOST) as certificate, http.server.HTTPServer(("127.0.0.1", 0), Answering) as server:
        server.socket = certificate.context.wrap_socket(server.socket, server_side=True)
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield ApiServer(server.server_address[1], certificate.authority_path.read_text(), tokens)
        finally:
            server.shutdown()
            thread.join()


@pytest.fixture(scope="module")
def server() -> Iterator[ApiServer]:
    """One for all tests of this file."""
    with api_server() as running:
        yield running


@pytest.fixture
def emulator(server: ApiServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[RunningEmulator]:
    """A node that reaches the cluster's API server; the home is this test's."""
    node = NodeSpec(NODE, ports={(HOST, 443): ("127.0.0.1", server.port)})
    clusters = [
        KubernetesCluster("prod", f"https://{HOST}", server.authority),
        KubernetesCluster("young", status="CREATING"),
    ]
    with start_emulator([node], resources=clusters) as running:
        for name in running.foreign_variables:
            monkeypatch.delenv(name, raising=False)
        for name, value in running.environment.items():
            monkeypatch.setenv(name, value)
        monkeypatch.setenv("HOME", str(tmp_path))
        yield running
        running.wait_for_live_sessions(0)


def eks(*words: str) -> subprocess.CompletedProcess[str]:
    """One run of the command to its end."""
    return subprocess.run(
        [*_EKS, *words],
        capture_output=True,
        text=True,
        timeout=_SECONDS,
        check=False,
        stdin=subprocess.DEVNULL,
    )


def kubectl(*words: str, **variables: str) -> dict[str, str]:
    """What kubectl prints as JSON."""
    command = [need_program("kubectl"), *words, "get", "--raw", "/version"]
    outcome = subprocess.run(
        command, env=os.environ | variables, capture_output=True, text=True, timeout=_SECONDS, check=False
    )
    assert outcome.returncode == 0, outcome.stderr
    answer: dict[str, str] = json.loads(outcome.stdout)
    return answer


@contextmanager
def until_interrupted(command: list[str]) -> Iterator[str]:
    """A program's first line, on stdout or stderr, while it runs; then Ctrl-C, and 130."""
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    try:
        assert process.stdout is not None
        yield process.stdout.readline().strip()
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=_SECONDS)
        assert process.returncode == 130
    finally:
        process.kill()
        process.communicate()


def test_kubectl_runs_through_a_tunnel_of_its_own(emulator: RunningEmulator, server: ApiServer) -> None:
    """The certificate's name is right, the token is the caller's, and nothing is left in the home."""
    need_program("kubectl")
    outcome = eks("prod", "--via", NODE, "--", "kubectl", "get", "--raw", "/version")
    assert outcome.returncode == 0, outcome.stderr
    assert json.loads(outcome.stdout) == ANSWER
    assert server.tokens[-1].startswith("k8s-aws-v1.")
    assert not (Path.home() / ".kube" / "ssm-ssh-prod.json").exists()
    assert eks("prod", "--via", NODE, "--", "sh", "-c", "exit 7").returncode == 7
    assert [record.document_name for record in emulator.sessions()] == [
        "AWS-StartPortForwardingSessionToRemoteHost"
    ]


def files(folder: Path) -> set[Path]:
    """What is in a folder, but for kubectl's cache."""
    return {path for path in folder.iterdir() if path.is_file()}


def test_a_tunnel_that_is_up_is_used(emulator: RunningEmulator) -> None:
    """The file is the owner's alone, joins the user's, and is removed again."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    own = Path.home() / ".kube" / "config"
    own.parent.mkdir()
    own.write_text("apiVersion: v1\nkind: Config\ncurrent-context: mine\n")
    before = own.read_bytes()
    with until_interrupted([sys.executable, "-m", "ssm_ssh", "tunnel", NODE, "-D", str(port)]) as said:
        assert "Listening" in said
        outcome = eks("prod", "--port", str(port))
        assert outcome.returncode == 0, outcome.stderr
        path = Path(outcome.stdout.strip())
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        joined = {"KUBECONFIG": os.pathsep.join([str(own), str(path)])}
        assert kubectl("--context", "ssm-ssh-prod", **joined) == ANSWER
        # Once more, over what is there.
        assert eks("prod", "--port", str(port)).returncode == 0
        assert files(own.parent) == {own, path}
    emulator.wait_for_live_sessions(0)
    assert "Removed" in eks("prod", "--remove").stderr
    assert files(own.parent) == {own}
    assert own.read_bytes() == before
    outcome = eks("prod", "--remove")
    assert (outcome.returncode, "There is no" in outcome.stderr) == (0, True)


def test_via_holds_the_context_until_it_is_interrupted(emulator: RunningEmulator) -> None:
    """The port leads to the cluster and nowhere else."""
    path = Path.home() / ".kube" / "ssm-ssh-prod.json"
    with until_interrupted([*_EKS, "prod", "--via", NODE]) as said:
        assert str(path) in said
        assert kubectl(KUBECONFIG=str(path)) == ANSWER
        proxy = urlsplit(json.loads(path.read_text())["clusters"][0]["cluster"]["proxy-url"])
        curl = [
            need_program("curl"),
            "-sS",
            "-x",
            f"socks5h://127.0.0.1:{proxy.port}",
            "http://other.internal/",
        ]
        assert subprocess.run(curl, capture_output=True, timeout=_SECONDS, check=False).returncode != 0
    assert not path.exists()
    assert len(emulator.sessions()) == 1


def test_the_token_is_the_aws_cli_s(emulator: RunningEmulator) -> None:
    """The same question to STS, but for what the clock and the signature make of it."""
    ours = json.loads(eks("prod", "--token").stdout)
    command = [need_program("aws"), "eks", "get-token", "--cluster-name", "prod"]
    theirs = json.loads(subprocess.run(command, capture_output=True, check=True, timeout=_SECONDS).stdout)
    assert ours.keys() == theirs.keys()
    assert ours["status"].keys() == theirs["status"].keys()
    assert question(ours["status"]["token"]) == question(theirs["status"]["token"])
    assert emulator.sessions() == []


def question(token: str) -> tuple[str, str, dict[str, list[str]]]:
    """Where a token's question goes, and what it asks."""
    text = token.removeprefix("k8s-aws-v1.")
    url = urlsplit(base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)).decode())
    asked = parse_qs(url.query)
    for changing in ("X-Amz-Date", "X-Amz-Signature"):
        del asked[changing]
    return url.netloc, url.path, asked


@pytest.mark.parametrize(
    ("words", "status", "says"),
    [
        (["nothing", "--via", NODE], 3, "No cluster found for name: nothing"),
        (["young", "--via", NODE], 3, "young has no API server yet (CREATING)"),
        (["prod", "--port", "1"], 2, "no tunnel's SOCKS port answers on 127.0.0.1:1"),
    ],
)
def test_what_is_not_there(emulator: RunningEmulator, words: list[str], status: int, says: str) -> None:
    """An error line, a hint, and no file."""
    outcome = eks(*words)
    error, hint = outcome.stderr.splitlines()
    assert (outcome.returncode, says in error, hint.startswith("ssm-ssh: hint: ")) == (status, True, True)
    assert not (Path.home() / ".kube").exists()
    assert emulator.sessions() == []


def test_a_file_that_cannot_be_written_is_told(emulator: RunningEmulator) -> None:
    """Where the folder is none."""
    (Path.home() / ".kube").write_text("")
    outcome = eks("prod", "--via", NODE)
    assert outcome.returncode == 2
    assert "cannot be written" in outcome.stderr
    assert eks("prod", "--remove").returncode == 2
    assert emulator.sessions() == []


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["../x", "--remove"], "'../x' is not a target"),
        (["prod", "--", "true"], "a command needs a tunnel of its own"),
        (["prod", "--via", NODE, "--", "no-such-program-here"], "no-such-program-here cannot be found"),
        (["prod", "--port", "0"], "--port '0' cannot be used"),
    ],
)
def test_mistakes_are_told_in_our_own_way(
    words: list[str], says: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """An error line, a hint line, and 2."""
    assert run(["eks", *words]) == 2
    error, hint = capsys.readouterr().err.splitlines()[:2]
    assert says in error
    assert hint.startswith("ssm-ssh: hint: ")
