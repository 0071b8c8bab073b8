"""Floor 5: listeners on this machine ⇄ ports that the node reaches."""

from __future__ import annotations
