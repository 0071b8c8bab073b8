"""Tests of the wire floor: each module covered wholly by its own file."""

from __future__ import annotations
