"""A stand-in for the Session Manager service and its nodes, on loopback: for tests and the demo.

It is written from docs/reference/protocol.md and shares nothing with the client but ``wire``: where client
and stand-in agree, two readings of the same text agree.
"""

from __future__ import annotations
