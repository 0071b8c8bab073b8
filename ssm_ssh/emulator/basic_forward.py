"""A forwarded port without smux: one connection after the other in one session (protocol 7.3)."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import TYPE_CHECKING

from ssm_ssh.emulator.basic_session import first_dial, write_input
from ssm_ssh.emulator.link import TaskComplete, TaskStatus
from ssm_ssh.emulator.port_message import flag_of, pump
from ssm_ssh.emulator.room import InputRefused, NotReady
from ssm_ssh.wire.agent_message import PayloadType
from ssm_ssh.wire.payload import Flag

if TYPE_CHECKING:
    from ssm_ssh.emulator.destination import Destination
    from ssm_ssh.emulator.port_connection import PortConnection
    from ssm_ssh.emulator.room import Surroundings


class BasicForwardSession:
    """One connection at a time, the first dialled when the session starts.

    Whoever ends a connection, the client hears nothing of it: the agent waits for the next output message,
    dials again, and writes that message to the new connection.
    """

    def __init__(self, destination: Destination, surroundings: Surroundings) -> None:
        self._destination = destination
        self._surroundings = surroundings
        self._connection: PortConnection | None = None
        self._next_connection: asyncio.Future[PortConnection | None] | None = None

    async def run(self) -> TaskComplete:
        """Dial and carry, again and again, until a dial fails."""
        await asyncio.sleep(self._surroundings.timing.ready_seconds)
        connection: PortConnection | None = await first_dial(self._destination, self._surroundings)
        while connection is not None:
            self._connection = connection
            try:
                with suppress(OSError):
                    await pump(connection.read, self._surroundings)
            finally:
                await connection.hang_up()
            if not self._surroundings.traits.dials_again:
                return TaskComplete(TaskStatus.SUCCESS)
            self._next_connection = asyncio.get_running_loop().create_future()
            connection = await self._next_connection
        return TaskComplete(TaskStatus.FAILED)

    async def take(self, payload_type: int, payload: bytes) -> None:
        """Write output to the port, over a new connection where the old one ended; heed flags."""
        if self._connection is None:
            raise NotReady
        if payload_type == PayloadType.OUTPUT:
            if self._next_connection is not None:
                await self._dial_again(self._next_connection)
            await write_input(self._connection, payload)
        elif payload_type == PayloadType.FLAG:
            self._heed(flag_of(payload), self._connection)

    async def _dial_again(self, waiting: asyncio.Future[PortConnection | None]) -> None:
        """Raises ``InputRefused`` if nobody answers: the session ends then."""
        try:
            connection = await self._destination.dial(self._surroundings.connect)
        except OSError as error:
            if not waiting.done():
                waiting.set_result(None)
            raise InputRefused("the port does not answer any more") from error
        if waiting.done():
            await connection.hang_up()
            raise InputRefused("the session ends")
        self._next_connection = None
        self._connection = connection
        waiting.set_result(connection)

    def _heed(self, flag: int, connection: PortConnection) -> None:
        traits = self._surroundings.traits
        if flag == Flag.TERMINATE_SESSION and traits.heeds_terminate:
            self._surroundings.terminate()
        elif flag == Flag.DISCONNECT_TO_PORT and traits.heeds_disconnect:
            connection.close()
