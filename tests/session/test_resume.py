"""A stream is lost and the session lives on: resumes, back-off and giving up."""

from __future__ import annotations

import asyncio
import itertools

import pytest

from ssm_ssh.errors import (
    AccessDenied,
    ControlPlaneError,
    CredentialsExpired,
    DataChannelRefused,
    EndpointUnreachable,
    SessionFailed,
    SessionLost,
    SsmSshError,
)
from ssm_ssh.session.port_stream import UNREAD_BYTES
from ssm_ssh.session.session import SessionOptions
from tests.session.stage import SIGNATURE, TOKEN, Stage
from tests.virtual_loop import run_virtually, virtual_loop


@pytest.mark.parametrize("close_code", [None, 1000, 1001, 1006, 1009])
def test_a_lost_stream_is_resumed(close_code: int | None) -> None:
    """New token, new URL, fresh signature; bytes of both sides arrive once. 1000 is no end either."""

    async def scenario() -> None:
        stage = Stage()
        async with stage.session() as session:
            await session.wait_port()
            stage.agent.say(b"before ")
            await session.stream.write(b"up before, ")
            stage.agent.cut(close_code)
            await session.stream.write(b"up after")
            await asyncio.sleep(2)
            stage.agent.say(b"after")
            await asyncio.sleep(1)
            assert await session.stream.read() == b"before after"
            assert stage.agent.received == b"up before, up after"
            assert session.resumes == 1
        assert stage.agent.tokens == [f"{TOKEN}-1", f"{TOKEN}-2"]
        assert [dial.url[-1] for dial in stage.dials] == ["1", "2"]
        assert stage.dials[1].headers == {"Authorization": f"{SIGNATURE}-2"}

    run_virtually(scenario())


def test_the_first_try_is_immediate_and_the_next_ones_back_off() -> None:
    """Pauses grow to ten seconds and no further, and the session lives when the network is back."""

    async def scenario() -> None:
        stage = Stage()
        async with stage.session() as session:
            await session.wait_port()
            await asyncio.sleep(10)
            stage.refusals.append(EndpointUnreachable("OpenDataChannel", "", "no route"))
            lost_at = virtual_loop().time()
            stage.agent.cut()
            await asyncio.sleep(300)
            stage.refusals.clear()
            await asyncio.sleep(15)
            stage.agent.say(b"alive")
            assert await session.stream.read() == b"alive"
        tries = [dial.at - lost_at for dial in stage.dials[1:]]
        pauses = [later - earlier for earlier, later in itertools.pairwise(tries)]
        assert tries[0] < 0.1
        assert pauses[0] < 0.5
        assert all(later < 12.6 for later in pauses)
        assert all(pause > 7 for pause in pauses[7:])
        assert 25 < len(tries) < 60

    run_virtually(scenario())


@pytest.mark.parametrize("minutes", [0, 1, 10])
def test_a_session_that_cannot_be_resumed_is_lost(minutes: int) -> None:
    """SessionLost after the configured time, with the last failure as its cause, for reader and writer."""

    async def scenario() -> None:
        stage = Stage()
        options = SessionOptions(resume_seconds=60.0 * minutes)
        refusal = EndpointUnreachable("OpenDataChannel", "", "no route")
        async with stage.session(options) as session:
            await session.wait_port()
            stage.refusals.append(refusal)
            lost_at = virtual_loop().time()
            stage.agent.cut()
            with pytest.raises(SessionLost, match=f"resumed within {60 * minutes} seconds") as failure:
                await session.stream.read()
            assert virtual_loop().time() - lost_at == pytest.approx(60 * minutes, abs=0.2)
            assert failure.value.__cause__ is (refusal if minutes else stage.agent.socket._loss)
            with pytest.raises(SessionLost):
                await session.stream.write(b"x")
        assert stage.api.calls[-1] == "TerminateSession"

    run_virtually(scenario())


def test_the_cause_survives_the_way_out() -> None:
    """SessionLost leaves the session's block with its cause, although groups were unwrapped on the way."""

    async def scenario() -> None:
        stage = Stage()
        with pytest.raises(SessionLost) as failure:  # noqa: PT012 -- leaving the block raises it
            async with stage.session(SessionOptions(resume_seconds=0)) as session:
                await session.wait_port()
                stage.agent.cut()
                await session.stream.read()
        assert failure.value.__cause__ is stage.agent.socket._loss

    run_virtually(scenario())


def test_a_session_that_is_over_is_not_resumed() -> None:
    """An empty token, or DoesNotExist: SessionFailed, and nobody terminates what is over."""

    async def scenario() -> None:
        stage = Stage()
        stage.api.answers["ResumeSession"] = [None]
        async with stage.session() as session:
            await session.wait_port()
            stage.agent.say(b"last")
            await asyncio.sleep(1)
            stage.agent.cut(1000)
            assert await session.stream.read() == b"last"
            with pytest.raises(SessionFailed, match="while its stream was away") as failure:
                await session.stream.read()
            assert failure.value.hint is not None
            assert "idle limit" in failure.value.hint
        assert "TerminateSession" not in stage.api.calls

    run_virtually(scenario())


@pytest.mark.parametrize(
    ("failure", "is_final"),
    [
        (AccessDenied("ResumeSession", "AccessDeniedException", "no"), True),
        (ControlPlaneError("ResumeSession", "ValidationException", "no"), True),
        (ControlPlaneError("ResumeSession", "InternalServerError", "oh"), False),
        (CredentialsExpired("ResumeSession", "ExpiredTokenException", "old"), False),
    ],
)
def test_a_refused_resume_ends_it_only_if_it_is_final(failure: SsmSshError, *, is_final: bool) -> None:
    """What people or networks may mend meanwhile is tried again; the rest is told at once."""

    async def scenario() -> None:
        stage = Stage()
        async with stage.session() as session:
            await session.wait_port()
            stage.api.answers["ResumeSession"] = [failure]
            stage.agent.cut()
            if is_final:
                with pytest.raises(type(failure)):
                    await session.stream.read()
                assert virtual_loop().time() < 1
                return
            await asyncio.sleep(100)
            del stage.api.answers["ResumeSession"]
            await asyncio.sleep(15)
            stage.agent.say(b"alive")
            assert await session.stream.read() == b"alive"

    run_virtually(scenario())


def test_idle_hours_do_not_count_as_an_outage() -> None:
    """Symptom: a session nobody used was lost at its second hourly close, because nothing was ever heard."""

    async def scenario() -> None:
        stage = Stage()
        async with stage.session() as session:
            await session.wait_port()
            for _hour in range(5):
                await asyncio.sleep(3600)
                stage.agent.cut(1000)
            await asyncio.sleep(60)
            stage.agent.say(b"alive")
            assert await session.stream.read() == b"alive"
            assert session.resumes == 5

    run_virtually(scenario())


def test_streams_that_break_at_once_are_tried_at_growing_intervals() -> None:
    """Symptom: where each stream said a word and broke, the session resumed as fast as it could, for ever."""

    async def scenario() -> None:
        stage = Stage()
        async with stage.session() as session:
            await session.wait_port()
            for _ in range(400):
                await asyncio.sleep(0.1)
                stage.agent.say(b".")
                await asyncio.sleep(0.05)
                stage.agent.cut()
            assert len(stage.dials) < 25

    run_virtually(scenario())


def test_a_stream_cut_every_few_seconds_is_resumed_without_a_pause() -> None:
    """Streams that worked for a while are no reason to wait."""

    async def scenario() -> None:
        stage = Stage()
        async with stage.session() as session:
            await session.wait_port()
            for _ in range(20):
                stage.agent.say(b".")
                await asyncio.sleep(5)
                stage.agent.cut()
                await asyncio.sleep(0.2)
            assert len(stage.dials) == 21

    run_virtually(scenario())


def test_a_stream_that_breaks_under_a_slow_reader_loses_nothing() -> None:
    """Symptom: what was acknowledged and waited for the reader was gone when the stream broke meanwhile."""

    async def scenario() -> None:
        stage = Stage()
        said = bytes(range(256)) * (UNREAD_BYTES // 256 + 4096)
        async with stage.session() as session:
            await session.wait_port()
            stage.agent.say(said)
            await asyncio.sleep(10)
            assert not session._driver._is_listening
            stage.agent.cut()
            await session.stream.write(b"x")
            await asyncio.sleep(60)
            heard = bytearray()
            while len(heard) < len(said):
                heard += await session.stream.read()
            assert heard == said
            assert session.resumes == 1

    run_virtually(scenario())


def test_the_writer_waits_while_the_stream_is_away() -> None:
    """The application's bytes wait in bounded memory: a large write returns only after the resume."""

    async def scenario() -> None:
        stage = Stage()
        data = bytes(1_000_000)
        async with stage.session() as session:
            await session.wait_port()
            stage.refusals.append(DataChannelRefused("HTTP 503", status=503))
            stage.agent.cut()
            async with asyncio.TaskGroup() as tasks:
                writing = tasks.create_task(session.stream.write(data))
                await asyncio.sleep(60)
                assert not writing.done()
                stage.refusals.clear()
            await session.stream.end()
            assert stage.agent.received == data

    run_virtually(scenario())
