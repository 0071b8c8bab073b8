"""What is said on the control socket: one line of JSON each way, then both sides close.

A request is ``{"version": 1, "verb": …}``:

    up       tunnels: a list of ``TunnelOrder.as_json``; variables: see ``account_digests``
    down     names: a list, empty for all
    status

An answer is ``{"version": 1, …}``, with ``error`` and ``hint`` where nothing was done, else with

    supervisor   about the supervisor itself
    tunnels      what there is, or for ``up`` what was asked for: ``SupervisedTunnel.status``, and ``failure``
    ended        for ``down``: the names that were up
    is_over      whether the supervisor ends now, because no tunnel is left
"""

from __future__ import annotations

import hashlib
import json
import os
from typing import Any, Final

from ssm_ssh.errors import SupervisorUnreachable

VERSION: Final = 1
# Ours: a hundred tunnels have less.
LARGEST_LINE_BYTES: Final = 1024 * 1024
# Ours: how long ``up`` waits for the first try of its tunnels; they are tried on in any case.
FIRST_TRY_SECONDS: Final = 90.0
# What decides whose nodes a tunnel without a profile of its own means.
_ACCOUNT_VARIABLES: Final = (
    "AWS_PROFILE",
    "AWS_DEFAULT_PROFILE",
    "AWS_ACCESS_KEY_ID",
    "AWS_SESSION_TOKEN",
    "AWS_ROLE_ARN",
    "AWS_WEB_IDENTITY_TOKEN_FILE",
    "AWS_REGION",
    "AWS_DEFAULT_REGION",
    "AWS_CONFIG_FILE",
    "AWS_SHARED_CREDENTIALS_FILE",
    "AWS_ENDPOINT_URL",
    "AWS_ENDPOINT_URL_SSM",
)


def encode_line(fields: dict[str, Any]) -> bytes:
    """A request or an answer, with its version."""
    return json.dumps({"version": VERSION, **fields}).encode("ascii") + b"\n"


def decode_line(line: bytes) -> dict[str, Any]:
    """What ``encode_line`` made. Raises ``SupervisorUnreachable`` for anything else."""
    try:
        fields = json.loads(line)
    except (ValueError, RecursionError):
        fields = None
    if not isinstance(fields, dict):
        raise SupervisorUnreachable("what was said on the control socket is not understood")
    if fields.get("version") != VERSION:
        raise SupervisorUnreachable(
            "the supervisor is of another version",
            hint="end the process that holds running.lock beside the control socket, then `ssm-ssh up` again",
        )
    return fields


def account_digests() -> dict[str, str]:
    """Digests of the environment's variables that decide whose nodes are meant; never their values."""
    return {
        name: hashlib.sha256(os.environ[name].encode("utf-8", "surrogateescape")).hexdigest()
        for name in _ACCOUNT_VARIABLES
        if os.environ.get(name)
    }
