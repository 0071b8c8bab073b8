"""What RDS and ElastiCache tell of databases and caches: where they are, and what they speak."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Final

from ssm_ssh.errors import AccessDenied, ControlPlaneError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

    from ssm_ssh.transport.service_calls import ServiceCalls

_log = logging.getLogger(__name__)

# How the services say that there is none of that name, or that it could be no name of theirs.
_NOT_FOUND: Final = frozenset(
    {
        *("DBInstanceNotFound", "DBClusterNotFoundFault", "ReplicationGroupNotFoundFault"),
        *("CacheClusterNotFound", "InvalidParameterValue"),
    }
)


class DatabaseKind(StrEnum):
    """What a name can be the name of."""

    CLUSTER = "RDS cluster"
    INSTANCE = "RDS instance"
    REPLICATION_GROUP = "ElastiCache replication group"
    CACHE_CLUSTER = "ElastiCache cluster"


@dataclass(frozen=True, slots=True)
class Database:
    """A database or a cache.

    Attributes:
        engine: AWS's word: ``postgres``, ``aurora-mysql``, ``redis`` …
        host: Of the writer; empty while it is being created.
        reader_host: Empty where there is none of its own.
        user: The one it was made with; empty for caches.
        database_name: The one it was made with; empty where there is none.
        has_tls: Whether it speaks TLS; RDS always can.
        has_iam: Whether it takes IAM tokens.
        vpc_id: Empty where ``vpc_of`` has to ask by ``member`` or ``subnet_group``.
        cluster: Identifier of the cluster that an instance belongs to, or empty.
    """

    identifier: str
    kind: DatabaseKind
    arn: str
    engine: str
    host: str
    port: int
    reader_host: str = ""
    user: str = ""
    database_name: str = ""
    has_tls: bool = True
    has_iam: bool = False
    vpc_id: str = ""
    member: str = ""
    subnet_group: str = ""
    cluster: str = ""


@dataclass(frozen=True, slots=True)
class _Listing:
    """How one kind is listed.

    Attributes:
        by_name: The parameter that asks for one.
        more: Further parameters.
        member: Where the answer has them.
        read: One of them.
    """

    service: str
    operation: str
    by_name: str
    more: Mapping[str, object]
    member: str
    read: Callable[[Mapping[str, Any]], Database]


class DatabaseApi:
    """RDS's and ElastiCache's knowledge. Blocks."""

    def __init__(self, calls: ServiceCalls) -> None:
        self._calls = calls

    def named(self, identifier: str, kinds: Iterable[DatabaseKind] = tuple(DatabaseKind)) -> list[Database]:
        """All that bear this identifier; a service that may not be asked has none.

        Raises:
            ControlPlaneError: As ``ServiceCalls.call``; ``AccessDenied`` only if nothing was found.
        """
        return self._collect(kinds, lambda kind: self._named(kind, identifier))

    def tagged(self, key: str, value: str) -> list[Database]:
        """All that bear this tag, without the instances of clusters that do.

        Raises:
            ControlPlaneError: As ``named``.
        """
        found = self._collect(DatabaseKind, lambda kind: list(self._tagged(kind, key, value)))
        clusters = {entry.identifier for entry in found if entry.kind is DatabaseKind.CLUSTER}
        return [entry for entry in found if entry.cluster not in clusters]

    def vpc_of(self, database: Database) -> str:
        """The id of its VPC; empty if that cannot be told.

        Raises:
            ControlPlaneError: As ``ServiceCalls.call``.
        """
        if database.vpc_id:
            return database.vpc_id
        if database.kind is DatabaseKind.CLUSTER:
            return next((entry.vpc_id for entry in self._named(DatabaseKind.INSTANCE, database.member)), "")
        group = database.subnet_group
        if not group:
            answer = self._calls.call("elasticache", "DescribeCacheClusters", CacheClusterId=database.member)
            group = str(answer["CacheClusters"][0].get("CacheSubnetGroupName") or "")
        if not group:
            return ""
        answer = self._calls.call("elasticache", "DescribeCacheSubnetGroups", CacheSubnetGroupName=group)
        return str(answer["CacheSubnetGroups"][0].get("VpcId") or "")

    def _collect(
        self, kinds: Iterable[DatabaseKind], find: Callable[[DatabaseKind], list[Database]]
    ) -> list[Database]:
        found: list[Database] = []
        denied: AccessDenied | None = None
        for kind in kinds:
            try:
                found += find(kind)
            except AccessDenied as error:
                _log.info("%s: not asked for: %s", kind, error)
                denied = denied or error
        if denied is not None and not found:
            raise denied
        return found

    def _named(self, kind: DatabaseKind, identifier: str) -> list[Database]:
        if not identifier:
            return []
        listing = _LISTINGS[kind]
        try:
            answer = self._calls.call(
                listing.service, listing.operation, **{listing.by_name: identifier}, **listing.more
            )
        except ControlPlaneError as error:
            if error.code in _NOT_FOUND:
                return []
            raise
        return [listing.read(entry) for entry in answer.get(listing.member, ())]

    def _tagged(self, kind: DatabaseKind, key: str, value: str) -> Iterator[Database]:
        listing = _LISTINGS[kind]
        for page in self._calls.pages(listing.service, listing.operation, **listing.more):
            for entry in page.get(listing.member, ()):
                database = listing.read(entry)
                if {"Key": key, "Value": value} in self._tags(listing, entry, database):
                    yield database

    def _tags(self, listing: _Listing, entry: Mapping[str, Any], database: Database) -> list[dict[str, str]]:
        if listing.service == "rds":
            return list(entry.get("TagList", ()))
        # ElastiCache tells tags one by one only.
        answer = self._calls.call("elasticache", "ListTagsForResource", ResourceName=database.arn)
        return list(answer.get("TagList", ()))


def _read_cluster(entry: Mapping[str, Any]) -> Database:
    members = entry.get("DBClusterMembers") or [{}]
    return Database(
        identifier=str(entry["DBClusterIdentifier"]),
        kind=DatabaseKind.CLUSTER,
        arn=str(entry.get("DBClusterArn", "")),
        engine=str(entry.get("Engine", "")),
        host=str(entry.get("Endpoint") or ""),
        port=int(entry.get("Port") or 0),
        reader_host=str(entry.get("ReaderEndpoint") or ""),
        user=str(entry.get("MasterUsername") or ""),
        database_name=str(entry.get("DatabaseName") or ""),
        has_iam=bool(entry.get("IAMDatabaseAuthenticationEnabled")),
        member=str(members[0].get("DBInstanceIdentifier", "")),
    )


def _read_instance(entry: Mapping[str, Any]) -> Database:
    endpoint = entry.get("Endpoint") or {}
    return Database(
        identifier=str(entry["DBInstanceIdentifier"]),
        kind=DatabaseKind.INSTANCE,
        arn=str(entry.get("DBInstanceArn", "")),
        engine=str(entry.get("Engine", "")),
        host=str(endpoint.get("Address") or ""),
        port=int(endpoint.get("Port") or 0),
        user=str(entry.get("MasterUsername") or ""),
        database_name=str(entry.get("DBName") or ""),
        has_iam=bool(entry.get("IAMDatabaseAuthenticationEnabled")),
        vpc_id=str((entry.get("DBSubnetGroup") or {}).get("VpcId") or ""),
        cluster=str(entry.get("DBClusterIdentifier") or ""),
    )


def _read_replication_group(entry: Mapping[str, Any]) -> Database:
    shard = (entry.get("NodeGroups") or [{}])[0]
    writer = entry.get("ConfigurationEndpoint") or shard.get("PrimaryEndpoint") or {}
    return Database(
        identifier=str(entry["ReplicationGroupId"]),
        kind=DatabaseKind.REPLICATION_GROUP,
        arn=str(entry.get("ARN", "")),
        engine=str(entry.get("Engine") or "redis"),
        host=str(writer.get("Address") or ""),
        port=int(writer.get("Port") or 0),
        reader_host=str((shard.get("ReaderEndpoint") or {}).get("Address") or ""),
        has_tls=bool(entry.get("TransitEncryptionEnabled")),
        member=str((entry.get("MemberClusters") or [""])[0]),
    )


def _read_cache_cluster(entry: Mapping[str, Any]) -> Database:
    node = (entry.get("CacheNodes") or [{}])[0]
    endpoint = entry.get("ConfigurationEndpoint") or node.get("Endpoint") or {}
    return Database(
        identifier=str(entry["CacheClusterId"]),
        kind=DatabaseKind.CACHE_CLUSTER,
        arn=str(entry.get("ARN", "")),
        engine=str(entry.get("Engine", "")),
        host=str(endpoint.get("Address") or ""),
        port=int(endpoint.get("Port") or 0),
        has_tls=bool(entry.get("TransitEncryptionEnabled")),
        subnet_group=str(entry.get("CacheSubnetGroupName") or ""),
    )


_LISTINGS: Final = {
    DatabaseKind.CLUSTER: _Listing(
        "rds", "DescribeDBClusters", "DBClusterIdentifier", {}, "DBClusters", _read_cluster
    ),
    DatabaseKind.INSTANCE: _Listing(
        "rds", "DescribeDBInstances", "DBInstanceIdentifier", {}, "DBInstances", _read_instance
    ),
    DatabaseKind.REPLICATION_GROUP: _Listing(
        "elasticache",
        "DescribeReplicationGroups",
        "ReplicationGroupId",
        {},
        "ReplicationGroups",
        _read_replication_group,
    ),
    DatabaseKind.CACHE_CLUSTER: _Listing(
        "elasticache",
        "DescribeCacheClusters",
        "CacheClusterId",
        {"ShowCacheNodeInfo": True, "ShowCacheClustersNotInReplicationGroups": True},
        "CacheClusters",
        _read_cache_cluster,
    ),
}
