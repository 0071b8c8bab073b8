"""A node: a machine with an agent, an SSH server and users, for as long as it is started."""

from __future__ import annotations

import asyncio
import hashlib
import os
import shutil
import tempfile
import time
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Final, Protocol

from ssm_ssh.emulator.agent import SsmAgent
from ssm_ssh.emulator.agent_version import DEFAULT_AGENT_VERSION
from ssm_ssh.emulator.authorized_keys import AuthorizedKeys
from ssm_ssh.emulator.node_network import NodeNetwork
from ssm_ssh.emulator.placement import DEFAULT_PLACEMENT, Placement
from ssm_ssh.emulator.sshd import OpenSshd, find_sshd
from ssm_ssh.emulator.timing import FAST
from ssm_ssh.emulator.world import PowerSwitch, World, can_separate_worlds

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from types import TracebackType
    from typing import Self

    from ssm_ssh.emulator.timing import Timing
    from ssm_ssh.emulator.windows_launch import WindowsLaunch

SSH_PORT: Final = 22
# What EC2 Instance Connect grants.
PUSHED_KEY_SECONDS: Final = 60.0
_WORLD_USER: Final = "ec2-user"


class NodeState(StrEnum):
    """Whether a node can be reached."""

    STOPPED = "stopped"
    BOOTING = "booting"
    RUNNING = "running"
    OFFLINE = "offline"
    """The machine runs, its agent does not reach the service."""


@dataclass(frozen=True, slots=True)
class NodeSpec:
    """What a node is to be.

    Attributes:
        name: Its Name tag and its hostname.
        node_id: ``i-…`` or ``mi-…``; empty for one made from the name.
        tags: Further tags; ``Name`` is added.
        platform: ``Linux``, ``Windows`` or ``MacOS``, as the service reports it.
        user: Whom to log in as; None for ``ec2-user`` in a world, else the caller.
        ip_address: The private address it reports; empty for one made from the name.
        authorized_keys: Public key lines that always open ``user``.
        hosts: Addresses by the names that the node knows beside its own, see ``NodeNetwork``.
        ports: Where (host, port) really listens on loopback, see ``NodeNetwork``.
        placement: Its subnet and VPC.
        windows_launch: The password and the console's lines of a Windows node.
    """

    name: str
    node_id: str = ""
    tags: Mapping[str, str] = field(default_factory=dict)
    platform: str = "Linux"
    agent_version: str = DEFAULT_AGENT_VERSION
    user: str | None = None
    ip_address: str = ""
    authorized_keys: Sequence[str] = ()
    hosts: Mapping[str, Sequence[str]] = field(default_factory=dict)
    ports: Mapping[tuple[str, int], tuple[str, int]] = field(default_factory=dict)
    placement: Placement = DEFAULT_PLACEMENT
    windows_launch: WindowsLaunch | None = None


class SshServer(Protocol):
    """What answers on the node's port 22."""

    port: int

    @property
    def host_keys(self) -> list[str]:
        """Its public host keys, each as in a known_hosts line: type and base64, once it was started."""

    async def start(self) -> None:
        """Listen on loopback and set ``port``."""

    async def stop(self, *, keep_directory: bool = False) -> None:
        """End everything; keep the files only for a start to come. Twice is fine."""

    def refresh(self) -> None:
        """The authorized keys are others now."""


class Node:
    """One machine of the stand-in; an async context manager that runs while it is entered.

    Args:
        spec: What it is to be.
        timing: Of its agent.
        seed: Of everything that varies in its agent.
        clock: Seconds on any axis; decides when pushed keys expire.
        embedded: Use the embedded SSH server although the system has one.

    Attributes:
        agent: What the service hands sessions to.
        network: The names and ports that its agent reaches; may be changed at any time.
        power_requests: What was said to the machine's ``shutdown`` and its kin, in order.
        on_power: Called with each of these, in the event loop.
    """

    def __init__(
        self,
        spec: NodeSpec,
        *,
        timing: Timing = FAST,
        seed: int = 0,
        clock: Callable[[], float] = time.monotonic,
        embedded: bool = False,
    ) -> None:
        digest = hashlib.sha256(spec.name.encode()).digest()
        self.name = spec.name
        self.node_id = spec.node_id or f"i-{digest.hex()[:17]}"
        self.tags = {"Name": spec.name, **spec.tags}
        self.platform = spec.platform
        self.ip_address = spec.ip_address or f"10.0.{digest[0]}.{1 + digest[1] % 254}"
        self.state = NodeState.STOPPED
        self.power_requests: list[str] = []
        self.on_power: Callable[[str], None] = lambda request: None
        sshd = None if embedded else find_sshd()
        self._sshd = sshd
        self._is_world = sshd is not None and can_separate_worlds()
        self.user = self._choose_user(spec.user)
        self._keys = AuthorizedKeys({self.user: spec.authorized_keys}, clock=clock)
        self._expiries: list[asyncio.TimerHandle] = []
        self._server: SshServer | None = None
        self._world: World | None = None
        self._power_switch: PowerSwitch | None = None
        self.placement = spec.placement
        self.windows_launch = spec.windows_launch
        self.network = NodeNetwork(spec.hosts, spec.ports)
        self.agent = SsmAgent(
            self.node_id,
            self.connect,
            resolve=self.network.resolve,
            vpc_networks=(spec.placement.vpc_network,),
            version=spec.agent_version,
            timing=timing,
            seed=seed,
        )

    # --- what the service sees ---------------------------------------------------------------------------

    @property
    def agent_version(self) -> str:
        """As the agent reports it."""
        return self.agent.traits.version

    @property
    def is_online(self) -> bool:
        """Whether the service reaches the agent."""
        return self.state is NodeState.RUNNING

    @property
    def ssh_port(self) -> int:
        """Where the node's SSH server really listens on 127.0.0.1."""
        assert self._server is not None, "the node is not started"
        return self._server.port

    @property
    def host_keys(self) -> list[str]:
        """Its public host keys, each as in a known_hosts line: type and base64."""
        assert self._server is not None, "the node is not started"
        return self._server.host_keys

    @property
    def is_separate(self) -> bool:
        """Whether the node is a world of its own; else it is the caller's machine and account."""
        return self._is_world

    def authorize_key(self, os_user: str, public_key: str, *, seconds: float = PUSHED_KEY_SECONDS) -> None:
        """Let a pushed key open the node for a while.

        Raises:
            ValueError: If the user or the key is not what EC2 Instance Connect would take.
        """
        self._keys.push(os_user, public_key, seconds=seconds)
        self.refresh_keys()
        self._expiries = [timer for timer in self._expiries if not timer.cancelled() and not _is_past(timer)]
        self._expiries.append(asyncio.get_running_loop().call_later(seconds, self.refresh_keys))

    def refresh_keys(self) -> None:
        """Tell the SSH server which keys are valid by the clock now; happens by itself as time passes."""
        if self._server is not None:
            self._server.refresh()

    async def connect(self, host: str, port: int) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """Connect as its agent does, see ``NodeNetwork.connect``. Raises ``OSError``."""
        return await self.network.connect(host, port)

    # --- its life ----------------------------------------------------------------------------------------

    async def start(self) -> None:
        """Bring the machine up, its agent last.

        Raises:
            ServerFailed: If its SSH server does not start.
        """
        assert self.state is NodeState.STOPPED
        self._server = self._make_server()
        await self._boot()

    async def stop(self) -> None:
        """Take the machine down and leave nothing of it. Twice is fine."""
        await self._go_down(keep_directory=False)
        for timer in self._expiries:
            timer.cancel()
        self._expiries.clear()
        self._server = self._world = None
        self.state = NodeState.STOPPED

    async def reboot(self, *, down_seconds: float = 0.0) -> None:
        """Go down with everything that runs, and come up with the same files and a new boot id."""
        await self._go_down(keep_directory=True)
        self.state = NodeState.BOOTING
        await asyncio.sleep(down_seconds)
        if self._world is not None:
            self._world.boot()
        await self._boot()

    def go_offline(self) -> None:
        """Cut the agent off from the service; its sessions die without a word."""
        if self.state is NodeState.RUNNING:
            self.state = NodeState.OFFLINE
            self.agent.cut_power()

    def go_online(self) -> None:
        """Let the agent reach the service again."""
        if self.state is NodeState.OFFLINE:
            self.state = NodeState.RUNNING

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.stop()

    # --- inside ------------------------------------------------------------------------------------------

    def _choose_user(self, wanted: str | None) -> str:
        if self._is_world:
            return wanted or _WORLD_USER
        caller = _caller()
        if wanted not in (None, caller):
            raise ValueError(f"without a world of its own the node's only user is {caller}, not {wanted}")
        return caller

    def _make_server(self) -> SshServer:
        if self._sshd is None:
            # Heavy, and not needed where there is an sshd.
            from ssm_ssh.emulator.embedded_sshd import EmbeddedSshd  # noqa: PLC0415

            return EmbeddedSshd(self._keys, user=self.user)
        directory = Path(tempfile.mkdtemp(prefix="ssm-ssh-node-"))
        if self._is_world:
            self._world = World(directory, hostname=self.name, user=self.user)
            try:
                self._world.build()
            except BaseException:
                shutil.rmtree(directory)
                raise
        return OpenSshd(self._sshd, directory, self._keys, world=self._world)

    async def _boot(self) -> None:
        assert self._server is not None
        try:
            await self._server.start()
        except BaseException:
            await self.stop()
            raise
        self.network.serve("localhost", SSH_PORT, self._server.port)
        if self._world is not None:
            self._power_switch = PowerSwitch(self._world, self._note_power)
        self.state = NodeState.RUNNING

    async def _go_down(self, *, keep_directory: bool) -> None:
        self.agent.cut_power()
        if self._power_switch is not None:
            self._power_switch.close()
            self._power_switch = None
        if self._server is not None:
            await self._server.stop(keep_directory=keep_directory)

    def _note_power(self, request: str) -> None:
        self.power_requests.append(request)
        self.on_power(request)


def _caller() -> str:
    """The account we run as; ``USER`` may name another one, whom no server of ours could let in.

    Raises:
        ValueError: If there is none.
    """
    import pwd  # noqa: PLC0415 -- exists on Unix only

    try:
        return pwd.getpwuid(os.geteuid()).pw_name
    except KeyError:
        raise ValueError(f"the user id {os.geteuid()} has no account, so nobody can log in") from None


def _is_past(timer: asyncio.TimerHandle) -> bool:
    return timer.when() < asyncio.get_running_loop().time()
