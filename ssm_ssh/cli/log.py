"""The package's log as a command's messages on stderr: warnings always, more with -v and -vv."""

from __future__ import annotations

import logging
import traceback
from typing import TYPE_CHECKING, Final

from ssm_ssh.cli.message import say

if TYPE_CHECKING:
    from ssm_ssh.errors import SsmSshError

_LEVELS: Final = (logging.WARNING, logging.INFO, logging.DEBUG)


class _Messages(logging.Handler):
    def emit(self, record: logging.LogRecord) -> None:
        say(record.getMessage())


def show_log(verbosity: int) -> None:
    """Show this package's log from now on; ``verbosity`` counts the v's."""
    package = logging.getLogger("ssm_ssh")
    package.setLevel(_LEVELS[min(verbosity, len(_LEVELS) - 1)])
    package.addHandler(_Messages())
    package.propagate = False


def show_traceback(error: SsmSshError, verbosity: int) -> None:
    """With -vv, where ``error`` came from."""
    if verbosity >= len(_LEVELS) - 1:
        for line in "".join(traceback.format_exception(error)).splitlines():
            say(line)
