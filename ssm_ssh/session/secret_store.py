"""Secrets in the system's keyring, which is asked by a child process with a deadline.

A locked keyring can wait for ever for a person in front of a screen that nobody sees, and importing the
library costs 120 ms: so neither happens in this process. What goes to the child goes by its stdin.
"""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any, Final

from ssm_ssh.errors import InvalidOption

# Ours: long for a keyring, short for a person.
DEADLINE_SECONDS: Final = 2.0
_HINT: Final = "unlock the keyring, or see `keyring diagnose`; without one, leave the option away"
# -P: nothing in the working folder passes for a module.
_CHILD: Final = (sys.executable, "-P", "-m", "ssm_ssh.session.secret_child")


class SecretStore:
    """The keyring of the user's system."""

    def __init__(self, *, deadline_seconds: float = DEADLINE_SECONDS) -> None:
        self._deadline_seconds = deadline_seconds

    def read(self, service: str, account: str) -> str | None:
        """The secret that was stored under these names, or None.

        Raises:
            InvalidOption: If there is no keyring that keeps secrets, or it does not answer in time.
        """
        secret = self._ask("read", service, account).get("secret")
        return None if secret is None else str(secret)

    def store(self, service: str, account: str, secret: str) -> None:
        """Keep a secret, in place of the one before.

        Raises:
            InvalidOption: As ``read``.
        """
        self._ask("store", service, account, secret)

    def delete(self, service: str, account: str) -> None:
        """Forget a secret; one that is not there is fine.

        Raises:
            InvalidOption: As ``read``.
        """
        self._ask("delete", service, account)

    def _ask(self, verb: str, service: str, account: str, secret: str = "") -> dict[str, Any]:
        question = json.dumps({"verb": verb, "service": service, "account": account, "secret": secret})
        try:
            # subprocess.run kills the child at the deadline.
            child = subprocess.run(
                _CHILD,
                input=question.encode(),
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                timeout=self._deadline_seconds,
                check=False,
            )
        except subprocess.TimeoutExpired:
            # Its command is harmless, and its output may hold the secret: neither is kept.
            raise InvalidOption(
                f"the keyring did not answer within {self._deadline_seconds:g} seconds", hint=_HINT
            ) from None
        except OSError as error:
            raise InvalidOption(f"the keyring cannot be asked: {error.strerror}", hint=_HINT) from error
        try:
            answer: dict[str, Any] = json.loads(child.stdout)
        except ValueError:
            raise InvalidOption("the keyring broke down", hint=_HINT) from None
        if "failure" in answer:
            raise InvalidOption(f"the keyring cannot be used: {answer['failure']}", hint=_HINT)
        return answer
