"""Floor 4: a session's life, from a target's name to its end."""

from __future__ import annotations
