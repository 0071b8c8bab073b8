"""Tests with real programs on real sockets: OpenSSH and its friends, the demo, and how sessions end."""

from __future__ import annotations
