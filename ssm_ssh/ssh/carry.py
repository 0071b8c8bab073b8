"""The asynchronous half of the ProxyCommand helper, imported while StartSession is on its way."""

from __future__ import annotations

import asyncio
import contextlib
import signal
from typing import TYPE_CHECKING

from ssm_ssh.session.path_memory import recall_limits, remember_limits
from ssm_ssh.session.session import SessionOptions, open_session
from ssm_ssh.ssh.exchange import Exchange
from ssm_ssh.ssh.stdio import Stdio

if TYPE_CHECKING:
    from concurrent.futures import Future

    from ssm_ssh.ssh.options import ProxyOptions
    from ssm_ssh.transport.control_plane import ControlPlane, StartedSession


async def carry(
    control_plane: ControlPlane, starting: Future[StartedSession], options: ProxyOptions, tunnel_input: int
) -> None:
    """Carry ``tunnel_input`` and stdout over the session that is starting.

    Raises:
        SsmSshError: Why that failed.
    """
    _cancel_on_sigterm()
    limits = recall_limits(control_plane.region)
    session_options = SessionOptions(
        resume_seconds=options.resume_seconds, payload_bytes=options.payload_bytes, limits=limits
    )
    stdio = Stdio(tunnel_input)
    try:
        async with open_session(control_plane, asyncio.wrap_future(starting), session_options) as session:
            await session.wait_port()
            try:
                await Exchange(stdio, session.stream).run()
            finally:
                if session.limits != limits:
                    remember_limits(control_plane.region, session.limits)
    finally:
        await stdio.close()


def _cancel_on_sigterm() -> None:
    task = asyncio.current_task()
    assert task is not None
    # Windows has no such signal to handle.
    with contextlib.suppress(NotImplementedError):
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
