"""The message gateway: tokens, relay, ends, resumes, pings."""

from __future__ import annotations

import asyncio

import aiohttp
import pytest
from botocore.exceptions import ClientError

from ssm_ssh.emulator.emulator import Emulator
from ssm_ssh.emulator.fault import Side
from ssm_ssh.emulator.session_record import SessionStatus
from ssm_ssh.emulator.settings import EndedResume, ServiceSettings
from ssm_ssh.wire.agent_message import MessageType
from tests.emulator.echo_node import FAILURE, FAREWELL, EchoNode, message
from tests.emulator.scripted_client import call, dial, open_session, run, start


def test_relays_both_ways_and_ends_with_the_agent() -> None:
    """Data goes through unchanged, the agent's last words arrive before channel_closed."""

    async def scenario() -> None:
        node = EchoNode()
        async with Emulator([node]) as emulator:
            async with open_session(emulator, Reason="a reason") as client:
                for payload in (b"\n", bytes(range(256)), b"x" * 100_000):
                    await client.say(payload)
                    assert await client.hear_output() == payload
                await client.say(FAREWELL)
                assert await client.hear_output() == b"last words"
                closed = await client.hear_end()
                assert (closed.output, closed.destination_id) == ("", node.node_id)
                assert await client.lose() == 1000
            await emulator.sessions.wait_for_live(0)
            (record,) = emulator.sessions.records
            assert record.status is SessionStatus.TERMINATED
            assert record.reason == "a reason"
            assert record.parameters == {"portNumber": "22"}
            assert "Botocore" in record.user_agent
            assert record.counts.from_client == record.counts.to_agent == 4
            assert record.counts.from_agent == 4
        assert node.life == ["start", "stop"]

    run(scenario())


def test_an_agents_failure_reaches_the_client() -> None:
    """The text of a failed task is channel_closed's Output, and the session counts as failed."""

    async def scenario() -> None:
        async with Emulator([EchoNode()]) as emulator:
            async with open_session(emulator) as client:
                await client.say(FAILURE)
                assert (await client.hear_end()).output == "it went wrong"
            await emulator.sessions.wait_for_live(0)
            assert emulator.sessions.records[0].status is SessionStatus.FAILED

    run(scenario())


@pytest.mark.parametrize("token", ["", "wrong", None])
def test_a_wrong_token_is_refused(token: str | None) -> None:
    """Neither a wrong token nor another session's opens a data channel."""

    async def scenario() -> None:
        async with Emulator([EchoNode()]) as emulator:
            first, second = await start(emulator), await start(emulator)
            async with dial(emulator, first["StreamUrl"]) as client:
                await client.open(second["TokenValue"] if token is None else token)
                assert await client.lose() == 1008
            async with dial(emulator, first["StreamUrl"]) as client:
                await client.open(first["TokenValue"])
                await client.say(b"still good")
                assert await client.hear_output() == b"still good"

    run(scenario())


def test_a_token_opens_once_and_only_for_a_while() -> None:
    """A used token is dead, a renewed one kills the one before, and time kills any."""

    async def scenario() -> None:
        async with Emulator([EchoNode()], settings=ServiceSettings(token_seconds=0.0)) as emulator:
            late = await start(emulator)
            async with dial(emulator, late["StreamUrl"]) as client:
                await client.open(late["TokenValue"])
                assert await client.lose() == 1008
        async with Emulator([EchoNode()]) as emulator:
            first = await start(emulator)
            second = await call(emulator, "resume_session", SessionId=first["SessionId"])
            assert first["StreamUrl"] != second["StreamUrl"], "a new cell number each time"
            for answer, code in ((first, 1008), (second, None), (second, 1008)):
                async with dial(emulator, answer["StreamUrl"]) as client:
                    await client.open(answer["TokenValue"])
                    if code is None:
                        await client.say(b"open")
                        assert await client.hear_output() == b"open"
                    else:
                        assert await client.lose() == code

    run(scenario())


def test_silence_is_no_open_data_channel() -> None:
    """A WebSocket that sends no OpenDataChannel, or something else first, is closed."""

    async def scenario() -> None:
        async with Emulator([EchoNode()], settings=ServiceSettings(open_seconds=0.05)) as emulator:
            answer = await start(emulator)
            async with dial(emulator, answer["StreamUrl"]) as client:
                assert await client.lose() == 1008
            async with dial(emulator, answer["StreamUrl"]) as client:
                await client.say(b"too early")
                assert await client.lose() == 1008

    run(scenario())


def test_pings_are_answered_before_and_after_opening() -> None:
    """Protocol 2.3: the official client pings before it sends OpenDataChannel."""

    async def scenario() -> None:
        async with Emulator([EchoNode()]) as emulator:
            answer = await start(emulator)
            async with dial(emulator, answer["StreamUrl"]) as client:
                await client.socket.ping(b"keepalive")
                pong = await client.socket.receive()
                assert (pong.type, bytes(pong.data)) == (aiohttp.WSMsgType.PONG, b"keepalive")
                await client.open(answer["TokenValue"])
                await client.socket.ping(b"again")
                assert (await client.socket.receive()).type is aiohttp.WSMsgType.PONG
            assert emulator.sessions.records[0].counts.pings == 2

    run(scenario())


def test_terminate_tells_both_sides_once() -> None:
    """TerminateSession closes both channels; a second one finds the session in no valid state."""

    async def scenario() -> None:
        node = EchoNode()
        async with Emulator([node]) as emulator:
            answer = await start(emulator)
            session_id = answer["SessionId"]
            async with dial(emulator, answer["StreamUrl"]) as client:
                await client.open(answer["TokenValue"])
                await client.say(b"hello")
                assert await client.hear_output() == b"hello"
                assert await call(emulator, "terminate_session", SessionId=session_id)
                assert (await client.hear_end()).session_id == session_id
            await emulator.sessions.wait_for_live(0)
            assert b"channel_closed" in node.agent.received[-1]
            with pytest.raises(ClientError, match=r"ValidationException.*Session is not in a valid state"):
                await call(emulator, "terminate_session", SessionId=session_id)
            assert (await call(emulator, "resume_session", SessionId=session_id))["TokenValue"] == ""
            with pytest.raises(aiohttp.WSServerHandshakeError):
                async with dial(emulator, answer["StreamUrl"]):
                    pass

    run(scenario())


def test_an_agent_that_does_not_leave_is_cancelled() -> None:
    """After its grace the agent's run is cancelled: channel_closed on the control channel."""

    async def scenario() -> None:
        node = EchoNode()
        node.agent.is_deaf = True
        async with Emulator([node], settings=ServiceSettings(agent_grace_seconds=0.05)) as emulator:
            answer = await start(emulator)
            await call(emulator, "terminate_session", SessionId=answer["SessionId"])
            await emulator.sessions.wait_for_live(0)

    run(scenario())


def test_ended_sessions_may_not_exist_for_resume() -> None:
    """The other answer that AWS was seen to give."""

    async def scenario() -> None:
        settings = ServiceSettings(ended_resume=EndedResume.DOES_NOT_EXIST)
        async with Emulator([EchoNode()], settings=settings) as emulator:
            answer = await start(emulator)
            await call(emulator, "terminate_session", SessionId=answer["SessionId"])
            with pytest.raises(ClientError, match="DoesNotExistException"):
                await call(emulator, "resume_session", SessionId=answer["SessionId"])

    run(scenario())


def test_a_cut_session_waits_and_is_resumed() -> None:
    """The agent is paused while its client is away, and told to start when one is back."""

    async def scenario() -> None:
        node = EchoNode()
        async with Emulator([node]) as emulator:
            answer = await start(emulator)
            async with dial(emulator, answer["StreamUrl"]) as client:
                await client.open(answer["TokenValue"])
                await client.say(b"before")
                assert await client.hear_output() == b"before"
                emulator.sessions.cut(Side.CLIENT)
                assert await client.lose() == 1006
            (record,) = emulator.sessions.records
            assert record.status is SessionStatus.DISCONNECTED
            answer = await call(emulator, "resume_session", SessionId=answer["SessionId"])
            async with dial(emulator, answer["StreamUrl"]) as client:
                await client.open(answer["TokenValue"])
                await client.say(b"after")
                assert await client.hear_output() == b"after"
            assert record.counts.cuts == 1
            assert record.counts.client_channels == 2
            assert node.agent.control[:2] == [MessageType.PAUSE_PUBLICATION, MessageType.START_PUBLICATION]

    run(scenario())


def test_a_newer_client_replaces_the_older() -> None:
    """Two WebSockets for one session: the newer one has it."""

    async def scenario() -> None:
        async with Emulator([EchoNode()]) as emulator:
            first = await start(emulator)
            async with dial(emulator, first["StreamUrl"]) as older:
                await older.open(first["TokenValue"])
                await older.say(b"older")
                assert await older.hear_output() == b"older"
                second = await call(emulator, "resume_session", SessionId=first["SessionId"])
                async with dial(emulator, second["StreamUrl"]) as newer:
                    await newer.open(second["TokenValue"])
                    await newer.say(b"newer")
                    assert await newer.hear_output() == b"newer"
                    assert await older.lose() == 1006
                    await newer.say(b"still there")
                    assert await newer.hear_output() == b"still there"

    run(scenario())


def test_a_cut_agent_dials_again_and_the_client_is_paused() -> None:
    """The client hears pause and start around the agent's absence."""

    async def scenario() -> None:
        node = EchoNode()
        async with Emulator([node]) as emulator, open_session(emulator) as client:
            await client.say(b"before")
            assert await client.hear_output() == b"before"
            emulator.sessions.cut(Side.AGENT)
            await client.say(b"after")
            heard = [await client.hear() for _ in range(3)]
            types = [m.message_type for m in heard]
            assert types == ["pause_publication", "start_publication", "output_stream_data"]
            assert node.agent.cuts == 1

    run(scenario())


def test_bye_is_said_to_both_sides() -> None:
    """Protocol 2.4: 1000 "Bye" by the clock, and the session lives on."""

    async def scenario() -> None:
        node = EchoNode()
        async with Emulator([node], settings=ServiceSettings(bye_seconds=0.2)) as emulator:
            async with open_session(emulator) as client:
                closing = await client.socket.receive()
                while closing.type is aiohttp.WSMsgType.BINARY:
                    closing = await client.socket.receive()
                assert (closing.type, closing.data, closing.extra) == (aiohttp.WSMsgType.CLOSE, 1000, "Bye")
            assert node.agent.cuts == 1
            assert emulator.sessions.live

    run(scenario())


@pytest.mark.parametrize(
    "settings", [ServiceSettings(idle_seconds=0.5), ServiceSettings(session_seconds=0.5)]
)
def test_sessions_do_not_live_for_ever(settings: ServiceSettings) -> None:
    """Idleness and age end a session with words to the client."""

    async def scenario() -> None:
        async with Emulator([EchoNode()], settings=settings) as emulator:
            async with open_session(emulator) as client:
                assert (await client.hear_end()).output.startswith("Session ")
            await emulator.sessions.wait_for_live(0)

    run(scenario())


def test_stopping_with_live_sessions_is_quick() -> None:
    """Everything is gone in under a second, whoever is connected."""

    async def scenario() -> None:
        async with Emulator([EchoNode()]) as emulator:
            answer = await start(emulator)
            await start(emulator)
            async with dial(emulator, answer["StreamUrl"]) as client:
                await client.open(answer["TokenValue"])
                await client.say(b"x")
                await client.hear_output()
                begin = asyncio.get_running_loop().time()
                await emulator.__aexit__(None, None, None)
                assert asyncio.get_running_loop().time() - begin < 1.0
                await client.lose()

    run(scenario())


def test_what_no_client_says_goes_nowhere() -> None:
    """Messages of the agent's or the service's types, short ones and text are counted, not relayed."""

    async def scenario() -> None:
        node = EchoNode()
        async with Emulator([node]) as emulator, open_session(emulator) as client:
            await client.socket.send_bytes(b"garbage")
            await client.socket.send_bytes(message(MessageType.OUTPUT_STREAM_DATA, 0, b"x"))
            await client.socket.send_bytes(message(MessageType.INPUT_STREAM_DATA, 0, b""))
            await client.socket.send_str("text")
            await client.say(b"good")
            assert await client.hear_output() == b"good"
            assert emulator.sessions.records[0].counts.refused == 4
            assert len(node.agent.received) == 1

    run(scenario())


def test_a_stuck_agent_does_not_stop_pings(monkeypatch: pytest.MonkeyPatch) -> None:
    """An agent that takes nothing loses messages after a while; the client's pings are answered again."""
    monkeypatch.setattr("ssm_ssh.emulator.relay._STUCK_SECONDS", 0.1)

    async def scenario() -> None:
        node = EchoNode()
        node.agent.is_deaf = True
        settings = ServiceSettings(agent_grace_seconds=0.1)
        async with Emulator([node], settings=settings) as emulator, open_session(emulator) as client:
            for _ in range(200):
                await client.say(b"x")
            await client.socket.ping(b"?")
            assert (await client.socket.receive(timeout=5)).type is aiohttp.WSMsgType.PONG
            counts = emulator.sessions.records[0].counts
            assert counts.from_client == 200
            assert counts.to_agent + counts.lost == 200
            assert counts.to_agent == 32

    run(scenario())


def test_an_agent_must_open_its_link_with_text() -> None:
    """Anything but OpenDataChannel first cuts the link, as the gateway does with clients."""

    async def scenario() -> None:
        node = EchoNode()
        node.agent.first_words = [b"binary", "no json"]
        async with Emulator([node]) as emulator, open_session(emulator) as client:
            await client.say(b"third time")
            assert await client.hear_output() == b"third time"
            assert node.agent.cuts == 2
            assert emulator.sessions.records[0].counts.agent_channels == 1

    run(scenario())
