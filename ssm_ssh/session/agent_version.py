"""What an agent can do, by the version that it reports (protocol 1.4 and 7.5)."""

from __future__ import annotations

from typing import Final

# Specification: an agent newer than the first acts on the flag TerminateSession, newer than the second speaks
# smux, newer than the third leaves its keep-alive to us; the fourth did that by mistake.
# The last is the first that heeds a host: those before it connect to the node itself instead.
_FLAG: Final = (2, 3, 722, 0)
_MUX: Final = (3, 0, 196, 0)
_QUIET_MUX: Final = (3, 1, 1511, 0)
_QUIET_BY_MISTAKE: Final = (3, 1, 1446, 0)
_REMOTE_HOST: Final = (3, 1, 1188, 0)


def knows_terminate_flag(version: str) -> bool:
    """Whether the agent ends a session when it is sent the flag. No version (a shell) or an odd one: no."""
    return _numbers(version) > _FLAG


def speaks_mux(version: str) -> bool:
    """Whether the agent multiplexes: then we must, too."""
    return _numbers(version) > _MUX


def wants_keepalive(version: str) -> bool:
    """Whether the agent ends a mux session in which no frame arrives for a minute."""
    numbers = _numbers(version)
    return _MUX < numbers <= _QUIET_MUX and numbers != _QUIET_BY_MISTAKE


def knows_hosts(version: str) -> bool:
    """Whether the agent forwards to another host when it is told one."""
    return _numbers(version) >= _REMOTE_HOST


def _numbers(version: str) -> tuple[int, ...]:
    """The version's four numbers; nothing, which is older than all, where it has others."""
    parts = version.split(".")
    is_known_form = len(parts) == 4 and all(part.isascii() and part.isdigit() for part in parts)
    return tuple(map(int, parts)) if is_known_form else ()
