"""The message gateway's door for clients: the WebSocket upgrade, the token, and the reading of messages."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

from aiohttp import WSMessage, WSMsgType, web

from ssm_ssh.emulator.api_error import ApiError
from ssm_ssh.emulator.client_socket import ClientGone, ClientSocket
from ssm_ssh.emulator.fault import Oversize
from ssm_ssh.errors import MalformedMessage
from ssm_ssh.wire.payload import OpenDataChannel

if TYPE_CHECKING:
    from ssm_ssh.emulator.guard import Guard
    from ssm_ssh.emulator.live_session import LiveSession
    from ssm_ssh.emulator.service import Account

_ENDS: Final = frozenset({WSMsgType.CLOSE, WSMsgType.CLOSING, WSMsgType.CLOSED, WSMsgType.ERROR})
_POLICY_VIOLATION: Final = 1008
_MESSAGE_TOO_BIG: Final = 1009


class MessageGateway:
    """Takes every ``GET /v1/data-channel/<SessionId>``."""

    def __init__(self, account: Account, guard: Guard) -> None:
        self._account = account
        self._guard = guard

    async def answer(self, request: web.Request) -> web.StreamResponse:
        """Serve one WebSocket from upgrade to end."""
        faults = self._account.faults.now
        if faults.refused_upgrade_status is not None:
            return web.Response(status=faults.refused_upgrade_status)
        session_id = request.match_info["session_id"]
        try:
            session = self._admit(request, session_id)
        except ApiError as error:
            return web.json_response({"__type": error.code, "message": error.message}, status=403)
        client = ClientSocket()
        response = await client.accept(request)
        try:
            if faults.is_silent:
                await _listen_in_vain(client)
            elif await self._open(session, client):
                await self._read(session, client)
        except ClientGone:
            pass
        finally:
            session.relay.detach(client)
            client.cut_if_open()
        return response

    def _admit(self, request: web.Request, session_id: str) -> LiveSession:
        settings = self._account.settings
        if settings.requires_signed_stream or "Authorization" in request.headers:
            self._guard.check_signature(request, b"", "ssmmessages")
        self._account.allow("ssmmessages:OpenDataChannel", self._account.session_arn(session_id))
        session = self._account.sessions.find(session_id)
        if session is None:
            raise ApiError("ValidationException", "Session is already terminated")
        return session

    async def _open(self, session: LiveSession, client: ClientSocket) -> bool:
        """Whether the client sent its OpenDataChannel with the right token in time."""
        try:
            async with asyncio.timeout(self._account.settings.open_seconds):
                text = await self._first_text(session, client)
        except TimeoutError:
            text = None
        if text is None or not _opens(session, text):
            await client.close(_POLICY_VIOLATION, b"OpenDataChannel was refused")
            return False
        garbage = self._account.faults.now.garbage
        session.relay.attach(client)
        if garbage is not None:
            await client.send(garbage)
        return True

    async def _first_text(self, session: LiveSession, client: ClientSocket) -> str | None:
        """The first message if it is text; pings before it are answered (protocol 2.3)."""
        while True:
            message = await client.receive()
            if message.type is WSMsgType.PING:
                await self._answer_ping(session, client, message)
            elif message.type is not WSMsgType.PONG:
                return str(message.data) if message.type is WSMsgType.TEXT else None

    async def _read(self, session: LiveSession, client: ClientSocket) -> None:
        while True:
            message = await client.receive()
            if message.type is WSMsgType.BINARY:
                if self._is_oversized(message.data):
                    await self._treat_oversized(session, client)
                else:
                    await session.relay.from_client(client, message.data)
            elif message.type in _ENDS:
                return
            elif message.type is WSMsgType.PING:
                await self._answer_ping(session, client, message)
            elif message.type is WSMsgType.TEXT:
                session.record.counts.refused += 1

    async def _answer_ping(self, session: LiveSession, client: ClientSocket, ping: WSMessage) -> None:
        session.record.counts.pings += 1
        if not self._account.faults.now.is_silent:
            await client.pong(ping.data)

    def _is_oversized(self, raw: bytes) -> bool:
        largest = self._account.faults.now.largest_message_bytes
        return largest is not None and len(raw) > largest

    async def _treat_oversized(self, session: LiveSession, client: ClientSocket) -> None:
        session.record.counts.lost += 1
        match self._account.faults.now.oversize:
            case Oversize.CLOSE:
                await client.close(_MESSAGE_TOO_BIG, b"message too big")
            case Oversize.CUT:
                client.cut()
            case Oversize.SWALLOW:
                pass


def _opens(session: LiveSession, text: str) -> bool:
    try:
        opening = OpenDataChannel.decode(text)
    except MalformedMessage:
        return False
    return not session.is_ending and session.token.use(opening.token)


async def _listen_in_vain(client: ClientSocket) -> None:
    while (await client.receive()).type not in _ENDS:
        pass
