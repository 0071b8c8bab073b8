"""The ProxyCommand helper: stdin and stdout ⇄ one port of a node.

The order of imports and calls is the point: botocore's chain and the StartSession request come first, and
everything that the session needs is imported while AWS and the agent work (docs/design/performance.md).
"""

from __future__ import annotations

import contextlib
import signal
import sys
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from ssm_ssh.session.document import ssh_request
from ssm_ssh.session.starting import begin_session
from ssm_ssh.session.target import parse_target, resolve_target
from ssm_ssh.transport.control_plane import ControlPlane

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from concurrent.futures import Future

    from ssm_ssh.transport.control_plane import StartedSession


@dataclass(frozen=True, slots=True)
class ProxyOptions:
    """What one run of the helper is asked for.

    Attributes:
        target: As the user typed it.
        os_user: Whom ssh will log in as; None where ssh did not say.
        resume_seconds: How long to go on trying to resume a lost stream.
        payload_bytes: A fixed payload size, or None to search.
    """

    target: str
    port: int = 22
    os_user: str | None = None
    profile: str | None = None
    region: str | None = None
    stream_endpoint: str | None = None
    reason: str | None = None
    document_name: str | None = None
    parameters: Mapping[str, Sequence[str]] = field(default_factory=dict)
    resume_seconds: float = 600.0
    payload_bytes: int | None = None


def run_proxy(options: ProxyOptions) -> None:
    """Carry the tunnel until it ends. Returns normally when the node's server or the local program ended it.

    Raises:
        SsmSshError: Why it could not be carried.
        KeyboardInterrupt: After Ctrl-C or SIGTERM; the session is terminated then, too.
    """
    _heed_signals()
    target = parse_target(options.target)
    control_plane = ControlPlane.connect(
        profile=options.profile, region=options.region, stream_endpoint=options.stream_endpoint
    )
    request = ssh_request(
        resolve_target(target, control_plane),
        options.port,
        document_name=options.document_name,
        parameters=options.parameters,
        reason=options.reason,
    )
    starting = begin_session(control_plane, request)
    is_handed_over = False
    try:
        import asyncio  # noqa: PLC0415 -- while StartSession is on its way

        from ssm_ssh.ssh.carry import carry  # noqa: PLC0415 -- likewise

        is_handed_over = True
        try:
            asyncio.run(carry(control_plane, starting, options))
        except asyncio.CancelledError:
            raise KeyboardInterrupt from None
    finally:
        if not is_handed_over:
            _abandon(control_plane, starting)


def _heed_signals() -> None:
    """Let stdin's end decide, as ssh means it, and no signal leave a session open."""
    if hasattr(signal, "SIGHUP"):
        # ssh sends it to its helper when it exits, and closes the pipes: those say the same, in order.
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
    if sys.stdin is None or not sys.stdin.isatty():
        # Ctrl-C reaches the whole process group; under ssh it is for the program on the node.
        signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.default_int_handler)


def _abandon(control_plane: ControlPlane, starting: Future[StartedSession]) -> None:
    """Whatever stopped us between the request and its use: the session it started must not stay."""
    from ssm_ssh.session.session import end_session  # noqa: PLC0415 -- only on the way out

    with contextlib.suppress(Exception):
        end_session(control_plane, starting.result().session_id)
