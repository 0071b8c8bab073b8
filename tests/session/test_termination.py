"""No session is left open, whichever way its block is left."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING

import pytest

from ssm_ssh.errors import AccessDenied, ControlPlaneError, EndpointUnreachable, Throttled
from ssm_ssh.session.port_stream import UNREAD_BYTES
from ssm_ssh.session.session import FLAG_SECONDS
from tests.session.scripted_agent import ScriptedAgent
from tests.session.stage import Stage
from tests.virtual_loop import run_virtually, virtual_loop

if TYPE_CHECKING:
    from collections.abc import Callable


async def hold(stage: Stage, *, is_ready: bool = True, start_seconds: float = 0.0) -> None:
    """Open a session and stay in it."""
    async with stage.session(starting=stage.start(start_seconds)) as session:
        if is_ready:
            await session.wait_port()
        await asyncio.sleep(10_000)


async def cancel_at(stage: Stage, *moments: float, start_seconds: float = 0.0) -> None:
    """Hold a session and cancel whoever holds it, once at each moment; it is over afterwards."""
    loop = virtual_loop()
    holding = loop.create_task(hold(stage, start_seconds=start_seconds))
    for moment in moments:
        loop.call_at(moment, holding.cancel)
    with pytest.raises(asyncio.CancelledError):
        await holding
    assert stage.is_over


@pytest.mark.parametrize("error", [KeyError("x"), KeyboardInterrupt(), ExceptionGroup("own", [ValueError()])])
def test_an_exception_in_the_body_comes_out_as_it_is(error: BaseException) -> None:
    """The body's own exception, even a group of its own, is not wrapped; the session is terminated."""

    async def scenario() -> None:
        stage = Stage()
        with pytest.raises(type(error)) as raised:  # noqa: PT012 -- leaving the block raises it
            async with stage.session() as session:
                await session.wait_port()
                raise error
        assert raised.value is error
        assert stage.is_over

    run_virtually(scenario())


def test_cancellation_during_start_waits_for_the_answer() -> None:
    """StartSession was on its way: its session is terminated when the answer comes."""

    async def scenario() -> None:
        stage = Stage()
        await cancel_at(stage, 1.0, start_seconds=5)
        assert stage.api.calls == ["StartSession", "TerminateSession"]
        assert virtual_loop().time() == pytest.approx(5, abs=0.1)

    run_virtually(scenario())


def test_repeated_cancellation_during_start_changes_nothing() -> None:
    """Symptom: a second SIGTERM cancelled the wait for the answer, and the session stayed."""

    async def scenario() -> None:
        stage = Stage()
        await cancel_at(stage, 1.0, 2.0, 3.0, start_seconds=5)
        assert stage.api.calls == ["StartSession", "TerminateSession"]

    run_virtually(scenario())


def test_cancellation_while_a_start_fails() -> None:
    """There is no session then, and nothing to terminate."""

    async def scenario() -> None:
        stage = Stage()
        starting = virtual_loop().create_future()
        virtual_loop().call_later(5, starting.set_exception, Throttled("StartSession", "Throttling", "slow"))

        async def hold() -> None:
            async with stage.session(starting=starting):
                raise AssertionError("there is no session")

        holding = virtual_loop().create_task(hold())
        virtual_loop().call_later(1, holding.cancel)
        with pytest.raises(asyncio.CancelledError):
            await holding
        assert stage.api.calls == []

    run_virtually(scenario())


@pytest.mark.parametrize("moment", [0.0, 0.001, 0.005, 0.015, 0.025, 0.035, 0.045, 0.055, 1.0])
@pytest.mark.parametrize("again_after", [None, 0.0, 0.005, 0.015, 1.5, 2.9])
@pytest.mark.parametrize("heeds_flag", [True, False])
def test_cancellation_at_any_moment(moment: float, again_after: float | None, *, heeds_flag: bool) -> None:
    """Before, in and after the handshake, once or again while terminating: the session is over."""

    async def scenario() -> None:
        stage = Stage()
        stage.agent.heeds_flag = heeds_flag
        stage.api.seconds["TerminateSession"] = 2.0
        stage.api.seconds["OpenDataChannel"] = 0.005
        await cancel_at(stage, moment, *([] if again_after is None else [moment + again_after]))

    run_virtually(scenario())


@pytest.mark.parametrize(
    ("version", "is_flagged"),
    [
        ("2.3.722.0", False),
        ("2.3.722.1", True),
        ("3.3.987.0", True),
        ("2.3.672.0", False),
        ("", False),
        ("three", False),
        ("3.x.1.0", False),
    ],
)
def test_the_flag_is_for_agents_that_know_it(version: str, *, is_flagged: bool) -> None:
    """Agents after 2.3.722.0 are asked by flag, all others by the API, at once."""

    async def scenario() -> None:
        stage = Stage(agent=ScriptedAgent(version))
        async with stage.session() as session:
            await session.wait_port()
        assert stage.agent.flags == ([2] if is_flagged else [])
        assert ("TerminateSession" in stage.api.calls) is not is_flagged
        assert virtual_loop().time() < 1

    run_virtually(scenario())


def test_a_flag_without_effect_is_followed_by_the_api() -> None:
    """An agent that does not react gets its time, and no more."""

    async def scenario() -> None:
        stage = Stage()
        stage.agent.heeds_flag = False
        async with stage.session() as session:
            await session.wait_port()
            left_at = virtual_loop().time()
        assert stage.agent.flags == [2]
        assert stage.api.calls[-1] == "TerminateSession"
        assert virtual_loop().time() - left_at == pytest.approx(FLAG_SECONDS, abs=0.1)

    run_virtually(scenario())


def test_without_a_stream_the_api_is_called_at_once() -> None:
    """During an outage no flag can arrive, so none is waited for."""

    async def scenario() -> None:
        stage = Stage()
        async with stage.session() as session:
            await session.wait_port()
            stage.refusals.append(EndpointUnreachable("OpenDataChannel", "", "no route"))
            stage.agent.cut()
            await asyncio.sleep(5)
            left_at = virtual_loop().time()
        assert stage.api.calls[-1] == "TerminateSession"
        assert virtual_loop().time() == left_at

    run_virtually(scenario())


def test_a_full_reader_does_not_hide_the_end() -> None:
    """Symptom: with much unread, the word that the session is over was never received."""

    async def scenario() -> None:
        stage = Stage()
        async with stage.session() as session:
            await session.wait_port()
            stage.agent.say(bytes(UNREAD_BYTES + 1_000_000))
            await asyncio.sleep(10)
        assert stage.agent.flags == [2]
        assert "TerminateSession" not in stage.api.calls

    run_virtually(scenario())


def forbidden() -> AccessDenied:
    """What many policies say to TerminateSession."""
    return AccessDenied("TerminateSession", "AccessDeniedException", "no")


def broken() -> ControlPlaneError:
    """Any other refusal."""
    return ControlPlaneError("TerminateSession", "InternalServerError", "oh")


@pytest.mark.parametrize(("failure", "level"), [(forbidden, logging.INFO), (broken, logging.WARNING)])
def test_a_failure_to_terminate_is_no_failure(
    failure: Callable[[], ControlPlaneError], level: int, caplog: pytest.LogCaptureFixture
) -> None:
    """AccessDenied is told under -v only, anything else as a warning; the block is left normally."""

    async def scenario() -> None:
        stage = Stage(agent=ScriptedAgent("2.3.672.0"))
        stage.api.answers["TerminateSession"] = [failure()]
        async with stage.session() as session:
            await session.wait_port()

    with caplog.at_level(logging.DEBUG, logger="ssm_ssh.session"):
        run_virtually(scenario())
    assert [record.levelno for record in caplog.records] == [level]
