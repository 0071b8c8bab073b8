"""StartSession in a thread of its own."""

from __future__ import annotations

import asyncio
import threading
from typing import TYPE_CHECKING, cast

import pytest

from ssm_ssh.errors import TargetNotConnected
from ssm_ssh.session.document import SessionRequest
from ssm_ssh.session.starting import begin_session
from ssm_ssh.transport.control_plane import StartedSession

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from ssm_ssh.transport.control_plane import ControlPlane

STARTED = StartedSession("session-1", "token", "wss://x")
REQUEST = SessionRequest("i-0123456789abcdef0", "AWS-StartSSHSession", {"portNumber": ["22"]}, "why")


class Starter:
    """A control plane that answers when it is told to."""

    def __init__(self, failure: Exception | None = None) -> None:
        self.may_answer = threading.Event()
        self.asked: list[object] = []
        self._failure = failure

    def start_session(
        self,
        *,
        target: str,
        document_name: str,
        parameters: Mapping[str, Sequence[str]],
        reason: str,
    ) -> StartedSession:
        """As ``ControlPlane``."""
        self.asked = [target, document_name, parameters, reason]
        self.may_answer.wait(10)
        if self._failure is not None:
            raise self._failure
        return STARTED


def begin(starter: Starter) -> asyncio.Future[StartedSession]:
    """Begin a session and wait for it in the running loop."""
    return asyncio.wrap_future(begin_session(cast("ControlPlane", starter), REQUEST))


def test_the_answer_arrives() -> None:
    """The request goes out as it was asked for, while the caller does something else."""
    starter = Starter()
    future = begin_session(cast("ControlPlane", starter), REQUEST)
    assert not future.done()
    starter.may_answer.set()
    assert future.result(10) == STARTED
    assert starter.asked == ["i-0123456789abcdef0", "AWS-StartSSHSession", {"portNumber": ["22"]}, "why"]


def test_the_error_arrives() -> None:
    """Raised where the answer is waited for, and nowhere else."""
    starter = Starter(TargetNotConnected("StartSession", "TargetNotConnected", "no"))
    future = begin_session(cast("ControlPlane", starter), REQUEST)
    starter.may_answer.set()
    with pytest.raises(TargetNotConnected):
        future.result(10)


def test_it_cannot_be_cancelled() -> None:
    """Symptom: a cancelled wait cancelled the future, its thread died of that, and the session stayed."""

    async def scenario() -> None:
        starter = Starter()
        future = begin_session(cast("ControlPlane", starter), REQUEST)
        waiting = asyncio.wrap_future(future)
        waiting.cancel()
        await asyncio.wait([waiting])
        assert not future.cancel()
        starter.may_answer.set()
        assert future.result(10) == STARTED

    asyncio.run(scenario(), debug=True)
