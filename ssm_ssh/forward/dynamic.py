"""One ``-D`` that is up: a listener whose programs say where they want to go, in SOCKS5 or by HTTP's CONNECT.

The agent never says that it has connected, only that it could not. So a program hears "connected" when the
node has had the time of one round trip to refuse, or as soon as something arrives; a refusal after that looks
like a connection that breaks.
"""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Final, TypeAlias

from ssm_ssh.errors import AccessDenied, DestinationRefused, SessionFailed, SessionTimeout, SsmSshError
from ssm_ssh.forward.accept import accept_connections
from ssm_ssh.forward.client_request import Asked, Login, Outcome, Rejected
from ssm_ssh.forward.http_connect import HttpConnectDialogue
from ssm_ssh.forward.reach import parse_host
from ssm_ssh.forward.read_ahead import LocalReadAhead, ReadAhead
from ssm_ssh.forward.relay import Relay
from ssm_ssh.forward.socks5 import OLD_VERSION, VERSION, Socks5Dialogue
from ssm_ssh.forward.spec import to_destination
from ssm_ssh.forward.traffic import TrafficMeter

if TYPE_CHECKING:
    from ssm_ssh.forward.accept import Accepted
    from ssm_ssh.forward.destination_pools import DestinationPools
    from ssm_ssh.forward.listener import Listener
    from ssm_ssh.forward.options import DynamicOptions
    from ssm_ssh.forward.relay import LocalConnection
    from ssm_ssh.forward.traffic import Traffic
    from ssm_ssh.session.document import Destination
    from ssm_ssh.session.forward_session import ForwardSession
    from ssm_ssh.session.pool import SessionPool
    from ssm_ssh.transport.byte_stream import ByteStream

_log = logging.getLogger(__name__)

Dialogue: TypeAlias = Socks5Dialogue | HttpConnectDialogue

# Ours: what a program may take to say what it wants.
REQUEST_SECONDS: Final = 20.0
# Ours: what it waits at most for a session and a stream; browsers give up after about as long.
OPEN_SECONDS: Final = 60.0
# Ours: a refusal takes a round trip, whose smoothed time is a little too short now and then, and a moment on
# the node; before the first one was measured, something that most of the world is nearer than.
_REFUSAL_ROUND_TRIPS: Final = 1.5
_REFUSAL_MARGIN_SECONDS: Final = 0.04
_UNKNOWN_ROUND_TRIP_SECONDS: Final = 0.15
_LONGEST_REFUSAL_SECONDS: Final = 1.0
# Ours: closing with something unread would take the last answer away from the program.
_DRAIN_SECONDS: Final = 2.0
# What a program that takes us for a TLS server begins with (RFC 8446, section 5.1).
_TLS_HANDSHAKE: Final = 0x16
# What a session says that failed before it forwarded (protocol 7.1), by the part that stays the same.
_FAILURES: Final = (
    ("is forbidden", Outcome.FORBIDDEN),
    ("no such host", Outcome.UNREACHABLE),
    ("lookup ", Outcome.UNREACHABLE),
)


class _NotConnected(Exception):
    """Why a program does not get what it asked for."""

    def __init__(self, outcome: Outcome, reason: str) -> None:
        super().__init__(reason)
        self.outcome = outcome
        self.reason = reason


class OpenDynamicForward:
    """A ``-D`` that is up.

    Attributes:
        listener: Where local programs connect to.
    """

    def __init__(
        self,
        listener: Listener,
        destinations: DestinationPools,
        options: DynamicOptions,
        *,
        allows_other_users: bool,
    ) -> None:
        self.listener = listener
        self._destinations = destinations
        self._options = options
        self._allows_other_users = allows_other_users
        self._meter = TrafficMeter()
        # A browser with a wrong setting says the same wrong thing all day.
        self._told: set[str] = set()

    @property
    def sessions(self) -> list[ForwardSession]:
        """The sessions that are up; all ``-D`` share them."""
        return self._destinations.sessions

    @property
    def destination(self) -> None:
        """That is for programs to say."""
        return

    @property
    def resumes(self) -> int:
        """How often a lost WebSocket of the sessions was replaced."""
        return self._destinations.resumes

    @property
    def last_end(self) -> str | None:
        """Why one of the sessions last ended or could not be started; None if none did."""
        return self._destinations.last_end

    @property
    def traffic(self) -> Traffic:
        """What it has carried so far."""
        return self._meter.traffic

    async def serve(self) -> None:
        """Carry local connections until cancelled; what fails is one connection's failure, and told."""
        await accept_connections(self.listener, self.serve_one, allows_other_users=self._allows_other_users)

    async def serve_one(self, accepted: Accepted) -> None:
        """Serve one connection; raises nothing but bugs. The caller closes it."""
        local = accepted.stream
        try:
            async with asyncio.timeout(REQUEST_SECONDS):
                heard = await self._hear(local)
            if heard is None:
                return
            dialogue, asked = heard
            try:
                await self._connect(accepted, dialogue, asked)
            except _NotConnected as failure:
                await _farewell(local, dialogue.reply(failure.outcome, failure.reason))
        except TimeoutError:
            local.reset()
        except SsmSshError as error:
            _log.debug("a program went away: %s", error)

    # --- what the program wants ---

    async def _hear(self, local: LocalConnection) -> tuple[Dialogue, Asked] | None:
        """Hear the program out; None if it wants nothing that is served. Raises ``StreamReset``."""
        dialogue: Dialogue | None = None
        while data := await local.read():
            if dialogue is None:
                dialogue = self._choose(data[0])
            if dialogue is None:
                local.reset()
                return None
            verdict = dialogue.receive_data(data)
            reply = dialogue.data_to_send()
            match verdict:
                case Asked():
                    await local.write(reply)
                    return dialogue, verdict
                case Rejected(reason):
                    self._tell_once(reason)
                    await _farewell(local, reply)
                    return None
                case None:
                    await local.write(reply)
        return None

    def _choose(self, first_byte: int) -> Dialogue | None:
        login: Login | None = self._options.login
        if first_byte in {VERSION, OLD_VERSION}:
            return Socks5Dialogue(login)
        if chr(first_byte).isascii() and chr(first_byte).isalpha():
            return HttpConnectDialogue(login)
        if first_byte == _TLS_HANDSHAKE:
            self._tell_once("a program speaks TLS: tell it that the proxy is http:// or socks5h://")
        else:
            self._tell_once("a program speaks neither SOCKS5 nor HTTP")
        return None

    def _tell_once(self, reason: str) -> None:
        level = logging.DEBUG if reason in self._told else logging.WARNING
        self._told.add(reason)
        _log.log(level, "a connection was refused: %s", reason)

    # --- the way there ---

    async def _connect(self, accepted: Accepted, dialogue: Dialogue, asked: Asked) -> None:
        """Carry the connection to its end. Raises ``_NotConnected`` while the program can still be told."""
        host = parse_host(asked.host)
        destination = to_destination(host.text, asked.port)
        refusal = self._options.reach.refusal(host)
        if refusal is not None:
            raise _not_connected(destination, Outcome.FORBIDDEN, refusal)
        with self._destinations.use(destination) as pool:
            if pool is None:
                raise _not_connected(
                    destination, Outcome.BUSY, "as many destinations as there may be are in use"
                )
            remote = await _open(destination, pool)
            try:
                await accepted.stream.write(dialogue.reply(Outcome.CONNECTED))
            except SsmSshError:
                await remote.close()
                raise
            relay = Relay(LocalReadAhead(accepted.stream, asked.early), accepted.has_let_go)
            with self._meter.counting(relay):
                await _relay(relay, remote, destination)


async def _open(destination: Destination, pool: SessionPool) -> ByteStream:
    """A stream that the node has had time to refuse. Raises ``_NotConnected``."""
    try:
        async with asyncio.timeout(OPEN_SECONDS):
            remote = await pool.open_stream()
    except SsmSshError as error:
        raise _not_connected(destination, _outcome_of(error), str(error)) from error
    except TimeoutError as error:
        reason = f"no session for {OPEN_SECONDS:g} seconds"
        raise _not_connected(destination, Outcome.TIMED_OUT, reason) from error
    try:
        return await _wait_refused(remote, pool)
    except BaseException as error:
        await remote.close()
        if isinstance(error, DestinationRefused):
            _log.warning("the node could not connect to %s", destination)
            raise _NotConnected(Outcome.REFUSED, f"the node could not connect to {destination}") from error
        if isinstance(error, SsmSshError):
            raise _not_connected(destination, _outcome_of(error), str(error)) from error
        raise


async def _wait_refused(remote: ByteStream, pool: SessionPool) -> ByteStream:
    """Wait for as long as a refusal takes, or for the first bytes. Raises ``SsmSshError``: the refusal."""
    times = [session.round_trip_seconds or _UNKNOWN_ROUND_TRIP_SECONDS for session in pool.sessions]
    seconds = _REFUSAL_ROUND_TRIPS * max(times, default=_UNKNOWN_ROUND_TRIP_SECONDS) + _REFUSAL_MARGIN_SECONDS
    try:
        async with asyncio.timeout(min(seconds, _LONGEST_REFUSAL_SECONDS)):
            return ReadAhead(remote, await remote.read())
    except SessionTimeout:
        raise
    except TimeoutError:
        return remote


async def _relay(relay: Relay, remote: ByteStream, destination: Destination) -> None:
    try:
        await relay.run(remote)
    except DestinationRefused:
        _log.warning("the node could not connect to %s", destination)
    except SsmSshError as error:
        _log.info("a connection to %s broke: %s", destination, error)


async def _farewell(local: LocalConnection, last_words: bytes) -> None:
    """Say the last words such that they are heard. Raises ``StreamReset``."""
    await local.write(last_words)
    await local.end()
    try:
        async with asyncio.timeout(_DRAIN_SECONDS):
            while await local.read():
                pass
    except TimeoutError:
        pass


def _not_connected(destination: Destination, outcome: Outcome, reason: str) -> _NotConnected:
    """The failure, told to the user."""
    _log.warning("a connection to %s was refused: %s", destination, reason)
    return _NotConnected(outcome, reason)


def _outcome_of(error: SsmSshError) -> Outcome:
    match error:
        case SessionFailed(output=output):
            return next((outcome for part, outcome in _FAILURES if part in output), Outcome.FAILED)
        case AccessDenied():
            return Outcome.FORBIDDEN
        case SessionTimeout():
            return Outcome.TIMED_OUT
        case _:
            return Outcome.FAILED
