"""What a program hears from a ``-D`` port, and which sessions that takes: in memory, on a virtual clock."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from ssm_ssh.errors import (
    AccessDenied,
    SessionFailed,
    SessionLost,
    SessionTimeout,
    SsmSshError,
    TargetNotConnected,
)
from ssm_ssh.forward.client_request import Login
from ssm_ssh.forward.dynamic import OPEN_SECONDS, REQUEST_SECONDS
from ssm_ssh.forward.options import DynamicOptions
from ssm_ssh.forward.reach import Reach, parse_allowance
from ssm_ssh.session.document import Destination
from ssm_ssh.session.pool import IDLE_SECONDS
from tests.emulator.virtual_time import run_virtually
from tests.forward.dynamic_stage import ROUND_TRIP_SECONDS, socks_request, stage

if TYPE_CHECKING:
    from collections.abc import Iterable

DB = Destination("db.internal", 5432)
WEB = Destination("web.internal", 80)
CACHE = Destination("cache.internal", 6379)
ASKS_DB = socks_request("db.internal", 5432)
CHOSEN = b"\x05\x00"
CONNECTED = bytes.fromhex("05000001 00000000 0000")


def refused(code: int) -> bytes:
    """What SOCKS5 says of a failure, after the greeting."""
    return CHOSEN + bytes([5, code, 0, 1, *bytes(6)])


def asks(destination: Destination) -> bytes:
    """A whole SOCKS5 request."""
    assert destination.host is not None
    return socks_request(destination.host, destination.port)


def lines(caplog: pytest.LogCaptureFixture) -> list[str]:
    """What the user was told."""
    return [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]


async def long_enough() -> None:
    """A session has started, and a refusal would have come."""
    await asyncio.sleep(1.0 + 3 * ROUND_TRIP_SECONDS)


@pytest.mark.parametrize(
    ("words", "answer"),
    [
        ([ASKS_DB], CHOSEN + CONNECTED),
        ([b"CONNECT db.internal:5432 HTTP/1.1\r\n\r\n"], b"HTTP/1.1 200 Connection established\r\n\r\n"),
    ],
)
def test_bytes_go_both_ways_behind_the_answer(words: list[bytes], answer: bytes) -> None:
    """What the program said early included; the first byte decides on the protocol."""

    async def scenario() -> None:
        async with stage() as scene:
            with scene.program(*words[:-1], words[-1] + b"early ") as program:
                await long_enough()
                assert program.heard == answer
                program.says(b"late")
                scene.live[DB].sends(0, b"reply")
                await asyncio.sleep(0.1)
                assert program.heard == answer + b"reply"
                assert scene.live[DB].received == [b"early late"]
            await asyncio.sleep(5)
            traffic = scene.forward.traffic
            assert (traffic.connections, traffic.open_connections) == (1, 0)
            assert (traffic.sent_bytes, traffic.received_bytes) == (10, 5)

    run_virtually(scenario())


def test_a_destination_that_speaks_first_is_there_at_once() -> None:
    """Nobody waits for a refusal behind the first bytes, and none of them is lost."""

    async def scenario() -> None:
        async with stage() as scene:
            with scene.program(ASKS_DB) as program:
                await asyncio.sleep(1.0 + ROUND_TRIP_SECONDS / 2)
                assert program.heard == CHOSEN
                scene.live[DB].sends(0, b"220 hello")
                await asyncio.sleep(0.01)
                assert program.heard == CHOSEN + CONNECTED + b"220 hello"

    run_virtually(scenario())


def test_a_refusal_within_a_round_trip_is_a_reply(caplog: pytest.LogCaptureFixture) -> None:
    """In either protocol, with a line that names host and port; the session lives on."""

    async def scenario() -> None:
        async with stage() as scene:
            with scene.program(ASKS_DB) as program:
                await asyncio.sleep(1.0 + ROUND_TRIP_SECONDS)
                scene.live[DB].refuses(0)
                await asyncio.sleep(0.01)
                assert program.heard == refused(5)
                assert program.has_heard_end
            with scene.program(b"CONNECT db.internal:5432 HTTP/1.1\r\n\r\n") as program:
                await asyncio.sleep(ROUND_TRIP_SECONDS)
                scene.live[DB].refuses(1)
                await asyncio.sleep(0.01)
                assert program.heard.startswith(b"HTTP/1.1 502 ")
                assert program.heard.endswith(b"the node could not connect to db.internal:5432\n")
            assert scene.started == [DB]
            await asyncio.sleep(5)

    run_virtually(scenario())
    assert lines(caplog) == ["the node could not connect to db.internal:5432"] * 2


def test_a_refusal_that_comes_late_is_a_reset(caplog: pytest.LogCaptureFixture) -> None:
    """The program was told otherwise by then; the user is told the same."""

    async def scenario() -> None:
        async with stage() as scene:
            with scene.program(ASKS_DB) as program:
                await long_enough()
                scene.live[DB].refuses(0)
                await asyncio.sleep(0.01)
                assert program.heard == CHOSEN + CONNECTED
                assert program.was_reset

    run_virtually(scenario())
    assert lines(caplog) == ["the node could not connect to db.internal:5432"]


@pytest.mark.parametrize(
    ("failure", "code", "status"),
    [
        (SessionFailed("s", "lookup db.internal: no such host"), 4, b"502"),
        (SessionFailed("s", "lookup db.internal on 10.0.0.2:53: server misbehaving"), 4, b"502"),
        (SessionFailed("s", "Forwarding to IP address db.internal is forbidden."), 2, b"403"),
        (SessionFailed("s", "something else"), 1, b"502"),
        (AccessDenied("StartSession", "AccessDeniedException", "no"), 2, b"403"),
        (TargetNotConnected("StartSession", "TargetNotConnected", "no"), 1, b"502"),
        (SessionTimeout("waiting for the agent to forward", 30.0), 6, b"504"),
    ],
)
def test_why_there_is_no_session_is_told(
    failure: SsmSshError, code: int, status: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    """As far as the protocol has words for it to the program, and wholly to the user."""

    async def scenario() -> None:
        async with stage() as scene:
            scene.failures[DB] = failure
            with scene.program(ASKS_DB) as program:
                await long_enough()
                assert program.heard == refused(code)
            with scene.program(b"CONNECT db.internal:5432 HTTP/1.1\r\n\r\n") as program:
                await long_enough()
                assert program.heard.startswith(b"HTTP/1.1 " + status)

    run_virtually(scenario())
    assert lines(caplog) == [f"a connection to db.internal:5432 was refused: {failure}"] * 2


def test_nobody_waits_for_ever() -> None:
    """Neither a program for a session, nor we for a program; and one that goes is let go."""

    async def scenario() -> None:
        async with stage() as scene:
            scene.failures[DB] = None
            with scene.program(ASKS_DB) as waiting, scene.program(b"\x05\x01") as silent:
                await asyncio.sleep(REQUEST_SECONDS + 0.1)
                assert silent.was_reset
                await asyncio.sleep(OPEN_SECONDS - REQUEST_SECONDS)
                assert waiting.heard == refused(6)
            with scene.program(b"\x05\x01"):
                pass
            await asyncio.sleep(0.1)

    run_virtually(scenario())


def test_a_program_that_leaves_before_the_answer_leaves_nothing() -> None:
    """Its stream is closed."""

    async def scenario() -> None:
        async with stage() as scene:
            with scene.program(ASKS_DB) as program:
                await asyncio.sleep(0.5)
            await long_enough()
            assert program.heard == CHOSEN
            assert len(scene.live[DB].streams) == 0

    run_virtually(scenario())


def test_a_session_that_breaks_is_a_failure_until_the_answer(caplog: pytest.LogCaptureFixture) -> None:
    """Before it a reply, after it a reset."""

    async def scenario() -> None:
        async with stage() as scene:
            with scene.program(ASKS_DB) as late:
                await long_enough()
                with scene.program(ASKS_DB) as early:
                    await asyncio.sleep(ROUND_TRIP_SECONDS)
                    scene.live[DB].carrier.finish(SessionLost("away too long"))
                    await asyncio.sleep(0.01)
                    assert early.heard == refused(1)
                    assert late.heard == CHOSEN + CONNECTED
                    assert late.was_reset

    run_virtually(scenario())
    assert "a connection to db.internal:5432 was refused: away too long" in " ".join(lines(caplog))


def test_a_program_that_says_little_by_little_or_nothing() -> None:
    """Answers come as soon as they can; one that ends before its request is nobody's business."""

    async def scenario() -> None:
        async with stage() as scene:
            with scene.program(ASKS_DB[:2]) as program:
                await asyncio.sleep(0.1)
                program.says(ASKS_DB[2:3])
                await asyncio.sleep(0.1)
                assert program.heard == CHOSEN
                program.says(ASKS_DB[3:])
                await long_enough()
                assert program.heard == CHOSEN + CONNECTED
            await asyncio.sleep(5)
            with scene.program(b"") as program:
                await asyncio.sleep(0.1)
            with scene.program(b"\x05", b"") as program:
                await asyncio.sleep(0.1)
            assert program.heard == b""
            assert not program.was_reset

    run_virtually(scenario())


def test_sessions_are_shared_by_destination_and_expire() -> None:
    """One for each host and port, however it is spelled; ended when idle, started anew when wanted."""

    async def scenario() -> None:
        async with stage() as scene:
            spellings = ("db.internal", "DB.Internal", "db.internal.")
            for _ in range(2):
                for name in spellings:
                    with scene.program(socks_request(name, 5432)) as program:
                        await long_enough()
                        assert program.heard == CHOSEN + CONNECTED
                with scene.program(socks_request("db.internal", 5433)):
                    await long_enough()
            assert scene.started == [DB, Destination("db.internal", 5433)]
            assert {session.session_id for session in scene.forward.sessions} == {"s-1", "s-2"}
            await asyncio.sleep(IDLE_SECONDS + 5)
            assert not scene.live
            with scene.program(ASKS_DB) as program:
                await long_enough()
                assert program.heard == CHOSEN + CONNECTED
            assert scene.started[2:] == [DB]

    run_virtually(scenario())


def test_the_oldest_idle_session_makes_place(caplog: pytest.LogCaptureFixture) -> None:
    """Never one that is in use: with all places in use the program is told, and the user."""

    async def scenario() -> None:
        async with stage(limit=2) as scene:
            with scene.program(asks(DB)), scene.program(asks(WEB)):
                await long_enough()
                with scene.program(asks(CACHE)) as program:
                    await asyncio.sleep(0.1)
                    assert program.heard == refused(1)
                with scene.program(b"CONNECT cache.internal:6379 HTTP/1.1\r\n\r\n") as program:
                    await asyncio.sleep(0.1)
                    assert program.heard.startswith(b"HTTP/1.1 503 ")
            await asyncio.sleep(5)
            with scene.program(asks(DB)):
                await long_enough()
            await asyncio.sleep(5)
            with scene.program(asks(CACHE)) as program:
                await long_enough()
                assert program.heard == CHOSEN + CONNECTED
                assert scene.live.keys() == {DB, CACHE}
            assert scene.started == [DB, WEB, CACHE]

    run_virtually(scenario())
    told = "a connection to cache.internal:6379 was refused: as many destinations as there may be are in use"
    assert lines(caplog) == [told] * 2


def test_what_failed_takes_no_place() -> None:
    """A page full of names that nobody knows does not end what is idle."""

    async def scenario() -> None:
        async with stage(limit=2) as scene:
            with scene.program(asks(DB)):
                await long_enough()
            await asyncio.sleep(5)
            for number in range(10):
                destination = Destination(f"nowhere{number}.internal", 80)
                scene.failures[destination] = SessionFailed("s", "no such host")
                with scene.program(asks(destination)) as program:
                    await long_enough()
                    assert program.heard == refused(4)
            assert scene.live.keys() == {DB}
            assert len(scene.pools) <= 2

    run_virtually(scenario())


def test_what_happened_to_sessions_is_remembered() -> None:
    """Resumes and the cause of the last end, even of destinations whose place was taken."""

    async def scenario() -> None:
        async with stage(limit=1) as scene:
            assert scene.forward.destination is None
            assert (scene.forward.resumes, scene.forward.last_end) == (0, None)
            with scene.program(asks(DB)):
                await long_enough()
                scene.live[DB].resumes = 2
                assert scene.forward.resumes == 2
            scene.failures[WEB] = SessionFailed("s", "no such host")
            await asyncio.sleep(5)
            with scene.program(asks(WEB)):
                await long_enough()
            assert scene.forward.resumes == 2
            with scene.program(asks(CACHE)):
                await long_enough()
            assert scene.forward.last_end == "session s was ended: no such host"

    run_virtually(scenario())


def test_sessions_of_local_forwards_are_used_and_never_ended() -> None:
    """What -L leads to is there anyway: it takes no place."""

    async def scenario() -> None:
        async with stage(limit=1, kept=[DB]) as scene:
            with scene.program(asks(DB)) as first, scene.program(asks(WEB)) as second:
                await long_enough()
                assert first.heard == second.heard == CHOSEN + CONNECTED
            await asyncio.sleep(5)
            with scene.program(asks(CACHE)) as third:
                await long_enough()
                assert third.heard == CHOSEN + CONNECTED
                assert scene.live.keys() == {DB, CACHE}

    run_virtually(scenario())


def test_what_is_forbidden_costs_no_session(caplog: pytest.LogCaptureFixture) -> None:
    """The node's own addresses unasked; with an allowance everything else."""

    async def scenario() -> None:
        async with stage() as scene:
            with scene.program(socks_request("0x7f.1", 80)) as program:
                await asyncio.sleep(0.1)
                assert program.heard == refused(2)
        async with stage(DynamicOptions(Reach([parse_allowance("localhost")]))) as scene:
            with scene.program(b"CONNECT db.internal:80 HTTP/1.1\r\n\r\n") as program:
                await asyncio.sleep(0.1)
                assert program.heard.startswith(b"HTTP/1.1 403 ")
            assert not scene.started
            with scene.program(socks_request("127.0.0.1", 80)):
                await long_enough()
            assert scene.started == [Destination(None, 80)]

    run_virtually(scenario())
    own, other = (line.partition(" was refused: ") for line in lines(caplog))
    assert own[0] == "a connection to localhost:80"
    assert own[2].endswith("its own link; --socks-allow 127.0.0.1 would allow it")
    assert other[0] == "a connection to db.internal:80"
    assert other[2] == "no --socks-allow matches it; --socks-allow db.internal would allow it"


@pytest.mark.parametrize(
    ("words", "answer", "told"),
    [
        ([b"\x04\x01\x00\x50\x0a\x00\x00\x01\x00"], b"\x00\x5b", "SOCKS4"),
        ([b"GET http://db.internal/ HTTP/1.1\r\n\r\n"], b"HTTP/1.1 405 ", "plain http://"),
        ([b"\x16\x03\x01"], b"", "TLS"),
        ([b"\x00"], b"", "neither SOCKS5 nor HTTP"),
        ([b"\xe4"], b"", "neither SOCKS5 nor HTTP"),
    ],
)
def test_what_is_not_served_is_told_once(
    words: Iterable[bytes], answer: bytes, told: str, caplog: pytest.LogCaptureFixture
) -> None:
    """To every program in its own words, to the user once."""

    async def scenario() -> None:
        async with stage() as scene:
            for _ in range(3):
                with scene.program(*words) as program:
                    await asyncio.sleep(0.1)
                    assert program.heard.startswith(answer)
                    assert bool(answer) != program.was_reset
            await asyncio.sleep(5)
            assert not scene.started

    run_virtually(scenario())
    (line,) = lines(caplog)
    assert told in line


def test_a_login_holds_for_both_protocols() -> None:
    """Without it nothing is served."""

    async def scenario() -> None:
        async with stage(DynamicOptions(login=Login(b"alice", b"s3cret"))) as scene:
            with (
                scene.program(ASKS_DB) as without,
                scene.program(b"CONNECT db.internal:5432 HTTP/1.1\r\n\r\n") as asked,
            ):
                await long_enough()
                assert without.heard == b"\x05\xff"
                assert asked.heard.startswith(b"HTTP/1.1 407 ")
                # Whoever goes on is not listened to for long.
                without.says(b"more")
                await asyncio.sleep(5)
                assert without.has_heard_end
                assert not scene.started
            hello, request = b"\x05\x02\x00\x02", ASKS_DB.removeprefix(b"\x05\x01\x00")
            with scene.program(hello, b"\x01\x05alice\x06s3cret", request) as program:
                await long_enough()
                assert program.heard == b"\x05\x02\x01\x00" + CONNECTED

    run_virtually(scenario())
