"""The agent's WebSocket to the message gateway, without a socket: two bounded queues."""

from __future__ import annotations

from ssm_ssh.emulator.link import LinkCut
from ssm_ssh.emulator.message_queue import MessageQueue, QueueClosed


class MemoryLink:
    """Both ends of one link: ``AgentLink`` for the agent, the two queues for the gateway."""

    def __init__(self) -> None:
        self.to_agent = MessageQueue()
        self.from_agent = MessageQueue()

    async def send(self, message: str | bytes) -> None:
        """See ``AgentLink.send``."""
        try:
            await self.from_agent.put(message)
        except QueueClosed:
            raise LinkCut from None

    async def receive(self) -> str | bytes:
        """See ``AgentLink.receive``."""
        try:
            return await self.to_agent.get()
        except QueueClosed:
            raise LinkCut from None

    async def close(self) -> None:
        """See ``AgentLink.close``: what was sent before still arrives, as over TCP."""
        self.from_agent.close()
        self.to_agent.close()
        self.to_agent.discard()

    def cut(self) -> int:
        """Break the link from outside, losing what it holds; returns how many messages that were."""
        self.from_agent.close()
        self.to_agent.close()
        return self.from_agent.discard() + self.to_agent.discard()

    def shut(self) -> None:
        """End the link in an orderly way: the agent reads what is left, then finds it cut."""
        self.from_agent.close()
        self.to_agent.close()
