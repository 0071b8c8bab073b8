"""The ``.rdp`` file: what every remote desktop client opens. It never holds the password."""

from __future__ import annotations

import os
import tempfile
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from ssm_ssh.errors import InvalidOption

if TYPE_CHECKING:
    from collections.abc import Iterator


def render_rdp_file(host: str, port: int, os_user: str, *, is_verified: bool) -> bytes:
    """The file's content.

    Args:
        host: Where the client connects to.
        port: The port.
        os_user: Whom it logs in as.
        is_verified: Whether the certificate was compared; else the client asks.

    Raises:
        InvalidOption: If the user's name could be taken for further lines.
    """
    if not os_user.isprintable() or not os_user:
        raise InvalidOption(f"{os_user!r} is no user's name")
    # 0: connect whatever the certificate's name says, which is never this address. 2: ask.
    level = 0 if is_verified else 2
    lines = [
        f"full address:s:{host}:{port}",
        f"username:s:{os_user}",
        "prompt for credentials:i:0",
        "enablecredsspsupport:i:1",
        f"authentication level:i:{level}",
    ]
    text = "".join(f"{line}\r\n" for line in lines)
    # Clients take bytes without a mark for the system's code page.
    return text.encode("ascii" if text.isascii() else "utf-16")


@contextmanager
def temporary_rdp_file(content: bytes) -> Iterator[Path]:
    """A file that only its owner may open, for the length of a block."""
    with tempfile.TemporaryDirectory(prefix="ssm-ssh-rdp-") as folder:
        path = Path(folder, "desktop.rdp")
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with open(descriptor, "wb") as file:
            file.write(content)
        yield path
