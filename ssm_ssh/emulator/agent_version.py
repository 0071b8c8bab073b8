"""What an agent of a given version does differently, as far as port sessions show it (protocol 1.4)."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

_VERSION = re.compile(r"[0-9]{1,6}(\.[0-9]{1,6}){2,3}")

DEFAULT_AGENT_VERSION: Final = "3.3.987.0"

_REDIAL: Final = (2, 3, 707, 0)
_DISCONNECT_FLAG: Final = (2, 3, 714, 0)
_TERMINATE_FLAG: Final = (2, 3, 756, 0)
_NOT_READY_REFUSED: Final = (3, 0, 655, 0)
_LAST_WITHOUT_MUX: Final = (3, 0, 196, 0)
_PAUSE_AND_DRAIN: Final = (3, 0, 732, 0)
_REMOTE_HOST: Final = (3, 1, 1188, 0)
_VPC_DENIED: Final = (3, 1, 1374, 0)
_NO_KEEPALIVE: Final = (3, 1, 1446, 0)
_LAST_WITH_KEEPALIVE: Final = (3, 1, 1511, 0)
_DUPLICATES_ACKNOWLEDGED: Final = (3, 2, 1041, 0)

# What a client must report (protocol 5.4).
_MUX_CLIENT: Final = (1, 1, 70)
_LAST_CLIENT_WITH_KEEPALIVE: Final = (1, 2, 331, 0)


@dataclass(frozen=True, slots=True)
class AgentTraits:
    """The habits of one version of the agent.

    Attributes:
        version: As the agent reports it, such as ``3.3.987.0``.
        number: The same as numbers, for comparing.
        heeds_disconnect: DisconnectToPort closes the node's end; older agents acknowledge and ignore it.
        heeds_terminate: TerminateSession ends the session; older agents acknowledge and ignore it.
        refuses_when_not_ready: A message for a plugin that is not ready stays unacknowledged; older agents
            acknowledge it and throw it away.
        rests_while_paused: Nothing is read from the port while publication is paused.
        drains: The last acknowledgements are waited for before the data channel is closed.
        acknowledges_duplicates: A message received before is acknowledged again.
        dials_again: A forwarded port whose connection ended is dialled again; older agents end the session.
        has_remote_host: The property ``host`` is heeded; older agents forward to themselves.
        denies_vpc_addresses: The reserved addresses of the VPC are forbidden too.
    """

    version: str
    number: tuple[int, ...]
    heeds_disconnect: bool
    heeds_terminate: bool
    refuses_when_not_ready: bool
    rests_while_paused: bool
    drains: bool
    acknowledges_duplicates: bool
    dials_again: bool
    has_remote_host: bool
    denies_vpc_addresses: bool

    @classmethod
    def of(cls, version: str) -> AgentTraits:
        """The habits of ``version``.

        Raises:
            ValueError: If it is no agent version.
        """
        if not _VERSION.fullmatch(version):
            raise ValueError(f"{version!r} is no agent version")
        number = tuple(int(part) for part in version.split("."))
        return cls(
            version=version,
            number=number,
            heeds_disconnect=number >= _DISCONNECT_FLAG,
            heeds_terminate=number >= _TERMINATE_FLAG,
            refuses_when_not_ready=number >= _NOT_READY_REFUSED,
            rests_while_paused=number >= _PAUSE_AND_DRAIN,
            drains=number >= _PAUSE_AND_DRAIN,
            acknowledges_duplicates=number >= _DUPLICATES_ACKNOWLEDGED,
            dials_again=number >= _REDIAL,
            has_remote_host=number >= _REMOTE_HOST,
            denies_vpc_addresses=number >= _VPC_DENIED,
        )

    def has_mux(self, client_version: str) -> bool:
        """Whether it speaks smux in a forwarded port's session with such a client."""
        return self.number > _LAST_WITHOUT_MUX and _client_number(client_version) >= _MUX_CLIENT

    def has_keepalive(self, client_version: str) -> bool:
        """Whether its smux sends NOPs to such a client and ends a silent one's session (protocol 7.5)."""
        if self.number > _LAST_WITH_KEEPALIVE:
            return _client_number(client_version) <= _LAST_CLIENT_WITH_KEEPALIVE
        return self.number != _NO_KEEPALIVE


def _client_number(version: str) -> tuple[int, ...]:
    """A client's version as numbers; what is no version is older than all."""
    parts = version.split(".")
    return tuple(map(int, parts)) if all(part.isascii() and part.isdigit() for part in parts) else ()
