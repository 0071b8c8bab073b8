"""EKS's part of the API: where a cluster's API server is and who signs for it."""

from __future__ import annotations

import base64
import json
from typing import TYPE_CHECKING, Any

from aiohttp import web

from ssm_ssh.emulator.api_error import ApiError
from ssm_ssh.emulator.database import KubernetesCluster

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ssm_ssh.emulator.api_room import Call
    from ssm_ssh.emulator.service import Account

# AWS's statuses of what the JSON protocols share; the modelled errors bring their own.
_STATUSES = {"AccessDeniedException": 403, "ThrottlingException": 429, "ExpiredTokenException": 403}


class EksRoom:
    """The room of EKS: it names a cluster in the path, so it has routes of its own.

    Attributes:
        operations: By method and path.
    """

    signing_name = "eks"

    def __init__(self, account: Account) -> None:
        self._account = account
        self.operations = {
            ("GET", "/clusters/{name}"): "DescribeCluster",
            ("GET", "/clusters"): "ListClusters",
        }

    def answer(self, call: Call) -> web.Response:
        """Carry out the call; its parameters are the path's. Raises ``ApiError``."""
        self._account.allow(f"eks:{call.operation}", self._account.settings.arn("eks", "cluster/*"))
        clusters = {
            entry.name: entry for entry in self._account.resources if isinstance(entry, KubernetesCluster)
        }
        if call.operation == "ListClusters":
            return _response({"clusters": sorted(clusters)}, 200, call.request_id)
        name = str(call.parameters["name"])
        if name not in clusters:
            raise ApiError("ResourceNotFoundException", f"No cluster found for name: {name}.", status=404)
        return _response({"cluster": self._entry(clusters[name])}, 200, call.request_id)

    def refusal(self, error: ApiError, request_id: str) -> web.Response:
        """The answer to a call that was refused."""
        status = _STATUSES.get(error.code, error.status)
        return _response({"message": error.message}, status, request_id, code=error.code)

    def _entry(self, cluster: KubernetesCluster) -> dict[str, Any]:
        return {
            "name": cluster.name,
            "arn": self._account.settings.arn("eks", f"cluster/{cluster.name}"),
            "status": cluster.status,
            "version": "1.31",
            "endpoint": cluster.endpoint,
            "certificateAuthority": {"data": base64.b64encode(cluster.authority.encode()).decode("ascii")},
            "resourcesVpcConfig": {
                "vpcId": cluster.vpc_id,
                "endpointPublicAccess": False,
                "endpointPrivateAccess": True,
            },
            "tags": dict(cluster.tags),
        }


def _response(
    fields: Mapping[str, Any], status: int, request_id: str, *, code: str | None = None
) -> web.Response:
    headers = {"x-amzn-RequestId": request_id, **({} if code is None else {"x-amzn-ErrorType": code})}
    body = json.dumps(fields).encode()
    return web.Response(status=status, body=body, content_type="application/json", headers=headers)
