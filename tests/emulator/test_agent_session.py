"""The agent's dialogue with a client, line by line, on a virtual clock."""

from __future__ import annotations

import asyncio
import json

import pytest

from ssm_ssh.emulator.agent import SsmAgent
from ssm_ssh.emulator.agent_session import CRASH_TEXT
from ssm_ssh.emulator.link import TaskComplete, TaskStatus
from ssm_ssh.emulator.room import RoomKind, Surroundings
from ssm_ssh.emulator.timing import REAL
from ssm_ssh.wire.agent_message import AgentMessage, MessageType, PayloadType
from tests.emulator.scripted_peer import NODE_ID, SSH_ORDER, Dialogue, Port, dialogue, order_for
from tests.emulator.virtual_time import run_virtually


def test_opens_in_the_order_of_the_real_agent() -> None:
    """OpenDataChannel, Connected, then the handshake request as the first sequenced message."""

    async def scenario() -> None:
        async with dialogue() as talk:
            greeting = await talk.hears_greeting()
            assert greeting["ClientInstanceId"] == NODE_ID
            assert "ClientVersion" not in greeting
            state = await talk.hears_type(MessageType.AGENT_SESSION_STATE)
            assert (state.flags, state.sequence_number) == (3, 0)
            assert json.loads(state.payload) == {
                "SchemaVersion": 1,
                "SessionState": "Connected",
                "SessionId": SSH_ORDER.session_id,
            }
            request = await talk.hears_type(MessageType.OUTPUT_STREAM_DATA)
            assert (request.flags, request.sequence_number) == (1, 0)
            assert request.payload_type == PayloadType.HANDSHAKE_REQUEST
            assert json.loads(request.payload) == {
                "AgentVersion": "3.3.987.0",
                "RequestedClientActions": [
                    {
                        "ActionType": "SessionType",
                        "ActionParameters": {"SessionType": "Port", "Properties": {"portNumber": "22"}},
                    }
                ],
            }

    run_virtually(scenario())


def test_starts_50_ms_after_the_order_in_real_timing() -> None:
    """The data channel of a real agent comes 30 to 90 ms after StartSession."""

    async def scenario() -> None:
        async with dialogue(timing=REAL) as talk:
            await asyncio.sleep(0.049)
            assert not talk.links
            await asyncio.sleep(0.002)
            assert talk.links

    run_virtually(scenario())


@pytest.mark.parametrize(("seed", "acknowledge_first"), [(0, True), (1, False)])
def test_acknowledges_the_response_before_or_after_complete(seed: int, *, acknowledge_first: bool) -> None:
    """Both orders are seen of real agents; the session's seed decides."""

    async def scenario() -> None:
        async with dialogue(seed=seed) as talk:
            for _ in range(3):
                await talk.hears()
            talk.answers_handshake()
            first, second = await talk.hears(), await talk.hears()
            assert isinstance(first, AgentMessage)
            assert isinstance(second, AgentMessage)
            types = [MessageType.ACKNOWLEDGE, MessageType.OUTPUT_STREAM_DATA]
            if not acknowledge_first:
                types.reverse()
            assert [first.message_type, second.message_type] == types

    run_virtually(scenario())


def test_gives_the_client_15_seconds_for_its_answer() -> None:
    """Then the session fails with the agent's own text."""

    async def scenario() -> None:
        async with dialogue() as talk:
            await talk.hears_greeting()
            talk.acknowledges(0)
            await asyncio.sleep(14.9)
            assert not talk.session.done()
            await asyncio.sleep(0.2)
            outcome = await talk.session
            assert outcome.status is TaskStatus.FAILED
            assert outcome.output == (
                "\n----------ERROR-------\n"
                "Encountered error while initiating handshake. Handshake timed out. "
                "Please ensure that you have the latest version of the session manager plugin."
            )

    run_virtually(scenario())


def test_any_status_but_success_fails_the_session() -> None:
    """The client's error is quoted."""

    async def scenario() -> None:
        async with dialogue() as talk:
            for _ in range(3):
                await talk.hears()
            talk.acknowledges(0)
            talk.answers_handshake(status=3, error="no such thing")
            outcome = await talk.session
            assert outcome.status is TaskStatus.FAILED
            assert outcome.output.endswith("SessionType failed on client with status 3 error: no such thing")

    run_virtually(scenario())


def test_discards_what_comes_before_the_handshake_is_done() -> None:
    """Early data is acknowledged and lost: nobody can say that it was not told."""

    async def scenario() -> None:
        async with dialogue() as talk:
            for _ in range(3):
                await talk.hears()
            talk.acknowledges(0)
            talk.says_data(b"too early", number=0)
            assert await talk.hears_acknowledge() == 0
            talk.answers_handshake(number=1)
            await talk.hears()
            await talk.hears()
            talk.acknowledges(1)
            await asyncio.sleep(0.1)
            talk.says_data(b"in time", number=2)
            assert await talk.hears_acknowledge() == 2
            assert talk.port.writer.written == b"in time"
            assert talk.agent.counts.discarded == 1

    run_virtually(scenario())


def test_a_second_response_blocks_the_agent_for_good() -> None:
    """Nothing is acknowledged any more; the other direction goes on."""

    async def scenario() -> None:
        async with dialogue() as talk:
            await talk.opens()
            talk.answers_handshake(number=1)
            talk.says_data(b"x", number=2)
            await talk.hears_nothing(5.0)
            talk.port.reader.feed_data(b"still here")
            assert await talk.hears_data(number=2) == b"still here"

    run_virtually(scenario())


def test_a_lying_header_length_kills_the_read_loop() -> None:
    """The agent recovers from the panic, and never reads again."""

    async def scenario() -> None:
        async with dialogue() as talk:
            await talk.opens()
            talk.says(b"\xff" * 200)
            talk.says_data(b"x", number=1)
            await talk.hears_nothing(5.0)

    run_virtually(scenario())


def test_resumes_over_a_new_link_with_all_state_kept() -> None:
    """Sequence numbers go on, what was not acknowledged comes again, Connected is not said twice."""

    async def scenario() -> None:
        async with dialogue() as talk:
            await talk.opens()
            talk.port.reader.feed_data(b"lost")
            assert await talk.hears_data(number=2) == b"lost"
            talk.link.cut()
            await asyncio.sleep(0.01)
            assert len(talk.links) == 2
            await talk.hears_greeting()
            assert await talk.hears_data(number=2) == b"lost"
            talk.acknowledges(2)
            talk.port.reader.feed_data(b"next")
            assert await talk.hears_data(number=3) == b"next"
            talk.says_data(b"in", number=1)
            assert await talk.hears_acknowledge() == 1

    run_virtually(scenario())


def test_backs_off_between_dials() -> None:
    """100 to 199 ms, then twice as long each time."""

    async def scenario() -> None:
        async with dialogue() as talk:
            await talk.opens()
            talk.refused_dials = 4
            talk.link.cut()
            # 100..199 ms · (1 + 2 + 4 + 8)
            await asyncio.sleep(1.49)
            assert len(talk.links) == 1
            await asyncio.sleep(1.6)
            assert len(talk.links) == 2

    run_virtually(scenario())


def test_gives_up_after_five_retries_and_goes_on_without_a_link() -> None:
    """Only the control channel can end such a session."""

    async def scenario() -> None:
        async with dialogue() as talk:
            await talk.opens()
            talk.refused_dials = 6
            talk.link.cut()
            await asyncio.sleep(60)
            assert talk.refused_dials == 0
            assert len(talk.links) == 1
            assert not talk.session.done()

    run_virtually(scenario())


def test_a_terminated_session_is_not_dialled_again() -> None:
    """The service no longer knows it: the agent ends it."""

    async def scenario() -> None:
        async with dialogue() as talk:
            await talk.opens()
            talk.is_over = True
            talk.link.cut()
            assert (await talk.session).status is TaskStatus.SUCCESS

    run_virtually(scenario())


def test_channel_closed_ends_the_session_well() -> None:
    """The service's word on the data channel."""

    async def scenario() -> None:
        async with dialogue() as talk:
            await talk.opens()
            talk.says_control(MessageType.CHANNEL_CLOSED)
            assert (await talk.session).status is TaskStatus.SUCCESS
            assert talk.port.writer.is_closing()

    run_virtually(scenario())


@pytest.mark.parametrize(("version", "seconds"), [("3.3.987.0", 2.0), ("3.0.655.0", 0.0)])
def test_drains_for_two_seconds_at_most(version: str, seconds: float) -> None:
    """Agents before 3.0.732.0 do not wait at all."""

    async def scenario() -> None:
        async with dialogue(version=version) as talk:
            await talk.opens()
            talk.port.reader.feed_data(b"last words")
            await talk.hears_data(number=2)
            ended = asyncio.get_running_loop().time()
            talk.port.reader.feed_eof()
            assert (await talk.session).status is TaskStatus.SUCCESS
            waited = asyncio.get_running_loop().time() - ended
            assert waited == pytest.approx(seconds, abs=0.01)

    run_virtually(scenario())


def test_the_last_acknowledgement_ends_the_drain() -> None:
    """No two seconds where everybody behaves."""

    async def scenario() -> None:
        async with dialogue() as talk:
            await talk.opens()
            talk.port.reader.feed_data(b"last words")
            await talk.hears_data(number=2)
            talk.port.reader.feed_eof()
            await asyncio.sleep(0.05)
            assert not talk.session.done()
            ended = asyncio.get_running_loop().time()
            talk.acknowledges(2)
            await talk.session
            assert asyncio.get_running_loop().time() - ended < 0.01

    run_virtually(scenario())


def test_a_paused_agent_stops_reading_its_port() -> None:
    """What it had begun to read is held back, and leaves only through the resend loop."""

    async def scenario() -> None:
        async with dialogue() as talk:
            await talk.opens()
            talk.says_control(MessageType.PAUSE_PUBLICATION)
            await asyncio.sleep(0)
            talk.port.reader.feed_data(b"a" * 1024)
            await asyncio.sleep(0.01)
            talk.port.reader.feed_data(b"b" * 10)
            await talk.hears_nothing(3.0)
            talk.says_control(MessageType.START_PUBLICATION)
            # The next read may come first: the message held back waits for its tick.
            assert await talk.hears_data(number=3) == b"b" * 10
            assert await talk.hears_data(number=2) == b"a" * 1024
            assert talk.agent.counts.resent == 1

    run_virtually(scenario())


def test_resends_only_the_oldest_each_tick() -> None:
    """Protocol 4.5: ten messages a second at best."""

    async def scenario() -> None:
        async with dialogue() as talk:
            await talk.opens()
            for number in (2, 3, 4):
                talk.port.reader.feed_data(b"x")
                await talk.hears_data(number=number)
            started = asyncio.get_running_loop().time()
            assert await talk.hears_data(number=2) == b"x"
            assert await talk.hears_data(number=2) == b"x"
            assert asyncio.get_running_loop().time() - started > 0.2
            talk.acknowledges(2)
            assert await talk.hears_data(number=3) == b"x"

    run_virtually(scenario())


def test_a_full_gateway_stops_the_reading_of_the_port() -> None:
    """The only brake on an agent's output is the link itself."""

    async def scenario() -> None:
        async with dialogue() as talk:
            await talk.opens()
            talk.link.has_room.clear()
            talk.port.reader.feed_data(b"x" * 1024 * 3)
            await asyncio.sleep(1.0)
            assert talk.agent.counts.sent == 3
            talk.link.has_room.set()
            for _ in range(3):
                await talk.hears()
            assert talk.agent.counts.sent == 5

    run_virtually(scenario())


@pytest.mark.parametrize("session_type", ["Standard_Stream", "Nonsense"])
def test_a_session_type_without_a_room_is_not_supported(session_type: str) -> None:
    """The agent's own words, without any data channel."""

    async def scenario() -> None:
        async with dialogue(order=order_for(session_type=session_type)) as talk:
            outcome = await talk.session
            assert outcome.output == (
                "\n----------ERROR-------\n"
                f"Plugin with name {session_type} is not supported by this version of ssm agent, "
                f"please update to latest version. Step name: {session_type}"
            )
            assert not talk.links

    run_virtually(scenario())


def test_an_agent_before_port_sessions_says_so() -> None:
    """Port sessions came with 2.3.672.0."""

    async def scenario() -> None:
        async with dialogue(version="2.3.668.0") as talk:
            assert "Plugin with name Port is not supported" in (await talk.session).output

    run_virtually(scenario())


def test_a_data_channel_that_cannot_be_opened_fails_the_session() -> None:
    """Six dials, then the agent's words."""

    async def scenario() -> None:
        async with dialogue() as talk:
            talk.refused_dials = 6
            outcome = await talk.session
            assert outcome.output.endswith(
                f"Setting up data channel with id {SSH_ORDER.session_id} failed: refused"
            )

    run_virtually(scenario())


def test_a_refused_port_is_a_minute_of_silence() -> None:
    """The worker crashes: its link goes at once, the master's report comes after 60 s."""

    async def scenario() -> None:
        async with dialogue(timing=REAL) as talk:
            talk.port.refuses = True
            await talk.opens()
            await asyncio.sleep(0.01)
            assert talk.link.is_cut
            await asyncio.sleep(59.9)
            assert not talk.session.done()
            outcome = await talk.session
            assert (outcome.status, outcome.output) == (TaskStatus.FAILED, CRASH_TEXT)

    run_virtually(scenario())


def test_power_cut_ends_every_session() -> None:
    """A machine that goes down takes its sessions with it, without drain."""

    async def scenario() -> None:
        async with dialogue() as talk:
            await talk.opens()
            talk.agent.cut_power()
            assert (await talk.session).status is TaskStatus.CANCELLED

    run_virtually(scenario())


class EchoRoom:
    """Says back what it hears, until it hears nothing new."""

    def __init__(self, surroundings: Surroundings) -> None:
        self._surroundings = surroundings
        self._over = asyncio.Event()

    async def run(self) -> TaskComplete:
        """Wait for the last word."""
        await self._over.wait()
        return TaskComplete(TaskStatus.SUCCESS)

    async def take(self, payload_type: int, payload: bytes) -> None:
        """Echo; ``bye`` is the last word."""
        await self._surroundings.send(payload_type, payload)
        if payload == b"bye":
            self._over.set()


def test_a_new_kind_of_session_is_one_entry_in_a_table() -> None:
    """Here one without a handshake: its first message may be data, both ways."""

    async def scenario() -> None:
        agent = SsmAgent(NODE_ID, Port().connect)
        agent.rooms["Echo"] = RoomKind(
            first_version=(2, 3, 68, 0),
            has_handshake=False,
            open=lambda _properties, _client_version, surroundings: EchoRoom(surroundings),
        )
        talk = Dialogue(agent, Port())
        async with asyncio.TaskGroup() as tasks:
            order = order_for(session_type="Echo")
            talk.session = tasks.create_task(agent.run_session(order, talk.dial))
            await talk.hears_greeting()
            await talk.hears_type(MessageType.AGENT_SESSION_STATE)
            talk.says_data(b"bye", number=0)
            assert await talk.hears_data(number=0) == b"bye"
            assert await talk.hears_acknowledge() == 0
            talk.acknowledges(0)
            assert (await talk.session).status is TaskStatus.SUCCESS

    run_virtually(scenario())


def test_an_outage_in_the_middle_of_a_send_loses_one_message_at_most() -> None:
    """It was tracked when it was numbered, so that the resend loop brings it."""

    async def scenario() -> None:
        async with dialogue() as talk:
            await talk.opens()
            talk.link.has_room.clear()
            talk.port.reader.feed_data(b"x" * 1024 * 3)
            await asyncio.sleep(0.01)
            talk.refused_dials = 1
            talk.link.cut()
            await asyncio.sleep(0.3)
            await talk.hears_greeting()
            numbers = []
            for _ in range(3):
                numbers.append((await talk.hears_type(MessageType.OUTPUT_STREAM_DATA)).sequence_number)
                talk.acknowledges(numbers[-1])
            assert sorted(numbers) == [2, 3, 4]
            assert talk.agent.counts.resent == 1

    run_virtually(scenario())


@pytest.mark.parametrize("turns", range(12))
def test_cancelling_leaves_nothing(turns: int) -> None:
    """Wherever in its opening a session is cancelled, its link is closed and no task stays."""

    async def scenario() -> None:
        async with dialogue() as talk, asyncio.TaskGroup() as tasks:
            opening = tasks.create_task(talk.opens())
            await asyncio.sleep(turns * 0.0005)
            opening.cancel()
            talk.session.cancel()

    run_virtually(scenario())
