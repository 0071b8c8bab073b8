"""How long the stand-in takes for what it does: as long as the real agent, or no longer than it must."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final


@dataclass(frozen=True, slots=True)
class Timing:
    """Every pause of an emulated agent, in seconds; the defaults are what was seen of the real one.

    Attributes:
        start_seconds: From the order for a session to the dialling of its data channel.
        ready_seconds: From HandshakeComplete to the dialling of the port; what arrives meanwhile meets a
            plugin that is not ready (protocol 5.3).
        read_sleep_seconds: After each read of at most 1024 bytes from the port (protocol 7.3).
        handshake_seconds: For the client's answer to the handshake request.
        drain_seconds: For the last acknowledgements before the data channel is closed.
        resend_tick_seconds: Between two looks at the oldest unacknowledged message.
        crash_report_seconds: From the crash after a refused port to the text that reports it.
        reconnect_cap_seconds: The longest pause between two dials of a lost data channel.
    """

    start_seconds: float = 0.05
    ready_seconds: float = 0.002
    read_sleep_seconds: float = 0.001
    handshake_seconds: float = 15.0
    drain_seconds: float = 2.0
    resend_tick_seconds: float = 0.1
    crash_report_seconds: float = 60.0
    reconnect_cap_seconds: float = 5.0


REAL: Final = Timing()
# Only the pauses that cost a test its time; what shapes the dialogue (timers, ticks, back-off) stays.
FAST: Final = replace(REAL, start_seconds=0.0, read_sleep_seconds=0.0, crash_report_seconds=1.0)

TIMINGS: Final = {"real": REAL, "fast": FAST}
