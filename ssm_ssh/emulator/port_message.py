"""What all port sessions do with messages: pump out what the node's side says, and read flags."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

from ssm_ssh.emulator.room import InputRefused
from ssm_ssh.errors import MalformedMessage
from ssm_ssh.wire.agent_message import PayloadType
from ssm_ssh.wire.payload import decode_flag

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from ssm_ssh.emulator.room import Surroundings

# Specification: what one read of the agent takes from its port at most, and so its largest payload.
CHUNK_BYTES: Final = 1024


async def pump(read: Callable[[int], Awaitable[bytes]], surroundings: Surroundings) -> None:
    """Send what ``read`` gives, at most 1024 bytes at a time, until it gives ``b""``.

    A session has one such pump, and it sleeps after every read: that is what bounds a session's output,
    whatever it carries (protocol 11.2).
    """
    pause_seconds = surroundings.timing.read_sleep_seconds
    while True:
        await surroundings.wait_until_active()
        chunk = await read(CHUNK_BYTES)
        if not chunk:
            return
        await surroundings.send(PayloadType.OUTPUT, chunk)
        if pause_seconds:
            await asyncio.sleep(pause_seconds)


def flag_of(payload: bytes) -> int:
    """The flag in a flag message. Raises ``InputRefused`` if there is none."""
    try:
        return decode_flag(payload)
    except MalformedMessage as error:
        raise InputRefused("no flag") from error
