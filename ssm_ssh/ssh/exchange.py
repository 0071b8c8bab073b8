"""The conversation between a local program and a node's port: who may end it, and what is waited for."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from typing import Final, Protocol

from ssm_ssh.errors import SessionTimeout, SsmSshError, StreamReset
from ssm_ssh.transport.byte_stream import ByteStream
from ssm_ssh.transport.driver import single_cause

_log = logging.getLogger(__name__)

# Specification: about a port that nothing listens on, the agent says nothing for a minute (protocol 7.3).
SILENCE_TOLD_SECONDS: Final = 10.0
SILENCE_SECONDS: Final = 75.0
# Ours: after the end of stdin an answer may still come; it is over when nothing has come for so long.
LINGER_SECONDS: Final = 2.0
# Ours: for so long after ssh is gone, what it sent last may still arrive. A lost stream is not resumed for
# nobody: the helper would outlive ssh by minutes, and keep every program that reads the stderr they share.
ABANDONED_SECONDS: Final = 10.0
# Ours: longer than any wait it limits.
_NO_LIMIT_SECONDS: Final = 24 * 3600.0


class LocalEnd(ByteStream, Protocol):
    """The local program's side."""

    async def wait_abandoned(self, seconds: float) -> bool:
        """Wait until nobody reads any more what we write, at most ``seconds``; whether that is so."""


class Exchange:
    """Bytes both ways between ``local`` and ``remote``, until one of three things ends it.

    - the node's server closed: its last bytes are delivered, and that is the end;
    - the local program ended its side: what it sent arrives at the agent, if that does not take long once
      nobody reads what we write; what still comes back is delivered until nothing has come for a while, or
      until nobody is there to read it;
    - nobody reads what we write.
    """

    def __init__(self, local: LocalEnd, remote: ByteStream) -> None:
        self._local = local
        self._remote = remote
        self._has_received = False
        # When the agent last took something of what is sent, or the start.
        self._uploaded_at = 0.0
        # Since when the remote side has been waited for; None while the local side is.
        self._quiet_since: float | None = None

    async def run(self) -> None:
        """Move the bytes.

        Raises:
            SessionTimeout: If the node never sends a byte.
            SsmSshError: Why the session ended, if that was no normal end.
        """
        self._uploaded_at = asyncio.get_running_loop().time()
        try:
            async with asyncio.TaskGroup() as tasks:
                download = tasks.create_task(self._download())
                others = [
                    tasks.create_task(self._upload(download)),
                    tasks.create_task(self._watch_silence()),
                ]
                await asyncio.wait([download])
                for task in others:
                    task.cancel()
        except BaseExceptionGroup as group:
            cause = single_cause(group)
            raise cause from cause.__cause__

    async def _download(self) -> None:
        while data := await self._receive():
            try:
                await self._local.write(data)
            except StreamReset as error:
                # Nobody reads: the local program is gone, which is its right.
                _log.debug("the local reader is gone: %s", error)
                return
        await self._local.end()

    async def _receive(self) -> bytes:
        self._quiet_since = asyncio.get_running_loop().time()
        data = await self._remote.read()
        self._quiet_since = None
        self._has_received = True
        return data

    async def _upload(self, download: asyncio.Task[None]) -> None:
        while data := await self._local.read():
            try:
                await self._remote.write(data)
            except SsmSshError:
                # The download meets the same end, behind the last bytes, and tells it.
                return
            self._uploaded_at = asyncio.get_running_loop().time()
        await self._deliver_rest()
        await self._linger()
        download.cancel()

    async def _deliver_rest(self) -> None:
        """Wait until the agent has what was sent; not for long if nobody reads what we write."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(None) as limit, asyncio.TaskGroup() as tasks:
                limiting = tasks.create_task(self._limit_when_abandoned(limit))
                await self._remote.end()
                limiting.cancel()

    async def _limit_when_abandoned(self, limit: asyncio.Timeout) -> None:
        if await self._local.wait_abandoned(_NO_LIMIT_SECONDS):
            limit.reschedule(asyncio.get_running_loop().time() + ABANDONED_SECONDS)

    async def _linger(self) -> None:
        """Wait until nothing has come back for a while, or nobody is there to read it."""
        loop = asyncio.get_running_loop()
        ended_at = loop.time()
        while True:
            # While the local side takes its time, nothing can be said about the remote one.
            quiet_since = loop.time() if self._quiet_since is None else max(ended_at, self._quiet_since)
            left = quiet_since + LINGER_SECONDS - loop.time()
            if left <= 0 or await self._local.wait_abandoned(left):
                return

    async def _watch_silence(self) -> None:
        loop = asyncio.get_running_loop()
        await asyncio.sleep(SILENCE_TOLD_SECONDS)
        if not self._has_received:
            _log.warning("the node has not sent a byte for %g seconds; waiting", SILENCE_TOLD_SECONDS)
        while not self._has_received:
            # A server may listen to a long upload without a word; one that is not there takes nothing.
            left = self._uploaded_at + SILENCE_SECONDS - loop.time()
            if left <= 0:
                raise SessionTimeout(
                    "waiting for the node's first byte",
                    SILENCE_SECONDS,
                    hint="most often nothing listens on that port of the node: is sshd running there?",
                )
            await asyncio.sleep(left)
