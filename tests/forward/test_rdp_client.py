"""The clients of each platform: which is found, and that none is given the password in its words."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from ssm_ssh.errors import InvalidOption
from ssm_ssh.forward.rdp import RemoteDesktop
from ssm_ssh.forward.rdp_certificate import DesktopCertificate
from ssm_ssh.forward.rdp_client import PasswordWay, find_client
from ssm_ssh.forward.rdp_file import render_rdp_file

if TYPE_CHECKING:
    from collections.abc import Callable

FILE = Path("/tmp/desktop.rdp")
PASSWORD = "hidden"


def desktop(*, os_user: str = "Administrator", has_certificate: bool = True) -> RemoteDesktop:
    """One that answers."""
    certificate = DesktopCertificate(b"der") if has_certificate else None
    return RemoteDesktop("i-0123456789abcdef0", "127.0.0.1", 33890, os_user, PASSWORD, certificate, True)  # noqa: FBT003


@pytest.fixture
def installed(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Says which programs are on the PATH, and which applications a Mac has."""

    def install(*names: str) -> None:
        monkeypatch.setattr(shutil, "which", lambda name: f"/bin/{name}" if name in names else None)
        monkeypatch.setattr(Path, "exists", lambda path: path.stem in names)

    return install


@pytest.mark.parametrize(
    ("platform", "program", "way", "words"),
    [
        ("win32", "mstsc", PasswordWay.CREDENTIAL_STORE, ["/bin/mstsc", str(FILE)]),
        (
            "darwin",
            "Windows App",
            PasswordWay.NONE,
            ["/usr/bin/open", "-n", "-W", "-a", "Windows App", str(FILE)],
        ),
        ("linux", "remmina", PasswordWay.NONE, ["/bin/remmina", "-c", str(FILE)]),
    ],
)
def test_each_platform_has_its_client(
    installed: Callable[..., None], platform: str, program: str, way: PasswordWay, words: list[str]
) -> None:
    """Its words open the file and do not hold the password."""
    installed(program)
    client = find_client(platform)
    assert (client.password_way, client.words(desktop(), FILE)) == (way, words)


@pytest.mark.parametrize("platform", ["win32", "darwin", "linux", "freebsd14"])
def test_without_a_client_it_is_told(installed: Callable[..., None], platform: str) -> None:
    """With what to install, and the way without."""
    installed()
    with pytest.raises(InvalidOption, match="no remote desktop client") as caught:
        find_client(platform)
    assert "--print-only" in str(caught.value.hint)


def test_freerdp_is_preferred_and_pins_the_certificate(installed: Callable[..., None]) -> None:
    """The password comes by stdin; an empty domain keeps it from being taken for one."""
    installed("xfreerdp", "remmina")
    client = find_client("linux")
    words = list(client.words(desktop(), FILE))
    assert words[:2] == ["/bin/xfreerdp", str(FILE)]
    assert words[-3:] == [
        f"/cert:fingerprint:sha256:{DesktopCertificate(b'der').sha256}",
        "/d:",
        "/from-stdin:force",
    ]
    assert PASSWORD not in " ".join(words)
    assert "/d:" not in client.words(desktop(os_user="CORP\\ann"), FILE)
    assert not any("cert" in word for word in client.words(desktop(has_certificate=False), FILE))


def test_a_name_beyond_ascii_is_marked_as_such() -> None:
    """Clients take unmarked bytes for the system's code page."""
    content = render_rdp_file("127.0.0.1", 1, "Jürgen", is_verified=False)
    assert content.startswith((b"\xff\xfe", b"\xfe\xff"))
    assert "username:s:Jürgen\r\n" in content.decode("utf-16")
