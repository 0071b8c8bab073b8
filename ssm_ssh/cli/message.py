"""What a command says on stderr: messages, the error line and its hint.

Much of that text is foreign: AWS's words, tags, an agent's output. It is shown with control characters and
bidirectional marks escaped, so that nothing a node says can move the cursor or reorder a line.
"""

from __future__ import annotations

import sys
import unicodedata
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ssm_ssh.errors import SsmSshError

# Unicode categories that steer a terminal or a reader instead of showing a character: control, format
# (bidirectional marks are here), surrogate, private use, line and paragraph separator.
_STEERING = frozenset({"Cc", "Cf", "Cs", "Co", "Zl", "Zp"})


def printable(text: str) -> str:
    """The text with every character that steers a terminal written as its backslash escape.

    Line breaks are such characters, so the result is one line. So are the joiners inside some emoji: their
    parts are then shown side by side.
    """
    if text.isprintable():
        return text
    return "".join(
        character.encode("unicode_escape").decode("ascii")
        if unicodedata.category(character) in _STEERING
        else character
        for character in text
    )


def show(text: str) -> None:
    """Write a result, as it stands, to stdout; a reader that has gone is nobody's problem.

    What stdout's encoding cannot say is shown as a question mark.
    """
    stdout = sys.stdout
    if stdout is None:
        return
    try:
        stdout.write(text.encode(stdout.encoding, "replace").decode(stdout.encoding))
        stdout.flush()
    except (OSError, ValueError):
        # Python flushes once more at its end, and would complain then.
        sys.stdout = None


def say(text: str) -> None:
    """Write one message line to stderr; a closed stderr is nobody's problem."""
    stderr = sys.stderr
    if stderr is None:
        # Python's answer to a stderr that was closed before it started, as in `2>&-`.
        return
    try:
        stderr.write(f"ssm-ssh: {printable(text)}\n")
        stderr.flush()
    except (OSError, ValueError):
        pass


def report(error: SsmSshError) -> None:
    """Write the error line of ``error`` and, if there is one, its hint line."""
    say(f"error: {error}")
    if error.hint is not None:
        say(f"hint: {error.hint}")
