"""Port sessions: a TCP connection of the node, carried as it is (docs/reference/protocol.md, section 7.3)."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final

from ssm_ssh.emulator.link import TaskComplete, TaskStatus
from ssm_ssh.emulator.room import InputRefused, NotReady, Room, RoomKind, WorkerCrashed
from ssm_ssh.errors import MalformedMessage
from ssm_ssh.wire.agent_message import PayloadType
from ssm_ssh.wire.payload import Flag, decode_flag

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from ssm_ssh.emulator.room import Surroundings

# Specification: what one read of the agent takes from its port at most, and so its largest payload.
CHUNK_BYTES: Final = 1024
_FIRST_VERSION: Final = (2, 3, 672, 0)


class BasicPortSession:
    """One connection, dialled when the session starts; its end is the session's end."""

    def __init__(self, host: str, port: int, surroundings: Surroundings) -> None:
        self._host = host
        self._port = port
        self._surroundings = surroundings
        self._writer: asyncio.StreamWriter | None = None
        self._is_disconnected = False

    async def run(self) -> TaskComplete:
        """Dial and carry until the port's side ends."""
        await asyncio.sleep(self._surroundings.timing.ready_seconds)
        try:
            reader, writer = await self._surroundings.connect(self._host, self._port)
        except OSError as error:
            # Meant to be "Unable to connect to specified port: …", but the clean-up dereferences the missing
            # connection.
            raise WorkerCrashed from error
        # Written bytes count as written once the kernel has them: a slow reader must be felt at once.
        writer.transport.set_write_buffer_limits(high=0)
        self._writer = writer
        try:
            await self._pump(reader)
        except OSError:
            return TaskComplete(TaskStatus.FAILED)
        finally:
            await _hang_up(writer)
        return TaskComplete(TaskStatus.FAILED if self._is_disconnected else TaskStatus.SUCCESS)

    async def take(self, payload_type: int, payload: bytes) -> None:
        """Write output to the port, heed flags, ignore the rest."""
        if self._writer is None:
            raise NotReady
        if payload_type == PayloadType.OUTPUT:
            await self._write(self._writer, payload)
        elif payload_type == PayloadType.FLAG:
            self._heed(self._writer, payload)

    async def _pump(self, reader: asyncio.StreamReader) -> None:
        surroundings = self._surroundings
        pause_seconds = surroundings.timing.read_sleep_seconds
        while True:
            await surroundings.wait_until_active()
            chunk = await reader.read(CHUNK_BYTES)
            if not chunk:
                return
            await surroundings.send(PayloadType.OUTPUT, chunk)
            if pause_seconds:
                await asyncio.sleep(pause_seconds)

    async def _write(self, writer: asyncio.StreamWriter, payload: bytes) -> None:
        if writer.is_closing():
            raise InputRefused("the port's connection is closed")
        try:
            writer.write(payload)
            await writer.drain()
        except OSError as error:
            raise InputRefused("the port's connection broke") from error

    def _heed(self, writer: asyncio.StreamWriter, payload: bytes) -> None:
        try:
            flag = decode_flag(payload)
        except MalformedMessage as error:
            raise InputRefused("no flag") from error
        traits = self._surroundings.traits
        if flag == Flag.TERMINATE_SESSION and traits.heeds_terminate:
            self._surroundings.terminate()
        elif flag == Flag.DISCONNECT_TO_PORT and traits.heeds_disconnect:
            self._is_disconnected = True
            writer.close()


async def _hang_up(writer: asyncio.StreamWriter) -> None:
    """Close a connection; bytes its peer would not read are given up, nobody has acknowledged them."""
    if writer.transport.get_write_buffer_size():
        writer.transport.abort()
    writer.close()
    with suppress(OSError):
        await writer.wait_closed()


def _open_basic(properties: Mapping[str, Any], surroundings: Surroundings) -> Room:
    host = str(properties.get("host") or "localhost")
    return BasicPortSession(host, int(properties["portNumber"]), surroundings)


# By the property "type", which the SSH document does not have.
_FORMS: Final[dict[str, Callable[[Mapping[str, Any], Surroundings], Room]]] = {"": _open_basic}


def _open_port_session(
    properties: Mapping[str, Any], _client_version: str, surroundings: Surroundings
) -> Room:
    if not properties.get("portNumber"):
        shown = " ".join(f"{name}:{value}" for name, value in sorted(properties.items()))
        raise ValueError(f"Port number is empty in session properties. map[{shown}]")
    form = str(properties.get("type") or "")
    if form not in _FORMS:
        raise ValueError(f"no port session of type {form} is played here")
    return _FORMS[form](properties, surroundings)


PORT_SESSIONS: Final = RoomKind(first_version=_FIRST_VERSION, has_handshake=True, open=_open_port_session)
