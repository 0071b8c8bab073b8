"""What was learned about the way to a region, kept for the next session: one small file a region.

A cache: whatever cannot be read is taken as unknown, whatever cannot be written is let go.
"""

from __future__ import annotations

import contextlib
import json
import math
import os
import re
import tempfile
import time
from pathlib import Path
from typing import Final

from ssm_ssh.protocol.data_channel import PathLimits
from ssm_ssh.protocol.pace import BLAMELESS_MESSAGES_PER_SECOND

# Ours: networks and services change; a limit is asked anew after this.
_KEPT_SECONDS: Final = 7 * 24 * 3600
_REGION: Final = re.compile(r"[a-z0-9-]{1,64}")
# Ours: a file of ours has 120 bytes.
_FILE_BYTES: Final = 4096
# RuntimeError: no home folder to be found, or JSON nested beyond all measure.
_UNREADABLE: Final = (OSError, ValueError, TypeError, KeyError, OverflowError, RuntimeError)


def recall_limits(region: str, *, now: float | None = None) -> PathLimits | None:
    """What is known about the way to ``region``, or None."""
    now = time.time() if now is None else now
    try:
        with _file(region).open("rb") as file:
            fields = json.loads(file.read(_FILE_BYTES))
        cap, rate = fields["payload_cap_bytes"], fields["messages_per_second"]
        limits = PathLimits(
            payload_bytes=int(fields["payload_bytes"]),
            payload_cap_bytes=None if cap is None else int(cap),
            messages_per_second=None if rate is None else float(rate),
        )
        # A clock that was wrong when it was saved must not keep it for ever.
        is_fresh = 0 <= now - float(fields["saved_at"]) <= _KEPT_SECONDS
    except _UNREADABLE:
        return None
    return limits if is_fresh and _is_possible(limits) else None


def _is_possible(limits: PathLimits) -> bool:
    """Whether a channel could have learned it: a rate of nothing, for one, would never send again."""
    rate = limits.messages_per_second
    return rate is None or BLAMELESS_MESSAGES_PER_SECOND <= rate < math.inf


def remember_limits(region: str, limits: PathLimits, *, now: float | None = None) -> None:
    """Keep ``limits`` for ``region``, in place of what was known."""
    fields = {
        "saved_at": time.time() if now is None else now,
        "payload_bytes": limits.payload_bytes,
        "payload_cap_bytes": limits.payload_cap_bytes,
        "messages_per_second": limits.messages_per_second,
    }
    with contextlib.suppress(OSError, ValueError, RuntimeError):
        file = _file(region)
        _make_folder(file.parent)
        descriptor, name = tempfile.mkstemp(dir=file.parent)  # 0600 by construction
        try:
            with os.fdopen(descriptor, "w", encoding="utf-8") as temporary:
                json.dump(fields, temporary)
            Path(name).replace(file)
        except OSError:
            Path(name).unlink(missing_ok=True)
            raise


def _make_folder(folder: Path) -> None:
    """Make it and all above it for us alone; with ``parents=True`` only the last one would be."""
    if not folder.is_dir():
        _make_folder(folder.parent)
        folder.mkdir(mode=0o700, exist_ok=True)


def _file(region: str) -> Path:
    if not _REGION.fullmatch(region):
        raise ValueError(f"{region!r} is not a region")
    home = os.environ.get("XDG_CACHE_HOME", "")
    # The XDG rule: a relative path there is to be ignored.
    cache = Path(home) if os.path.isabs(home) else Path.home() / ".cache"
    return cache / "ssm-ssh" / "way" / f"{region}.json"
