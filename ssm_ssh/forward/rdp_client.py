"""The remote desktop clients, by platform: what they are called with, and how they take a password.

Never by an argument, which every user of the machine can read, and never in the ``.rdp`` file.
"""

from __future__ import annotations

import shutil
import sys
from dataclasses import dataclass
from enum import Enum, auto
from pathlib import Path
from typing import TYPE_CHECKING, Final

from ssm_ssh.errors import InvalidOption

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from ssm_ssh.forward.rdp import RemoteDesktop


class PasswordWay(Enum):
    """How a client takes a password."""

    STDIN = auto()
    CREDENTIAL_STORE = auto()
    """From the system's store, under ``TERMSRV/host``."""
    NONE = auto()
    """It asks for itself."""


@dataclass(frozen=True, slots=True)
class DesktopClient:
    """A client that can be started.

    Attributes:
        name: What people call it.
        words: The command for a desktop and its ``.rdp`` file.
        password_way: How it takes the password.
        fine_statuses: The exit statuses that say how a session ended normally.
    """

    name: str
    words: Callable[[RemoteDesktop, Path], Sequence[str]]
    password_way: PasswordWay
    fine_statuses: frozenset[int] = frozenset({0})


# FreeRDP: 1 disconnected, 2 logged off, 11 disconnected by the user, 12 logged off by the user.
_FREERDP_FINE: Final = frozenset({0, 1, 2, 11, 12})
_FREERDP_PROGRAMS: Final = ("xfreerdp3", "xfreerdp", "wlfreerdp3", "wlfreerdp")
_MAC_APPLICATIONS: Final = ("Windows App", "Microsoft Remote Desktop")


def find_client(platform: str = sys.platform) -> DesktopClient:
    """The client of this system.

    Raises:
        InvalidOption: If there is none.
    """
    search, hint = _PLATFORMS.get(platform, _PLATFORMS["linux"])
    client = search()
    if client is None:
        raise InvalidOption("there is no remote desktop client here", hint=f"{hint}, or use --print-only")
    return client


def _find_on_windows() -> DesktopClient | None:
    program = shutil.which("mstsc")
    if program is None:
        return None
    return DesktopClient("mstsc", lambda _, file: [program, str(file)], PasswordWay.CREDENTIAL_STORE)


def _find_on_mac() -> DesktopClient | None:
    for name in _MAC_APPLICATIONS:
        if Path("/Applications", f"{name}.app").exists():
            return _mac_application(name)
    return None


def _mac_application(name: str) -> DesktopClient:
    # -n: one of its own, -W: until it ends.
    command = ["/usr/bin/open", "-n", "-W", "-a", name]
    return DesktopClient(name, lambda _, file: [*command, str(file)], PasswordWay.NONE)


def _find_elsewhere() -> DesktopClient | None:
    for name in _FREERDP_PROGRAMS:
        if (program := shutil.which(name)) is not None:
            return _freerdp(name, program)
    program = shutil.which("remmina")
    if program is None:
        return None
    return DesktopClient("Remmina", lambda _, file: [program, "-c", str(file)], PasswordWay.NONE)


def _freerdp(name: str, program: str) -> DesktopClient:
    def words(desktop: RemoteDesktop, file: Path) -> list[str]:
        command = [program, str(file), "+clipboard", "/dynamic-resolution"]
        if desktop.certificate is not None:
            command.append(f"/cert:fingerprint:sha256:{desktop.certificate.sha256}")
        if desktop.password is not None:
            # Without a domain of its own it would ask for one first, and take the password for it.
            command += ["/from-stdin:force"] if "\\" in desktop.os_user else ["/d:", "/from-stdin:force"]
        return command

    return DesktopClient(name, words, PasswordWay.STDIN, _FREERDP_FINE)


_PLATFORMS: Final[dict[str, tuple[Callable[[], DesktopClient | None], str]]] = {
    "win32": (_find_on_windows, "mstsc comes with Windows"),
    "darwin": (_find_on_mac, "install Windows App from the App Store"),
    "linux": (_find_elsewhere, "install FreeRDP (xfreerdp) or Remmina"),
}
