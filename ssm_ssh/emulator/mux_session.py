"""A forwarded port over smux: many connections in one session (protocol 7.4).

Both directions go through a pipe, as in the real agent. The client's messages are written into theirs in the
receive path: when one port does not read, its bytes fill the budget of all streams and then the pipe, and
everything stops, acknowledgements and flags included (protocol 7.6).
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import TYPE_CHECKING

from ssm_ssh.emulator.byte_pipe import BytePipe
from ssm_ssh.emulator.link import TaskComplete, TaskStatus
from ssm_ssh.emulator.port_connection import copy
from ssm_ssh.emulator.port_message import flag_of, pump
from ssm_ssh.emulator.room import NotReady
from ssm_ssh.emulator.smux import LARGEST_FRAME_BYTES, SmuxServer
from ssm_ssh.wire.agent_message import PayloadType
from ssm_ssh.wire.payload import Flag, encode_flag

if TYPE_CHECKING:
    from collections.abc import Coroutine

    from ssm_ssh.emulator.destination import Destination
    from ssm_ssh.emulator.port_connection import PortConnection
    from ssm_ssh.emulator.room import Surroundings
    from ssm_ssh.emulator.smux import SmuxStream


class MuxPortSession:
    """A smux server whose every stream is a connection to the same port."""

    def __init__(self, destination: Destination, surroundings: Surroundings, *, has_keepalive: bool) -> None:
        self._destination = destination
        self._surroundings = surroundings
        self._from_client = BytePipe()
        self._to_client = BytePipe()
        self._server = SmuxServer(self._from_client, self._to_client, has_keepalive=has_keepalive)
        self._is_ready = False

    async def run(self) -> TaskComplete:
        """Serve streams until the keepalive finds the client dead."""
        await asyncio.sleep(self._surroundings.timing.ready_seconds)
        self._is_ready = True
        async with asyncio.TaskGroup() as tasks:
            pumping = tasks.create_task(pump(self._to_client.read, self._surroundings))
            serving = tasks.create_task(self._serve())
            await self._server.run()
            pumping.cancel()
            serving.cancel()
        return TaskComplete(TaskStatus.FAILED)

    async def take(self, payload_type: int, payload: bytes) -> None:
        """Feed output to smux, end on TerminateSession, ignore the rest."""
        if not self._is_ready:
            raise NotReady
        if payload_type == PayloadType.OUTPUT:
            await self._from_client.write(payload)
        elif payload_type == PayloadType.FLAG and flag_of(payload) == Flag.TERMINATE_SESSION:
            self._surroundings.terminate()

    async def _serve(self) -> None:
        """Dial for one stream after the other: a slow dial holds up those behind it."""
        async with asyncio.TaskGroup() as carriers:
            while True:
                stream = await self._server.accept()
                try:
                    connection = await self._destination.dial(self._surroundings.connect)
                except OSError:
                    await self._surroundings.send(PayloadType.FLAG, encode_flag(Flag.CONNECT_TO_PORT_ERROR))
                    await stream.close()
                    continue
                carriers.create_task(_carry(stream, connection))


async def _carry(stream: SmuxStream, connection: PortConnection) -> None:
    """Carry both directions until either ends; that ends the other too, for good (protocol 7.4)."""
    try:
        async with asyncio.TaskGroup() as tasks:
            directions = [
                tasks.create_task(_until_broken(stream.copy_to(connection.write))),
                tasks.create_task(_until_broken(copy(connection.read, stream.write, LARGEST_FRAME_BYTES))),
            ]
            await asyncio.wait(directions, return_when=asyncio.FIRST_COMPLETED)
            for direction in directions:
                direction.cancel()
        await stream.close()
    finally:
        await connection.hang_up()


async def _until_broken(direction: Coroutine[None, None, None]) -> None:
    with suppress(OSError):
        await direction
