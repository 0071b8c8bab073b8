"""The administrator's password of a Windows node, opened with the key pair that the node was launched with.

The wire is protocol 10.3.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from cryptography.hazmat.primitives.serialization import load_pem_private_key, load_ssh_private_key

from ssm_ssh.errors import ControlPlaneError, InvalidOption

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes
    from cryptography.hazmat.primitives.serialization import SSHPrivateKeyTypes

_OPENSSH: Final = b"-----BEGIN OPENSSH PRIVATE KEY-----"
_KEY_HINT: Final = "give the private key (PEM) of the key pair that the node was launched with"
_MISSING_HINT: Final = (
    "it takes up to 15 minutes after the first start, and images of one's own often make none: then log in "
    "with the password that they were made with"
)


def load_rsa_key(path: Path, ask_passphrase: Callable[[], str]) -> RSAPrivateKey:
    """Read a private key, in PEM or in OpenSSH's own form.

    Args:
        path: The file.
        ask_passphrase: Called if the key is encrypted.

    Raises:
        InvalidOption: If it cannot be read, or is no RSA key: nothing else can open a password.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise InvalidOption(f"the key {path} cannot be read: {error.strerror}", hint=_KEY_HINT) from error
    try:
        try:
            key = _load(data, None)
        except TypeError:
            # cryptography's way of saying that a passphrase is needed.
            key = _load(data, ask_passphrase().encode())
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        reason = str(error).split("\n", maxsplit=1)[0]
        raise InvalidOption(f"the key {path} cannot be opened: {reason}", hint=_KEY_HINT) from None
    if not isinstance(key, RSAPrivateKey):
        raise InvalidOption(
            f"the key {path} is no RSA key: EC2 encrypts passwords for RSA key pairs only",
            hint="a node with an ED25519 key pair has no password to ask for: set one on the node",
        )
    return key


def _load(data: bytes, passphrase: bytes | None) -> PrivateKeyTypes | SSHPrivateKeyTypes:
    if data.lstrip().startswith(_OPENSSH):
        return load_ssh_private_key(data, passphrase)
    return load_pem_private_key(data, passphrase)


def decrypt_password(password_data: bytes, key: RSAPrivateKey) -> str:
    """The password.

    Raises:
        ControlPlaneError: If there is none yet.
        InvalidOption: If it was encrypted for another key.
    """
    if not password_data:
        raise ControlPlaneError(
            "GetPasswordData", "", "the node has no password to give (yet)", hint=_MISSING_HINT
        )
    try:
        password = key.decrypt(password_data, PKCS1v15()).decode()
    except ValueError:
        password = ""
    # A wrong key of the right size does not fail: OpenSSL answers with random bytes then, on purpose.
    if not password or not password.isprintable():
        raise InvalidOption("the key does not open the node's password", hint=_KEY_HINT)
    return password
