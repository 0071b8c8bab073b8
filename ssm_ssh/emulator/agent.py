"""The agent of a node: takes orders for sessions and carries them out, each on its own data channel."""

from __future__ import annotations

import asyncio
from random import Random
from typing import TYPE_CHECKING, Final

from ssm_ssh.emulator.agent_channel import ChannelCounts
from ssm_ssh.emulator.agent_session import AgentSession, AgentSetting, failed
from ssm_ssh.emulator.agent_version import DEFAULT_AGENT_VERSION, AgentTraits
from ssm_ssh.emulator.link import TaskComplete, TaskStatus
from ssm_ssh.emulator.port_session import PORT_SESSIONS
from ssm_ssh.emulator.timing import FAST
from ssm_ssh.wire.payload import SessionType

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from ssm_ssh.emulator.link import Dial, SessionOrder
    from ssm_ssh.emulator.room import Connect, Resolve, RoomKind
    from ssm_ssh.emulator.timing import Timing

ROOMS: Final[Mapping[str, RoomKind]] = {SessionType.PORT: PORT_SESSIONS}


class SsmAgent:
    """An emulated amazon-ssm-agent: what ``link.Agent`` asks for.

    Args:
        connect: Opens a connection from the node to (address, port); raises ``OSError``.
        resolve: The node's resolver: a host's addresses, none for an unknown one.
        vpc_networks: The address ranges of the node's VPC, whose reserved addresses are forbidden.
        version: Decides its habits, see ``AgentTraits``. Raises ``ValueError`` for what is no version.
        seed: Of everything that varies between sessions.

    Attributes:
        rooms: The kinds of session it can carry out, by session type.
        counts: What happened on all its data channels so far.
    """

    def __init__(  # noqa: PLR0913 -- every one may be left out
        self,
        node_id: str,
        connect: Connect,
        *,
        resolve: Resolve = lambda host: (host,),
        vpc_networks: Sequence[str] = (),
        version: str = DEFAULT_AGENT_VERSION,
        timing: Timing = FAST,
        seed: int = 0,
    ) -> None:
        self.traits = AgentTraits.of(version)
        self.timing = timing
        self.counts = ChannelCounts()
        self.rooms = dict(ROOMS)
        self._setting = AgentSetting(
            node_id, self.traits, timing, connect, resolve, vpc_networks, self.counts
        )
        self._random = Random(seed)  # noqa: S311 -- reproducible, not secret
        self._power_cut = asyncio.Event()

    async def run_session(self, order: SessionOrder, dial: Dial) -> TaskComplete:
        """Carry one session from order to end; cancelling it ends it at once."""
        kind = self.rooms.get(order.session_type)
        if kind is None or self.traits.number < kind.first_version:
            return failed(
                f"Plugin with name {order.session_type} is not supported by this version of ssm agent, "
                f"please update to latest version. Step name: {order.session_type}"
            )
        session = AgentSession(
            order,
            kind,
            dial,
            setting=self._setting,
            random=Random(self._random.getrandbits(64)),  # noqa: S311 -- reproducible, not secret
        )
        return await self._unless_power_is_cut(session)

    def cut_power(self) -> None:
        """End every running session without a word to the client, as a machine that goes down does."""
        self._power_cut.set()
        self._power_cut = asyncio.Event()

    async def _unless_power_is_cut(self, session: AgentSession) -> TaskComplete:
        power_cut = self._power_cut
        async with asyncio.TaskGroup() as tasks:
            run = tasks.create_task(session.run())
            cut = tasks.create_task(power_cut.wait())
            try:
                await asyncio.wait((run, cut), return_when=asyncio.FIRST_COMPLETED)
                if run.done():
                    return run.result()
                return TaskComplete(TaskStatus.CANCELLED)
            finally:
                run.cancel()
                cut.cancel()
