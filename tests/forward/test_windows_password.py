"""Private keys in all their forms, and what they open."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.asymmetric.rsa import generate_private_key
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
)

from ssm_ssh.errors import ControlPlaneError, InvalidOption
from ssm_ssh.forward.windows_password import decrypt_password, load_rsa_key

if TYPE_CHECKING:
    from pathlib import Path

KEY = generate_private_key(65537, 2048)
PASSPHRASE = "a phräse"


def no_question() -> str:
    """Nobody may be asked."""
    raise AssertionError


@pytest.mark.parametrize(
    "form", [PrivateFormat.TraditionalOpenSSL, PrivateFormat.PKCS8, PrivateFormat.OpenSSH]
)
@pytest.mark.parametrize("is_locked", [False, True])
def test_every_form_of_an_rsa_key_opens(form: PrivateFormat, is_locked: bool, tmp_path: Path) -> None:  # noqa: FBT001
    """With a passphrase it is asked for, without it nobody is."""
    encryption = BestAvailableEncryption(PASSPHRASE.encode()) if is_locked else NoEncryption()
    path = tmp_path / "key"
    path.write_bytes(KEY.private_bytes(Encoding.PEM, form, encryption))
    key = load_rsa_key(path, (lambda: PASSPHRASE) if is_locked else no_question)
    assert decrypt_password(KEY.public_key().encrypt("pÄss".encode(), PKCS1v15()), key) == "pÄss"


def test_a_wrong_passphrase_is_told(tmp_path: Path) -> None:
    """Without what cryptography says of it line by line."""
    path = tmp_path / "key"
    locked = BestAvailableEncryption(PASSPHRASE.encode())
    path.write_bytes(KEY.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, locked))
    with pytest.raises(InvalidOption, match="cannot be opened"):
        load_rsa_key(path, lambda: "wrong")


@pytest.mark.parametrize("bits", [2048, 3072])
def test_another_key_is_told(bits: int) -> None:
    """Of the same size and of another."""
    data = KEY.public_key().encrypt(b"password", PKCS1v15())
    with pytest.raises(InvalidOption, match="does not open the node's password"):
        decrypt_password(data, generate_private_key(65537, bits))


def test_no_password_yet_is_aws_s_word() -> None:
    """Not the key's fault."""
    with pytest.raises(ControlPlaneError, match=r"\(yet\)"):
        decrypt_password(b"", KEY)
