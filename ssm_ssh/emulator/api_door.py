"""The API's door: finds the room, checks the signature, counts, throttles, and words refusals."""

from __future__ import annotations

import asyncio
import time
import uuid
from collections import Counter, deque
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from aiohttp import web

from ssm_ssh.emulator.api_error import ApiError, throttled
from ssm_ssh.emulator.api_room import Call

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping, Sequence

    from ssm_ssh.emulator.api_room import Answering, PathRoom, Room
    from ssm_ssh.emulator.fault import FaultSwitch
    from ssm_ssh.emulator.guard import Guard

# Ours: how many past calls can be asked for.
_CALLS_KEPT: Final = 10_000
LARGEST_BODY_BYTES: Final = 1024 * 1024


@dataclass(frozen=True, slots=True)
class CallRecord:
    """One call, for those who ask afterwards.

    Attributes:
        code: AWS's error code, or empty after success.
    """

    operation: str
    user_agent: str
    request_id: str
    code: str = ""


class ApiDoor:
    """Takes every ``POST /``, and the paths of services that have some.

    Attributes:
        counts: Calls by operation, refused ones included.
        calls: The latest calls, oldest first.
    """

    def __init__(self, rooms: Sequence[Room], guard: Guard, faults: FaultSwitch) -> None:
        self._rooms = rooms
        self._guard = guard
        self._faults = faults
        self._recent: dict[str, deque[float]] = {}
        self.counts: Counter[str] = Counter()
        self.calls: deque[CallRecord] = deque(maxlen=_CALLS_KEPT)

    async def answer(self, request: web.Request) -> web.StreamResponse:
        """Answer one call."""
        body = await request.read()
        headers = {name.lower(): value for name, value in request.headers.items()}
        for room in self._rooms:
            operation = room.operation(headers, body)
            if operation is not None:
                return await self._answer_in(room, operation, request, partial(room.parameters, body))
        return web.Response(status=404, text="UnknownOperationException\n")

    def routes(self, room: PathRoom) -> list[web.RouteDef]:
        """The ways to a room that is called by paths."""
        return [
            web.route(method, path, self._answer_by_path(room, operation))
            for (method, path), operation in room.operations.items()
        ]

    def _answer_by_path(
        self, room: PathRoom, operation: str
    ) -> Callable[[web.Request], Awaitable[web.StreamResponse]]:
        async def answer(request: web.Request) -> web.StreamResponse:
            return await self._answer_in(room, operation, request, lambda: request.match_info)

        return answer

    async def _answer_in(
        self,
        room: Answering,
        operation: str,
        request: web.Request,
        read_parameters: Callable[[], Mapping[str, Any]],
    ) -> web.Response:
        response = self._respond(room, operation, request, await request.read(), read_parameters)
        # What was asked for is done by now; a caller that goes away meanwhile never hears of it.
        await asyncio.sleep(self._faults.now.api_delay_seconds)
        return response

    def _respond(
        self,
        room: Answering,
        operation: str,
        request: web.Request,
        body: bytes,
        read_parameters: Callable[[], Mapping[str, Any]],
    ) -> web.Response:
        request_id = str(uuid.uuid4())
        user_agent = request.headers.get("User-Agent", "")
        code = ""
        try:
            self._guard.check_signature(request, body, room.signing_name)
            self._throttle(operation)
            call = Call(operation, read_parameters(), request_id, request.host, request.secure, user_agent)
            return room.answer(call)
        except ApiError as error:
            code = error.code
            return room.refusal(error, request_id)
        finally:
            self.counts[operation] += 1
            self.calls.append(CallRecord(operation, user_agent, request_id, code))

    def _throttle(self, operation: str) -> None:
        """Count the calls of the last second, allowed ones only."""
        limits = self._faults.now.throttle_per_second
        limit = limits.get(operation, limits.get("*"))
        if limit is None:
            return
        now = time.monotonic()
        recent = self._recent.setdefault(operation, deque())
        while recent and recent[0] <= now - 1.0:
            recent.popleft()
        if len(recent) >= limit:
            raise throttled()
        recent.append(now)
