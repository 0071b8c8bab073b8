"""RDS's part of the API: which databases there are, and where."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, TypeVar

from ssm_ssh.emulator.api_error import ApiError
from ssm_ssh.emulator.database import Database, DatabaseCluster
from ssm_ssh.emulator.form_room import FormRoom, Listed, filters, tag_list
from ssm_ssh.emulator.paging import page

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from ssm_ssh.emulator.api_room import Call
    from ssm_ssh.emulator.service import Account

_VERSION: Final = "2014-10-31"
_NAMESPACE: Final = f"http://rds.amazonaws.com/doc/{_VERSION}/"
_DEFAULT_RECORDS: Final = 100
_AUTHORITY: Final = "rds-ca-rsa2048-g1"

_R = TypeVar("_R", Database, DatabaseCluster)


def rds_room(account: Account) -> FormRoom:
    """The room of RDS."""
    service = _DatabaseService(account)
    return FormRoom(
        signing_name="rds",
        version=_VERSION,
        namespace=_NAMESPACE,
        operations={
            "DescribeDBInstances": service.describe_instances,
            "DescribeDBClusters": service.describe_clusters,
        },
    )


class _DatabaseService:
    def __init__(self, account: Account) -> None:
        self._account = account

    def describe_instances(self, call: Call) -> dict[str, Any]:
        self._account.allow("rds:DescribeDBInstances", self._account.settings.arn("rds", "db:*"))
        known = [entry for entry in self._account.resources if isinstance(entry, Database)]
        wanted = call.parameters.get("DBInstanceIdentifier")
        selected = _select(known, wanted, filters(call.parameters), _INSTANCE_FILTERS)
        if wanted is not None and not selected:
            raise ApiError("DBInstanceNotFound", f"DBInstance {wanted} not found.", status=404)
        entries, marker = _page(selected, call)
        return {
            "DBInstances": Listed("DBInstance", [self._instance(entry) for entry in entries]),
            "Marker": marker,
        }

    def describe_clusters(self, call: Call) -> dict[str, Any]:
        self._account.allow("rds:DescribeDBClusters", self._account.settings.arn("rds", "cluster:*"))
        known = [entry for entry in self._account.resources if isinstance(entry, DatabaseCluster)]
        wanted = call.parameters.get("DBClusterIdentifier")
        selected = _select(known, wanted, filters(call.parameters), _CLUSTER_FILTERS)
        if wanted is not None and not selected:
            raise ApiError("DBClusterNotFoundFault", f"DBCluster {wanted} not found.", status=404)
        entries, marker = _page(selected, call)
        return {
            "DBClusters": Listed("DBCluster", [self._cluster(entry) for entry in entries]),
            "Marker": marker,
        }

    def _instance(self, database: Database) -> dict[str, Any]:
        endpoint = {"Address": database.endpoint_host, "Port": database.port}
        return {
            "DBInstanceIdentifier": database.identifier,
            "DBInstanceArn": self._account.settings.arn("rds", f"db:{database.identifier}"),
            "DBInstanceClass": "db.t3.micro",
            "DBInstanceStatus": database.status,
            "Engine": database.engine,
            "MasterUsername": database.user,
            "DBName": database.database_name or None,
            "Endpoint": endpoint if database.endpoint_host else None,
            "DBSubnetGroup": {
                "DBSubnetGroupName": f"group-{database.vpc_id}",
                "VpcId": database.vpc_id,
                "SubnetGroupStatus": "Complete",
            },
            "DBClusterIdentifier": database.cluster or None,
            "IAMDatabaseAuthenticationEnabled": database.has_iam,
            "PubliclyAccessible": False,
            "CACertificateIdentifier": _AUTHORITY,
            "TagList": tag_list(database.tags),
        }

    def _cluster(self, cluster: DatabaseCluster) -> dict[str, Any]:
        members = [
            {"DBInstanceIdentifier": name, "IsClusterWriter": number == 0}
            for number, name in enumerate(cluster.members)
        ]
        return {
            "DBClusterIdentifier": cluster.identifier,
            "DBClusterArn": self._account.settings.arn("rds", f"cluster:{cluster.identifier}"),
            "Status": cluster.status,
            "Engine": cluster.engine,
            "MasterUsername": cluster.user,
            "DatabaseName": cluster.database_name or None,
            "Endpoint": cluster.writer_host or None,
            "ReaderEndpoint": cluster.reader_host or None,
            "Port": cluster.port,
            # A cluster tells its subnet group's name only; its VPC is known from its members.
            "DBSubnetGroup": f"group-{cluster.vpc_id}",
            "DBClusterMembers": Listed("DBClusterMember", members),
            "IAMDatabaseAuthenticationEnabled": cluster.has_iam,
            "TagList": tag_list(cluster.tags),
        }


_INSTANCE_FILTERS: Final[dict[str, Callable[[Database], str]]] = {
    "db-instance-id": lambda entry: entry.identifier,
    "db-cluster-id": lambda entry: entry.cluster,
    "engine": lambda entry: entry.engine,
}
_CLUSTER_FILTERS: Final[dict[str, Callable[[DatabaseCluster], str]]] = {
    "db-cluster-id": lambda entry: entry.identifier,
    "engine": lambda entry: entry.engine,
}


def _select(
    known: Sequence[_R],
    wanted: str | None,
    asked: Mapping[str, Sequence[str]],
    readers: Mapping[str, Callable[[_R], str]],
) -> list[_R]:
    """Those of that identifier, in whatever case, that pass every filter."""
    for name in asked:
        if name not in readers:
            raise ApiError("InvalidParameterValue", f"Unrecognized filter name: {name}")
    return [
        entry
        for entry in known
        if (wanted is None or entry.identifier == wanted.lower())
        and all(readers[name](entry) in values for name, values in asked.items())
    ]


def _page(selected: Sequence[_R], call: Call) -> tuple[Sequence[_R], str | None]:
    size = int(call.parameters.get("MaxRecords", _DEFAULT_RECORDS))
    return page(selected, size, call.parameters.get("Marker"), code="InvalidParameterValue")
