"""Asking the supervisor; see ``control_line`` for what is said."""

from __future__ import annotations

import os
import socket
from typing import TYPE_CHECKING, Any, Final

from ssm_ssh.errors import InvalidOption, SupervisorUnreachable
from ssm_ssh.forward.control_line import (
    FIRST_TRY_SECONDS,
    LARGEST_LINE_BYTES,
    decode_line,
    encode_line,
)
from ssm_ssh.forward.peer import peer_user

if TYPE_CHECKING:
    from ssm_ssh.forward.control_place import ControlPlace

# Ours: the slowest answer is that to ``up``; ends of sessions take a few seconds.
ANSWER_SECONDS: Final = FIRST_TRY_SECONDS + 30.0
_READ_BYTES: Final = 65_536


def ask_supervisor(place: ControlPlace, request: dict[str, Any]) -> dict[str, Any] | None:
    """The supervisor's answer, or None if no supervisor is there or it has just ended.

    Raises:
        InvalidOption: If it could not do what it was asked; the words are its own.
        SupervisorUnreachable: If it does not answer, or not as it should.
    """
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
        connection.settimeout(ANSWER_SECONDS)
        try:
            connection.connect(str(place.socket))
        except (FileNotFoundError, ConnectionRefusedError):
            return None
        except OSError as error:
            text = f"the supervisor at {place.socket} cannot be reached: {error.strerror}"
            raise SupervisorUnreachable(text) from error
        user = peer_user(connection)
        if user is not None and user != os.geteuid():
            raise SupervisorUnreachable(f"what answers at {place.socket} is another user's (uid {user})")
        try:
            connection.sendall(encode_line(request))
            line = _read_all(connection)
        except TimeoutError as error:
            text = f"the supervisor did not answer for {ANSWER_SECONDS:.0f} seconds"
            raise SupervisorUnreachable(text) from error
        except OSError:
            line = b""
    if not line:
        return None
    answer = decode_line(line)
    if "error" in answer:
        raise InvalidOption(str(answer["error"]), hint=answer.get("hint"))
    return answer


def _read_all(connection: socket.socket) -> bytes:
    line = bytearray()
    while len(line) <= LARGEST_LINE_BYTES and (data := connection.recv(_READ_BYTES)):
        line += data
    return bytes(line)
