"""The ProxyCommand helper: stdin and stdout ⇄ one port of a node.

The order of imports and calls is the point: botocore's chain and the StartSession request come first, and
everything that the session needs is imported while AWS and the agent work (docs/design/performance.md).
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
from typing import TYPE_CHECKING, Final

from ssm_ssh.errors import SsmSshError
from ssm_ssh.session.document import ssh_request
from ssm_ssh.session.ending import end_session
from ssm_ssh.session.starting import begin_session
from ssm_ssh.session.target import parse_target, resolve_target
from ssm_ssh.ssh.stop import Stop
from ssm_ssh.transport.control_plane import ControlPlane

if TYPE_CHECKING:
    from concurrent.futures import Future

    from ssm_ssh.ssh.options import ProxyOptions
    from ssm_ssh.transport.control_plane import StartedSession

STDIN: Final = 0


def run_proxy(options: ProxyOptions) -> None:
    """Carry the tunnel until it ends. Returns normally when the node's server or the local program ended it.

    Raises:
        SsmSshError: Why it could not be carried.
        KeyboardInterrupt: After Ctrl-C or SIGTERM; the session is terminated then, too.
    """
    target = parse_target(options.target)
    _occupy_standard_descriptors()
    _heed_signals()
    tunnel_input = _take_stdin()
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
    stop = Stop()
    stop.listen()
    starting = begin_session(control_plane, request)
    is_handed_over = False
    try:
        import asyncio  # noqa: PLC0415 -- while StartSession is on its way

        from ssm_ssh.ssh.carry import carry  # noqa: PLC0415 -- likewise

        async def carried() -> None:
            nonlocal is_handed_over
            is_handed_over = True
            await carry(control_plane, starting, options, tunnel_input=tunnel_input, stop=stop)

        try:
            asyncio.run(carried())
        except asyncio.CancelledError:
            raise KeyboardInterrupt from None
    finally:
        if not is_handed_over:
            _abandon(control_plane, starting)
        control_plane.close()


def _occupy_standard_descriptors() -> None:
    """Put /dev/null where stdin, stdout or stderr is closed, lest a socket to AWS gets its number."""
    for descriptor in range(3):
        try:
            os.fstat(descriptor)
        except OSError:
            # The lowest free number is the one that was just found to be free.
            os.open(os.devnull, os.O_RDWR)


def _heed_signals() -> None:
    """Let stdin's end decide, as ssh means it, and no signal leave a session open."""
    if hasattr(signal, "SIGHUP"):
        # ssh sends it to its helper when it exits, and closes the pipes: those say the same, in order.
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
    if sys.stdin is None or not sys.stdin.isatty():
        # Ctrl-C reaches the whole process group; under ssh it is for the program on the node.
        signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.default_int_handler)


def _take_stdin() -> int:
    """Move the tunnel's input to a descriptor that no child inherits, and leave nothing on stdin.

    A ``credential_process``, or whatever else is started on the way, may read stdin as its own; a byte that
    it took would be missing in the tunnel.
    """
    tunnel_input = os.dup(STDIN)
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, STDIN)
    os.close(nothing)
    return tunnel_input


def _abandon(control_plane: ControlPlane, starting: Future[StartedSession]) -> None:
    """The event loop could not even be started: the session that was must not stay."""
    with contextlib.suppress(SsmSshError):
        end_session(control_plane, starting.result().session_id)
