"""``ssm-ssh db`` with the stand-in's API, real database servers and their own clients."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import pytest

from ssm_ssh.cli.main import run
from ssm_ssh.emulator.database import CacheCluster, Database, DatabaseCluster, ReplicationGroup
from ssm_ssh.emulator.node import NodeSpec
from ssm_ssh.emulator.placement import Placement
from ssm_ssh.emulator.start import start_emulator
from tests.cli.database_server import PASSWORD, certificate_of, mariadb, postgres, redis
from tests.requirement import need_program

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from ssm_ssh.emulator.certificate import Certificate
    from ssm_ssh.emulator.database import Resource
    from ssm_ssh.emulator.start import RunningEmulator

_DB = (sys.executable, "-m", "ssm_ssh", "db")
_SECONDS = 60
VPC, OTHER_VPC = "vpc-0123456789abcdef0", "vpc-0fedcba9876543210"
HOST = "orders.abc.eu-central-1.rds.amazonaws.com"
READER = "orders-ro.abc.eu-central-1.rds.amazonaws.com"
CACHE = "cache.abc.euc1.cache.amazonaws.com"
IN_VPC, ELSEWHERE = "i-00000000000000001", "i-00000000000000002"
RESOURCES: Sequence[Resource] = [
    Database(
        "orders",
        endpoint_host=HOST,
        user="postgres",
        database_name="postgres",
        has_iam=True,
        tags={"app": "shop"},
    ),
    Database("plain", "mariadb", HOST, 3306, user="app"),
    Database("oracle", "oracle-ee", HOST, 1521),
    Database("lonely", endpoint_host=HOST, vpc_id=OTHER_VPC),
    Database("unborn", status="creating"),
    Database("twin", endpoint_host=HOST),
    CacheCluster("twin", CACHE),
    Database("fleet-1", "aurora-postgresql", HOST, cluster="fleet", tags={"app": "fleet"}),
    DatabaseCluster(
        "fleet", writer_host=HOST, reader_host=READER, members=["fleet-1"], tags={"app": "fleet"}
    ),
    ReplicationGroup("cache", primary_host=CACHE, has_tls=True, tags={"app": "cache"}),
]


@pytest.fixture(scope="module")
def certificate() -> Iterator[Certificate]:
    """The servers', which names their hosts and not this machine's."""
    with certificate_of(HOST) as certificate:
        yield certificate


@pytest.fixture(scope="module")
def account(certificate: Certificate) -> Iterator[RunningEmulator]:
    """Two nodes in two VPCs; the servers are reached from the first only."""
    with (
        postgres(certificate) as postgres_port,
        mariadb(certificate) as mariadb_port,
        redis(certificate) as redis_port,
    ):
        ports = {
            (HOST, 5432): ("127.0.0.1", postgres_port),
            (READER, 5432): ("127.0.0.1", postgres_port),
            (HOST, 3306): ("127.0.0.1", mariadb_port),
            (CACHE, 6379): ("127.0.0.1", redis_port),
        }
        nodes = [
            NodeSpec("inside", IN_VPC, ports=ports),
            NodeSpec("elsewhere", ELSEWHERE, placement=Placement("vpc-00000000000000009")),
        ]
        with start_emulator(nodes, resources=RESOURCES) as emulator:
            yield emulator


@pytest.fixture(autouse=True)
def leading(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """This process's AWS variables lead to the stand-in, where a test has one."""
    if "account" in request.fixturenames:
        emulator: RunningEmulator = request.getfixturevalue("account")
        for name in emulator.foreign_variables:
            monkeypatch.delenv(name, raising=False)
        for name, value in emulator.environment.items():
            monkeypatch.setenv(name, value)


def db(*words: str, **variables: str) -> subprocess.CompletedProcess[str]:
    """One run of the command to its end."""
    return subprocess.run(
        [*_DB, *words],
        env=os.environ | variables,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=_SECONDS,
        check=False,
    )


def printed(*words: str) -> str:
    """The connection string, after which Ctrl-C ends it with 130."""
    process = subprocess.Popen([*_DB, *words], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        line = process.stdout.readline()
        assert line, process.communicate()[1]
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=_SECONDS)
        assert process.returncode == 130
        return line.strip()
    finally:
        process.kill()
        process.communicate()


def test_psql_checks_the_real_host_s_certificate(account: RunningEmulator, certificate: Certificate) -> None:
    """verify-full, through a node of the database's VPC; afterwards no session is left."""
    query = "select ssl from pg_stat_ssl where pid = pg_backend_pid()"
    words = [
        "orders",
        "--ca-file",
        str(certificate.authority_path),
        "--",
        need_program("psql"),
        "-Atc",
        query,
    ]
    outcome = db(*words, PGPASSWORD=PASSWORD)
    assert (outcome.returncode, outcome.stdout) == (0, "t\n"), outcome.stderr
    assert f"→ {HOST}:5432 through {IN_VPC}" in outcome.stderr
    account.wait_for_live_sessions(0)


def test_a_certificate_of_somebody_else_is_refused(
    account: RunningEmulator, certificate: Certificate
) -> None:
    """The reader's name is not in it; the command's status is returned."""
    authority = ["--ca-file", str(certificate.authority_path)]
    outcome = db("fleet", "--reader", *authority, "--", "psql", "-c", "select 1", PGPASSWORD=PASSWORD)
    assert outcome.returncode == 2
    assert f'does not match host name "{READER}"' in outcome.stderr
    account.wait_for_live_sessions(0)


def test_without_the_bundle_it_is_told_where_to_get_it(
    account: RunningEmulator, certificate: Certificate
) -> None:
    """And the check is not given up; in its place it is found."""
    outcome = db("orders", "--", "psql", "-c", "select 1", PGPASSWORD=PASSWORD)
    assert outcome.returncode == 2
    assert "curl --create-dirs -o" in outcome.stderr
    bundle = Path(os.environ["XDG_CONFIG_HOME"], "ssm-ssh", "rds-bundle.pem")
    bundle.parent.mkdir(exist_ok=True)
    bundle.write_bytes(certificate.authority_path.read_bytes())
    try:
        outcome = db("orders", "--", "psql", "-c", "select 1", PGPASSWORD=PASSWORD)
    finally:
        bundle.unlink()
    assert outcome.returncode == 0
    assert "curl" not in outcome.stderr
    account.wait_for_live_sessions(0)


def test_the_connection_string_is_ready(account: RunningEmulator, certificate: Certificate) -> None:
    """It names the real host and this machine, and no password."""
    string = printed("tag:app=shop", "--ca-file", str(certificate.authority_path), "--user", "a b")
    url = urlsplit(string)
    assert (url.hostname, url.username, url.path) == (HOST, "a%20b", "/postgres")
    assert (
        url.query
        == f"hostaddr=127.0.0.1&sslmode=verify-full&sslrootcert={certificate.authority_path.resolve()}"
    )
    assert printed("tag:app=fleet", "--port", "0").startswith(f"postgresql://postgres@{HOST}:")
    assert printed("oracle").startswith("127.0.0.1:")
    account.wait_for_live_sessions(0)


def test_an_iam_token_is_for_the_real_host(account: RunningEmulator) -> None:
    """For the host, the port and the user that RDS will see, not for this machine's."""
    outcome = db("orders", "--iam", "--user", "app", "--", "sh", "-c", 'echo "$PGPASSWORD $PGUSER"')
    assert outcome.stdout.startswith(f"{HOST}:5432/?Action=connect&DBUser=app&X-Amz-Algorithm=")
    assert outcome.stdout.endswith(" app\n")
    assert "X-Amz" not in outcome.stderr
    account.wait_for_live_sessions(0)


@pytest.mark.parametrize(
    ("words", "variables", "says"),
    [
        (["orders", "--iam"], {}, "--iam needs a command"),
        (["orders", "--iam", "--no-tls", "--", "true"], {}, "not sent without TLS"),
        (["orders", "--iam", "--", "true"], {"PGSSLMODE": "prefer"}, "not sent without TLS"),
        (["lonely", "--iam", "--via", "inside", "--", "true"], {}, "takes no IAM tokens"),
        (["oracle", "--reader"], {}, "has no reader of its own"),
        (["orders", "--ca-file", "/nowhere"], {}, "there is no file /nowhere"),
        (["or_ders"], {}, "is not a target"),
        (["tag:app"], {}, "is not a target"),
        (["orders", "--via", "ecs:x"], {}, "is not a target"),
    ],
)
def test_what_cannot_be_asked_for(
    account: RunningEmulator, words: list[str], variables: dict[str, str], says: str
) -> None:
    """2, before any session."""
    before = account.counts.get("StartSession", 0) if says != "not sent without TLS" else None
    outcome = db(*words, **variables)
    assert outcome.returncode == 2
    assert says in outcome.stderr
    assert "ssm-ssh: hint: " in outcome.stderr
    assert before is None or account.counts.get("StartSession", 0) == before
    account.wait_for_live_sessions(0)


@pytest.mark.parametrize(
    ("name", "says", "hints"),
    [
        ("nothing", "no database or cache is 'nothing'", "check the region"),
        ("tag:app=nothing", "no database or cache is 'tag:app=nothing'", "check the region"),
        ("twin", "'twin' means several: RDS instance arn:", "use one's ARN"),
        ("unborn", "has no endpoint yet", "try again later"),
        ("lonely", f"no node that is online is in the VPC of lonely ({OTHER_VPC})", "--via TARGET"),
    ],
)
def test_what_is_not_there(account: RunningEmulator, name: str, says: str, hints: str) -> None:
    """3, AWS's part of the world."""
    outcome = db(name)
    assert outcome.returncode == 3
    error, hint = outcome.stderr.splitlines()
    assert says in error
    assert hints in hint
    assert account.live_sessions() == []


def test_an_arn_is_always_clear(account: RunningEmulator) -> None:
    """Also where a name is not."""
    message = db("twin").stderr
    arn = next(word.strip(",") for word in message.split() if word.startswith("arn:aws:elasticache"))
    assert printed(arn).startswith("redis://127.0.0.1:")
    assert account.live_sessions() == []


def test_a_service_that_may_not_be_asked_is_left_out(account: RunningEmulator) -> None:
    """The other one's answer is enough; without any it is the refusal that is told."""
    account.inject(
        denied_actions=frozenset({"elasticache:DescribeReplicationGroups", "ec2:DescribeInstances"})
    )
    try:
        assert db("orders", "--via", IN_VPC, "--", "true").returncode == 0
        outcome = db("cache")
        assert (outcome.returncode, "DescribeReplicationGroups" in outcome.stderr) == (3, True)
        outcome = db("orders")
        assert (outcome.returncode, "--via TARGET" in outcome.stderr) == (3, True)
    finally:
        account.inject(denied_actions=frozenset())
    account.wait_for_live_sessions(0)


def test_mariadb_s_client_needs_no_words(account: RunningEmulator, certificate: Certificate) -> None:
    """The option file has address, user and authority, is the owner's, and is gone afterwards."""
    script = 'stat -c "%a %n" $MYSQL_HOME/my.cnf && mariadb -Ne "show status like \'Ssl_version\'"'
    authority = ["--ca-file", str(certificate.authority_path)]
    outcome = db("plain", *authority, "--", "sh", "-c", script, MYSQL_PWD=PASSWORD)
    assert outcome.returncode == 0, outcome.stderr
    mode, version = outcome.stdout.splitlines()
    assert mode.startswith("600 ")
    assert not Path(mode.split()[1]).exists()
    assert "TLSv1" in version
    account.wait_for_live_sessions(0)


def test_redis_by_its_replication_group(account: RunningEmulator, certificate: Certificate) -> None:
    """The URL says TLS; {host} and {port} are filled in."""
    tls = ["--tls", "--sni", CACHE, "--cacert", str(certificate.authority_path)]
    outcome = db("tag:app=cache", "--", "redis-cli", "-h", "{host}", "-p", "{port}", *tls, "ping")
    assert (outcome.returncode, outcome.stdout) == (0, "PONG\n"), outcome.stderr
    assert db("cache", "--", "sh", "-c", "echo $REDIS_URL").stdout.startswith("rediss://127.0.0.1:")
    account.wait_for_live_sessions(0)


def test_the_end_of_the_command_is_ours(account: RunningEmulator) -> None:
    """Its status, and a line for a command that does not exist."""
    assert db("orders", "--", "sh", "-c", "exit 7").returncode == 7
    assert run(["db", "orders", "--", "no-such-program-here"]) == 2
    account.wait_for_live_sessions(0)
