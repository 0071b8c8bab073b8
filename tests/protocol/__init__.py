"""The protocol floor: each module by its own file, and the laws of the whole under a lossy link."""

from __future__ import annotations
