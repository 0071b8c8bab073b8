"""``ssm-ssh status``: the tunnels in the background, as a table or as JSON."""

from __future__ import annotations

import json
import sys
import threading
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

from ssm_ssh.cli.message import printable, report, say
from ssm_ssh.cli.parser import CommandParser
from ssm_ssh.errors import ExitStatus, InvalidOption, SsmSshError
from ssm_ssh.forward.control_client import ask_supervisor
from ssm_ssh.forward.control_place import find_place
from ssm_ssh.session.settings import Settings
from ssm_ssh.session.settings_file import load_settings

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

_DESCRIPTION: Final = """\
Shows the tunnels of the config file and those that are up in the background: where they listen, what they
have carried, and why a session of theirs ended last.
"""
_COLUMNS: Final = (
    "NAME",
    "STATE",
    "LISTENING ON",
    "LEADS TO",
    "CONN",
    "SENT",
    "RECEIVED",
    "RTT",
    "RESUMES",
    "FOR",
)
# Ours: often enough to watch something happen, seldom enough to read it.
_WATCH_SECONDS: Final = 1.0
# Specification (ECMA-48): the cursor to the top left; what is right of it and below is erased.
_TO_TOP: Final = "\x1b[H"
_ERASE_LINE: Final = "\x1b[K"
_ERASE_BELOW: Final = "\x1b[J"
_UNITS: Final = ("B", "kB", "MB", "GB", "TB")


def run(arguments: Sequence[str]) -> int:
    """Run the command."""
    given = _parser().parse_args(arguments)
    try:
        if given.json:
            sys.stdout.write(json.dumps(_status(), indent=2) + "\n")
        elif given.watch:
            _watch()
        else:
            sys.stdout.write(
                "".join(f"{line}\n" for line in table_lines(_status()["tunnels"], datetime.now(UTC)))
            )
    except SsmSshError as error:
        report(error)
        return error.exit_status
    return ExitStatus.FINE


def _parser() -> CommandParser:
    parser = CommandParser(
        prog="ssm-ssh status", usage="%(prog)s [--json | --watch]", description=_DESCRIPTION
    )
    form = parser.add_mutually_exclusive_group()
    form.add_argument("--json", action="store_true", help="everything, as one JSON document on stdout")
    form.add_argument("--watch", action="store_true", help="show the table anew each second, until Ctrl-C")
    return parser


def _status() -> dict[str, Any]:
    """The supervisor's answer, and the config file's tunnels that are not up."""
    answer = ask_supervisor(find_place(), {"verb": "status"}) or {}
    tunnels: list[dict[str, Any]] = answer.get("tunnels", [])
    known = {tunnel["name"] for tunnel in tunnels}
    try:
        settings = load_settings() or Settings()
    except InvalidOption as error:
        # What is up is up, whatever was done to the file since.
        say(f"warning: {error}")
        settings = Settings()
    down = [
        {"name": name, "state": "down", "target": tunnel.target}
        for name, tunnel in settings.tunnels.items()
        if name not in known
    ]
    tunnels = sorted([*tunnels, *down], key=lambda tunnel: str(tunnel["name"]))
    return {"version": 1, "supervisor": answer.get("supervisor"), "tunnels": tunnels}


def _watch() -> None:
    """Show the table until Ctrl-C."""
    if not sys.stdout.isatty():
        raise InvalidOption("--watch needs a terminal", hint="use --json, or leave it out")
    asked = threading.Event()
    sys.stdout.write(f"{_TO_TOP}{_ERASE_BELOW}")
    while True:
        lines = table_lines(_status()["tunnels"], datetime.now(UTC))
        # Each line is overwritten, not erased and written: nothing flickers.
        text = "".join(f"{line}{_ERASE_LINE}\n" for line in lines)
        sys.stdout.write(f"{_TO_TOP}{text}{_ERASE_BELOW}")
        sys.stdout.flush()
        asked.wait(_WATCH_SECONDS)


def table_lines(tunnels: Iterable[dict[str, Any]], now: datetime) -> list[str]:
    """The table; below a tunnel's row why its last session ended, if one did."""
    entries = [(list(_rows(tunnel, now)), tunnel.get("last_end")) for tunnel in tunnels]
    if not entries:
        return ["no tunnel is up, and the config file has none"]
    cells = [_COLUMNS, *(row for rows, _ in entries for row in rows)]
    widths = [max(len(row[column]) for row in cells) for column in range(len(_COLUMNS))]

    def line(row: Sequence[str]) -> str:
        return "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()

    lines = [line(_COLUMNS)]
    for rows, last_end in entries:
        lines += map(line, rows)
        if last_end is not None:
            lines.append(f"    last end: {printable(last_end)}")
    return lines


def _rows(tunnel: dict[str, Any], now: datetime) -> Iterable[tuple[str, ...]]:
    """A row for each forward; what concerns the tunnel stands in the first."""
    listeners = tunnel.get("listeners") or [{"addresses": [], "destination": ""}]
    target = printable(str(tunnel["target"]))
    for number, listener in enumerate(listeners):
        place = " ".join(listener["addresses"]) or "-"
        destination = "(socks)" if listener["destination"] is None else listener["destination"]
        leads_to = f"{target} {destination}".strip()
        cells = (place, printable(leads_to))
        if number:
            yield ("", "", *cells, "", "", "", "", "", "")
            continue
        yield (printable(str(tunnel["name"])), _state(tunnel), *cells, *_figures(tunnel, now))


def _state(tunnel: dict[str, Any]) -> str:
    seconds = tunnel.get("next_try_seconds")
    return tunnel["state"] if seconds is None else f"{tunnel['state']} ({seconds:.0f} s)"


def _figures(tunnel: dict[str, Any], now: datetime) -> tuple[str, ...]:
    if "since" not in tunnel:
        return ("-",) * 6
    seconds = tunnel["round_trip_seconds"]
    return (
        f"{tunnel['open_connections']}/{tunnel['connections']}",
        size_text(tunnel["sent_bytes"]),
        size_text(tunnel["received_bytes"]),
        "-" if seconds is None else f"{1000 * seconds:.0f} ms",
        str(tunnel["resumes"]),
        age_text((now - datetime.fromisoformat(tunnel["since"])).total_seconds()),
    )


def size_text(size_bytes: int) -> str:
    """A size as people read it: three digits and a unit."""
    size = float(size_bytes)
    for unit in _UNITS:
        if size < 999.5 or unit == _UNITS[-1]:
            break
        size /= 1000
    return f"{size:.0f} {unit}" if unit == "B" or size >= 99.5 else f"{size:.1f} {unit}"


def age_text(seconds: float) -> str:
    """A length of time as people read it: its two largest units."""
    minutes = max(0, int(seconds)) // 60
    if minutes < 1:
        return f"{max(0, int(seconds))} s"
    if minutes < 60:
        return f"{minutes} min"
    hours = minutes // 60
    return f"{hours} h {minutes % 60} min" if hours < 24 else f"{hours // 24} d {hours % 24} h"
