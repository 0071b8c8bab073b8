"""Floor 1: bytes ⇄ values. No state, no clock, no I/O; bad bytes raise ``MalformedMessage``, nothing else.

Here and everywhere, "protocol 4.3" is section 4.3 of docs/reference/protocol.md.
"""

from __future__ import annotations
