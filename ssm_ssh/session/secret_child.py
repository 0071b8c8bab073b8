"""The child process of ``secret_store``: one question about a secret on stdin, one answer on stdout."""

from __future__ import annotations

import contextlib
import json
import sys
from typing import TYPE_CHECKING, Any, Final

import keyring
from keyring.errors import KeyringError, PasswordDeleteError

if TYPE_CHECKING:
    from keyring.backend import KeyringBackend

# keyring's own measure: below are those that are there for lack of another, such as files in plain text.
_RECOMMENDED_PRIORITY: Final = 1
_KEEPS_NOTHING: Final = frozenset({"keyring.backends.fail", "keyring.backends.null"})


class NoKeyring(Exception):
    """No backend is one that a secret may be given to."""


def main() -> int:
    """Answer; what fails is an answer, too."""
    question = json.load(sys.stdin)
    try:
        answer = answer_to(question, keyring.get_keyring())
    except NoKeyring as error:
        answer = {"failure": str(error)}
    # Backends speak D-Bus, COM and more, whose failures come through as they are.
    except (KeyringError, OSError, RuntimeError, ValueError) as error:
        answer = {"failure": f"{type(error).__name__}: {error}"}
    json.dump(answer, sys.stdout)
    return 0


def answer_to(question: dict[str, Any], backend: KeyringBackend) -> dict[str, Any]:
    """Read, store or delete.

    Raises:
        NoKeyring: If the backend must not be given a secret.
        KeyringError: As the backend fails.
    """
    keeper = _keeper(backend)
    service, account = question["service"], question["account"]
    if question["verb"] == "store":
        keeper.set_password(service, account, question["secret"])
    elif question["verb"] == "delete":
        with contextlib.suppress(PasswordDeleteError):
            keeper.delete_password(service, account)
    else:
        return {"secret": keeper.get_password(service, account)}
    return {}


def _keeper(backend: KeyringBackend) -> KeyringBackend:
    """The backend, or the first in a chain of them, that really keeps secrets secret."""
    candidates: list[KeyringBackend] = list(getattr(backend, "backends", [backend]))
    for candidate in candidates:
        kind = type(candidate)
        if (
            kind.__module__ not in _KEEPS_NOTHING
            and "Plaintext" not in kind.__name__
            and candidate.priority >= _RECOMMENDED_PRIORITY
        ):
            return candidate
    names = ", ".join(f"{type(each).__module__}.{type(each).__name__}" for each in candidates)
    raise NoKeyring(f"no backend here keeps secrets ({names or 'there is none'})")


if __name__ == "__main__":
    raise SystemExit(main())
