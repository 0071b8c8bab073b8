"""ElastiCache's part of the API: which caches there are, and where."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, TypeVar

from ssm_ssh.emulator.api_error import ApiError
from ssm_ssh.emulator.database import CacheCluster, ReplicationGroup
from ssm_ssh.emulator.form_room import FormRoom, Listed, tag_list
from ssm_ssh.emulator.paging import page

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ssm_ssh.emulator.api_room import Call
    from ssm_ssh.emulator.service import Account

_VERSION: Final = "2015-02-02"
_NAMESPACE: Final = f"http://elasticache.amazonaws.com/doc/{_VERSION}/"
_DEFAULT_RECORDS: Final = 100

_T = TypeVar("_T")


def elasticache_room(account: Account) -> FormRoom:
    """The room of ElastiCache."""
    service = _CacheService(account)
    return FormRoom(
        signing_name="elasticache",
        version=_VERSION,
        namespace=_NAMESPACE,
        operations={
            "DescribeReplicationGroups": service.describe_replication_groups,
            "DescribeCacheClusters": service.describe_clusters,
            "DescribeCacheSubnetGroups": service.describe_subnet_groups,
            "ListTagsForResource": service.list_tags,
        },
    )


class _CacheService:
    def __init__(self, account: Account) -> None:
        self._account = account

    def describe_replication_groups(self, call: Call) -> dict[str, Any]:
        self._allow("DescribeReplicationGroups")
        wanted = call.parameters.get("ReplicationGroupId")
        selected = [group for group in self._groups() if wanted in (None, group.identifier)]
        if wanted is not None and not selected:
            raise _not_found("ReplicationGroup", wanted)
        entries, marker = _page(selected, call)
        shown = [self._group(entry) for entry in entries]
        return {"ReplicationGroups": Listed("ReplicationGroup", shown), "Marker": marker}

    def describe_clusters(self, call: Call) -> dict[str, Any]:
        self._allow("DescribeCacheClusters")
        wanted = call.parameters.get("CacheClusterId")
        has_nodes = call.parameters.get("ShowCacheNodeInfo") == "true"
        shown = [self._cluster(cluster, has_nodes=has_nodes) for cluster in self._clusters()]
        if call.parameters.get("ShowCacheClustersNotInReplicationGroups") != "true":
            shown += [self._member(group) for group in self._groups()]
        selected = [entry for entry in shown if wanted in (None, entry["CacheClusterId"])]
        if wanted is not None and not selected:
            raise _not_found("CacheCluster", wanted)
        entries, marker = _page(selected, call)
        return {"CacheClusters": Listed("CacheCluster", entries), "Marker": marker}

    def describe_subnet_groups(self, call: Call) -> dict[str, Any]:
        self._allow("DescribeCacheSubnetGroups")
        wanted = call.parameters.get("CacheSubnetGroupName")
        vpcs = sorted({entry.vpc_id for entry in self._all()})
        selected = [
            {"CacheSubnetGroupName": _subnet_group(vpc_id), "VpcId": vpc_id}
            for vpc_id in vpcs
            if wanted in (None, _subnet_group(vpc_id))
        ]
        if wanted is not None and not selected:
            text = f"Cache Subnet Group {wanted} does not exist."
            raise ApiError("CacheSubnetGroupNotFoundFault", text, status=400)
        entries, marker = _page(selected, call)
        return {"CacheSubnetGroups": Listed("CacheSubnetGroup", entries), "Marker": marker}

    def list_tags(self, call: Call) -> dict[str, Any]:
        self._allow("ListTagsForResource")
        wanted = call.parameters.get("ResourceName", "")
        for entry in self._all():
            if self._arn(entry) == wanted:
                return {"TagList": tag_list(entry.tags)}
        raise _not_found("CacheCluster", wanted.rpartition(":")[2])

    def _group(self, group: ReplicationGroup) -> dict[str, Any]:
        shard = {
            "NodeGroupId": "0001",
            "Status": "available",
            "PrimaryEndpoint": _endpoint(group.primary_host, group.port),
            "ReaderEndpoint": _endpoint(group.reader_host, group.port),
        }
        return {
            "ReplicationGroupId": group.identifier,
            "ARN": self._arn(group),
            "Status": group.status,
            "Engine": group.engine,
            "MemberClusters": Listed("ClusterId", [group.member]),
            "NodeGroups": Listed("NodeGroup", [shard]),
            "ConfigurationEndpoint": _endpoint(group.configuration_host, group.port),
            "ClusterEnabled": bool(group.configuration_host),
            "TransitEncryptionEnabled": group.has_tls,
            "AuthTokenEnabled": group.has_password,
        }

    def _member(self, group: ReplicationGroup) -> dict[str, Any]:
        """The cache cluster of a group's node: it alone names the subnet group."""
        return {
            "CacheClusterId": group.member,
            "ARN": self._account.settings.arn("elasticache", f"cluster:{group.member}"),
            "CacheClusterStatus": group.status,
            "Engine": group.engine,
            "NumCacheNodes": 1,
            "CacheSubnetGroupName": _subnet_group(group.vpc_id),
            "ReplicationGroupId": group.identifier,
            "TransitEncryptionEnabled": group.has_tls,
        }

    def _cluster(self, cluster: CacheCluster, *, has_nodes: bool) -> dict[str, Any]:
        endpoint = _endpoint(cluster.endpoint_host, cluster.port)
        is_memcached = cluster.engine == "memcached"
        node = {"CacheNodeId": "0001", "CacheNodeStatus": cluster.status, "Endpoint": endpoint}
        return {
            "CacheClusterId": cluster.identifier,
            "ARN": self._arn(cluster),
            "CacheClusterStatus": cluster.status,
            "Engine": cluster.engine,
            "NumCacheNodes": 1,
            "CacheSubnetGroupName": _subnet_group(cluster.vpc_id),
            "ConfigurationEndpoint": endpoint if is_memcached else None,
            "CacheNodes": Listed("CacheNode", [node]) if has_nodes else None,
            "TransitEncryptionEnabled": cluster.has_tls,
        }

    def _all(self) -> list[ReplicationGroup | CacheCluster]:
        return [*self._groups(), *self._clusters()]

    def _groups(self) -> list[ReplicationGroup]:
        return [entry for entry in self._account.resources if isinstance(entry, ReplicationGroup)]

    def _clusters(self) -> list[CacheCluster]:
        return [entry for entry in self._account.resources if isinstance(entry, CacheCluster)]

    def _arn(self, entry: ReplicationGroup | CacheCluster) -> str:
        kind = "replicationgroup" if isinstance(entry, ReplicationGroup) else "cluster"
        return self._account.settings.arn("elasticache", f"{kind}:{entry.identifier}")

    def _allow(self, operation: str) -> None:
        self._account.allow(f"elasticache:{operation}", self._account.settings.arn("elasticache", "*"))


def _endpoint(host: str, port: int) -> dict[str, Any] | None:
    return {"Address": host, "Port": port} if host else None


def _subnet_group(vpc_id: str) -> str:
    return f"group-{vpc_id}"


def _not_found(kind: str, name: str) -> ApiError:
    # Specification: of the two kinds only one code ends in Fault.
    code = "ReplicationGroupNotFoundFault" if kind == "ReplicationGroup" else "CacheClusterNotFound"
    return ApiError(code, f"{kind} {name} not found.", status=404)


def _page(selected: Sequence[_T], call: Call) -> tuple[Sequence[_T], str | None]:
    size = int(call.parameters.get("MaxRecords", _DEFAULT_RECORDS))
    return page(selected, size, call.parameters.get("Marker"), code="InvalidParameterValue")
