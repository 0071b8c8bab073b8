"""What was learned about the way to a region, kept for the next session: one small file a region.

A cache: whatever cannot be read is taken as unknown, whatever cannot be written is let go.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import tempfile
import time
from pathlib import Path
from typing import Final

from ssm_ssh.protocol.data_channel import PathLimits

# Ours: networks and services change; a limit is asked anew after this.
_KEPT_SECONDS: Final = 7 * 24 * 3600
_REGION: Final = re.compile(r"[a-z0-9-]{1,64}")


def recall_limits(region: str, *, now: float | None = None) -> PathLimits | None:
    """What is known about the way to ``region``, or None."""
    try:
        text = _file(region).read_text(encoding="utf-8")
        fields = json.loads(text)
        if (time.time() if now is None else now) - float(fields["saved_at"]) > _KEPT_SECONDS:
            return None
        rate, cap = fields["messages_per_second"], fields["payload_cap_bytes"]
        return PathLimits(
            payload_bytes=int(fields["payload_bytes"]),
            payload_cap_bytes=None if cap is None else int(cap),
            messages_per_second=None if rate is None else float(rate),
        )
    except (OSError, ValueError, TypeError, KeyError):
        return None


def remember_limits(region: str, limits: PathLimits, *, now: float | None = None) -> None:
    """Keep ``limits`` for ``region``, in place of what was known."""
    fields = {
        "saved_at": time.time() if now is None else now,
        "payload_bytes": limits.payload_bytes,
        "payload_cap_bytes": limits.payload_cap_bytes,
        "messages_per_second": limits.messages_per_second,
    }
    with contextlib.suppress(OSError, ValueError):
        file = _file(region)
        file.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        descriptor, name = tempfile.mkstemp(dir=file.parent)  # 0600 by construction
        try:
            with os.fdopen(descriptor, "w", encoding="utf-8") as temporary:
                json.dump(fields, temporary)
            Path(name).replace(file)
        except OSError:
            Path(name).unlink(missing_ok=True)
            raise


def _file(region: str) -> Path:
    if not _REGION.fullmatch(region):
        raise ValueError(f"{region!r} is not a region")
    home = os.environ.get("XDG_CACHE_HOME", "")
    # The XDG rule: a relative path there is to be ignored.
    cache = Path(home) if os.path.isabs(home) else Path.home() / ".cache"
    return cache / "ssm-ssh" / "way" / f"{region}.json"
