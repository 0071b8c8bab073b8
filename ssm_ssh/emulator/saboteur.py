"""The faults that come by the clock: regular cuts, and storms of pause and start of publication."""

from __future__ import annotations

from itertools import cycle
from typing import TYPE_CHECKING

from ssm_ssh.wire.agent_message import MessageType

if TYPE_CHECKING:
    from ssm_ssh.emulator.fault import FaultSwitch
    from ssm_ssh.emulator.session_table import SessionTable


async def cut_regularly(faults: FaultSwitch, sessions: SessionTable) -> None:
    """Cut every live session as often as the faults say, until cancelled."""
    while True:
        interval = faults.now.cut_every_seconds
        if await faults.wait_for_change(interval):
            continue
        sessions.cut(faults.now.cut_side)


async def storm_publication(faults: FaultSwitch, sessions: SessionTable) -> None:
    """Say pause and start in turn to everybody as often as the faults say, until cancelled."""
    for message_type in cycle((MessageType.PAUSE_PUBLICATION, MessageType.START_PUBLICATION)):
        while await faults.wait_for_change(faults.now.publication_storm_seconds):
            pass
        for session in sessions.live:
            await session.relay.publish(message_type)
