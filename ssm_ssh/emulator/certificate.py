"""A private certificate authority and a server certificate of it, made anew for every TLS emulator."""

from __future__ import annotations

import ipaddress
import ssl
from datetime import UTC, datetime, timedelta
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Final

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

if TYPE_CHECKING:
    from collections.abc import Iterable

_VALID: Final = timedelta(days=2)
_LOOPBACK_ADDRESSES: Final = ("127.0.0.1", "::1")


class Certificate:
    """Files and an SSL context; the files vanish with ``close``.

    Attributes:
        authority_path: PEM file of the authority: what ``AWS_CA_BUNDLE`` names.
        context: The server's.
    """

    def __init__(self, host_names: Iterable[str]) -> None:
        self._directory = TemporaryDirectory(prefix="ssm-ssh-emulator-")
        folder = Path(self._directory.name)
        authority_key = ec.generate_private_key(ec.SECP256R1())
        server_key = ec.generate_private_key(ec.SECP256R1())
        authority = _authority(authority_key)
        server = _server(server_key, authority, authority_key, host_names)
        self.authority_path = folder / "authority.pem"
        self.authority_path.write_bytes(authority.public_bytes(serialization.Encoding.PEM))
        server_path = folder / "server.pem"
        # The directory is for its owner alone, and so is the key in it.
        server_path.write_bytes(
            server_key.private_bytes(
                serialization.Encoding.PEM,
                serialization.PrivateFormat.PKCS8,
                serialization.NoEncryption(),
            )
            + server.public_bytes(serialization.Encoding.PEM)
        )
        self.context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        self.context.load_cert_chain(server_path)

    def close(self) -> None:
        """Remove the files."""
        self._directory.cleanup()


def _authority(key: ec.EllipticCurvePrivateKey) -> x509.Certificate:
    name = _name("ssm-ssh emulator authority")
    usage = x509.KeyUsage(
        digital_signature=True,
        key_cert_sign=True,
        crl_sign=True,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )
    return (
        _builder(name, name, key)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(usage, critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .sign(key, hashes.SHA256())
    )


def _server(
    key: ec.EllipticCurvePrivateKey,
    authority: x509.Certificate,
    authority_key: ec.EllipticCurvePrivateKey,
    host_names: Iterable[str],
) -> x509.Certificate:
    names: list[x509.GeneralName] = [x509.IPAddress(ipaddress.ip_address(a)) for a in _LOOPBACK_ADDRESSES]
    names += [x509.DNSName(name) for name in ("localhost", *sorted(host_names))]
    issuer_key = authority_key.public_key()
    return (
        _builder(_name("ssm-ssh emulator"), authority.subject, key)
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer_key), critical=False)
        .sign(authority_key, hashes.SHA256())
    )


def _builder(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePrivateKey
) -> x509.CertificateBuilder:
    now = datetime.now(UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + _VALID)
    )


def _name(text: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])
