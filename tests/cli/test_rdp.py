"""``ssm-ssh rdp`` from the stand-in's API to a real remote desktop with real NLA."""

from __future__ import annotations

import json
import os
import signal
import stat
import subprocess
import sys
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.rsa import generate_private_key
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)

from ssm_ssh.cli.main import run
from ssm_ssh.emulator.node import Node, NodeSpec
from ssm_ssh.emulator.start import start_emulator
from ssm_ssh.emulator.windows_launch import WindowsLaunch
from tests.cli.desktop_server import desktop_server
from tests.requirement import need_program

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ssm_ssh.emulator.start import RunningEmulator
    from tests.cli.desktop_server import DesktopServer

_RDP = (sys.executable, "-m", "ssm_ssh", "rdp")
_SECONDS = 60
NAME = "win-1"
USER = "Administrator"
PASSWORD = "S3cret! ü%\\'\"&;?"
PASSPHRASE = b"open sesame"
KEY = generate_private_key(65537, 2048)
PUBLIC = KEY.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()
# A keyring that keeps its secrets in a file, for real processes.
KEYRING = """
import json, os, pathlib
from keyring.backend import KeyringBackend

class Keyring(KeyringBackend):
    priority = 5
    path = pathlib.Path(os.environ["TEST_KEYRING_FILE"])
    def _all(self):
        return json.loads(self.path.read_text()) if self.path.exists() else {}
    def get_password(self, service, account):
        return self._all().get(f"{service}|{account}")
    def set_password(self, service, account, secret):
        self.path.write_text(json.dumps({**self._all(), f"{service}|{account}": secret}))
"""


@dataclass
class Desk:
    """An account with a Windows node whose remote desktop is real, and files of its user."""

    emulator: RunningEmulator
    node: Node
    server: DesktopServer
    launch: WindowsLaunch
    folder: Path
    key: str

    @property
    def environment(self) -> dict[str, str]:
        """For programs that need a screen and a keyring."""
        return {
            **os.environ,
            "DISPLAY": self.server.display,
            "PYTHONPATH": os.pathsep.join([str(self.folder), os.environ.get("PYTHONPATH", "")]),
            "PYTHON_KEYRING_BACKEND": "file_keyring.Keyring",
            "TEST_KEYRING_FILE": str(self.folder / "secrets.json"),
        }

    def keyring(self) -> dict[str, str]:
        """What the keyring has."""
        secrets: dict[str, str] = json.loads((self.folder / "secrets.json").read_text())
        return secrets


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DesktopServer]:
    """One remote desktop for all tests of this file."""
    with desktop_server(tmp_path_factory.mktemp("desktop"), USER, PASSWORD) as running:
        yield running


@pytest.fixture
def desk(server: DesktopServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Desk]:
    """An account whose node's port 3389 is the real server's."""
    launch = WindowsLaunch(PASSWORD, PUBLIC, thumbprint=server.thumbprint)
    ports = {("localhost", 3389): ("127.0.0.1", server.port)}
    node = Node(NodeSpec(NAME, platform="Windows", ports=ports, windows_launch=launch))
    (tmp_path / "file_keyring.py").write_text(KEYRING)
    key = write_key(tmp_path / "key.pem")
    with start_emulator([node]) as emulator:
        for name in emulator.foreign_variables:
            monkeypatch.delenv(name, raising=False)
        for name, value in emulator.environment.items():
            monkeypatch.setenv(name, value)
        yield Desk(emulator, node, server, launch, tmp_path, key)
        emulator.wait_for_live_sessions(0)


def write_key(path: Path, key: Any = KEY, passphrase: bytes | None = None) -> str:  # noqa: ANN401
    """A key's file."""
    encryption = NoEncryption() if passphrase is None else BestAvailableEncryption(passphrase)
    path.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, encryption))
    return str(path)


def rdp(desk: Desk, *words: str, **changes: str) -> subprocess.CompletedProcess[str]:
    """One run of the command to its end."""
    return subprocess.run(
        [*_RDP, *words],
        env=desk.environment | changes,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=_SECONDS,
        check=False,
        # Without a terminal, even where the tests have one.
        start_new_session=True,
    )


@contextmanager
def listening(desk: Desk, *words: str) -> Iterator[dict[str, Any]]:
    """The command with ``--print-only``, while it listens, and what it printed; Ctrl-C ends it with 130."""
    command = [*_RDP, NAME, "--print-only", *words]
    process = subprocess.Popen(
        command, env=desk.environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    try:
        assert process.stdout is not None
        line = process.stdout.readline()
        assert line, process.communicate()[1]
        said = json.loads(line)
        yield said
        process.send_signal(signal.SIGINT)
        rest, _ = process.communicate(timeout=_SECONDS)
        assert (process.returncode, rest) == (130, "")
        assert not Path(said["rdp_file"]).parent.exists()
    finally:
        process.kill()
        process.communicate()


def log_in(desk: Desk, said: dict[str, Any], password: str) -> int:
    """FreeRDP's status for a login that ends after NLA."""
    command = [
        need_program("xfreerdp"),
        f"/v:{said['host']}:{said['port']}",
        "/d:",
        f"/u:{said['username']}",
        "/from-stdin:force",
        "/cert:ignore",
        "/sec:nla",
        "+auth-only",
    ]
    return subprocess.run(
        command,
        env=desk.environment,
        input=f"{password}\n".encode(),
        capture_output=True,
        timeout=_SECONDS,
        check=False,
    ).returncode


def test_what_is_printed_opens_the_desktop(desk: Desk) -> None:
    """NLA takes the password that EC2 kept and no other; the node lives through a refusal."""
    with listening(desk, "--key", desk.key, "--show-password") as said:
        assert sorted(said) == ["host", "password", "port", "rdp_file", "username"]
        assert said["password"] == PASSWORD
        assert log_in(desk, said, said["password"]) == 0
        assert log_in(desk, said, "wrong") != 0
        assert log_in(desk, said, said["password"]) == 0


def test_the_password_is_nowhere_unless_it_is_asked_for(desk: Desk) -> None:
    """Neither on stdout nor in the file, which only its owner may open."""
    with listening(desk, "--key", desk.key) as said:
        assert "password" not in said
        file = Path(said["rdp_file"])
        assert stat.S_IMODE(file.stat().st_mode) == 0o600
        assert stat.S_IMODE(file.parent.stat().st_mode) == 0o700
        lines = file.read_text("ascii").splitlines()
        assert f"full address:s:{said['host']}:{said['port']}" in lines
        assert f"username:s:{USER}" in lines
        assert "password" not in file.read_text("ascii")
        # The certificate was compared: its name is not this address, and need not be.
        assert "authentication level:i:0" in lines


def client_script(folder: Path, text: str) -> str:
    """A PATH on which xfreerdp is the real one after ``text``."""
    binaries = folder / "bin"
    binaries.mkdir()
    program = binaries / "xfreerdp"
    program.write_text(f'#!/bin/sh\n{text}\nexec {need_program("xfreerdp")} "$@" +auth-only\n')
    program.chmod(0o755)
    return f"{binaries}{os.pathsep}{os.environ['PATH']}"


def test_the_client_is_started_and_gets_the_password_by_stdin(desk: Desk) -> None:
    """A real FreeRDP logs in; its arguments pin the certificate and do not hold the password."""
    words = desk.folder / "words"
    path = client_script(desk.folder, f'printf "%s\\n" "$@" > {words}')
    outcome = rdp(desk, NAME, "--key", desk.key, PATH=path)
    assert outcome.returncode == 0, outcome.stderr
    assert outcome.stdout.count(PASSWORD) == 0
    assert "The certificate is the one that the node's console tells of" in outcome.stderr
    file, *options = words.read_text().splitlines()
    assert not Path(file).exists()
    assert any(option.startswith("/cert:fingerprint:sha256:") for option in options)
    assert PASSWORD not in words.read_text()


def test_a_saved_password_needs_no_key_the_next_time(desk: Desk) -> None:
    """It goes into the keyring on request only, and GetPasswordData is not called again."""
    path = client_script(desk.folder, "")
    assert rdp(desk, NAME, "--key", desk.key, PATH=path).returncode == 0
    assert not (desk.folder / "secrets.json").exists()
    assert rdp(desk, NAME, "--key", desk.key, "--save-password", PATH=path).returncode == 0
    assert desk.keyring() == {f"ssm-ssh rdp|{desk.node.node_id} {USER}": PASSWORD}
    before = desk.emulator.counts["GetPasswordData"]
    outcome = rdp(desk, NAME, "--show-password", PATH=path)
    assert (outcome.returncode, outcome.stdout.splitlines()[0]) == (0, PASSWORD)
    assert desk.emulator.counts["GetPasswordData"] == before


def test_a_client_that_fails_is_told(desk: Desk) -> None:
    """Its status is ours."""
    outcome = rdp(desk, NAME, PATH=client_script(desk.folder, "exit 131"))
    assert outcome.returncode == 131
    assert "error: xfreerdp ended with status 131" in outcome.stderr


def test_another_certificate_is_refused_before_a_client_sees_it(desk: Desk) -> None:
    """4, both thumbprints, and no client."""
    desk.launch.thumbprint = "ab" * 20
    marker = desk.folder / "started"
    outcome = rdp(desk, NAME, "--key", desk.key, PATH=client_script(desk.folder, f"touch {marker}"))
    assert outcome.returncode == 4
    assert desk.server.thumbprint.upper() in outcome.stderr
    assert "AB" * 20 in outcome.stderr
    assert not marker.exists()


def test_a_certificate_that_cannot_be_compared_is_told(desk: Desk) -> None:
    """The client then asks, where it does not get the certificate pinned."""
    desk.launch.thumbprint = ""
    with listening(desk) as said:
        assert "authentication level:i:2" in Path(said["rdp_file"]).read_text("ascii")
    desk.emulator.inject(denied_actions=frozenset({"ec2:GetConsoleOutput"}))
    outcome = rdp(desk, NAME, PATH=client_script(desk.folder, "exit 0"))
    assert outcome.returncode == 0
    assert "warning" not in outcome.stdout
    assert "the certificate could not be compared: GetConsoleOutput failed" in outcome.stderr


def test_a_password_that_is_not_there_yet_is_told(desk: Desk) -> None:
    """3, and how long it takes."""
    desk.launch.is_ready = False
    outcome = rdp(desk, NAME, "--key", desk.key, "--print-only")
    assert outcome.returncode == 3
    assert "no password to give (yet)" in outcome.stderr
    assert "15 minutes" in outcome.stderr


def test_a_passphrase_comes_from_the_keyring_or_the_terminal(desk: Desk) -> None:
    """Without either it is told, and stdin is not read for it."""
    key = write_key(desk.folder / "locked.pem", passphrase=PASSPHRASE)
    outcome = rdp(desk, NAME, "--key", key, "--print-only")
    assert outcome.returncode == 2
    assert "no terminal to ask for the passphrase" in outcome.stderr
    secrets = {f"ssm-ssh passphrase|{Path(key).resolve()}": PASSPHRASE.decode()}
    (desk.folder / "secrets.json").write_text(json.dumps(secrets))
    with listening(desk, "--key", key, "--show-password") as said:
        assert said["password"] == PASSWORD


def test_a_node_without_remote_desktop_is_waited_for_and_told(desk: Desk) -> None:
    """6, after --wait."""
    desk.node.network.serve("localhost", 3389, 1)
    outcome = rdp(desk, NAME, "--print-only", "--wait", "1")
    assert outcome.returncode == 6
    assert "waiting for the remote desktop" in outcome.stderr


def test_keys_that_cannot_open_a_password_are_told_first(tmp_path: Path) -> None:
    """Before AWS is asked for anything."""
    ed25519 = write_key(tmp_path / "ed25519.pem", Ed25519PrivateKey.generate())
    for key, says in {
        ed25519: "is no RSA key",
        str(tmp_path / "none.pem"): "cannot be read",
        __file__: "cannot be opened",
    }.items():
        outcome = subprocess.run(
            [*_RDP, NAME, "--key", key, "--print-only"],
            capture_output=True,
            text=True,
            timeout=_SECONDS,
            check=False,
        )
        assert outcome.returncode == 2
        assert says in outcome.stderr.splitlines()[0]
        assert outcome.stderr.splitlines()[1].startswith("ssm-ssh: hint: ")


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ([NAME, "--save-password", "--print-only"], "there is no password to save"),
        ([NAME, "--user", "a\nb", "--print-only"], "is no user's name"),
        ([NAME, "--wait", "0", "--print-only"], "--wait '0' cannot be used"),
        ([NAME, "--port", "65536", "--print-only"], "--port '65536' cannot be used"),
        (["--print-only"], "the following arguments are required: TARGET"),
    ],
)
def test_mistakes_are_told_in_our_own_way(
    words: list[str], says: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """An error line, a hint line, and 2."""
    assert run(["rdp", *words]) == 2
    error, hint = capsys.readouterr().err.splitlines()[:2]
    assert says in error
    assert hint.startswith("ssm-ssh: hint: ")
