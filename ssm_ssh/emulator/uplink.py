"""The agent's way to the message gateway, over all the links that are lost (protocol 2.4)."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Final
from uuid import UUID

from ssm_ssh.emulator.link import LinkCut

if TYPE_CHECKING:
    from random import Random

    from ssm_ssh.emulator.link import AgentLink, Dial
    from ssm_ssh.emulator.timing import Timing

# Specification: after the first try; the first pause is 100 to 199 ms, each next one twice as long.
_RETRIES: Final = 5
_FIRST_PAUSE_SECONDS: Final = 0.1
_PAUSE_SPREAD_SECONDS: Final = 0.099


class Uplink:
    """Dials, says OpenDataChannel, and dials again.

    One task receives and reconnects; any number may send.
    """

    def __init__(self, dial: Dial, *, node_id: str, random: Random, timing: Timing) -> None:
        self._dial = dial
        self._node_id = node_id
        self._random = random
        self._timing = timing
        self._link: AgentLink | None = None
        self._is_up = asyncio.Event()

    async def connect(self) -> None:
        """Dial, backing off between the tries.

        Raises:
            LinkCut: If the gateway could not be reached in any of them.
            SessionOver: If the session is terminated.
        """
        await self.close()
        greeting = self._greeting()
        pause_seconds = _FIRST_PAUSE_SECONDS + self._random.random() * _PAUSE_SPREAD_SECONDS
        for retries_left in reversed(range(_RETRIES + 1)):
            try:
                self._link = await self._open(greeting)
            except LinkCut:
                if retries_left == 0:
                    raise
                await asyncio.sleep(min(pause_seconds, self._timing.reconnect_cap_seconds))
                pause_seconds *= 2
            else:
                self._is_up.set()
                return

    async def receive(self) -> str | bytes:
        """The next message of the present link.

        Raises:
            LinkCut: If that link is gone; ``connect`` again.
        """
        if self._link is None:
            raise LinkCut("the link is down")
        return await self._link.receive()

    async def send(self, message: bytes) -> None:
        """Send, or lose, one message; waits while the gateway is full."""
        link = self._link
        if link is None:
            return
        try:
            await link.send(message)
        except LinkCut:
            # The link may have been replaced while this message was waiting.
            if link is self._link:
                self._is_up.clear()

    async def wait_until_up(self) -> None:
        """Return while a link is up."""
        if not self._is_up.is_set():
            await self._is_up.wait()

    async def close(self) -> None:
        """Drop the link at once. Never raises."""
        link, self._link = self._link, None
        self._is_up.clear()
        if link is not None:
            await link.close()

    async def _open(self, greeting: str) -> AgentLink:
        link = await self._dial()
        try:
            await link.send(greeting)
        except BaseException:
            await link.close()
            raise
        return link

    def _greeting(self) -> str:
        """OpenDataChannel as the agent says it; its token is the dial's own affair here."""
        return json.dumps(
            {
                "MessageSchemaVersion": "1.0",
                "RequestId": str(UUID(bytes=self._random.randbytes(16), version=4)),
                "TokenValue": "",
                "ClientInstanceId": self._node_id,
                "ClientId": "",
            },
            separators=(",", ":"),
        )
