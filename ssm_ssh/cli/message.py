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
    """The text with every character that steers a terminal written as its backslash escape."""
    return "".join(
        character
        if character.isprintable() or unicodedata.category(character) not in _STEERING
        else character.encode("unicode_escape", "surrogatepass").decode("ascii")
        for character in text
    )


def say(text: str) -> None:
    """Write one message line to stderr; a closed stderr is nobody's problem."""
    try:
        sys.stderr.write(f"ssm-ssh: {printable(text)}\n")
        sys.stderr.flush()
    except (OSError, ValueError):
        pass


def report(error: SsmSshError) -> None:
    """Write the error line of ``error`` and, if there is one, its hint line."""
    say(f"error: {error}")
    if error.hint is not None:
        say(f"hint: {error.hint}")
