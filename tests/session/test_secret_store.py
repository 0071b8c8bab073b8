"""The keyring behind its deadline, with real child processes and backends of keyring's own kind."""

from __future__ import annotations

import io
import json
import os
import sys
import time
from typing import TYPE_CHECKING

import pytest
from keyring.backend import KeyringBackend
from keyring.errors import PasswordDeleteError

from ssm_ssh.errors import InvalidOption
from ssm_ssh.session import secret_child
from ssm_ssh.session.secret_child import NoKeyring, answer_to
from ssm_ssh.session.secret_store import SecretStore

if TYPE_CHECKING:
    from pathlib import Path

# Ours: for a child on a busy machine.
_SECONDS = 30.0
_SLOW_KEYRING = """
import threading
from keyring.backend import KeyringBackend

class Keyring(KeyringBackend):
    priority = 5
    def get_password(self, service, account):
        threading.Event().wait()
    def set_password(self, service, account, secret): ...
"""


class _Memory(KeyringBackend):
    priority: float = 5

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]  # keyring's
        self.secrets: dict[tuple[str, str], str] = {}

    def get_password(self, service: str, username: str) -> str | None:
        return self.secrets.get((service, username))

    def set_password(self, service: str, username: str, password: str) -> None:
        self.secrets[service, username] = password

    def delete_password(self, service: str, username: str) -> None:
        if self.secrets.pop((service, username), None) is None:
            raise PasswordDeleteError("none")


class _PlaintextKeyring(_Memory):
    """As keyrings.alt's."""


class _LastResort(_Memory):
    priority = 0.5


class _Chain(_Memory):
    priority = 10

    def __init__(self, *backends: KeyringBackend) -> None:
        super().__init__()
        self.backends = backends


def question(verb: str, secret: str = "") -> dict[str, str]:
    """One about the same names."""
    return {"verb": verb, "service": "s", "account": "a", "secret": secret}


def test_a_secret_is_stored_read_and_forgotten() -> None:
    """Forgetting twice is fine."""
    backend = _Memory()
    assert answer_to(question("read"), backend) == {"secret": None}
    assert answer_to(question("store", "x"), backend) == {}
    assert answer_to(question("read"), backend) == {"secret": "x"}
    for _ in range(2):
        assert answer_to(question("delete"), backend) == {}
    assert backend.secrets == {}


@pytest.mark.parametrize("kind", [_PlaintextKeyring, _LastResort])
def test_a_backend_that_does_not_keep_secrets_gets_none(kind: type[_Memory]) -> None:
    """Nor in a chain, where the next one is asked."""
    unsafe, safe = kind(), _Memory()
    with pytest.raises(NoKeyring, match=kind.__name__):
        answer_to(question("store", "x"), unsafe)
    answer_to(question("store", "x"), _Chain(unsafe, safe))
    assert (unsafe.secrets, safe.secrets) == ({}, {("s", "a"): "x"})


@pytest.mark.parametrize("name", ["null", "fail"])
def test_no_keyring_is_told(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither silence nor a traceback."""
    monkeypatch.setenv("PYTHON_KEYRING_BACKEND", f"keyring.backends.{name}.Keyring")
    with pytest.raises(InvalidOption, match="no backend here keeps secrets") as caught:
        SecretStore(deadline_seconds=_SECONDS).store("s", "a", "x")
    assert caught.value.hint


def test_a_keyring_that_waits_for_somebody_is_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """After the deadline, and the child is gone."""
    (tmp_path / "slow_keyring.py").write_text(_SLOW_KEYRING)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path), prepend=os.pathsep)
    monkeypatch.setenv("PYTHON_KEYRING_BACKEND", "slow_keyring.Keyring")
    started = time.monotonic()
    with pytest.raises(InvalidOption, match="did not answer within 2 seconds"):
        SecretStore().read("s", "a")
    assert time.monotonic() - started < 10


def test_nothing_in_the_working_folder_is_imported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file named keyring.py there does not get the secret."""
    (tmp_path / "keyring.py").write_text("raise SystemExit(1)")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYTHON_KEYRING_BACKEND", "keyring.backends.null.Keyring")
    with pytest.raises(InvalidOption, match="no backend here"):
        SecretStore(deadline_seconds=_SECONDS).read("s", "a")


def test_a_child_that_breaks_down_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """A backend that cannot be imported, an interpreter that is gone."""
    monkeypatch.setattr("ssm_ssh.session.secret_store._CHILD", (sys.executable, "-c", "raise SystemExit(1)"))
    with pytest.raises(InvalidOption, match="broke down"):
        SecretStore(deadline_seconds=_SECONDS).read("s", "a")
    monkeypatch.setattr("ssm_ssh.session.secret_store._CHILD", ("/nowhere/python",))
    with pytest.raises(InvalidOption, match="cannot be asked"):
        SecretStore(deadline_seconds=_SECONDS).read("s", "a")


def test_a_failing_backend_is_an_answer(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Its words, not its traceback; what works is one, too."""
    backend = _Memory()
    monkeypatch.setattr("keyring.get_keyring", lambda: backend)
    monkeypatch.setattr("sys.stdin", io.StringIO(json.dumps(question("store", "x"))))
    assert secret_child.main() == 0
    monkeypatch.setattr(backend, "get_password", lambda *_: (_ for _ in ()).throw(RuntimeError("locked")))
    monkeypatch.setattr("sys.stdin", io.StringIO(json.dumps(question("read"))))
    assert secret_child.main() == 0
    assert capsys.readouterr().out == '{}{"failure": "RuntimeError: locked"}'
