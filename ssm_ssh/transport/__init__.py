"""Floor 3: the only floor that touches a network. What fails here leaves as this package's own exceptions."""

from __future__ import annotations
