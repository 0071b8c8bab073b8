"""The asyncio forms of what the package offers."""

from __future__ import annotations

from ssm_ssh.forward.one_port import open_async_tunnel as open_tunnel

__all__ = ["open_tunnel"]
