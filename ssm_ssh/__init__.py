"""Plain ssh, scp and ports to machines without an open port, through AWS Session Manager.

Importing this package imports neither boto3 nor paramiko; the public names load what they need when used.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ssm_ssh.forward.one_port import open_tunnel

__version__ = "0.1.0"
__all__ = ["__version__", "open_tunnel"]

# Each public name's module; loaded when it is asked for.
_HOMES = {"open_tunnel": "ssm_ssh.forward.one_port"}


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module  # noqa: PLC0415 -- only paid for where a name is used

    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__} - {"TYPE_CHECKING"})
