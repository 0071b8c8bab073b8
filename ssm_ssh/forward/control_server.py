"""The supervisor's end of the control socket, and the supervisor's whole life around it."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
from contextlib import closing
from typing import TYPE_CHECKING, Any, Final

from ssm_ssh.errors import InvalidOption, SsmSshError
from ssm_ssh.forward.accept import Accepted, accept_connections
from ssm_ssh.forward.control_line import LARGEST_LINE_BYTES, account_digests, decode_line, encode_line
from ssm_ssh.forward.listener import open_listener
from ssm_ssh.forward.order import TunnelOrder, read_order
from ssm_ssh.forward.peer import peer_user
from ssm_ssh.forward.spec import Listen
from ssm_ssh.forward.supervisor import Supervisor
from ssm_ssh.transport.driver import single_cause

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from ssm_ssh.forward.control_place import ControlPlace
    from ssm_ssh.forward.supervised import SupervisedTunnel

_log = logging.getLogger(__name__)

# Ours: our own command sends its line at once.
_REQUEST_SECONDS: Final = 5.0
_ROOT: Final = 0


class ControlDoor:
    """Answers on the control socket."""

    def __init__(self, supervisor: Supervisor) -> None:
        self._supervisor = supervisor
        self._serving = 0
        self._idle = asyncio.Event()
        self._idle.set()
        # What this process was started with; nothing changes it later.
        self._digests = account_digests()

    async def serve(self, accepted: Accepted) -> None:
        """Answer one request."""
        self._serving += 1
        self._idle.clear()
        try:
            await self._serve(accepted)
        except (OSError, SsmSshError) as error:
            _log.info("nobody heard an answer: %s", error)
        finally:
            await accepted.stream.close()
            self._serving -= 1
            if not self._serving:
                self._idle.set()

    async def wait_idle(self) -> None:
        """Wait until everybody who asked has an answer."""
        await self._idle.wait()

    async def _serve(self, accepted: Accepted) -> None:
        user = peer_user(accepted.socket)
        if user is not None and user not in {os.geteuid(), _ROOT}:
            _log.warning("another user of this machine (uid %d) was refused", user)
            return
        try:
            line = await _read_line(accepted)
        except TimeoutError:
            return
        try:
            answer = await self._answer(decode_line(line))
        except SsmSshError as error:
            answer = {"error": str(error), "hint": error.hint}
        await accepted.stream.write(encode_line(answer))

    async def _answer(self, request: dict[str, Any]) -> dict[str, Any]:
        supervisor = self._supervisor
        match request:
            case {"verb": "status"}:
                tunnels = supervisor.tunnel_status()
                return {"supervisor": supervisor.status(), "tunnels": tunnels, "is_over": supervisor.is_over}
            case {"verb": "up", "tunnels": list(tunnels), "variables": dict(variables)}:
                orders = [read_order(fields) for fields in tunnels]
                self._check_account(orders, variables)
                kept = await supervisor.up(orders)
                return {"tunnels": [_outcome(tunnel) for tunnel in kept], "is_over": supervisor.is_over}
            case {"verb": "down", "names": list(names)}:
                ended = await supervisor.down([str(name) for name in names])
                return {"ended": ended, "is_over": supervisor.is_over}
            case _:
                raise InvalidOption("the request is not understood")

    def _check_account(self, orders: Sequence[TunnelOrder], variables: dict[str, Any]) -> None:
        """Raises ``InvalidOption`` if an order rests on its sender's environment, and ours is another."""
        names = sorted(variables.keys() | self._digests.keys())
        differing = [name for name in names if variables.get(name) != self._digests.get(name)]
        for order in orders:
            if order.profile is None and differing:
                raise InvalidOption(
                    f"the supervisor was started with other variables than yours: {', '.join(differing)}",
                    hint=f"name a profile in [tunnels.{order.name}], or `ssm-ssh down` and up again",
                )


def _outcome(tunnel: SupervisedTunnel) -> dict[str, Any]:
    failure = tunnel.failure
    told = None
    if failure is not None:
        told = {"text": str(failure), "hint": failure.hint, "exit_status": int(failure.exit_status)}
    return {**tunnel.status(), "failure": told}


async def _read_line(accepted: Accepted) -> bytes:
    line = bytearray()
    async with asyncio.timeout(_REQUEST_SECONDS):
        while not line.endswith(b"\n") and len(line) <= LARGEST_LINE_BYTES:
            data = await accepted.stream.read()
            if not data:
                break
            line += data
    return bytes(line)


async def run_supervisor(
    place: ControlPlace | None, orders: Sequence[TunnelOrder], *, ready: Callable[[], None]
) -> None:
    """Keep tunnels up until the last one is taken down, or until cancelled; then no session is left.

    Args:
        place: Where to answer, with its ``running_lock`` held; None where nobody can ask.
        orders: What to bring up at once.
        ready: Called as soon as the supervisor answers.

    Raises:
        InvalidForward: If the control socket cannot be had.
    """
    try:
        async with asyncio.TaskGroup() as tasks:
            supervisor = Supervisor(tasks)
            try:
                await _run(place, supervisor, orders, tasks, ready)
            finally:
                supervisor.close()
    except BaseExceptionGroup as group:
        cause = single_cause(group)
        raise cause from cause.__cause__


async def _run(
    place: ControlPlace | None,
    supervisor: Supervisor,
    orders: Sequence[TunnelOrder],
    tasks: asyncio.TaskGroup,
    ready: Callable[[], None],
) -> None:
    with contextlib.ExitStack() as stack:
        door = ControlDoor(supervisor)
        answering = None
        if place is not None:
            # The lock is held, so a socket that is there was left by a supervisor that was killed.
            listener = stack.enter_context(closing(open_listener(Listen(unix_path=str(place.socket)))))
            answering = tasks.create_task(accept_connections(listener, door.serve, allows_other_users=False))
        ready()
        if orders:
            await supervisor.up(orders)
        await supervisor.wait_over()
        await door.wait_idle()
        if answering is not None:
            answering.cancel()
            await asyncio.wait([answering])
