"""Which certificate authorities are trusted: exactly those that botocore would trust."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from botocore.httpsession import create_urllib3_context, get_cert_path

from ssm_ssh.errors import InvalidOption

if TYPE_CHECKING:
    import ssl

    from botocore.session import Session


def ca_bundle(session: Session) -> str:
    """The file of trusted authorities: AWS_CA_BUNDLE, the profile's, REQUESTS_CA_BUNDLE, botocore's own.

    Raises:
        InvalidOption: If the configured file does not exist.
    """
    configured = session.get_config_variable("ca_bundle") or os.environ.get("REQUESTS_CA_BUNDLE")
    if configured and not Path(configured).exists():
        raise InvalidOption(f"there is no CA bundle {configured!r}", hint="check AWS_CA_BUNDLE or ca_bundle")
    return str(configured or get_cert_path(verify=True))


def client_context(bundle: str) -> ssl.SSLContext:
    """A context as botocore makes it for its own calls, which checks host names too.

    Loading the usual hundred authorities takes about 15 ms, with the interpreter's lock released.

    Raises:
        InvalidOption: If the file holds no certificates.
    """
    context: ssl.SSLContext = create_urllib3_context()
    context.check_hostname = True
    try:
        context.load_verify_locations(bundle)
    except OSError as error:
        raise InvalidOption(
            f"the CA bundle {bundle!r} cannot be used: {error.strerror or error}",
            hint="check AWS_CA_BUNDLE or ca_bundle",
        ) from error
    return context
