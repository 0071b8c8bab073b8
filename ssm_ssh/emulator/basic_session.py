"""The SSH document's session: a TCP connection of the node, carried as it is (protocol 7.3)."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from ssm_ssh.emulator.link import TaskComplete, TaskStatus
from ssm_ssh.emulator.port_message import flag_of, pump
from ssm_ssh.emulator.room import InputRefused, NotReady, WorkerCrashed
from ssm_ssh.wire.agent_message import PayloadType
from ssm_ssh.wire.payload import Flag

if TYPE_CHECKING:
    from ssm_ssh.emulator.destination import Destination
    from ssm_ssh.emulator.port_connection import PortConnection
    from ssm_ssh.emulator.room import Surroundings


class BasicPortSession:
    """One connection, dialled when the session starts; its end is the session's end."""

    def __init__(self, destination: Destination, surroundings: Surroundings) -> None:
        self._destination = destination
        self._surroundings = surroundings
        self._connection: PortConnection | None = None
        self._is_disconnected = False

    async def run(self) -> TaskComplete:
        """Dial and carry until the port's side ends."""
        await asyncio.sleep(self._surroundings.timing.ready_seconds)
        connection = self._connection = await first_dial(self._destination, self._surroundings)
        try:
            await pump(connection.read, self._surroundings)
        except OSError:
            return TaskComplete(TaskStatus.FAILED)
        finally:
            await connection.hang_up()
        return TaskComplete(TaskStatus.FAILED if self._is_disconnected else TaskStatus.SUCCESS)

    async def take(self, payload_type: int, payload: bytes) -> None:
        """Write output to the port, heed flags, ignore the rest."""
        if self._connection is None:
            raise NotReady
        if payload_type == PayloadType.OUTPUT:
            await write_input(self._connection, payload)
        elif payload_type == PayloadType.FLAG:
            self._heed(flag_of(payload), self._connection)

    def _heed(self, flag: int, connection: PortConnection) -> None:
        traits = self._surroundings.traits
        if flag == Flag.TERMINATE_SESSION and traits.heeds_terminate:
            self._surroundings.terminate()
        elif flag == Flag.DISCONNECT_TO_PORT and traits.heeds_disconnect:
            self._is_disconnected = True
            connection.close()


async def first_dial(destination: Destination, surroundings: Surroundings) -> PortConnection:
    """The connection of a basic session's start.

    Raises:
        WorkerCrashed: If there is none. Meant to be "Unable to connect to specified port: …", but the
            clean-up dereferences the missing connection.
    """
    try:
        return await destination.dial(surroundings.connect)
    except OSError as error:
        raise WorkerCrashed from error


async def write_input(connection: PortConnection, payload: bytes) -> None:
    """Write the client's bytes to the port. Raises ``InputRefused`` if that cannot be done."""
    try:
        await connection.write(payload)
    except OSError as error:
        raise InputRefused("the port's connection broke") from error
