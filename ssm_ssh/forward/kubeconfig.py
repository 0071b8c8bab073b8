"""A kubeconfig of our own for one cluster, beside the user's.

kubectl joins the files that ``KUBECONFIG`` lists, so nobody has to edit another's: nothing of the user's is
read, rewritten or lost, taking it away again is deleting one file, and no YAML needs to be parsed. JSON is
YAML, and every client reads it.
"""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from ssm_ssh.errors import InvalidOption

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ssm_ssh.transport.cluster_api import Cluster


def context_name(cluster: str) -> str:
    """What kubectl calls it."""
    return f"ssm-ssh-{cluster}"


def kubeconfig_path(cluster: str) -> Path:
    """Where the file of a cluster is."""
    return Path.home() / ".kube" / f"{context_name(cluster)}.json"


def render_kubeconfig(cluster: Cluster, *, socks_port: int, token_command: Sequence[str]) -> str:
    """The file's text: one cluster, one user, one context, and that one chosen.

    Args:
        cluster: What EKS tells of it.
        socks_port: The port of this machine that leads to it.
        token_command: Prints an ``ExecCredential``.
    """
    name = context_name(cluster.name)
    program, *arguments = token_command
    # The name goes through the proxy as it is, so the certificate's is the right one.
    server = {
        "server": cluster.endpoint,
        "certificate-authority-data": cluster.authority_data,
        "proxy-url": f"socks5://127.0.0.1:{socks_port}",
    }
    ask = {
        "apiVersion": "client.authentication.k8s.io/v1beta1",
        "command": program,
        "args": arguments,
        "interactiveMode": "IfAvailable",
    }
    content = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": name, "cluster": server}],
        "users": [{"name": name, "user": {"exec": ask}}],
        "contexts": [{"name": name, "context": {"cluster": name, "user": name}}],
        "current-context": name,
    }
    return json.dumps(content, indent=2) + "\n"


def write_kubeconfig(path: Path, text: str) -> None:
    """Put a file in place, whole or not at all, for its owner only.

    Raises:
        InvalidOption: If it cannot be written.
    """
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        # Made 0600.
        descriptor, name = tempfile.mkstemp(prefix=f".{path.name}-", dir=path.parent)
        try:
            with open(descriptor, "w", encoding="utf-8") as file:
                file.write(text)
            Path(name).replace(path)
        except BaseException:
            Path(name).unlink()
            raise
    except OSError as error:
        raise InvalidOption(
            f"{path} cannot be written: {error.strerror}", hint="check who owns it and its folder"
        ) from error


def remove_kubeconfig(cluster: str) -> bool:
    """Take the file of a cluster away; whether there was one.

    Raises:
        InvalidOption: If it cannot be removed.
    """
    path = kubeconfig_path(cluster)
    try:
        path.unlink()
    except FileNotFoundError:
        return False
    except OSError as error:
        raise InvalidOption(f"{path} cannot be removed: {error.strerror}") from error
    return True
