"""The agent's side of the handshake (protocol 5)."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from ssm_ssh.wire.agent_message import PayloadType
from ssm_ssh.wire.payload import (
    ActionStatus,
    ActionType,
    HandshakeComplete,
    HandshakeRequest,
    HandshakeResponse,
    RequestedAction,
)

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping


class HandshakeFailed(Exception):
    """The client did not answer, or did not do what was asked; the text is the agent's."""


class ReadLoopBlocked(Exception):
    """A response nobody waits for blocks the agent's read loop for good (protocol 5.3)."""


class Handshake:
    """Asks the client to carry the session's type, and waits for its one answer.

    Args:
        send: Sends one sequenced message.
        response_seconds: How long the client may take.
    """

    def __init__(
        self,
        send: Callable[[int, bytes], Awaitable[None]],
        *,
        agent_version: str,
        session_type: str,
        properties: Mapping[str, Any],
        response_seconds: float,
    ) -> None:
        self._send = send
        self._agent_version = agent_version
        self._actions = (
            RequestedAction(
                ActionType.SESSION_TYPE, {"SessionType": session_type, "Properties": dict(properties) or None}
            ),
        )
        self._response_seconds = response_seconds
        self._response: asyncio.Future[HandshakeResponse] | None = None
        self.is_over = asyncio.Event()

    async def perform(self, done: Callable[[], None]) -> str:
        """Run the handshake; the client's version. ``done`` is called just before HandshakeComplete is sent.

        Raises:
            HandshakeFailed: If there is no session to go on with.
        """
        loop = asyncio.get_running_loop()
        started = loop.time()
        self._response = loop.create_future()
        try:
            request = HandshakeRequest(self._agent_version, self._actions)
            await self._send(PayloadType.HANDSHAKE_REQUEST, request.encode())
            response = await self._wait()
            for action in response.actions:
                if action.status != ActionStatus.SUCCESS:
                    raise HandshakeFailed(
                        f"{action.action_type} failed on client with status {action.status} "
                        f"error: {action.error}"
                    )
            done()
            complete = HandshakeComplete(time_to_complete_ns=int((loop.time() - started) * 1e9))
            await self._send(PayloadType.HANDSHAKE_COMPLETE, complete.encode())
            return response.client_version
        finally:
            self.is_over.set()

    def take_response(self, payload: bytes) -> None:
        """Hand in the client's response.

        Raises:
            MalformedMessage: If it cannot be read; the agent does not acknowledge it then.
            ReadLoopBlocked: If no response is waited for.
        """
        response = HandshakeResponse.decode(payload)
        if self._response is None or self._response.done():
            raise ReadLoopBlocked
        self._response.set_result(response)

    async def _wait(self) -> HandshakeResponse:
        assert self._response is not None
        try:
            async with asyncio.timeout(self._response_seconds):
                return await self._response
        except TimeoutError:
            raise HandshakeFailed(
                "Handshake timed out. Please ensure that you have the latest version of the session manager "
                "plugin."
            ) from None
