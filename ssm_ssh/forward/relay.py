"""One local connection carried over one stream, to both their ends."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Final, Protocol

from ssm_ssh.errors import SsmSshError
from ssm_ssh.transport.byte_stream import ByteStream
from ssm_ssh.transport.driver import single_cause

if TYPE_CHECKING:
    from collections.abc import Callable

_log = logging.getLogger(__name__)

# Ours: after the local program has ended its side, the node's server may answer for as long as it likes, but
# not say nothing for longer than this: it may be waiting for an end that it is never told (protocol 7.4).
HALF_OPEN_SECONDS: Final = 30.0
# Ours: when it is asked whether a local program that has ended its side is gone altogether, again and again:
# nothing tells that by itself.
_GONE_CHECKS_SECONDS: Final = (0.05, 0.2, 1.0)
# Ours: after the node's end a local program may go on sending for so long; closing sooner would break the
# connection before it has read the last bytes.
_DRAIN_SECONDS: Final = 2.0


class LocalConnection(ByteStream, Protocol):
    """The local side of a relay."""

    def reset(self) -> None:
        """Break the connection, as a refused one looks."""


class _LocalBroke(Exception):
    """The local program broke the connection, which is its right."""


class Relay:
    """Moves the bytes of one connection; counts them.

    Attributes:
        sent_bytes: From the local program.
        received_bytes: To it.
    """

    def __init__(self, local: LocalConnection, has_let_go: Callable[[], bool]) -> None:
        """Make a relay.

        Args:
            local: The accepted connection.
            has_let_go: Whether the local program has closed the whole connection, as far as can be told.
        """
        self.sent_bytes = 0
        self.received_bytes = 0
        self._local = local
        self._has_let_go = has_let_go
        self._received_at = 0.0

    async def run(self, remote: ByteStream) -> None:
        """Move bytes until both sides have ended, one broke, or the local program is gone. Closes both.

        Raises:
            SsmSshError: Why the node's side broke; the local program sees a reset then.
        """
        try:
            await self._move(remote)
        except _LocalBroke as broke:
            _log.debug("%s", broke)
        except BaseException:
            self._local.reset()
            raise
        finally:
            await remote.close()
            await self._local.close()

    async def _move(self, remote: ByteStream) -> None:
        try:
            async with asyncio.TaskGroup() as tasks:
                upload = tasks.create_task(self._upload(remote))
                download = tasks.create_task(self._download(remote))
                await asyncio.wait([upload, download], return_when=asyncio.FIRST_COMPLETED)
                # The end of either is the end of both: the agent closes a stream as a whole, and an upload
                # ends when nothing more can be expected.
                upload.cancel()
                download.cancel()
        except BaseExceptionGroup as group:
            cause = single_cause(group)
            raise cause from cause.__cause__
        if not upload.cancelled():
            return
        await self._end_local()

    async def _upload(self, remote: ByteStream) -> None:
        while data := await self._read_local():
            self.sent_bytes += len(data)
            try:
                await remote.write(data)
            except SsmSshError:
                # The download meets the same end, behind the last bytes, and tells it.
                await asyncio.get_running_loop().create_future()
        await remote.end()
        await self._linger()

    async def _download(self, remote: ByteStream) -> None:
        while data := await remote.read():
            self._received_at = asyncio.get_running_loop().time()
            self.received_bytes += len(data)
            try:
                await self._local.write(data)
            except SsmSshError as error:
                raise _LocalBroke(str(error)) from error

    async def _read_local(self) -> bytes:
        try:
            return await self._local.read()
        except SsmSshError as error:
            raise _LocalBroke(str(error)) from error

    async def _linger(self) -> None:
        """Wait until nothing more can be expected for a local program that has ended its side."""
        loop = asyncio.get_running_loop()
        self._received_at = loop.time()
        checks = iter(_GONE_CHECKS_SECONDS)
        pause = 0.0
        while not self._has_let_go() and (left := self._received_at + HALF_OPEN_SECONDS - loop.time()) > 0:
            pause = next(checks, pause)
            await asyncio.sleep(min(left, pause))

    async def _end_local(self) -> None:
        """The last bytes, then the end; what the local program still says goes nowhere."""
        await self._local.end()
        try:
            async with asyncio.timeout(_DRAIN_SECONDS):
                while await self._read_local():
                    pass
        except TimeoutError:
            pass
