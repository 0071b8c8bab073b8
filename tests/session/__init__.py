"""Tests of the session floor: in memory, on a virtual clock."""

from __future__ import annotations
