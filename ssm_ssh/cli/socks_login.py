"""The user and password that ``-D`` asks for: from a file or the environment, never from argv."""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import Final

from ssm_ssh.errors import InvalidOption
from ssm_ssh.forward.client_request import Login

LOGIN_VARIABLE: Final = "SSM_SSH_SOCKS_LOGIN"
# Ours: a user, a colon, a password and a line's end, all as long as they may be.
_LARGEST_FILE_BYTES: Final = 514


def read_socks_login(file: str | None) -> Login | None:
    """The login, or None if there is none; the file holds over the environment.

    Raises:
        InvalidOption: If the file cannot be read or others can, or what it says is no login.
    """
    if file is None:
        text = os.environ.get(LOGIN_VARIABLE)
        return None if not text else Login.parse(text)
    return Login.parse(_read(Path(file)).removesuffix("\n").removesuffix("\r"))


def _read(path: Path) -> str:
    try:
        with path.open("rb") as file:
            mode = os.fstat(file.fileno()).st_mode
            data = file.read(_LARGEST_FILE_BYTES + 1)
        text = data.decode()
    except OSError as error:
        raise InvalidOption(f"--socks-login {path} cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise InvalidOption(f"--socks-login {path} is no text") from error
    # Windows keeps rights elsewhere. What is no file, as a shell's <(…), is nobody else's.
    if os.name == "posix" and stat.S_ISREG(mode) and mode & (stat.S_IRWXG | stat.S_IRWXO):
        raise InvalidOption(f"others may read --socks-login {path}", hint=f"chmod 600 {path}")
    if len(data) > _LARGEST_FILE_BYTES or "\n" in text.removesuffix("\n"):
        raise InvalidOption(f"--socks-login {path} is not one line of USER:PASSWORD")
    return text
