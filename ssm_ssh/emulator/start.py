"""The stand-in for programs without an event loop: tests, the demo, other people's projects.

The emulator runs on a loop of its own in a thread of its own; what is asked of it is asked there.
"""

from __future__ import annotations

import asyncio
import threading
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final, TypeVar

from ssm_ssh.emulator.emulator import FOREIGN_VARIABLES, Emulator
from ssm_ssh.emulator.fault import Faults, Side
from ssm_ssh.emulator.node import Node, NodeSpec
from ssm_ssh.emulator.timing import TIMINGS

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Iterator, Sequence

    from ssm_ssh.emulator.api_door import CallRecord
    from ssm_ssh.emulator.database import Resource
    from ssm_ssh.emulator.link import EmulatedNode
    from ssm_ssh.emulator.session_document import SessionDocument
    from ssm_ssh.emulator.session_record import SessionRecord
    from ssm_ssh.emulator.settings import ServiceSettings
    from ssm_ssh.emulator.signature import Credentials
    from ssm_ssh.emulator.timing import Timing

_T = TypeVar("_T")
# Ours: the emulator answers at once or is broken.
_ANSWER_SECONDS: Final = 10.0


class RunningEmulator:
    """A started emulator, seen from another thread; every method may be called from any thread.

    Attributes:
        environment: The variables that lead AWS programs to it.
        url: Where the API and the gateway are.
        port: The port of both.
        nodes: The nodes; theirs is the emulator's thread, so only what never changes may be read.
        foreign_variables: Variables that would lead AWS programs elsewhere again; to be unset beside.
    """

    foreign_variables = FOREIGN_VARIABLES

    def __init__(self, emulator: Emulator, loop: asyncio.AbstractEventLoop) -> None:
        self._emulator = emulator
        self._loop = loop
        self.environment = emulator.environment
        self.url = emulator.url
        self.port = emulator.port
        self.nodes = tuple(emulator.nodes)

    @property
    def credentials(self) -> Credentials:
        """The only ones that are good now."""
        return self._ask(lambda: self._emulator.credentials)

    @property
    def counts(self) -> dict[str, int]:
        """API calls by operation, refused ones included."""
        return self._ask(lambda: dict(self._emulator.api.counts))

    @property
    def calls(self) -> list[CallRecord]:
        """The latest API calls, oldest first."""
        return self._ask(lambda: list(self._emulator.api.calls))

    def sessions(self) -> list[SessionRecord]:
        """All sessions as they are now, oldest first."""
        return self._ask(
            lambda: [
                replace(record, counts=replace(record.counts)) for record in self._emulator.sessions.records
            ]
        )

    def live_sessions(self) -> list[SessionRecord]:
        """The sessions that are not over."""
        return [record for record in self.sessions() if not record.status.is_over]

    def wait_for_live_sessions(self, count: int, seconds: float = _ANSWER_SECONDS) -> None:
        """Wait until exactly ``count`` sessions are live. Raises ``TimeoutError``."""

        async def wait() -> None:
            async with asyncio.timeout(seconds):
                await self._emulator.sessions.wait_for_live(count)

        self._run(wait(), seconds + _ANSWER_SECONDS)

    def inject(self, **faults: Any) -> None:  # noqa: ANN401 -- the fields of Faults, by name
        """Set some faults from now on and leave the others; names are those of ``Faults``."""
        self._ask(lambda: self._emulator.faults.change(**faults))

    def cut(self, side: Side = Side.CLIENT) -> None:
        """Cut the connections of every live session now."""
        self._ask(lambda: self._emulator.sessions.cut(side))

    def terminate(self, session_id: str) -> None:
        """End a session as TerminateSession does. Raises ``ApiError`` if it is over or unknown."""
        self._ask(lambda: self._emulator.sessions.terminate(session_id))

    def renew_credentials(self) -> dict[str, str]:
        """Let the credentials expire, and return the environment with the new ones."""
        self._ask(self._emulator.renew_credentials)
        self.environment = self._emulator.environment
        return self.environment

    def add_document(self, document: SessionDocument) -> None:
        """Add a session document to the account."""
        self._ask(lambda: self._emulator.documents.add(document))

    def add_resource(self, resource: Resource) -> None:
        """Add a database, a cache or a cluster to the account."""
        self._ask(lambda: self._emulator.resources.add(resource))

    def _ask(self, question: Callable[[], _T]) -> _T:
        async def ask() -> _T:
            return question()

        return self._run(ask(), _ANSWER_SECONDS)

    def _run(self, work: Coroutine[Any, Any, _T], seconds: float) -> _T:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(seconds)


@contextmanager
def start_emulator(  # noqa: PLR0913 -- every one may be left out
    nodes: Sequence[EmulatedNode | NodeSpec | str] = (),
    *,
    timing: Timing | str = "fast",
    settings: ServiceSettings | None = None,
    faults: Faults | None = None,
    documents: Sequence[SessionDocument] = (),
    resources: Sequence[Resource] = (),
    port: int = 0,
    has_tls: bool = False,
    credentials: Credentials | None = None,
) -> Iterator[RunningEmulator]:
    """Run an emulator in a thread for the length of a ``with`` block.

    Args:
        nodes: Nodes, or what they are to be, or just their names.
        timing: ``real`` or ``fast`` or any other, of the nodes that are made here.
        settings: The service's habits.
        faults: What goes wrong from the start.
        documents: Session documents beside the built-in ones.
        resources: Databases, caches and clusters.
        port: 0 for any free one.
        has_tls: Serve https and wss, with a certificate of a private authority.
        credentials: An earlier emulator's: with its port, too, the service seems to have been away.

    Raises:
        ValueError: If a node cannot be what it is to be.
        OSError: If the port is taken.
        BaseExceptionGroup: At the end of the block, if something in the emulator failed.
    """
    emulator = Emulator(
        [_node(node, timing) for node in nodes],
        settings=settings,
        faults=faults,
        documents=documents,
        resources=resources,
        port=port,
        has_tls=has_tls,
        credentials=credentials,
    )
    ready: Future[tuple[asyncio.AbstractEventLoop, asyncio.Event]] = Future()
    failure: list[BaseException] = []

    def run() -> None:
        try:
            asyncio.run(_serve(emulator, ready))
        except BaseException as error:
            failure.append(error)
            if not ready.done():
                ready.set_exception(failure.pop())

    thread = threading.Thread(target=run, name="ssm-emulator")
    thread.start()
    try:
        loop, stop = ready.result()
        try:
            yield RunningEmulator(emulator, loop)
        finally:
            if not loop.is_closed():
                loop.call_soon_threadsafe(stop.set)
    finally:
        thread.join()
    if failure:
        raise failure[0]


def _node(node: EmulatedNode | NodeSpec | str, timing: Timing | str) -> EmulatedNode:
    if isinstance(node, str):
        node = NodeSpec(node)
    if isinstance(node, NodeSpec):
        return Node(node, timing=TIMINGS[timing] if isinstance(timing, str) else timing)
    return node


async def _serve(emulator: Emulator, ready: Future[tuple[asyncio.AbstractEventLoop, asyncio.Event]]) -> None:
    stop = asyncio.Event()
    async with emulator:
        ready.set_result((asyncio.get_running_loop(), stop))
        await stop.wait()
