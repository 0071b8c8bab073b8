"""A session's life: its start, its handshake, its data and its normal ends."""

from __future__ import annotations

import asyncio
import logging
import ssl

import pytest

from ssm_ssh.errors import (
    AccessDenied,
    DataChannelLost,
    DataChannelRefused,
    EndpointUnreachable,
    HandshakeError,
    SessionEnded,
    SessionFailed,
    SessionLost,
    SessionTimeout,
    SsmSshError,
    StreamReset,
)
from ssm_ssh.protocol.data_channel import PathLimits
from ssm_ssh.session.carriage import LAST_TRY_SECONDS, OPEN_SECONDS, STREAM_SECONDS
from ssm_ssh.session.session import HANDSHAKE_SECONDS, Session, SessionOptions
from tests.session.stage import SESSION_ID, SIGNATURE, TOKEN, Stage
from tests.virtual_loop import run_virtually, virtual_loop


def test_bytes_go_both_ways_and_the_flag_ends_it() -> None:
    """The plain life: handshake, data, TerminateSession by flag, no API call."""

    async def scenario() -> None:
        stage = Stage()
        stage.agent.on_data = lambda data: stage.agent.say(data.upper())
        async with stage.session() as session:
            ready = await session.wait_port()
            assert ready.properties == {"portNumber": "22"}
            await session.stream.write(b"hello")
            assert await session.stream.read() == b"HELLO"
            assert session.session_id == SESSION_ID
        assert stage.agent.flags == [2]
        assert stage.api.calls == ["StartSession", "OpenDataChannel"]
        assert stage.agent.tokens == [f"{TOKEN}-1"]
        assert stage.dials[0].headers == {"Authorization": f"{SIGNATURE}-1"}

    run_virtually(scenario())


def test_the_server_s_end_is_the_end_of_the_stream() -> None:
    """The agent's normal end: all its bytes, then b"", again and again; nothing is left to terminate."""

    async def scenario() -> None:
        stage = Stage()
        async with stage.session() as session:
            await session.wait_port()
            stage.agent.say(b"last words")
            stage.agent.end()
            assert await session.stream.read() == b"last words"
            assert await session.stream.read() == b""
            assert await session.stream.read() == b""
            with pytest.raises(SessionEnded):
                await session.stream.write(b"too late")
            await session.stream.end()
        assert stage.agent.flags == []
        assert "TerminateSession" not in stage.api.calls

    run_virtually(scenario())


def test_the_agent_s_words_come_behind_its_bytes() -> None:
    """channel_closed with a text: everything that arrived is read first, then SessionFailed with a hint."""

    async def scenario() -> None:
        stage = Stage()
        text = "\n----------ERROR-------\nUnable to connect to specified port: dial tcp 127.0.0.1:22"
        async with stage.session() as session:
            await session.wait_port()
            stage.agent.say(b"a" * 3000)
            stage.agent.end(text)
            await asyncio.sleep(1)
            assert await session.stream.read(2000) == b"a" * 2000
            assert await session.stream.read(2000) == b"a" * 1000
            with pytest.raises(SessionFailed, match="Unable to connect to specified port") as failure:
                await session.stream.read()
            assert failure.value.hint is not None
            assert "sshd" in failure.value.hint
            assert "ERROR---" not in str(failure.value)
            with pytest.raises(SessionFailed):
                await session.stream.write(b"x")

    run_virtually(scenario())


def test_an_end_before_the_handshake_is_told() -> None:
    """The agent's text reaches who waits for the handshake; an end without one is a failure as well."""

    async def scenario(output: str, expected: str) -> None:
        stage = Stage()
        stage.agent.speaks = False
        async with stage.session() as session:
            virtual_loop().call_later(1, stage.agent.end, output)
            with pytest.raises(SessionFailed, match=expected):
                await session.wait_ready()

    run_virtually(scenario("Setting up data channel failed", "Setting up data channel failed"))
    run_virtually(scenario("", "ended before it began"))


def test_a_silent_agent_times_out() -> None:
    """A gateway accepts and the agent says nothing: SessionTimeout, and the session is terminated."""

    async def scenario() -> None:
        stage = Stage()
        stage.agent.speaks = False
        with pytest.raises(SessionTimeout) as failure:
            async with stage.session() as session:
                await session.wait_port()
        assert virtual_loop().time() == pytest.approx(HANDSHAKE_SECONDS, abs=0.1)
        assert failure.value.hint is not None
        assert stage.api.calls[-1] == "TerminateSession"

    run_virtually(scenario())


@pytest.mark.parametrize(
    ("session_type", "properties"),
    [
        ("Standard_Stream", {}),
        ("NonInteractiveCommands", {}),
        ("Port", {"portNumber": "22", "type": "LocalPortForwarding"}),
        ("Novelty", {}),
    ],
)
def test_a_session_of_another_kind_is_refused(session_type: str, properties: dict[str, str]) -> None:
    """Only a plain port session carries SSH; for all others the document is to blame."""

    async def scenario() -> None:
        stage = Stage()
        stage.agent.session_type, stage.agent.properties = session_type, properties
        with pytest.raises(HandshakeError, match=session_type):
            async with stage.session() as session:
                await session.wait_port()
        assert stage.is_over

    run_virtually(scenario())


@pytest.mark.parametrize("status", [403, 404, 302])
def test_a_refused_upgrade_ends_it_at_once(status: int) -> None:
    """Nobody waits out a limit for something that will not change."""

    async def scenario() -> None:
        stage = Stage(refusals=[DataChannelRefused("HTTP", status=status, hint="what to do")])
        with pytest.raises(DataChannelRefused) as failure:
            async with stage.session() as session:
                await session.wait_port()
        assert failure.value.hint == "what to do"
        assert virtual_loop().time() < 1
        assert stage.api.calls[-1] == "TerminateSession"

    run_virtually(scenario())


@pytest.mark.parametrize("is_black_hole", [True, False])
def test_a_first_stream_that_does_not_open_has_a_limit(*, is_black_hole: bool) -> None:
    """Neither refusals that may pass nor a network that swallows everything last beyond the limit.

    What is told is the last failure itself: its hint says what to do, that of a lost session does not.
    """

    async def scenario() -> None:
        stage = Stage(refusals=[DataChannelRefused("HTTP 503", status=503)], is_black_hole=is_black_hole)
        with pytest.raises(SsmSshError) as failure:
            async with stage.session() as session:
                await session.wait_port()
        assert not isinstance(failure.value, SessionLost)
        assert OPEN_SECONDS <= virtual_loop().time() <= OPEN_SECONDS + LAST_TRY_SECONDS
        assert all(dial.timeout_seconds <= STREAM_SECONDS for dial in stage.dials)
        assert len(stage.dials) > 1 or is_black_hole
        # A session that never had a stream is terminated as any other.
        assert stage.api.calls[-1] == "TerminateSession"

    run_virtually(scenario())


def test_a_signature_that_hangs_does_not_hang_the_session() -> None:
    """Credentials that take for ever to renew count towards the limit of a try."""

    async def scenario() -> None:
        stage = Stage()
        stage.api.seconds["OpenDataChannel"] = 1000
        with pytest.raises(DataChannelLost, match="within 15 seconds"):
            async with stage.session() as session:
                await session.wait_port()
        assert OPEN_SECONDS <= virtual_loop().time() <= OPEN_SECONDS + LAST_TRY_SECONDS

    run_virtually(scenario())


def test_a_start_that_fails_is_told_as_it_is() -> None:
    """AWS's refusal of StartSession passes through, without a group around it and with its cause."""

    async def scenario() -> None:
        stage = Stage()
        starting: asyncio.Future[object] = virtual_loop().create_future()
        refusal = AccessDenied("StartSession", "AccessDeniedException", "no")
        refusal.__cause__ = ValueError("why")
        starting.set_exception(refusal)
        with pytest.raises(AccessDenied) as failure:
            async with stage.session(starting=starting):  # type: ignore[arg-type]  # it has no answer
                raise AssertionError("there is no session")
        assert isinstance(failure.value.__cause__, ValueError)
        assert stage.api.calls == []

    run_virtually(scenario())


def test_garbage_on_the_stream_ends_it() -> None:
    """A message that is none: an error at once, behind what came before it."""

    async def scenario() -> None:
        stage = Stage()
        async with stage.session() as session:
            await session.wait_port()
            stage.agent.say(b"good")
            stage.agent.socket.deliver(b"no agent message")
            assert await session.stream.read() == b"good"
            with pytest.raises(Exception, match="malformed"):
                await session.stream.read()
        assert stage.api.calls[-1] == "TerminateSession"

    run_virtually(scenario())


def test_a_bug_is_no_clean_end() -> None:
    """If the machinery fails, the reader does not take it for the server's end, and the bug comes out."""

    async def scenario() -> None:
        stage = Stage()
        ends: list[BaseException] = []

        async def read_on(session: Session) -> None:
            try:
                assert await session.stream.read() != b""
            except BaseException as end:
                ends.append(end)
                raise

        with pytest.raises(ZeroDivisionError):  # noqa: PT012 -- leaving the block raises it
            async with stage.session() as session:
                await session.wait_port()
                stage.agent.socket.fail(ZeroDivisionError())
                await read_on(session)
        assert len(ends) == 1
        assert isinstance(ends[0], SessionEnded | asyncio.CancelledError)
        assert stage.is_over

    run_virtually(scenario())


def test_no_secret_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    """Whatever happens, token, signature and payload stay out of the log, of reprs and of errors."""

    async def scenario() -> str:
        stage = Stage()
        stage.agent.on_data = stage.agent.say
        async with stage.session(SessionOptions(resume_seconds=5)) as session:
            await session.wait_port()
            await session.stream.write(b"payload-secret")
            await session.stream.read()
            stage.agent.cut()
            await asyncio.sleep(1)
            shown = [repr(session), repr(stage.api.started()), repr(session._options)]
            stage.refusals.append(DataChannelRefused("HTTP 500", status=500))
            stage.agent.cut()
            with pytest.raises(SessionLost) as failure:
                await session.stream.read()
            shown += [str(failure.value), repr(failure.value), str(failure.value.__cause__)]
        return "\n".join(shown)

    with caplog.at_level(logging.DEBUG, logger="ssm_ssh"):
        shown = run_virtually(scenario())
    for secret in (TOKEN, SIGNATURE, "payload-secret"):
        assert secret not in caplog.text + shown
    assert "resuming" in caplog.text


def test_a_customer_message_is_shown(caplog: pytest.LogCaptureFixture) -> None:
    """The account's text for its users is a warning, so that every command shows it."""

    async def scenario() -> None:
        stage = Stage()
        stage.agent.customer_message = "mind the audit"
        async with stage.session() as session:
            await session.wait_port()

    run_virtually(scenario())
    assert [(record.levelname, record.getMessage()) for record in caplog.records] == [
        ("WARNING", "mind the audit")
    ]


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (SessionOptions(), PathLimits()),
        (SessionOptions(limits=PathLimits(16_384, None, 900.0)), PathLimits(16_384, None, 900.0)),
        (SessionOptions(limits=PathLimits(16_384, 4096, None)), PathLimits(4096, 4096, None)),
        (SessionOptions(payload_bytes=60_000), PathLimits()),
        (
            SessionOptions(payload_bytes=60_000, limits=PathLimits(4096, 16_384, 900.0)),
            PathLimits(4096, 16_384, 900.0),
        ),
    ],
)
def test_what_was_known_of_the_way_is_not_forgotten(options: SessionOptions, expected: PathLimits) -> None:
    """A session that sends little has probed nothing, and one with a fixed size proves nothing."""

    async def scenario() -> PathLimits:
        stage = Stage()
        async with stage.session(options) as session:
            await session.wait_port()
            await session.stream.write(b"little")
            return session.limits

    assert run_virtually(scenario()) == expected


def test_a_session_that_ends_before_its_first_stream_opens_tells_why_it_did_not() -> None:
    """The agent gives up after 15 seconds, so the service says that the session is over: that is not news."""

    async def scenario() -> None:
        refusal = DataChannelRefused("HTTP 503", status=503)
        stage = Stage(refusals=[refusal])
        stage.api.answers["ResumeSession"] = [None]
        with pytest.raises(DataChannelRefused) as failure:
            async with stage.session() as session:
                await session.wait_port()
        assert failure.value is refusal

    run_virtually(scenario())


def test_a_first_stream_that_needs_another_setting_is_not_tried_again() -> None:
    """A certificate that is not trusted will not be in ten seconds either."""

    async def scenario() -> None:
        failure = EndpointUnreachable("OpenDataChannel", "", "not trusted")
        failure.__cause__ = ssl.SSLCertVerificationError()
        stage = Stage(refusals=[failure])
        with pytest.raises(EndpointUnreachable):
            async with stage.session() as session:
                await session.wait_port()
        assert len(stage.dials) == 1

    run_virtually(scenario())


def test_an_end_with_bytes_missing_is_no_clean_end() -> None:
    """What arrived is read, and then it breaks: b"" would mean that this was all."""

    async def scenario() -> None:
        stage = Stage()
        async with stage.session() as session:
            await session.wait_port()
            stage.agent.say(b"first")
            stage.agent.lose()
            stage.agent.say(b"last")
            stage.agent.end()
            assert await session.stream.read() == b"first"
            with pytest.raises(StreamReset, match="before all bytes"):
                await session.stream.read()

    run_virtually(scenario())
