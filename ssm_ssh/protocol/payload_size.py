"""The search for the largest payload that passes, like that for a path's MTU.

Data once sent cannot be cut again: if only its acknowledgement was lost, the agent would take the shorter
message for a duplicate. So a larger size is tried with a probe that means nothing (protocol 11.3), and used
for data only after the probe was acknowledged.
"""

from __future__ import annotations

from typing import Final

# Specification: what the official plugin sends; always safe.
SAFE_PAYLOAD_BYTES: Final = 1024
# Ours: with 4, 16 and 32 KiB an agent takes 58, 92 and close to 99 MB/s instead of 16 to 29 (protocol 11.2).
PROBED_SIZES: Final = (4 * 1024, 16 * 1024, 32 * 1024)
# Ours: so much must have been sent in one go before a larger payload is worth a probe.
BACKLOG_BYTES: Final = 1024 * 1024
# Ours: a probe that vanished without breaking the stream may have been bad luck once.
_PATIENCE: Final = 2


class PayloadSize:
    """The size for data now, and whether to probe for a larger one.

    Attributes:
        data_bytes: The largest payload to send now; grows as probes pass.
        cap_bytes: The largest size still worth a probe; shrinks as probes fail.
    """

    def __init__(
        self, *, fixed: int | None = None, known: int = SAFE_PAYLOAD_BYTES, cap: int | None = None
    ) -> None:
        """Start a search.

        Args:
            fixed: A size to use without any search.
            known: A size that passed in an earlier session: probed first, not trusted.
            cap: A limit learned in an earlier session.
        """
        self.data_bytes = SAFE_PAYLOAD_BYTES if fixed is None else fixed
        self.cap_bytes = self.data_bytes if fixed is not None else (PROBED_SIZES[-1] if cap is None else cap)
        self._known = known
        self._probed: int | None = None
        self._vanished = 0

    @property
    def is_probing(self) -> bool:
        """Whether a probe is on its way."""
        return self._probed is not None

    def next_probe(self, backlog_bytes: int) -> int | None:
        """The size to probe now, or None; the caller sends it and says how it went.

        Args:
            backlog_bytes: How much was sent since there was last nothing to send.
        """
        if self._probed is not None or backlog_bytes < BACKLOG_BYTES:
            return None
        candidates = [size for size in PROBED_SIZES if self.data_bytes < size <= self.cap_bytes]
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
        if self._vanished < _PATIENCE:
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
