"""A program on a terminal of its own, and the person in front of it."""

from __future__ import annotations

import os
import subprocess
import termios
from typing import TYPE_CHECKING, Final, Self

from pexpect import EOF
from pexpect.fdpexpect import fdspawn

from tests.requirement import need_program

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from types import TracebackType

CTRL_C: Final = "\x03"
CTRL_D: Final = "\x04"
# Ours: nothing here takes a tenth of it; a test that hangs fails with what the screen showed.
PATIENCE_SECONDS: Final = 30.0


class Terminal:
    """A context manager; at its end the terminal is gone and so is the program.

    ``pexpect.spawn`` would fork this process, which has threads; ``setsid --ctty`` does without.

    Attributes:
        process: The program. It leads its session, as a shell in a terminal window does.
    """

    def __init__(
        self, command: Sequence[str], environment: Mapping[str, str], *, rows: int = 24, columns: int = 80
    ) -> None:
        setsid = need_program("setsid")
        self._ours, theirs = os.openpty()
        self._screen = fdspawn(self._ours, timeout=PATIENCE_SECONDS, encoding="utf-8", use_poll=True)
        try:
            self.resize(rows, columns)
            self.process = subprocess.Popen(
                [setsid, "--ctty", *command], stdin=theirs, stdout=theirs, stderr=theirs, env=environment
            )
        except BaseException:
            self._screen.close()
            raise
        finally:
            os.close(theirs)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
        if error is not None:
            self.process.kill()
        self.process.wait(PATIENCE_SECONDS)

    def resize(self, rows: int, columns: int) -> None:
        """Drag the window's corner."""
        termios.tcsetwinsize(self._ours, (rows, columns))

    def expect(self, pattern: str) -> str:
        """Wait until the screen shows ``pattern``, a regular expression. Returns what was shown before it.

        Raises:
            pexpect.TIMEOUT: If it does not; the error shows the screen.
            pexpect.EOF: If everything on the terminal has ended.
        """
        self._screen.expect(pattern)
        return str(self._screen.before)

    def type(self, text: str) -> None:
        """Press keys."""
        self._screen.send(text)

    def read_to_end(self) -> str:
        """Wait until every program on the terminal has ended. Returns what was shown meanwhile."""
        return self.expect(EOF)

    def wait(self) -> int:
        """``read_to_end``, then the program's status, negative for a signal."""
        self.read_to_end()
        return self.process.wait(PATIENCE_SECONDS)

    def close(self) -> None:
        """Close the terminal's window: its programs get SIGHUP. Twice is fine."""
        self._screen.close()
