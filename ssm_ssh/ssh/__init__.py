"""Floor 5: what OpenSSH needs."""

from __future__ import annotations
