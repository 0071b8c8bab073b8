"""The asynchronous half of the ProxyCommand helper, imported while StartSession is on its way."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from ssm_ssh.protocol.data_channel import PathLimits
from ssm_ssh.session.path_memory import recall_limits, remember_limits
from ssm_ssh.session.session import SessionOptions, open_session
from ssm_ssh.ssh.exchange import Exchange
from ssm_ssh.ssh.stdio import Stdio

if TYPE_CHECKING:
    from concurrent.futures import Future

    from ssm_ssh.ssh.options import ProxyOptions
    from ssm_ssh.ssh.stop import Stop
    from ssm_ssh.transport.control_plane import ControlPlane, StartedSession


async def carry(
    control_plane: ControlPlane,
    starting: Future[StartedSession],
    options: ProxyOptions,
    *,
    tunnel_input: int,
    stop: Stop,
) -> None:
    """Carry ``tunnel_input`` and stdout over the session that is starting.

    Raises:
        SsmSshError: Why that failed.
        CancelledError: If ``stop`` was wanted.
    """
    _cancel_when_wanted(stop)
    limits = recall_limits(control_plane.region) or PathLimits()
    session_options = SessionOptions(
        resume_seconds=options.resume_seconds, payload_bytes=options.payload_bytes, limits=limits
    )
    async with open_session(control_plane, asyncio.wrap_future(starting), session_options) as session:
        await session.wait_port()
        stdio = Stdio(tunnel_input)
        try:
            await Exchange(stdio, session.stream).run()
        finally:
            await stdio.close()
            if session.limits != limits:
                remember_limits(control_plane.region, session.limits)


def _cancel_when_wanted(stop: Stop) -> None:
    loop, task = asyncio.get_running_loop(), asyncio.current_task()
    assert task is not None
    # A signal does not wake the loop; this does.
    stop.act(lambda: loop.call_soon_threadsafe(task.cancel))
