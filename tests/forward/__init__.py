"""Tests of forwards."""

from __future__ import annotations
