"""The stand-in's own questions and actions, below a path that only its environment names."""

from __future__ import annotations

from dataclasses import asdict, fields
from typing import TYPE_CHECKING, Any, Final

from aiohttp import web

from ssm_ssh.emulator.fault import Faults, Oversize, Side

if TYPE_CHECKING:
    from ssm_ssh.emulator.api_door import ApiDoor
    from ssm_ssh.emulator.fault import FaultSwitch
    from ssm_ssh.emulator.session_record import SessionRecord
    from ssm_ssh.emulator.session_table import SessionTable

# Faults whose values JSON cannot spell as they are.
_READERS: Final[dict[str, Any]] = {
    "cut_side": Side,
    "oversize": Oversize,
    "denied_actions": frozenset,
    "garbage": bytes.fromhex,
}
_CLOSED_TO_HTTP: Final = frozenset({"script"})


class AdminDoor:
    """Answers ``/_emulator/<secret>/…``: the secret is the whole authorisation."""

    def __init__(self, sessions: SessionTable, api: ApiDoor, faults: FaultSwitch) -> None:
        self._sessions = sessions
        self._api = api
        self._faults = faults

    async def show_state(self, request: web.Request) -> web.Response:
        """All sessions and the counts of calls."""
        return web.json_response(self._state())

    async def cut(self, request: web.Request) -> web.Response:
        """Cut every live session; the query's ``side`` is client, agent or both."""
        side = _read(Side, request.query.get("side", Side.CLIENT))
        return web.json_response({"cut": self._sessions.cut(side)})

    async def change_faults(self, request: web.Request) -> web.Response:
        """Set the faults that the JSON body names."""
        changes = await request.json()
        known = {field.name for field in fields(Faults) if field.init} - _CLOSED_TO_HTTP
        if not isinstance(changes, dict) or set(changes) - known:
            raise web.HTTPBadRequest(text=f"faults are {', '.join(sorted(known))}")
        self._faults.change(
            **{name: _read(_READERS.get(name, _same), value) for name, value in changes.items()}
        )
        return web.json_response({})

    def _state(self) -> dict[str, Any]:
        """Everything that can be asked for, as JSON values."""
        records = self._sessions.records
        return {
            "live": sum(not record.status.is_over for record in records),
            "calls": dict(self._api.counts),
            "sessions": [_entry(record) for record in records],
        }


def _entry(record: SessionRecord) -> dict[str, Any]:
    return {
        "session_id": record.session_id,
        "target": record.target,
        "document_name": record.document_name,
        "parameters": dict(record.parameters),
        "reason": record.reason,
        "user_agent": record.user_agent,
        "status": str(record.status),
        "output": record.output,
        "start": record.start.isoformat(),
        "end": None if record.end is None else record.end.isoformat(),
        "counts": asdict(record.counts),
    }


def _read(reader: Any, value: Any) -> Any:  # noqa: ANN401 -- JSON in, a fault's value out
    try:
        return reader(value)
    except (TypeError, ValueError) as error:
        raise web.HTTPBadRequest(text=str(error)) from error


def _same(value: Any) -> Any:  # noqa: ANN401 -- any JSON value
    return value
