"""Tests of what OpenSSH needs."""

from __future__ import annotations
