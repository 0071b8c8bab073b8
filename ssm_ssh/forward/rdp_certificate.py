"""The certificate of a remote desktop: as its server shows it, and as EC2Launch printed it to the console.

RDP begins with one exchange of its own before TLS: [MS-RDPBCGR] 2.2.1.1 and 2.2.1.2.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import re
import ssl
import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from ssm_ssh.errors import SessionTimeout, SsmSshError

if TYPE_CHECKING:
    from collections.abc import Callable

# Specification: TPKT (version 3, length), X.224 Connection Request without a destination, RDP_NEG_REQ that
# offers TLS (1), CredSSP (2) and CredSSP with early authorization (8).
_REQUEST: Final = bytes.fromhex("03000013 0ee00000000000 01000800") + struct.pack("<I", 1 | 2 | 8)
_TPKT: Final = struct.Struct("!BxH")
_TPKT_VERSION: Final = 3
_CONFIRM: Final = 0xD0
_NEGOTIATION_AT: Final = 7
_NEGOTIATION: Final = struct.Struct("<BxHI")
_ACCEPTED: Final = 2
# Ours: a real answer has 19 bytes.
_LONGEST_ANSWER: Final = 1_024
# Ours: between tries for a server that does not answer yet; the last one is repeated.
_PAUSES_SECONDS: Final = (0.5, 1.0, 2.0, 5.0)
_TRY_SECONDS: Final = 15.0
_WAIT_HINT: Final = "check that the node runs Windows, and that its remote desktop is switched on"
# EC2Launch, EC2Launch v2 and EC2Config alike.
_THUMBPRINT: Final = re.compile(r"RDPCERTIFICATE-THUMBPRINT:\s*([0-9A-F]{40})\b", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class DesktopCertificate:
    """The certificate that a server showed.

    Attributes:
        der: As it came.
    """

    der: bytes

    @property
    def thumbprint(self) -> str:
        """SHA-1 in capital hexadecimal digits, as Windows shows it."""
        return hashlib.sha1(self.der, usedforsecurity=False).hexdigest().upper()

    @property
    def sha256(self) -> str:
        """SHA-256, each byte as two hexadecimal digits between colons, as FreeRDP takes it."""
        return hashlib.sha256(self.der).digest().hex(":")


class _NotYet(Exception):
    """Nothing that speaks RDP answered."""


def thumbprint_on_console(text: str) -> str | None:
    """The thumbprint that EC2Launch printed last, in capital digits; None if there is none."""
    found = _THUMBPRINT.findall(text)
    return found[-1].upper() if found else None


async def wait_for_certificate(
    host: str, port: int, seconds: float, *, on_try: Callable[[str], object]
) -> DesktopCertificate | None:
    """Wait until a remote desktop answers, and see its certificate; None if it does without TLS.

    Args:
        host: Where it is forwarded to.
        port: The port.
        seconds: How long to wait at most.
        on_try: Told why it has to be waited for, each time.

    Raises:
        SessionTimeout: If nothing answered in time.
    """
    pauses = iter(_PAUSES_SECONDS)
    pause = 0.0
    try:
        async with asyncio.timeout(seconds):
            while True:
                try:
                    return await _see_certificate(host, port)
                except _NotYet as reason:
                    on_try(str(reason))
                pause = next(pauses, pause)
                await asyncio.sleep(pause)
    except TimeoutError as error:
        raise SessionTimeout("waiting for the remote desktop", seconds, hint=_WAIT_HINT) from error


async def _see_certificate(host: str, port: int) -> DesktopCertificate | None:
    try:
        async with asyncio.timeout(_TRY_SECONDS):
            reader, writer = await asyncio.open_connection(host, port)
            try:
                writer.write(_REQUEST)
                if not await _offers_tls(reader):
                    return None
                await writer.start_tls(_context())
                shown: ssl.SSLObject = writer.get_extra_info("ssl_object")
                der = shown.getpeercert(binary_form=True)
                return None if der is None else DesktopCertificate(der)
            finally:
                # There is nothing to say goodbye for: a server may take its time over one.
                writer.transport.abort()
                with contextlib.suppress(OSError):
                    await writer.wait_closed()
    except ssl.SSLError:
        return None
    except (OSError, EOFError, SsmSshError) as error:
        # A time-out of this one try is an OSError, too.
        raise _NotYet(str(error) or type(error).__name__) from error


async def _offers_tls(reader: asyncio.StreamReader) -> bool:
    """Read the server's Connection Confirm; whether TLS follows. Raises ``_NotYet`` for anything else."""
    version, length = _TPKT.unpack(await reader.readexactly(_TPKT.size))
    if version != _TPKT_VERSION or not _TPKT.size + _NEGOTIATION_AT <= length <= _LONGEST_ANSWER:
        raise _NotYet("what answers is no remote desktop")
    body = await reader.readexactly(length - _TPKT.size)
    if body[1] != _CONFIRM:
        raise _NotYet("what answers is no remote desktop")
    if len(body) < _NEGOTIATION_AT + _NEGOTIATION.size:
        return False
    kind, _, protocol = _NEGOTIATION.unpack_from(body, _NEGOTIATION_AT)
    return bool(kind == _ACCEPTED and protocol)


def _context() -> ssl.SSLContext:
    """Takes any certificate: it is what we are here to see, and nothing is said over this connection."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context
