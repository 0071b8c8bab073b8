"""Whatever callers, network and clock do in whatever order, the bytes arrive once and in order."""

from __future__ import annotations

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from ssm_ssh.protocol.inbox import INBOX_MESSAGES
from ssm_ssh.protocol.outbox import OUTBOX_MESSAGES
from ssm_ssh.protocol.window import MAX_WINDOW_BYTES
from tests.protocol.dialogue import Dialogue, Link

probabilities = st.sampled_from([0.0, 0.01, 0.1, 0.3])


class LossySession(RuleBasedStateMachine):
    """One session, everything that may be done to it, and what must hold after every step."""

    @initialize(
        seed=st.integers(0, 2**32),
        loss=probabilities,
        duplication=probabilities,
        reordering=probabilities,
        payload_bytes=st.sampled_from([None, 7, 1024]),
    )
    def begin(
        self, seed: int, loss: float, duplication: float, reordering: float, payload_bytes: int | None
    ) -> None:
        """A session over some link."""
        link = Link(loss=loss, duplication=duplication, reordering=reordering)
        self.talk = Dialogue(up=link, seed=seed, payload_bytes=payload_bytes)
        self.talk.resumes_by_itself = False
        self.up, self.down = bytearray(), bytearray()
        self.is_connected = True
        self.talk.channel.open("token")

    @rule(data=st.binary(min_size=1, max_size=5000))
    def the_client_sends(self, data: bytes) -> None:
        """At any time, the handshake and outages included."""
        self.talk.client_sends(data)
        self.up += data

    @precondition(lambda self: self.talk.agent.is_handshaken)
    @rule(data=st.binary(min_size=1, max_size=5000))
    def the_agent_sends(self, data: bytes) -> None:
        """As the port's reader does."""
        self.talk.agent_sends(data)
        self.down += data

    @rule(seconds=st.floats(0.0001, 2.0))
    def time_passes(self, seconds: float) -> None:
        """With all that happens in it."""
        self.talk.advance(seconds)

    @precondition(lambda self: self.is_connected)
    @rule(is_orderly=st.booleans())
    def the_stream_breaks(self, *, is_orderly: bool) -> None:
        """What is on its way is lost."""
        self.is_connected = False
        self.talk.cut(is_orderly=is_orderly)

    @precondition(lambda self: not self.is_connected)
    @rule()
    def the_session_is_resumed(self) -> None:
        """A new stream."""
        self.is_connected = True
        self.talk.resume()

    @rule(message_type=st.sampled_from(["pause_publication", "start_publication"]))
    def publication_changes(self, message_type: str) -> None:
        """For whatever reason."""
        self.talk.service_sends(message_type, b"?")

    @rule(refusals=st.integers(1, 3))
    def the_port_refuses(self, refusals: int) -> None:
        """For the next few messages."""
        self.talk.agent.refuses = refusals

    @invariant()
    def what_has_arrived_is_a_beginning_of_what_was_sent(self) -> None:
        """Never doubled, never out of order."""
        assert self.up.startswith(self.talk.agent.taken)
        assert self.down.startswith(self.talk.received)
        assert self.talk.agent.discarded == []

    @invariant()
    def memory_is_bounded(self) -> None:
        """By the stated limits."""
        stream = self.talk.channel._client_stream
        assert stream._outbox._bytes <= MAX_WINDOW_BYTES + 64 * 1024
        assert len(stream._outbox) <= OUTBOX_MESSAGES
        assert len(self.talk.channel._agent_stream._inbox._early) <= INBOX_MESSAGES

    def teardown(self) -> None:
        """When the faults end, everything drains."""
        if not hasattr(self, "talk"):
            return
        self.talk.up = self.talk.down = Link()
        if not self.is_connected:
            self.talk.resume()
        self.talk.advance(0.5)
        self.talk.service_sends("start_publication")
        self.talk.advance_until_quiet(at_most=120)
        self.talk.expect_taken(bytes(self.up))
        assert self.talk.received == self.down


LossySession.TestCase.settings = settings(max_examples=40, stateful_step_count=25, deadline=None)
TestLossySession = LossySession.TestCase
