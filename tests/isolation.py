"""An environment without the developer in it: no ~/.aws, no ~/.ssh, no agent, no proxy, no AWS variables."""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path
from typing import Final

_REMOVED_PREFIXES: Final = ("AWS_", "SSM_SSH_", "XDG_", "SSH_", "BOTO", "_BOTO")
# The one variable of ours that a person sets to choose tests, not to configure the program.
_KEPT: Final = frozenset({"SSM_SSH_PLUGIN"})
_PROXIES: Final = ("http_proxy", "https_proxy", "all_proxy", "no_proxy", "ws_proxy", "wss_proxy")
_REMOVED: Final = frozenset(
    {*_PROXIES, *map(str.upper, _PROXIES), "SSL_CERT_FILE", "SSL_CERT_DIR", "NO_COLOR"}
)


class Isolation:
    """The process environment with an empty home, from construction to ``end``.

    OpenSSH takes the home folder from the password database, not from HOME: a test that runs ``ssh`` also
    passes ``-F`` and names its ``UserKnownHostsFile``.
    """

    def __init__(self) -> None:
        self._before = dict(os.environ)
        # Short, because sockets live below it and their paths may have 104 bytes.
        self._home = Path(tempfile.mkdtemp(prefix="home-"))
        for name in self._before:
            if name in _REMOVED or (name.startswith(_REMOVED_PREFIXES) and name not in _KEPT):
                del os.environ[name]
        os.environ["HOME"] = os.environ["USERPROFILE"] = str(self._home)
        for variable, folder in {
            "XDG_CONFIG_HOME": "config",
            "XDG_CACHE_HOME": "cache",
            "XDG_STATE_HOME": "state",
            "XDG_DATA_HOME": "data",
            "XDG_RUNTIME_DIR": "run",
        }.items():
            path = self._home / folder
            path.mkdir(mode=0o700)
            os.environ[variable] = str(path)
        # Without it botocore would ask 169.254.169.254 for credentials, and wait.
        os.environ["AWS_EC2_METADATA_DISABLED"] = "true"
        # git refuses to work without an identity; none of these reach a real repository.
        os.environ.update(GIT_CONFIG_NOSYSTEM="1", GIT_AUTHOR_NAME="A Test", GIT_COMMITTER_NAME="A Test")
        os.environ.update(GIT_AUTHOR_EMAIL="test@localhost", GIT_COMMITTER_EMAIL="test@localhost")

    def end(self) -> None:
        """Restore the environment and remove the home."""
        os.environ.clear()
        os.environ.update(self._before)
        shutil.rmtree(self._home, ignore_errors=True)
