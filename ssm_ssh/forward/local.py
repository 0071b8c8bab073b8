"""One ``-L`` that is up: a listener whose connections a pool of sessions carries."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from ssm_ssh.errors import DestinationRefused, SsmSshError
from ssm_ssh.forward.accept import Accepted, accept_connections
from ssm_ssh.forward.relay import Relay
from ssm_ssh.forward.traffic import TrafficMeter

if TYPE_CHECKING:
    from ssm_ssh.forward.listener import Listener
    from ssm_ssh.forward.traffic import Traffic
    from ssm_ssh.session.document import Destination
    from ssm_ssh.session.forward_session import ForwardSession
    from ssm_ssh.session.pool import SessionPool

_log = logging.getLogger(__name__)


class OpenForward:
    """A forward that is up.

    Attributes:
        listener: Where local programs connect to.
        destination: Where the node connects to.
    """

    def __init__(
        self, listener: Listener, destination: Destination, pool: SessionPool, *, allows_other_users: bool
    ) -> None:
        self.listener = listener
        self.destination = destination
        self._pool = pool
        self._allows_other_users = allows_other_users
        self._meter = TrafficMeter()

    @property
    def sessions(self) -> list[ForwardSession]:
        """The sessions that are up for it; forwards to one destination share them."""
        return self._pool.sessions

    @property
    def resumes(self) -> int:
        """How often a lost WebSocket of its sessions was replaced."""
        return self._pool.resumes

    @property
    def last_end(self) -> str | None:
        """Why one of its sessions last ended or could not be started; None if none did."""
        return self._pool.last_end

    @property
    def traffic(self) -> Traffic:
        """What it has carried so far."""
        return self._meter.traffic

    async def prepare(self) -> None:
        """Have a session up. Raises ``SsmSshError``: why there is none."""
        await self._pool.prepare()

    async def serve(self) -> None:
        """Carry local connections until cancelled; what fails is one connection's failure, and told."""
        await accept_connections(self.listener, self._carry, allows_other_users=self._allows_other_users)

    async def _carry(self, accepted: Accepted) -> None:
        relay = Relay(accepted.stream, accepted.has_let_go)
        with self._meter.counting(relay):
            await self._relay(relay, accepted)

    async def _relay(self, relay: Relay, accepted: Accepted) -> None:
        try:
            remote = await self._pool.open_stream()
        except SsmSshError as error:
            accepted.stream.reset()
            _log.warning("a connection to %s was refused: %s", self.destination, error)
            return
        try:
            await relay.run(remote)
        except DestinationRefused:
            _log.warning("the node could not connect to %s", self.destination)
        except SsmSshError as error:
            _log.info("a connection to %s broke: %s", self.destination, error)
