"""Faults: each does what it says, to the relay and to the API."""

from __future__ import annotations

import asyncio
import itertools
import time
from collections import Counter
from typing import TYPE_CHECKING

import aiohttp
import pytest
from botocore.exceptions import ClientError, ParamValidationError

from ssm_ssh.emulator.emulator import Emulator
from ssm_ssh.emulator.fault import Direction, Faults, Oversize, Side
from ssm_ssh.wire.agent_message import AgentMessage
from tests.emulator.echo_node import EchoNode
from tests.emulator.scripted_client import call, dial, open_session, run, start

if TYPE_CHECKING:
    from collections.abc import Sequence

COUNT = 400


async def flood(faults: Faults) -> tuple[list[int], Emulator]:
    """What a client hears of ``COUNT`` messages from the agent, until nothing comes for a while."""
    node = EchoNode()
    node.agent.flood = [b"x"] * COUNT
    numbers: list[int] = []
    async with Emulator([node], faults=faults) as emulator, open_session(emulator) as client:
        try:
            while True:
                async with asyncio.timeout(0.3):
                    numbers.append((await client.hear()).sequence_number)
        except TimeoutError:
            pass
        return numbers, emulator


def test_loss_and_doubling_and_reordering_are_as_asked() -> None:
    """Rates are near what was asked for, and nothing else happens to a message."""

    async def scenario() -> None:
        faults = Faults(seed=7, loss=0.1, duplication=0.1, reordering=0.2)
        numbers, emulator = await flood(faults)
        heard = Counter(numbers)
        counts = emulator.sessions.records[0].counts
        assert counts.lost == COUNT - len(heard)
        assert counts.doubled == sum(times == 2 for times in heard.values())
        assert 15 < counts.lost < 80
        assert 15 < counts.doubled < 80
        inversions = sum(a > b for a, b in itertools.pairwise(numbers))
        assert inversions > 20

    run(scenario())


def test_a_seed_repeats_its_losses() -> None:
    """The same seed loses the same messages, another one others."""

    async def scenario() -> None:
        runs = [set((await flood(Faults(seed=seed, loss=0.1)))[0]) for seed in (1, 1, 2)]
        assert runs[0] == runs[1] != runs[2]

    run(scenario())


def test_delay_and_bandwidth_take_their_time() -> None:
    """A round trip takes two delays; a thousand bytes at ten thousand a second take a tenth of one."""

    async def scenario() -> None:
        faults = Faults(delay_seconds=0.05)
        async with Emulator([EchoNode()], faults=faults) as emulator, open_session(emulator) as client:
            begin = time.monotonic()
            await client.say(b"x")
            await client.hear_output()
            assert 0.1 <= time.monotonic() - begin < 1.0
            emulator.faults.change(delay_seconds=0.0, bandwidth_bytes_per_second=10_000.0)
            begin = time.monotonic()
            await client.say(b"x" * 880)
            await client.hear_output()
            assert 0.2 <= time.monotonic() - begin < 1.0
            emulator.faults.change(bandwidth_bytes_per_second=None)
            await client.say(b"fast again")
            assert await client.hear_output() == b"fast again"

    run(scenario())


def test_a_script_has_the_say() -> None:
    """A test may decide message by message."""
    seen: list[Direction] = []

    def script(direction: Direction, raw: bytes) -> Sequence[bytes]:
        seen.append(direction)
        is_dropped = AgentMessage.decode(raw).payload == b"drop me"
        return () if is_dropped else (raw,)

    async def scenario() -> None:
        async with (
            Emulator([EchoNode()], faults=Faults(script=script)) as emulator,
            open_session(emulator) as client,
        ):
            for payload in (b"drop me", b"keep me"):
                await client.say(payload)
            assert await client.hear_output() == b"keep me"
            assert seen == [Direction.TO_AGENT, Direction.TO_AGENT, Direction.TO_CLIENT]

    run(scenario())


@pytest.mark.parametrize("side", [Side.CLIENT, Side.AGENT, Side.BOTH])
def test_regular_cuts_lose_little(side: Side) -> None:
    """What is lost at a cut is bounded, and the session stays."""

    async def scenario() -> None:
        node = EchoNode()
        node.agent.flood = [b"x" * 1024] * 3000
        async with Emulator([node]) as emulator:
            answer = await start(emulator)
            async with dial(emulator, answer["StreamUrl"]) as client:
                await client.open(answer["TokenValue"])
                await client.hear_output()
                emulator.faults.change(cut_every_seconds=0.05, cut_side=side)
                if side is Side.AGENT:
                    while not node.agent.cuts:
                        await client.hear()
                else:
                    assert await client.lose() == 1006
            (record,) = emulator.sessions.records
            assert record.counts.cuts >= 1
            assert record.counts.lost <= 64 * record.counts.cuts
            assert emulator.sessions.live

    run(scenario())


def test_a_cut_loses_at_most_64_messages_on_the_way_down() -> None:
    """Nothing is lost but what the gateway held for a slow client."""

    async def scenario() -> None:
        node = EchoNode()
        node.agent.flood = [b"x" * 1024] * 2000
        numbers: list[int] = []
        async with Emulator([node]) as emulator:
            answer = await start(emulator)
            for _ in range(4):
                async with dial(emulator, answer["StreamUrl"]) as client:
                    await client.open(answer["TokenValue"])
                    for _ in range(200):
                        heard = await client.hear()
                        if heard.message_type == "output_stream_data":
                            numbers.append(heard.sequence_number)
                    emulator.sessions.cut(Side.CLIENT)
                    while (received := await client.socket.receive()).type is aiohttp.WSMsgType.BINARY:
                        numbers.append(AgentMessage.decode(received.data).sequence_number)
                answer = await call(emulator, "resume_session", SessionId=answer["SessionId"])
        missing = set(range(max(numbers))) - set(numbers)
        assert len(missing) <= 3 * 64

    run(scenario())


def test_a_flooding_client_is_cut() -> None:
    """Above the rate the connection breaks without a word."""

    async def scenario() -> None:
        faults = Faults(message_limit_per_second=50)
        async with Emulator([EchoNode()], faults=faults) as emulator, open_session(emulator) as client:
            for _ in range(51):
                await client.say(b"x")
            assert await client.lose() == 1006
            assert emulator.sessions.records[0].counts.cuts == 1

    run(scenario())


def test_a_silent_gateway_says_nothing() -> None:
    """It takes the WebSocket and answers not even a ping; it may also fall silent later."""

    async def scenario() -> None:
        async with Emulator([EchoNode()]) as emulator:
            async with open_session(emulator) as client:
                await client.say(b"x")
                assert await client.hear_output() == b"x"
                emulator.faults.change(is_silent=True)
                await client.say(b"y")
                await client.socket.ping(b"?")
                with pytest.raises(TimeoutError):
                    await client.socket.receive(timeout=0.2)
            async with open_session(emulator) as client:
                await client.socket.ping(b"?")
                with pytest.raises(TimeoutError):
                    await client.socket.receive(timeout=0.2)

    run(scenario())


@pytest.mark.parametrize("status", [403, 503])
def test_a_refused_upgrade(status: int) -> None:
    """The gateway answers the upgrade with another status."""

    async def scenario() -> None:
        async with Emulator([EchoNode()], faults=Faults(refused_upgrade_status=status)) as emulator:
            answer = await start(emulator)
            with pytest.raises(aiohttp.WSServerHandshakeError) as caught:
                async with dial(emulator, answer["StreamUrl"]):
                    pass
            assert caught.value.status == status

    run(scenario())


@pytest.mark.parametrize(
    ("oversize", "code"), [(Oversize.CLOSE, 1009), (Oversize.CUT, 1006), (Oversize.SWALLOW, None)]
)
def test_too_large_messages(oversize: Oversize, code: int | None) -> None:
    """Three ways to treat them; messages of the limit's size pass."""

    async def scenario() -> None:
        faults = Faults(largest_message_bytes=1144, oversize=oversize)
        async with Emulator([EchoNode()], faults=faults) as emulator, open_session(emulator) as client:
            await client.say(b"x" * 1024)
            assert await client.hear_output() == b"x" * 1024
            await client.say(b"x" * 1025)
            if code is None:
                await client.say(b"after")
                assert await client.hear_output() == b"after"
            else:
                assert await client.lose() == code
            assert emulator.sessions.records[0].counts.lost == 1

    run(scenario())


def test_garbage_and_storms_reach_the_client() -> None:
    """Garbage comes first; pauses and starts come by the clock, to both sides."""

    async def scenario() -> None:
        node = EchoNode()
        faults = Faults(garbage=b"\x00garbage", publication_storm_seconds=0.02)
        async with Emulator([node], faults=faults) as emulator, open_session(emulator) as client:
            received = await client.socket.receive()
            while received.data != b"\x00garbage":
                received = await client.socket.receive()
            types = {(await client.hear()).message_type for _ in range(4)}
            assert types == {"pause_publication", "start_publication"}
            assert set(node.agent.control) == types

    run(scenario())


def test_answers_that_cannot_be_used() -> None:
    """Without a token, and with another StreamUrl."""

    async def scenario() -> None:
        faults = Faults(omits_token=True, stream_url="wss://evil.example/v1/data-channel/{session_id}")
        async with Emulator([EchoNode()], faults=faults) as emulator:
            answer = await start(emulator)
            assert "TokenValue" not in answer
            assert answer["StreamUrl"] == f"wss://evil.example/v1/data-channel/{answer['SessionId']}"

    run(scenario())


@pytest.mark.parametrize(
    ("faults", "words"),
    [
        (Faults(has_expired_credentials=True), "ExpiredTokenException"),
        (Faults(throttle_per_second={"StartSession": 0}), "ThrottlingException.*Rate exceeded"),
        (Faults(throttle_per_second={"*": 0}), "ThrottlingException"),
        (
            Faults(denied_actions=frozenset({"ssm:StartSession"})),
            (
                r"AccessDeniedException.*arn:aws:sts::123456789012:assumed-role/emulator/alice is not "
                r"authorized to perform: ssm:StartSession on resource: "
                r"arn:aws:ec2:eu-central-1:123456789012:instance/i-"
            ),
        ),
    ],
)
def test_the_api_refuses(faults: Faults, words: str) -> None:
    """Faults of the API have AWS's codes and words."""

    async def scenario() -> None:
        async with Emulator([EchoNode()], faults=faults) as emulator:
            with pytest.raises(ClientError, match=words):
                await start(emulator)

    run(scenario())


def test_throttling_is_by_the_second_and_the_operation() -> None:
    """Two calls pass, the third does not, another operation does."""

    async def scenario() -> None:
        faults = Faults(throttle_per_second={"StartSession": 2})
        async with Emulator([EchoNode()], faults=faults) as emulator:
            results = await asyncio.gather(*(start(emulator) for _ in range(3)), return_exceptions=True)
            assert sum(isinstance(result, ClientError) for result in results) == 1
            await call(emulator, "get_connection_status", Target="i-0123456789abcdef0")

    run(scenario())


def test_the_stream_may_be_denied() -> None:
    """ssmmessages:OpenDataChannel is an action of its own."""

    async def scenario() -> None:
        faults = Faults(denied_actions=frozenset({"ssmmessages:OpenDataChannel"}))
        async with Emulator([EchoNode()], faults=faults) as emulator:
            answer = await start(emulator)
            with pytest.raises(aiohttp.WSServerHandshakeError, match="403"):
                async with dial(emulator, answer["StreamUrl"]):
                    pass

    run(scenario())


def test_unknown_faults_are_an_error() -> None:
    """A misspelt fault must not be a fault that never happens."""

    async def scenario() -> None:
        async with Emulator([EchoNode()]) as emulator:
            with pytest.raises(TypeError):
                emulator.faults.change(los=0.1)
            with pytest.raises(ParamValidationError):
                await call(emulator, "start_session")

    run(scenario())
