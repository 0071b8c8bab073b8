"""Tests of the command line's own words."""

from __future__ import annotations
