"""What EC2Launch leaves of a Windows node's first start: the password and the console's lines.

The password is really encrypted, so that only the private key of the key pair opens it (protocol.md, section
10.3). The console's lines carry the thumbprint of the remote desktop's certificate.
"""

from __future__ import annotations

import base64
from datetime import UTC, datetime

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.hazmat.primitives.serialization import load_pem_public_key, load_ssh_public_key


class WindowsLaunch:
    """A launch's secrets and traces; the attributes may be changed at any time and from any thread.

    Args:
        password: The administrator's; empty for an image that makes none.
        public_key: Of the key pair the node was launched with: PEM, or OpenSSH's ``ssh-rsa …`` line.
        is_ready: See the attribute.
        thumbprint: See the attribute.

    Raises:
        ValueError: If the key is not RSA: EC2 takes no other for passwords.

    Attributes:
        is_ready: Whether EC2Launch is done; before, password and console are empty.
        thumbprint: Of the remote desktop's certificate: SHA-1, 40 hexadecimal digits; empty for no lines.
    """

    def __init__(
        self, password: str = "", public_key: str = "", *, is_ready: bool = True, thumbprint: str = ""
    ) -> None:
        self.is_ready = is_ready
        self.thumbprint = thumbprint
        self._started_at = datetime.now(UTC)
        self._password_data = _encrypt(password, public_key) if password else ""

    @property
    def password_data(self) -> str:
        """As GetPasswordData gives it: base64 between line ends; empty until it is there."""
        return f"\r\n{self._password_data}\r\n" if self.is_ready and self._password_data else ""

    def console_output(self, computer_name: str) -> str:
        """The console's text; empty until EC2Launch has written it."""
        if not self.is_ready:
            return ""
        lines = ["Windows is being configured. SysprepState=IMAGE_STATE_UNDEPLOYABLE"]
        if self.thumbprint:
            lines += [
                f"RDPCERTIFICATE-SUBJECTNAME: {computer_name}",
                f"RDPCERTIFICATE-THUMBPRINT: {self.thumbprint.replace(':', '').upper()}",
            ]
        if self._password_data:
            lines += [
                "Username: Administrator",
                f"Password: <Password>\r\n{self._password_data}\r\n</Password>",
            ]
        lines.append("Message: Windows is Ready to use")
        moment = self._started_at.strftime("%Y/%m/%d %H:%M:%SZ")
        return "".join(f"{moment}: {line}\r\n" for line in lines)


def _encrypt(password: str, public_key: str) -> str:
    load = load_pem_public_key if public_key.lstrip().startswith("-----") else load_ssh_public_key
    try:
        key = load(public_key.encode())
    except (ValueError, UnsupportedAlgorithm) as error:
        raise ValueError("the key pair's public key cannot be read") from error
    if not isinstance(key, RSAPublicKey):
        raise ValueError("a password can be encrypted for an RSA key pair only")  # noqa: TRY004 -- a wrong value
    return base64.b64encode(key.encrypt(password.encode(), PKCS1v15())).decode("ascii")
