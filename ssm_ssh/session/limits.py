"""What a user's numbers may be, wherever they are written."""

from __future__ import annotations

from typing import Final

# Ours: below, headers would be most of the stream; above, what the service takes is unknown (protocol 2.5).
PAYLOAD_SIZES: Final = range(64, 64 * 1024 + 1)
RESUME_MINUTES: Final = range(24 * 60 + 1)
DEFAULT_RESUME_MINUTES: Final = 10
# Ours: each session is a process on the node, and an event in CloudTrail.
SESSIONS: Final = range(1, 65)
