"""The remote desktop of a Windows node on localhost: its port, its password and its certificate."""

from __future__ import annotations

import asyncio
import logging
from contextlib import asynccontextmanager, closing
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from ssm_ssh.errors import ControlPlaneError, InvalidOption, UntrustedCertificate
from ssm_ssh.forward.rdp_certificate import thumbprint_on_console, wait_for_certificate
from ssm_ssh.forward.spec import Listen, LocalForward
from ssm_ssh.forward.tunnel import open_tunnel_to
from ssm_ssh.forward.windows_password import decrypt_password
from ssm_ssh.session.document import Destination
from ssm_ssh.transport.instance_api import InstanceApi
from ssm_ssh.transport.service_calls import ServiceCalls

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey

    from ssm_ssh.forward.options import Account, TunnelOptions
    from ssm_ssh.forward.rdp_certificate import DesktopCertificate

_log = logging.getLogger(__name__)

# Specification: where Windows listens for remote desktops.
RDP_PORT: Final = 3389


@dataclass(frozen=True, slots=True)
class DesktopOptions:
    """What a user may choose about a remote desktop.

    Attributes:
        os_user: Whom to log in as.
        local_port: 0 for any free one.
        key: Opens the password that EC2 keeps; None not to ask for it.
        wait_seconds: How long the node may take until its remote desktop answers.
    """

    os_user: str = "Administrator"
    local_port: int = 0
    key: RSAPrivateKey | None = field(default=None, repr=False)
    wait_seconds: float = 60.0


@dataclass(frozen=True, slots=True)
class RemoteDesktop:
    """A remote desktop that answers on this machine; made by ``open_remote_desktop``.

    Attributes:
        password: What EC2 keeps; None if it was not asked for.
        certificate: As the server shows it; None if it does without TLS.
        is_verified: Whether EC2Launch printed the same certificate to the node's console.
    """

    node_id: str
    host: str
    port: int
    os_user: str
    password: str | None = field(repr=False)
    certificate: DesktopCertificate | None
    is_verified: bool


@asynccontextmanager
async def open_remote_desktop(
    target: str, account: Account, options: TunnelOptions, desktop: DesktopOptions
) -> AsyncIterator[RemoteDesktop]:
    """Have a node's remote desktop on a local port for the length of a block.

    Raises:
        ControlPlaneError: If AWS refuses, or the node has no password (yet).
        InvalidOption: If the key does not open the password.
        SessionTimeout: If no remote desktop answers.
        UntrustedCertificate: If it shows another certificate than the node's console.
        SsmSshError: Why the port cannot be had.
    """
    forward = LocalForward(Listen(port=desktop.local_port), Destination(None, RDP_PORT))
    async with open_tunnel_to(target, [forward], account, options) as tunnel:
        listener, node_id = tunnel.forwards[0].listener, tunnel.node_id
        assert listener.port is not None
        calls = await asyncio.to_thread(ServiceCalls.connect, profile=account.profile, region=account.region)
        with closing(calls):
            api = InstanceApi(calls)
            password = await asyncio.to_thread(_fetch_password, api, node_id, desktop.key)
            certificate = await wait_for_certificate(
                listener.host,
                listener.port,
                desktop.wait_seconds,
                on_try=lambda reason: _log.info("no remote desktop answers yet: %s", reason),
            )
            is_verified = await asyncio.to_thread(_verify, api, node_id, certificate)
        yield RemoteDesktop(
            node_id, listener.host, listener.port, desktop.os_user, password, certificate, is_verified
        )


def _fetch_password(api: InstanceApi, node_id: str, key: RSAPrivateKey | None) -> str | None:
    if key is None:
        return None
    if not node_id.startswith("i-"):
        raise InvalidOption(f"EC2 keeps no password of {node_id}", hint="leave --key away")
    return decrypt_password(api.password_data(node_id), key)


def _verify(api: InstanceApi, node_id: str, certificate: DesktopCertificate | None) -> bool:
    """Whether the console tells of the same certificate; a reason is told where none can be compared.

    Raises:
        UntrustedCertificate: If it tells of another.
    """
    if certificate is None:
        _log.warning("the certificate could not be compared: the server shows none")
        return False
    if not node_id.startswith("i-"):
        _log.warning("the certificate could not be compared: %s is no EC2 node", node_id)
        return False
    try:
        printed = thumbprint_on_console(api.console_output(node_id))
    except ControlPlaneError as error:
        _log.warning("the certificate could not be compared: %s", error)
        return False
    if printed is None:
        _log.warning(
            "the certificate (SHA-1 %s) could not be compared: the node's console tells of none",
            certificate.thumbprint,
        )
        return False
    if printed != certificate.thumbprint:
        raise UntrustedCertificate(certificate.thumbprint, printed)
    return True
