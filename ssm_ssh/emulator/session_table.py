"""Every session of this emulator: the live ones, and the ended ones as history."""

from __future__ import annotations

import asyncio
import secrets
from typing import TYPE_CHECKING, Any, Final

from ssm_ssh.emulator.api_error import ApiError, session_not_found
from ssm_ssh.emulator.link import SessionOrder
from ssm_ssh.emulator.live_session import LiveSession
from ssm_ssh.emulator.session_record import SessionRecord

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ssm_ssh.emulator.fault import FaultSwitch, Side
    from ssm_ssh.emulator.link import EmulatedNode
    from ssm_ssh.emulator.session_document import SessionDocument
    from ssm_ssh.emulator.settings import ServiceSettings

# Specification: session ids end in 26 base32-like characters.
_ID_ALPHABET: Final = "abcdefghijklmnopqrstuvwxyz234567"
_ID_CHARACTERS: Final = 26


class SessionTable:
    """Starts sessions and finds them.

    Attributes:
        records: All sessions, oldest first.
    """

    def __init__(self, settings: ServiceSettings, faults: FaultSwitch, tasks: asyncio.TaskGroup) -> None:
        self.records: list[SessionRecord] = []
        self._settings = settings
        self._faults = faults
        self._tasks = tasks
        self._live: dict[str, LiveSession] = {}
        self._running: set[asyncio.Task[None]] = set()
        self._changed = asyncio.Event()

    @property
    def live(self) -> list[LiveSession]:
        """The sessions that are not over, oldest first."""
        return list(self._live.values())

    def start(
        self,
        node: EmulatedNode,
        document: SessionDocument,
        given: Mapping[str, Any],
        *,
        reason: str | None,
        user_agent: str,
    ) -> LiveSession:
        """Order a session from the node's agent. Raises ``ApiError`` if the parameters do not fit."""
        parameters = document.values(given)
        suffix = "".join(secrets.choice(_ID_ALPHABET) for _ in range(_ID_CHARACTERS))
        record = SessionRecord(
            number=len(self.records) + 1,
            session_id=f"{self._settings.role_session_name}-{suffix}",
            target=node.node_id,
            document_name=document.name,
            parameters=parameters,
            reason=reason,
            owner=self._settings.caller_arn,
            user_agent=user_agent,
        )
        order = SessionOrder(
            session_id=record.session_id,
            document_name=document.name,
            session_type=document.session_type,
            properties=document.properties,
            parameters=parameters,
            inputs=document.inputs,
        )
        session = LiveSession(record, node.agent, order, self._settings, self._faults)
        self.records.append(record)
        self._live[record.session_id] = session
        task = self._tasks.create_task(self._run(session))
        self._running.add(task)
        task.add_done_callback(self._running.discard)
        return session

    def find(self, session_id: str) -> LiveSession | None:
        """The live session of that id; None if it is ending or over.

        Raises:
            ApiError: ``DoesNotExistException`` if there never was one.
        """
        session = self._live.get(session_id)
        if session is not None:
            return None if session.is_ending else session
        if any(record.session_id == session_id for record in self.records):
            return None
        raise session_not_found(session_id)

    def terminate(self, session_id: str) -> None:
        """End a session.

        Raises:
            ApiError: ``ValidationException`` if it has ended already, ``DoesNotExistException``.
        """
        session = self.find(session_id)
        if session is None:
            raise ApiError("ValidationException", "Session is not in a valid state")
        session.terminate()

    async def wait_for_live(self, count: int) -> None:
        """Wait until exactly ``count`` sessions are live."""
        while len(self._live) != count:
            changed = self._changed
            await changed.wait()

    def cut(self, side: Side) -> int:
        """Cut every live session's connections abruptly, and return how many sessions that were."""
        sessions = self.live
        for session in sessions:
            session.relay.cut(side)
        return len(sessions)

    def cancel(self) -> None:
        """Drop every live session at once: the emulator goes down."""
        for task in self._running:
            task.cancel()

    async def _run(self, session: LiveSession) -> None:
        self._notify()
        try:
            await session.run()
        finally:
            del self._live[session.record.session_id]
            self._notify()

    def _notify(self) -> None:
        self._changed.set()
        self._changed = asyncio.Event()
