"""The search for the largest payload that passes, like that for a path's MTU.

Data once sent cannot be cut again: if only its acknowledgement was lost, the agent would take the shorter
message for a duplicate. So a larger size is tried with a probe that means nothing (protocol 11.3), and used
for data only after the probe was acknowledged.
"""

from __future__ import annotations

import math
from typing import Final

# Specification: what the official plugin sends; always safe.
SAFE_PAYLOAD_BYTES: Final = 1024
# Ours: with 4, 16 and 32 KiB an agent takes 58, 92 and close to 99 MB/s instead of 16 to 29 (protocol 11.2).
PROBED_SIZES: Final = (4 * 1024, 16 * 1024, 32 * 1024)
# Ours: so much must have been sent, without so long a pause, before a larger payload is worth a probe.
BACKLOG_BYTES: Final = 1024 * 1024
BACKLOG_PAUSE_SECONDS: Final = 1.0
# Ours: a probe that vanished without breaking the stream may have been bad luck once.
PATIENCE: Final = 2


class PayloadSize:
    """The size for data now, and whether to probe for a larger one.

    Attributes:
        data_bytes: The largest payload to send now; grows as probes pass.
        cap_bytes: The largest size still worth a probe, or None while none has failed.
    """

    def __init__(
        self, *, fixed: int | None = None, known: int = SAFE_PAYLOAD_BYTES, cap: int | None = None
    ) -> None:
        """Start a search.

        Args:
            fixed: A size to use without any search; nothing is learned then.
            known: A size that passed in an earlier session: probed first, not trusted.
            cap: A limit learned in an earlier session.
        """
        self.data_bytes = SAFE_PAYLOAD_BYTES if fixed is None else fixed
        self.cap_bytes = cap
        self._is_fixed = fixed is not None
        self._known = known
        self._probed: int | None = None
        self._vanished = 0
        self._backlog_bytes = 0
        self._sent_at = -math.inf

    @property
    def known_bytes(self) -> int:
        """The largest size known to pass, in this session or an earlier one."""
        known = self._known if self.cap_bytes is None else min(self._known, self.cap_bytes)
        return known if self._is_fixed else max(known, self.data_bytes)

    def sent(self, size_bytes: int, now: float) -> None:
        """So much data was sent."""
        if now - self._sent_at > BACKLOG_PAUSE_SECONDS:
            self._backlog_bytes = 0
        self._backlog_bytes += size_bytes
        self._sent_at = now

    def next_probe(self, largest: int) -> int | None:
        """The size to probe now, or None; the caller sends it and says how it went.

        Args:
            largest: A larger payload would be of no use now.
        """
        if self._probed is not None or self._is_fixed or self._backlog_bytes < BACKLOG_BYTES:
            return None
        limit = largest if self.cap_bytes is None else min(largest, self.cap_bytes)
        candidates = [size for size in PROBED_SIZES if self.data_bytes < size <= limit]
        if not candidates:
            return None
        remembered = [size for size in candidates if size <= self._known]
        self._probed = remembered[-1] if remembered else candidates[0]
        return self._probed

    def probe_passed(self) -> None:
        """The probe was acknowledged."""
        assert self._probed is not None
        self.data_bytes = self._probed
        self._probed = None
        self._vanished = 0

    def probe_vanished(self) -> None:
        """The probe was not acknowledged while the stream lived on."""
        self._vanished += 1
        if self._vanished < PATIENCE:
            self._probed = None
        else:
            self.probe_broke_stream()

    def probe_broke_stream(self) -> None:
        """The stream broke with the probe on its way: nothing of that size is tried again."""
        assert self._probed is not None
        smaller = [size for size in PROBED_SIZES if size < self._probed]
        self.cap_bytes = smaller[-1] if smaller else SAFE_PAYLOAD_BYTES
        self._probed = None
        self._vanished = 0
