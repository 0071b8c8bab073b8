"""The exchange before TLS, against servers that do it in other ways than the real one of ``tests/cli``."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from ssm_ssh.errors import SessionTimeout
from ssm_ssh.forward.rdp_certificate import thumbprint_on_console, wait_for_certificate
from tests.emulator.real_server import serving

if TYPE_CHECKING:
    from ssm_ssh.forward.rdp_certificate import DesktopCertificate

# [MS-RDPBCGR] 4.1.1: what a client that offers TLS and CredSSP sends, with the flag for early authorization.
REQUEST = bytes.fromhex("03 00 00 13 0e e0 00 00 00 00 00 01 00 08 00 0b 00 00 00")
REFUSAL = bytes.fromhex("03 00 00 13 0e d0 00 00 12 34 00 03 00 08 00 02 00 00 00")
NO_NEGOTIATION = bytes.fromhex("03 00 00 0b 06 d0 00 00 12 34 00")
STANDARD_SECURITY = bytes.fromhex("03 00 00 13 0e d0 00 00 12 34 00 02 00 08 00 00 00 00 00")
TLS = bytes.fromhex("03 00 00 13 0e d0 00 00 12 34 00 02 00 08 00 01 00 00 00")


def ask(
    answer: bytes, *, then: bytes = b"", seconds: float = 5.0
) -> tuple[DesktopCertificate | None, list[str], bytes]:
    """The certificate of a server that answers so, why it was waited for, and what it heard first."""
    heard = bytearray()
    reasons: list[str] = []

    async def answer_once(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        heard[:] = await reader.readexactly(len(REQUEST))
        writer.write(answer)
        if then and await reader.read(65_536):
            writer.write(then)
        await writer.drain()

    async def scenario() -> DesktopCertificate | None:
        async with serving(answer_once) as port:
            return await wait_for_certificate("127.0.0.1", port, seconds, on_try=reasons.append)

    return asyncio.run(scenario(), debug=True), reasons, bytes(heard)


@pytest.mark.parametrize(
    "answer", [REFUSAL, NO_NEGOTIATION, STANDARD_SECURITY], ids=["refusal", "old", "rdp"]
)
def test_a_server_without_tls_answers_and_shows_nothing(answer: bytes) -> None:
    """It was asked in the specification's bytes, and there is nothing to compare."""
    assert ask(answer) == (None, [], REQUEST)


def test_a_tls_that_breaks_down_shows_nothing() -> None:
    """What follows the promise is no TLS."""
    assert ask(TLS, then=b"HTTP/1.1 400 Bad Request\r\n\r\n")[0] is None


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        b"\x03\x00",
        b"SSH-2.0-OpenSSH_9.2\r\n",
        bytes.fromhex("03 00 00 04"),
        bytes.fromhex("03 00 ff ff") + bytes(19),
        bytes.fromhex("03 00 00 0b 06 e0 00 00 12 34 00"),
    ],
    ids=["nothing", "half", "ssh", "empty", "huge", "a request"],
)
def test_what_is_no_remote_desktop_is_waited_for(answer: bytes) -> None:
    """Each try is told, and in the end the time-out."""
    with pytest.raises(SessionTimeout, match="waiting for the remote desktop"):
        ask(answer, seconds=0.3)


@pytest.mark.parametrize(
    ("text", "thumbprint"),
    [
        ("", None),
        ("RDPCERTIFICATE-THUMBPRINT: 0123", None),
        (f"2026/01/02 03:04:05Z: RDPCERTIFICATE-THUMBPRINT: {'0a' * 20}\r\n", "0A" * 20),
        (f"RDPCERTIFICATE-Thumbprint: {'0a' * 20}\nRDPCERTIFICATE-THUMBPRINT: {'0B' * 20}\n", "0B" * 20),
    ],
)
def test_the_last_thumbprint_on_the_console_counts(text: str, thumbprint: str | None) -> None:
    """A node prints one at each start."""
    assert thumbprint_on_console(text) == thumbprint
