"""Arrived-early messages, put back in order."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from ssm_ssh.wire.agent_message import AgentMessage

# Ours: the agent repairs one message in 100 ms while it sends on (protocol 4.5), so each lost one keeps about
# a hundred waiting. These two bound what waits.
INBOX_MESSAGES: Final = 16_384
INBOX_BYTES: Final = 64 * 1024 * 1024


class Inbox:
    """The agent's sequenced messages, each once and in order. Holds at most the two limits above."""

    def __init__(self) -> None:
        self._expected = 0
        self._early: dict[int, AgentMessage] = {}
        self._early_bytes = 0

    @property
    def is_empty(self) -> bool:
        """Whether no message waits for one before it."""
        return not self._early

    def receive(self, message: AgentMessage) -> tuple[bool, list[AgentMessage]]:
        """Take in one message in whatever order.

        Returns:
            Whether to acknowledge it (always, unless there is no room to keep it: duplicates too, or the
            agent would repeat them for ever), and the messages that are now next in order.
        """
        number = message.sequence_number
        if number == self._expected:
            self._expected += 1
            if not self._early:
                return True, [message]
            return True, [message, *self._follow()]
        if number < self._expected or number in self._early:
            return True, []
        size = len(message.payload)
        if len(self._early) >= INBOX_MESSAGES or self._early_bytes + size > INBOX_BYTES:
            return False, []
        self._early[number] = message
        self._early_bytes += size
        return True, []

    def _follow(self) -> list[AgentMessage]:
        run = []
        while (message := self._early.pop(self._expected, None)) is not None:
            self._expected += 1
            self._early_bytes -= len(message.payload)
            run.append(message)
        return run
