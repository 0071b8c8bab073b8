"""Port sessions, by the property ``type`` and by what client and agent can (protocol 7.1)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from ssm_ssh.emulator.basic_forward import BasicForwardSession
from ssm_ssh.emulator.basic_session import BasicPortSession
from ssm_ssh.emulator.destination import find_destination
from ssm_ssh.emulator.mux_session import MuxPortSession
from ssm_ssh.emulator.room import Room, RoomKind

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from ssm_ssh.emulator.destination import Destination
    from ssm_ssh.emulator.room import Surroundings

_FIRST_VERSION: Final = (2, 3, 672, 0)
_LOCAL_PORT_FORWARDING: Final = "LocalPortForwarding"


def _open_port_session(
    properties: Mapping[str, Any], client_version: str, surroundings: Surroundings
) -> Room:
    if not properties.get("portNumber"):
        shown = " ".join(f"{name}:{value}" for name, value in sorted(properties.items()))
        raise ValueError(f"Port number is empty in session properties. map[{shown}]")
    open_form = _FORMS.get(str(properties.get("type") or ""), _open_basic)
    return open_form(find_destination(properties, surroundings), client_version, surroundings)


def _open_basic(destination: Destination, _client_version: str, surroundings: Surroundings) -> Room:
    return BasicPortSession(destination, surroundings)


def _open_forwarding(destination: Destination, client_version: str, surroundings: Surroundings) -> Room:
    traits = surroundings.traits
    if not traits.has_mux(client_version):
        return BasicForwardSession(destination, surroundings)
    return MuxPortSession(destination, surroundings, has_keepalive=traits.has_keepalive(client_version))


# Any other type, and none, is the SSH document's plain connection.
_FORMS: Final[dict[str, Callable[[Destination, str, Surroundings], Room]]] = {
    _LOCAL_PORT_FORWARDING: _open_forwarding
}

PORT_SESSIONS: Final = RoomKind(first_version=_FIRST_VERSION, has_handshake=True, open=_open_port_session)
