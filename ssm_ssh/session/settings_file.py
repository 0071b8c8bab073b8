"""Finding the config file. Where there is none, looking for it is all that is paid for."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Final

from ssm_ssh.errors import InvalidOption

if TYPE_CHECKING:
    from ssm_ssh.session.settings import Settings

# Ours: far more than anybody writes, far less than what hurts.
_LARGEST_FILE_BYTES: Final = 256 * 1024
_VARIABLE: Final = "SSM_SSH_CONFIG"


def load_settings() -> Settings | None:
    """The settings of the user's config file, or None if there is no file.

    Raises:
        InvalidOption: If it cannot be read or understood; names file and line. Also if ``SSM_SSH_CONFIG``
            names a file that is not there: whoever names one relies on it.
    """
    named = os.environ.get(_VARIABLE)
    path = Path(named) if named else _default_path()
    if path is None:
        return None
    try:
        with path.open("rb") as file:
            raw = file.read(_LARGEST_FILE_BYTES + 1)
    except (FileNotFoundError, NotADirectoryError) as error:
        if named:
            hint = f"correct or unset {_VARIABLE}"
            raise InvalidOption(
                f"the config file {path} cannot be read: {error.strerror}", hint=hint
            ) from error
        return None
    except OSError as error:
        hint = f"make it readable for you, or name another file in {_VARIABLE} (/dev/null for none)"
        raise InvalidOption(f"the config file {path} cannot be read: {error.strerror}", hint=hint) from error
    if len(raw) > _LARGEST_FILE_BYTES:
        raise InvalidOption(f"the config file {path} is larger than {_LARGEST_FILE_BYTES} bytes", hint=None)
    from ssm_ssh.session.settings_text import parse_settings  # noqa: PLC0415 -- only paid for where there is a file

    return parse_settings(raw, path)


def _default_path() -> Path | None:
    folder = os.environ.get("XDG_CONFIG_HOME", "")
    try:
        # The XDG rule: a relative path there is to be ignored.
        config = Path(folder) if os.path.isabs(folder) else Path.home() / ".config"
    except RuntimeError:
        # A user without a home.
        return None
    return config / "ssm-ssh" / "config.toml"
