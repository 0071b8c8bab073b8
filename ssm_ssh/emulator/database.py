"""The account's databases, caches and clusters: what an emulator is told of them and its API tells on.

Built in and not moto's: a describe call's answer is a few lines here, while moto costs 1.5 s and 223 MB
before its first answer, wants the resources to be created through its own API, and cannot name an endpoint
that the test chose. Names of endpoints lead to real servers through ``NodeSpec.ports``.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TypeAlias

from ssm_ssh.emulator.placement import DEFAULT_VPC_ID

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence


@dataclass(frozen=True, slots=True)
class Database:
    """An RDS instance, of its own or a member of a cluster.

    Attributes:
        engine: RDS's word: ``postgres``, ``mysql``, ``mariadb``, ``aurora-postgresql`` …
        endpoint_host: Empty while it is being created.
        cluster: Identifier of its ``DatabaseCluster``, or empty.
        has_iam: Whether IAM authentication is on.
        status: ``available`` or another of RDS's words.
    """

    identifier: str
    engine: str = "postgres"
    endpoint_host: str = ""
    port: int = 5432
    vpc_id: str = DEFAULT_VPC_ID
    cluster: str = ""
    database_name: str = ""
    user: str = "postgres"
    has_iam: bool = False
    status: str = "available"
    tags: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class DatabaseCluster:
    """An RDS cluster.

    Attributes:
        writer_host: RDS's ``Endpoint``.
        reader_host: RDS's ``ReaderEndpoint``, or empty.
        members: Identifiers of its instances, the writer first.
    """

    identifier: str
    engine: str = "aurora-postgresql"
    writer_host: str = ""
    reader_host: str = ""
    port: int = 5432
    vpc_id: str = DEFAULT_VPC_ID
    members: Sequence[str] = ()
    database_name: str = ""
    user: str = "postgres"
    has_iam: bool = False
    status: str = "available"
    tags: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class ReplicationGroup:
    """An ElastiCache replication group: one shard with two endpoints, or several with one.

    Attributes:
        primary_host: Of the one shard; empty in cluster mode.
        reader_host: Of the one shard, or empty.
        configuration_host: In cluster mode; empty otherwise.
        has_tls: Whether it speaks TLS only.
        has_password: Whether it asks for a token.
    """

    identifier: str
    primary_host: str = ""
    reader_host: str = ""
    configuration_host: str = ""
    port: int = 6379
    engine: str = "redis"
    vpc_id: str = DEFAULT_VPC_ID
    has_tls: bool = False
    has_password: bool = False
    status: str = "available"
    tags: Mapping[str, str] = field(default_factory=dict)

    @property
    def member(self) -> str:
        """Identifier of its first node's cache cluster, through which its VPC is found."""
        return f"{self.identifier}-001"


@dataclass(frozen=True, slots=True)
class CacheCluster:
    """An ElastiCache cluster without replication: one Redis node, or Memcached.

    Attributes:
        endpoint_host: Of the Redis node, or of Memcached's configuration.
    """

    identifier: str
    endpoint_host: str = ""
    port: int = 6379
    engine: str = "redis"
    vpc_id: str = DEFAULT_VPC_ID
    has_tls: bool = False
    status: str = "available"
    tags: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class KubernetesCluster:
    """An EKS cluster.

    Attributes:
        endpoint: Of its API server, such as ``https://….eks.amazonaws.com``.
        authority: PEM text of the authority that signs the server's certificate.
    """

    name: str
    endpoint: str = ""
    authority: str = ""
    vpc_id: str = DEFAULT_VPC_ID
    status: str = "ACTIVE"
    tags: Mapping[str, str] = field(default_factory=dict)


Resource: TypeAlias = Database | DatabaseCluster | ReplicationGroup | CacheCluster | KubernetesCluster


class ResourceTable:
    """All of an account's, in the order they were given; one may be added at any time."""

    def __init__(self, resources: Sequence[Resource] = ()) -> None:
        self._resources = list(resources)

    def __iter__(self) -> Iterator[Resource]:
        return iter(tuple(self._resources))

    def add(self, resource: Resource) -> None:
        """Add one."""
        self._resources.append(resource)
