"""What EKS tells of a cluster: where its API server is, and who signs for it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from ssm_ssh.errors import ControlPlaneError, TargetNotFound

if TYPE_CHECKING:
    from ssm_ssh.transport.service_calls import ServiceCalls


@dataclass(frozen=True, slots=True)
class Cluster:
    """An EKS cluster.

    Attributes:
        endpoint: Of its API server: an ``https`` URL.
        authority_data: The authority's certificate: PEM in base64, as kubeconfigs have it.
    """

    name: str
    endpoint: str
    authority_data: str


def describe_cluster(calls: ServiceCalls, name: str) -> Cluster:
    """The cluster of that name. Blocks.

    Raises:
        TargetNotFound: If there is none.
        ControlPlaneError: As ``ServiceCalls.call``, or if it has no API server yet.
    """
    operation = "DescribeCluster"
    try:
        answer = calls.call("eks", operation, name=name)["cluster"]
    except ControlPlaneError as error:
        if error.code != "ResourceNotFoundException":
            raise
        hint = "check the spelling and the region; `aws eks list-clusters` lists them"
        raise TargetNotFound(operation, error.code, error.message, hint=hint) from error
    endpoint = str(answer.get("endpoint") or "")
    if not endpoint.startswith("https://"):
        status = answer.get("status")
        raise ControlPlaneError(
            operation, "", f"{name} has no API server yet ({status})", hint="try again later"
        )
    return Cluster(name, endpoint, str((answer.get("certificateAuthority") or {}).get("data") or ""))
