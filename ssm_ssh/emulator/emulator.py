"""The stand-in as a whole: one port, its nodes, and the variables that lead AWS programs to it."""

from __future__ import annotations

import asyncio
import base64
import os
import secrets
import socket
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING, Final
from urllib.request import getproxies_environment

from aiohttp import web

from ssm_ssh.emulator.admin import AdminDoor
from ssm_ssh.emulator.api_door import LARGEST_BODY_BYTES, ApiDoor
from ssm_ssh.emulator.certificate import Certificate
from ssm_ssh.emulator.database import ResourceTable
from ssm_ssh.emulator.ec2 import ec2_room
from ssm_ssh.emulator.eks import EksRoom
from ssm_ssh.emulator.elasticache import elasticache_room
from ssm_ssh.emulator.fault import Faults, FaultSwitch
from ssm_ssh.emulator.gateway import MessageGateway
from ssm_ssh.emulator.guard import Guard
from ssm_ssh.emulator.instance_connect import instance_connect_room
from ssm_ssh.emulator.node_table import NodeTable
from ssm_ssh.emulator.rds import rds_room
from ssm_ssh.emulator.saboteur import cut_regularly, storm_publication
from ssm_ssh.emulator.service import Account, ssm_room
from ssm_ssh.emulator.session_document import DocumentTable
from ssm_ssh.emulator.session_table import SessionTable
from ssm_ssh.emulator.settings import ServiceSettings
from ssm_ssh.emulator.signature import Credentials

if TYPE_CHECKING:
    from collections.abc import Sequence
    from types import TracebackType
    from typing import Self

    from ssm_ssh.emulator.api_room import Room
    from ssm_ssh.emulator.database import Resource
    from ssm_ssh.emulator.link import EmulatedNode
    from ssm_ssh.emulator.session_document import SessionDocument

# botocore looks at each of these before, or beside, what ``Emulator.environment`` sets.
FOREIGN_VARIABLES: Final = (
    "AWS_PROFILE",
    "AWS_DEFAULT_PROFILE",
    "AWS_CA_BUNDLE",
    "AWS_ENDPOINT_URL_SSM",
    "AWS_ENDPOINT_URL_EC2",
    "AWS_ENDPOINT_URL_EC2_INSTANCE_CONNECT",
    "AWS_ENDPOINT_URL_SSMMESSAGES",
    "AWS_ENDPOINT_URL_RDS",
    "AWS_ENDPOINT_URL_ELASTICACHE",
    "AWS_ENDPOINT_URL_EKS",
    "AWS_IGNORE_CONFIGURED_ENDPOINT_URLS",
    "AWS_USE_FIPS_ENDPOINT",
    "AWS_USE_DUALSTACK_ENDPOINT",
)
_LOOPBACK: Final = "127.0.0.1"
# Ours: small, because what the kernel holds for a connection is lost when it is cut.
_SOCKET_BUFFER_BYTES: Final = 32 * 1024
# Ours: sessions are over by then; this is for API calls under way.
_SHUTDOWN_SECONDS: Final = 0.3


class Emulator:
    """The service and its nodes, up between ``async with`` and its end.

    Attributes:
        nodes: The nodes, by id.
        sessions: Live and ended sessions.
        documents: The account's session documents.
        resources: Its databases, caches and clusters.
        faults: What goes wrong, now and from now on.
        api: The API's door, with its counts.
        credentials: The only ones that are good; random unless an earlier emulator's were given.
    """

    nodes: NodeTable
    sessions: SessionTable
    faults: FaultSwitch
    api: ApiDoor

    def __init__(  # noqa: PLR0913 -- every one may be left out
        self,
        nodes: Sequence[EmulatedNode],
        *,
        settings: ServiceSettings | None = None,
        faults: Faults | None = None,
        documents: Sequence[SessionDocument] = (),
        resources: Sequence[Resource] = (),
        port: int = 0,
        has_tls: bool = False,
        credentials: Credentials | None = None,
    ) -> None:
        self._nodes = nodes
        self._settings = settings or ServiceSettings()
        self._initial_faults = faults or Faults()
        self._port = port
        self._has_tls = has_tls
        self._stack = AsyncExitStack()
        self._certificate: Certificate | None = None
        self._secret = secrets.token_urlsafe(24)
        self.documents = DocumentTable(documents)
        self.resources = ResourceTable(resources)
        self.credentials = credentials or _random_credentials()

    async def __aenter__(self) -> Self:
        try:
            await self._start()
        except BaseException:
            await self._stack.aclose()
            raise
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        try:
            await self._stack.__aexit__(kind, error, traceback)
        except BaseExceptionGroup as group:
            # What the caller raised reaches the caller as it was; only what failed in here is news.
            news = [failure for failure in _leaves(group) if failure is not error]
            if len(news) == 1:
                raise news[0] from None
            if news:
                raise

    @property
    def url(self) -> str:
        """Where the API and the gateway are."""
        return f"{'https' if self._has_tls else 'http'}://{_LOOPBACK}:{self._port}"

    @property
    def port(self) -> int:
        """The port, once it is up."""
        return self._port

    @property
    def authority_path(self) -> str | None:
        """PEM file of the private certificate authority, with TLS."""
        return None if self._certificate is None else str(self._certificate.authority_path)

    @property
    def environment(self) -> dict[str, str]:
        """The variables that lead an AWS program here and nowhere else."""
        variables = {
            "AWS_ACCESS_KEY_ID": self.credentials.access_key_id,
            "AWS_SECRET_ACCESS_KEY": self.credentials.secret_access_key,
            "AWS_SESSION_TOKEN": self.credentials.session_token,
            "AWS_REGION": self._settings.region,
            "AWS_DEFAULT_REGION": self._settings.region,
            "AWS_ENDPOINT_URL": self.url,
            "AWS_EC2_METADATA_DISABLED": "true",
            "SSM_SSH_EMULATOR": f"{self.url}/_emulator/{self._secret}",
        }
        if self.authority_path is not None:
            variables["AWS_CA_BUNDLE"] = self.authority_path
        if getproxies_environment():
            # The way here must not lead through the proxy that leads to AWS.
            exceptions = os.environ.get("NO_PROXY") or os.environ.get("no_proxy") or ""
            variables["NO_PROXY"] = variables["no_proxy"] = f"{exceptions},{_LOOPBACK}".lstrip(",")
        return variables

    def renew_credentials(self) -> None:
        """Let the credentials expire; the new ones are in ``environment``."""
        self.credentials = _random_credentials()
        self._guard.renew(self.credentials)

    async def _start(self) -> None:
        self.nodes = NodeTable(self._nodes)
        self.faults = FaultSwitch(self._initial_faults)
        listener = self._listen()
        if self._has_tls:
            self._certificate = Certificate(self._settings.server_host_names)
            self._stack.callback(self._certificate.close)
        for node in self._nodes:
            await node.start()
            self._stack.push_async_callback(node.stop)
        tasks = await self._stack.enter_async_context(asyncio.TaskGroup())
        self.sessions = SessionTable(self._settings, self.faults, tasks)
        runner = web.AppRunner(self._application(), access_log=None, shutdown_timeout=_SHUTDOWN_SECONDS)
        await runner.setup()
        self._stack.callback(self.sessions.cancel)
        self._stack.push_async_callback(runner.cleanup)
        context = None if self._certificate is None else self._certificate.context
        await web.SockSite(runner, listener, ssl_context=context).start()
        background = [
            tasks.create_task(cut_regularly(self.faults, self.sessions)),
            tasks.create_task(storm_publication(self.faults, self.sessions)),
        ]
        self._stack.callback(self._cancel, background)

    def _application(self) -> web.Application:
        account = Account(
            self._settings, self.faults, self.nodes, self.documents, self.sessions, self.resources
        )
        self._guard = guard = Guard(self.credentials, self._settings, self.faults, self._port)
        rooms: list[Room] = [
            ssm_room(account),
            ec2_room(account),
            instance_connect_room(account),
            rds_room(account),
            elasticache_room(account),
        ]
        self.api = ApiDoor(rooms, guard, self.faults)
        gateway = MessageGateway(account, guard)
        admin = AdminDoor(self.sessions, self.api, self.faults)
        application = web.Application(middlewares=[guard.middleware()], client_max_size=LARGEST_BODY_BYTES)
        application.add_routes(
            [
                web.post("/", self.api.answer),
                *self.api.routes(EksRoom(account)),
                web.get("/v1/data-channel/{session_id}", gateway.answer),
                web.get(f"/_emulator/{self._secret}/state", admin.show_state),
                web.post(f"/_emulator/{self._secret}/cut", admin.cut),
                web.post(f"/_emulator/{self._secret}/faults", admin.change_faults),
            ]
        )
        return application

    def _listen(self) -> socket.socket:
        """The listening socket; the connections that it accepts inherit its small buffers."""
        listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        self._stack.callback(listener.close)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _SOCKET_BUFFER_BYTES)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _SOCKET_BUFFER_BYTES)
        if os.name == "posix":
            # Elsewhere the option means that two programs may share the port.
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((_LOOPBACK, self._port))
        self._port = listener.getsockname()[1]
        return listener

    def _cancel(self, background: list[asyncio.Task[None]]) -> None:
        for task in background:
            task.cancel()
        self.sessions.cancel()


def _leaves(group: BaseExceptionGroup[BaseException]) -> list[BaseException]:
    """The exceptions in a group and in the groups within."""
    return [
        leaf
        for error in group.exceptions
        for leaf in (_leaves(error) if isinstance(error, BaseExceptionGroup) else [error])
    ]


def _random_credentials() -> Credentials:
    return Credentials(
        access_key_id="ASIA" + base64.b32encode(secrets.token_bytes(10)).decode("ascii"),
        secret_access_key=base64.b64encode(secrets.token_bytes(30)).decode("ascii"),
        session_token=base64.b64encode(secrets.token_bytes(150)).decode("ascii"),
    )
