"""Floor 1: bytes ⇄ values. No state, no clock, no I/O; bad bytes raise ``MalformedMessage``, nothing else."""

from __future__ import annotations
