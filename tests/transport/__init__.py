"""Tests of the transport floor, against real servers on loopback."""

from __future__ import annotations
