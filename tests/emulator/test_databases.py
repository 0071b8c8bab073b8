"""RDS, ElastiCache, EKS and the VPCs as stock botocore sees them."""

from __future__ import annotations

import base64
from typing import TYPE_CHECKING, Any

import pytest
from botocore.exceptions import ClientError

from ssm_ssh.emulator.database import (
    CacheCluster,
    Database,
    DatabaseCluster,
    KubernetesCluster,
    ReplicationGroup,
)
from ssm_ssh.emulator.placement import DEFAULT_VPC_ID, Placement
from ssm_ssh.emulator.start import RunningEmulator, start_emulator
from tests.emulator.echo_node import EchoNode
from tests.emulator.scripted_client import aws_client

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

OTHER_VPC = "vpc-0fedcba9876543210"
OTHER = Placement(OTHER_VPC, "subnet-0fedcba9876543210", "10.1.0.0/16", "10.1.1.0/24", "b")
RESOURCES = (
    Database("orders", endpoint_host="orders.abc.rds.internal", tags={"team": "a"}, has_iam=True),
    Database("new", "mysql", port=3306, status="creating"),
    Database("shop-1", "aurora-postgresql", "shop-1.abc.rds.internal", vpc_id=OTHER_VPC, cluster="shop"),
    DatabaseCluster(
        "shop",
        writer_host="shop.cluster-abc.rds.internal",
        reader_host="shop.cluster-ro-abc.rds.internal",
        vpc_id=OTHER_VPC,
        members=("shop-1",),
        tags={"team": "b"},
    ),
    ReplicationGroup("sessions", "master.sessions.internal", "replica.sessions.internal", has_tls=True),
    ReplicationGroup("sharded", configuration_host="clustercfg.sharded.internal", tags={"team": "c"}),
    CacheCluster("solo", "solo.internal", vpc_id="vpc-0aaaaaaaaaaaaaaaa", tags={"team": "d"}),
    CacheCluster("mem", "mem.cfg.internal", 11211, "memcached"),
    KubernetesCluster("blue", "https://ABC.eks.internal", "-----BEGIN CERTIFICATE-----\n"),
)


@pytest.fixture(scope="module")
def emulator() -> Iterator[RunningEmulator]:
    """Two nodes in two VPCs, and one of everything else."""
    nodes = [EchoNode(), EchoNode("far", "i-0fedcba9876543210", placement=OTHER)]
    with start_emulator(nodes, resources=RESOURCES) as running:
        yield running


@pytest.fixture
def client(emulator: RunningEmulator) -> Iterator[Callable[[str], Any]]:
    """Stock clients by service."""
    made: list[Any] = []

    def make(service: str) -> Any:  # noqa: ANN401 -- botocore is untyped
        made.append(aws_client(emulator.environment, service))
        return made[-1]

    yield make
    for one in made:
        one.close()


def test_an_instance_tells_all_that_a_connection_needs(client: Callable[[str], Any]) -> None:
    """Engine, endpoint, VPC, IAM, tags; an identifier in any case."""
    (shown,) = client("rds").describe_db_instances(DBInstanceIdentifier="Orders")["DBInstances"]
    assert shown["Engine"] == "postgres"
    assert shown["Endpoint"] == {"Address": "orders.abc.rds.internal", "Port": 5432}
    assert shown["DBSubnetGroup"]["VpcId"] == DEFAULT_VPC_ID
    assert shown["IAMDatabaseAuthenticationEnabled"] is True
    assert shown["TagList"] == [{"Key": "team", "Value": "a"}]
    assert shown["DBInstanceArn"].endswith(":rds:eu-central-1:123456789012:db:orders")
    assert "DBClusterIdentifier" not in shown


def test_an_instance_being_created_has_no_endpoint(client: Callable[[str], Any]) -> None:
    """As RDS leaves the member out."""
    (shown,) = client("rds").describe_db_instances(DBInstanceIdentifier="new")["DBInstances"]
    assert (shown["DBInstanceStatus"], "Endpoint" in shown) == ("creating", False)


def test_instances_are_filtered_and_come_in_pages(client: Callable[[str], Any]) -> None:
    """By cluster and by engine; the marker leads on."""
    rds = client("rds")
    for name, value in (("db-cluster-id", "shop"), ("engine", "aurora-postgresql")):
        (shown,) = rds.describe_db_instances(Filters=[{"Name": name, "Values": [value, "x"]}])["DBInstances"]
        assert shown["DBInstanceIdentifier"] == "shop-1"
        assert shown["DBClusterIdentifier"] == "shop"
    pages = rds.get_paginator("describe_db_instances").paginate(PaginationConfig={"PageSize": 20})
    assert [entry["DBInstanceIdentifier"] for page in pages for entry in page["DBInstances"]] == [
        "orders",
        "new",
        "shop-1",
    ]
    first = rds.describe_db_instances(MaxRecords=1)
    second = rds.describe_db_instances(MaxRecords=1, Marker=first["Marker"])
    assert second["DBInstances"][0]["DBInstanceIdentifier"] == "new"


def test_a_cluster_has_a_writer_a_reader_and_members(client: Callable[[str], Any]) -> None:
    """Its VPC is known through a member."""
    rds = client("rds")
    (shown,) = rds.describe_db_clusters(DBClusterIdentifier="shop")["DBClusters"]
    assert shown["Endpoint"] == "shop.cluster-abc.rds.internal"
    assert shown["ReaderEndpoint"] == "shop.cluster-ro-abc.rds.internal"
    assert shown["Port"] == 5432
    assert shown["TagList"] == [{"Key": "team", "Value": "b"}]
    (member,) = shown["DBClusterMembers"]
    assert member == {"DBInstanceIdentifier": "shop-1", "IsClusterWriter": True}
    (instance,) = rds.describe_db_instances(DBInstanceIdentifier="shop-1")["DBInstances"]
    assert instance["DBSubnetGroup"]["VpcId"] == OTHER_VPC


def test_replication_groups_with_and_without_shards(client: Callable[[str], Any]) -> None:
    """One shard shows its two endpoints, cluster mode its configuration endpoint."""
    elasticache = client("elasticache")
    (shown,) = elasticache.describe_replication_groups(ReplicationGroupId="sessions")["ReplicationGroups"]
    (shard,) = shown["NodeGroups"]
    assert shard["PrimaryEndpoint"] == {"Address": "master.sessions.internal", "Port": 6379}
    assert shard["ReaderEndpoint"] == {"Address": "replica.sessions.internal", "Port": 6379}
    assert (shown["TransitEncryptionEnabled"], shown["ClusterEnabled"]) == (True, False)
    (shown,) = elasticache.describe_replication_groups(ReplicationGroupId="sharded")["ReplicationGroups"]
    assert shown["ConfigurationEndpoint"] == {"Address": "clustercfg.sharded.internal", "Port": 6379}
    assert elasticache.list_tags_for_resource(ResourceName=shown["ARN"])["TagList"] == [
        {"Key": "team", "Value": "c"}
    ]


def test_a_caches_vpc_is_found_as_in_aws(client: Callable[[str], Any]) -> None:
    """Group, member cluster, subnet group, VPC."""
    elasticache = client("elasticache")
    (group,) = elasticache.describe_replication_groups(ReplicationGroupId="sessions")["ReplicationGroups"]
    (member,) = elasticache.describe_cache_clusters(CacheClusterId=group["MemberClusters"][0])[
        "CacheClusters"
    ]
    name = member["CacheSubnetGroupName"]
    (subnets,) = elasticache.describe_cache_subnet_groups(CacheSubnetGroupName=name)["CacheSubnetGroups"]
    assert subnets["VpcId"] == DEFAULT_VPC_ID


def test_clusters_outside_of_groups(client: Callable[[str], Any]) -> None:
    """Their nodes on request only; Memcached's configuration endpoint always."""
    elasticache = client("elasticache")
    shown = elasticache.describe_cache_clusters(
        ShowCacheNodeInfo=True, ShowCacheClustersNotInReplicationGroups=True
    )["CacheClusters"]
    solo, mem = shown
    assert solo["CacheNodes"][0]["Endpoint"] == {"Address": "solo.internal", "Port": 6379}
    assert mem["ConfigurationEndpoint"] == {"Address": "mem.cfg.internal", "Port": 11211}
    assert elasticache.list_tags_for_resource(ResourceName=solo["ARN"])["TagList"][0]["Value"] == "d"
    everything = elasticache.describe_cache_clusters()["CacheClusters"]
    assert [entry["CacheClusterId"] for entry in everything] == [
        "solo",
        "mem",
        "sessions-001",
        "sharded-001",
    ]
    assert "CacheNodes" not in everything[0]


def test_a_kubernetes_cluster(client: Callable[[str], Any]) -> None:
    """Its endpoint and its authority, by a path and not by a form."""
    eks = client("eks")
    shown = eks.describe_cluster(name="blue")["cluster"]
    assert shown["endpoint"] == "https://ABC.eks.internal"
    assert base64.b64decode(shown["certificateAuthority"]["data"]) == b"-----BEGIN CERTIFICATE-----\n"
    assert shown["resourcesVpcConfig"]["vpcId"] == DEFAULT_VPC_ID
    assert eks.list_clusters()["clusters"] == ["blue"]


def test_vpcs_and_subnets_of_the_nodes(client: Callable[[str], Any]) -> None:
    """A node is found by the VPC of a database."""
    ec2 = client("ec2")
    vpcs = {vpc["VpcId"]: vpc.get("CidrBlock") for vpc in ec2.describe_vpcs()["Vpcs"]}
    assert vpcs == {
        DEFAULT_VPC_ID: "10.0.0.0/16",
        OTHER_VPC: "10.1.0.0/16",
        "vpc-0aaaaaaaaaaaaaaaa": None,
    }
    (subnet,) = ec2.describe_subnets(Filters=[{"Name": "vpc-id", "Values": [OTHER_VPC]}])["Subnets"]
    assert (subnet["SubnetId"], subnet["AvailabilityZone"]) == (OTHER.subnet_id, "eu-central-1b")
    answer = ec2.describe_instances(Filters=[{"Name": "vpc-id", "Values": [OTHER_VPC]}])
    (instance,) = answer["Reservations"][0]["Instances"]
    assert (instance["InstanceId"], instance["SubnetId"]) == ("i-0fedcba9876543210", OTHER.subnet_id)
    assert len(ec2.describe_vpcs(VpcIds=[OTHER_VPC])["Vpcs"]) == 1


def find(client: Callable[[str], Any], name: str) -> Any:  # noqa: ANN401 -- botocore is untyped
    """The method that ``service.operation`` names."""
    service, _, operation = name.partition(".")
    return getattr(client(service), operation)


@pytest.mark.parametrize(
    ("operation", "parameters", "code", "status"),
    [
        ("rds.describe_db_instances", {"DBInstanceIdentifier": "none"}, "DBInstanceNotFound", 404),
        ("rds.describe_db_clusters", {"DBClusterIdentifier": "none"}, "DBClusterNotFoundFault", 404),
        (
            "rds.describe_db_clusters",
            {"Filters": [{"Name": "colour", "Values": ["red"]}]},
            "InvalidParameterValue",
            400,
        ),
        ("rds.describe_db_instances", {"Marker": "?"}, "InvalidParameterValue", 400),
        ("rds.describe_events", {}, "InvalidAction", 400),
        (
            "elasticache.describe_replication_groups",
            {"ReplicationGroupId": "none"},
            "ReplicationGroupNotFoundFault",
            404,
        ),
        ("elasticache.describe_cache_clusters", {"CacheClusterId": "none"}, "CacheClusterNotFound", 404),
        (
            "elasticache.describe_cache_subnet_groups",
            {"CacheSubnetGroupName": "none"},
            "CacheSubnetGroupNotFoundFault",
            400,
        ),
        ("elasticache.list_tags_for_resource", {"ResourceName": "a:none"}, "CacheClusterNotFound", 404),
        ("eks.describe_cluster", {"name": "none"}, "ResourceNotFoundException", 404),
        ("ec2.describe_vpcs", {"VpcIds": ["vpc-none"]}, "InvalidVpcID.NotFound", 400),
        ("ec2.describe_subnets", {"SubnetIds": ["subnet-none"]}, "InvalidSubnetID.NotFound", 400),
        (
            "ec2.describe_subnets",
            {"Filters": [{"Name": "colour", "Values": ["red"]}]},
            "InvalidParameterValue",
            400,
        ),
    ],
)
def test_refusals(
    client: Callable[[str], Any],
    operation: str,
    parameters: dict[str, Any],
    code: str,
    status: int,
) -> None:
    """Each in the words and the shape of its service."""
    with pytest.raises(ClientError) as caught:
        find(client, operation)(**parameters)
    assert caught.value.response["Error"]["Code"] == code
    assert caught.value.response["ResponseMetadata"]["HTTPStatusCode"] == status


@pytest.mark.parametrize(
    ("operation", "action", "code"),
    [
        ("rds.describe_db_instances", "rds:DescribeDBInstances", "AccessDenied"),
        (
            "elasticache.describe_cache_clusters",
            "elasticache:DescribeCacheClusters",
            "AccessDenied",
        ),
        ("eks.list_clusters", "eks:ListClusters", "AccessDeniedException"),
    ],
)
def test_denials(
    emulator: RunningEmulator,
    client: Callable[[str], Any],
    operation: str,
    action: str,
    code: str,
) -> None:
    """IAM's answer, by the faults."""
    emulator.inject(denied_actions=frozenset({action}))
    try:
        with pytest.raises(ClientError) as caught:
            find(client, operation)()
    finally:
        emulator.inject(denied_actions=frozenset())
    assert caught.value.response["Error"]["Code"] == code
    assert caught.value.response["ResponseMetadata"]["HTTPStatusCode"] == 403


@pytest.mark.parametrize(
    ("service", "operation", "code"),
    [
        ("rds", "describe_db_instances", "SignatureDoesNotMatch"),
        ("elasticache", "describe_replication_groups", "SignatureDoesNotMatch"),
        ("eks", "list_clusters", "InvalidSignatureException"),
    ],
)
def test_a_wrong_signature_is_refused(
    emulator: RunningEmulator, service: str, operation: str, code: str
) -> None:
    """The new services stand behind the same guard."""
    client = aws_client({**emulator.environment, "AWS_SECRET_ACCESS_KEY": "wrong"}, service)
    try:
        with pytest.raises(ClientError) as caught:
            getattr(client, operation)()
    finally:
        client.close()
    assert caught.value.response["Error"]["Code"] == code


def test_one_may_come_later(emulator: RunningEmulator, client: Callable[[str], Any]) -> None:
    """Added to a running emulator."""
    emulator.add_resource(CacheCluster("late", "late.internal"))
    found = client("elasticache").describe_cache_clusters(CacheClusterId="late")["CacheClusters"]
    assert len(found) == 1
