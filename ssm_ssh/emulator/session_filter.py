"""Which sessions DescribeSessions shows."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

from ssm_ssh.emulator.api_error import ApiError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from ssm_ssh.emulator.session_record import SessionRecord


def select_sessions(records: Sequence[SessionRecord], parameters: Mapping[str, Any]) -> list[SessionRecord]:
    """The sessions of the asked state that pass every filter, newest first.

    Raises:
        ApiError: ``InvalidFilterKey``, or ``ValidationException`` for a date that is none.
    """
    wants_ended = parameters["State"] == "History"
    tests = [_test(entry) for entry in parameters.get("Filters") or ()]
    return [
        record
        for record in reversed(records)
        if record.status.is_over == wants_ended and all(test(record) for test in tests)
    ]


def _test(entry: Mapping[str, str]) -> Callable[[SessionRecord], bool]:
    key, value = entry["key"], entry["value"]
    if key in _TEXTS:
        text = _TEXTS[key]
        return lambda record: text(record) == value
    if key == "InvokedAfter":
        moment = _moment(value)
        return lambda record: record.start >= moment
    if key == "InvokedBefore":
        moment = _moment(value)
        return lambda record: record.start < moment
    raise ApiError("InvalidFilterKey", f"The filter key {key} is not valid.")


def _moment(text: str) -> datetime:
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise ApiError("ValidationException", f"{text!r} is not an ISO 8601 time.") from None
    return moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)


_TEXTS: Final[dict[str, Callable[[SessionRecord], str]]] = {
    "Target": lambda record: record.target,
    "Owner": lambda record: record.owner,
    "Status": lambda record: str(record.status),
    "SessionId": lambda record: record.session_id,
    "AccessType": lambda record: "Standard",
}
