"""Questions whose answers nobody else may see: on the terminal, never on stdin."""

from __future__ import annotations

import getpass
import os
from typing import Final

from ssm_ssh.errors import InvalidOption

_TERMINAL: Final = "CONIN$" if os.name == "nt" else "/dev/tty"


def ask_secret(question: str) -> str:
    """Ask on the terminal that this process belongs to, without showing the answer.

    Raises:
        InvalidOption: If there is no terminal, or another program has it.
    """
    try:
        descriptor = os.open(_TERMINAL, os.O_RDWR | getattr(os, "O_NOCTTY", 0))
    except OSError as error:
        raise _nobody_to_ask(question) from error
    try:
        get_foreground_group = getattr(os, "tcgetpgrp", None)
        # A background job that reads the terminal is stopped by it, and would hang for ever.
        if get_foreground_group is not None and get_foreground_group(descriptor) != os.getpgrp():
            raise _nobody_to_ask(question)
    finally:
        os.close(descriptor)
    try:
        # It opens the terminal, too, and would read stdin only where there is none.
        return getpass.getpass(f"ssm-ssh: {question}: ")
    except EOFError:
        raise _nobody_to_ask(question) from None


def _nobody_to_ask(question: str) -> InvalidOption:
    return InvalidOption(
        f"there is no terminal to ask for the {question}", hint="run the command in a terminal's foreground"
    )
