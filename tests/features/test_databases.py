"""Databases behind a node: their own clients, unchanged, through every kind of port that there is."""

from __future__ import annotations

import hashlib
import os
import subprocess
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import pytest
import sqlalchemy as sql

import ssm_ssh
from ssm_ssh.emulator.node import NodeSpec
from ssm_ssh.emulator.start import start_emulator
from tests.features.database_servers import DatabaseServer, mariadb, postgresql, redis
from tests.features.port_node import closed_port, seeded_bytes
from tests.features.proxy_run import wait_until
from tests.features.tunnel_run import TUNNEL, led_to, running_tunnel
from tests.requirement import need_program

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from ssm_ssh.emulator.start import RunningEmulator

_NODE: Final = "bastion"
_HOST: Final = "db.internal"
_SECONDS: Final = 100
_POSTGRESQL_PORT: Final = 5432
_MARIADB_PORT: Final = 3306
_REDIS_PORT: Final = 6379
_DUMP_BYTES: Final = 50_000_000
_WAYS: Final = ("node", "remote host", "socks")
# A table of so many rows with a kilobyte each, that nothing on the way could make up.
_FILL: Final = """
create table load as select row, (
    select string_agg(md5(row || '.' || part), '') from generate_series(1, 32) part
) as text from generate_series(1, {rows}) row
"""
_FINGERPRINT: Final = "select sum(length(text)), md5(string_agg(md5(text), '' order by row)) from load"


def scaled(full: int, reduced: int) -> list[tuple[str, int]]:
    """Every way, the first at full size."""
    return [(way, reduced if number else full) for number, way in enumerate(_WAYS)]


@dataclass(frozen=True, slots=True)
class Place:
    """A node, three databases that it reaches, and what leads AWS programs to it."""

    emulator: RunningEmulator
    postgresql: DatabaseServer
    mariadb: DatabaseServer
    redis: DatabaseServer


@pytest.fixture(scope="module")
def module_place() -> Iterator[Place]:
    """All of it once for this file."""
    with postgresql() as first, mariadb() as second, redis() as third:
        usual_ports = {_POSTGRESQL_PORT: first, _MARIADB_PORT: second, _REDIS_PORT: third}
        ports = {(_HOST, port): ("127.0.0.1", server.port) for port, server in usual_ports.items()}
        with start_emulator([NodeSpec(_NODE, ports=ports)]) as emulator, led_to(emulator):
            yield Place(emulator, first, second, third)


@pytest.fixture
def place(module_place: Place) -> Iterator[Place]:
    """The place for one test, which leaves no session."""
    yield module_place
    module_place.emulator.wait_for_live_sessions(0)


@contextmanager
def port_to(server: DatabaseServer, usual_port: int, way: str, *options: str) -> Iterator[int]:
    """A port of ours that leads to ``server``, for the length of a block.

    Args:
        server: Whom to reach.
        usual_port: Its port on the host that the node knows.
        way: ``node``, as if it ran there; ``remote host``; or ``socks``, where ncat stands in for what the
            databases' clients cannot do.
        options: Of the tunnel.
    """
    if way == "socks":
        with (
            running_tunnel(_NODE, "-D", "0", *options) as tunnel,
            _ncat_through(tunnel.port, usual_port) as port,
        ):
            yield port
    else:
        destination = str(server.port) if way == "node" else f"{_HOST}:{usual_port}"
        with running_tunnel(_NODE, "-L", f"0:{destination}", *options) as tunnel:
            yield tunnel.port


@contextmanager
def _ncat_through(proxy_port: int, usual_port: int) -> Iterator[int]:
    ncat, port = need_program("ncat"), closed_port()
    proxy = f"--proxy 127.0.0.1:{proxy_port} --proxy-type socks5 --proxy-dns remote"
    each = f"{ncat} {proxy} {_HOST} {usual_port}"
    listener = subprocess.Popen([ncat, "--listen", "--keep-open", "127.0.0.1", str(port), "--sh-exec", each])
    try:
        wait_until(lambda: _is_listening(port))
        yield port
    finally:
        listener.kill()
        listener.wait()


def _is_listening(port: int) -> bool:
    """Whether anybody listens there; found out without a connection, which would go all the way."""
    command = [need_program("ss"), "-Hltn", f"sport = :{port}"]
    return bool(subprocess.run(command, capture_output=True, check=True).stdout)


def run(
    words: Sequence[str], *, stdin: bytes = b"", variables: Mapping[str, str] | None = None
) -> subprocess.CompletedProcess[bytes]:
    """One run of a client, which has to succeed."""
    environment = {**os.environ, **(variables or {})}
    outcome = subprocess.run(
        [need_program(words[0]), *words[1:]],
        input=stdin,
        env=environment,
        capture_output=True,
        timeout=_SECONDS,
        check=False,
    )
    assert outcome.returncode == 0, outcome.stderr.decode()
    return outcome


def postgresql_variables(server: DatabaseServer, port: int, database: str = "postgres") -> dict[str, str]:
    """What leads libpq to ``server`` by ``port``."""
    return {
        "PGHOST": "127.0.0.1",
        "PGPORT": str(port),
        "PGUSER": server.user,
        "PGPASSWORD": server.password,
        "PGDATABASE": database,
    }


def ask(variables: Mapping[str, str], *statements: str) -> str:
    """What psql says to some statements."""
    words = [word for statement in statements for word in ("-c", statement)]
    return run(["psql", "-qXAt", "-v", "ON_ERROR_STOP=1", *words], variables=variables).stdout.decode()


@contextmanager
def new_databases(server: DatabaseServer, *names: str) -> Iterator[list[dict[str, str]]]:
    """Some databases for one test, and the variables that lead straight to each."""
    direct = postgresql_variables(server, server.port)
    with ExitStack() as stack:
        for name in names:
            ask(direct, f"create database {name}")
            stack.callback(ask, direct, f"drop database {name} with (force)")
        yield [{**direct, "PGDATABASE": name} for name in names]


def dump_and_restore(source: Mapping[str, str], copy: Mapping[str, str]) -> None:
    """``pg_dump | pg_restore``, uncompressed."""
    dump_words = [need_program("pg_dump"), "-Fc", "-Z0"]
    restore_words = [need_program("pg_restore"), "--exit-on-error", "-d", copy["PGDATABASE"]]
    with subprocess.Popen(dump_words, env={**os.environ, **source}, stdout=subprocess.PIPE) as dump:
        restored = subprocess.run(
            restore_words, env={**os.environ, **copy}, stdin=dump.stdout, timeout=_SECONDS, check=False
        )
        assert (dump.wait(), restored.returncode) == (0, 0)


def test_a_command_of_the_tunnel(place: Place) -> None:
    """``tunnel … -- psql -h {host} -p {port}``: what psql says, and how it ends."""
    variables = postgresql_variables(place.postgresql, 0)
    client = [need_program("psql"), "-qXAt", "-h", "{host}", "-p", "{port}", "-c"]
    for statement, status in (("select 6 * 7", 0), ("select 1 / 0", 1)):
        outcome = subprocess.run(
            [*TUNNEL, _NODE, "-L", f"0:{_HOST}:{_POSTGRESQL_PORT}", "--", *client, statement],
            env={**os.environ, **variables},
            capture_output=True,
            text=True,
            timeout=_SECONDS,
            check=False,
        )
        assert outcome.returncode == status, outcome.stderr
        assert outcome.stdout == ("" if status else "42\n")


@pytest.mark.parametrize(("way", "size_bytes"), scaled(_DUMP_BYTES, 5_000_000))
def test_a_dump_is_restored(place: Place, way: str, size_bytes: int) -> None:
    """Down and up again at the same time; every row is what it was.

    With a session for each direction: in one, the dump that waits for the restore would fill the session, and
    the restore would wait for the session.
    """
    rows = -(-size_bytes // 1024)
    with new_databases(place.postgresql, "source", "copy") as (source, copy):
        ask(source, _FILL.format(rows=rows))
        with port_to(place.postgresql, _POSTGRESQL_PORT, way, "--sessions", "2") as port:
            through = {"PGPORT": str(port)}
            dump_and_restore({**source, **through}, {**copy, **through})
        size, fingerprint = ask(copy, _FINGERPRINT).strip().split("|")
        assert int(size) == rows * 1024
        assert f"{size}|{fingerprint}" == ask(source, _FINGERPRINT).strip()


@pytest.mark.parametrize(("way", "seconds"), scaled(10, 3))
def test_eight_clients_of_pgbench(place: Place, way: str, seconds: int) -> None:
    """Short questions over eight connections, without one error."""
    with (
        new_databases(place.postgresql, "bench") as (direct,),
        port_to(place.postgresql, _POSTGRESQL_PORT, way) as port,
    ):
        through = {**direct, "PGPORT": str(port)}
        run(["pgbench", "-q", "-i", "-s", "1"], variables=through)
        outcome = run(["pgbench", "-n", "-c", "8", "-T", str(seconds)], variables=through)
        said = outcome.stdout.decode().splitlines()
        assert "number of clients: 8" in said
        assert "number of failed transactions: 0 (0.000%)" in said
        assert outcome.stderr.decode().splitlines()[1:] == []
        (processed,) = (line for line in said if line.startswith("number of transactions actually processed"))
        assert ask(direct, "select count(*) from pgbench_history").strip() == processed.split()[-1]


@pytest.mark.parametrize(("way", "size_bytes"), scaled(8_000_000, 1_000_000))
def test_mariadb_s_client(place: Place, way: str, size_bytes: int) -> None:
    """A large value there, and the same back."""
    value = seeded_bytes(size_bytes // 2).hex()
    statements = (
        "create or replace database app; use app; create table item (value longtext);"
        f"insert into item values ('{value}'); select value from item"
    )
    with port_to(place.mariadb, _MARIADB_PORT, way) as port:
        client = ["mariadb", "--no-defaults", "-h127.0.0.1", f"-P{port}", f"-u{place.mariadb.user}", "-N"]
        outcome = run([*client, "--max-allowed-packet=64M"], stdin=statements.encode())
    assert outcome.stderr == b""
    assert hashlib.sha256(outcome.stdout.strip()).digest() == hashlib.sha256(value.encode()).digest()


@pytest.mark.parametrize(("way", "count"), scaled(100_000, 10_000))
def test_redis_by_the_hundred_thousand(place: Place, way: str, count: int) -> None:
    """``redis-cli --pipe``: every command is answered, every value is there."""
    variables = {"REDISCLI_AUTH": place.redis.password}
    commands = "flushall\r\n" + "".join(f"set key{number} {number * number}\r\n" for number in range(count))
    with port_to(place.redis, _REDIS_PORT, way) as port:
        client = ["redis-cli", "-e", "-h", "127.0.0.1", "-p", str(port)]
        outcome = run([*client, "--pipe"], stdin=commands.encode(), variables=variables)
        assert outcome.stdout.decode().splitlines()[-1] == f"errors: 0, replies: {count + 1}"
        assert run([*client, "dbsize"], variables=variables).stdout.strip() == str(count).encode()
    total = "local t = 0; for i = 0, ARGV[1] - 1 do t = t + redis.call('get', 'key' .. i) end; return t"
    client = ["redis-cli", "-e", "-h", "127.0.0.1", "-p", str(place.redis.port)]
    said = run([*client, "eval", total, "0", str(count)], variables=variables).stdout
    assert int(said) == sum(number * number for number in range(count))


@pytest.mark.parametrize("is_remote", [False, True])
def test_sqlalchemy_through_open_tunnel(place: Place, *, is_remote: bool) -> None:
    """A Python program with a pool of connections, which never knows."""
    destination = (_HOST, _POSTGRESQL_PORT) if is_remote else place.postgresql.port
    table = sql.Table(
        "load", sql.MetaData(), sql.Column("row", sql.Integer), sql.Column("value", sql.LargeBinary)
    )
    rows = [{"row": number, "value": seeded_bytes(1000 * number, number)} for number in range(100)]
    with (
        new_databases(place.postgresql, "app"),
        ssm_ssh.open_tunnel(_NODE, destination) as tunnel,
        _engine(place.postgresql, tunnel.local_bind_address) as engine,
    ):
        with engine.begin() as connection:
            table.create(connection)
            connection.execute(table.insert(), rows)
        with engine.connect() as first, engine.connect() as second:
            for connection in (first, second):
                found = connection.execute(table.select().order_by(table.c.row))
                assert [row._asdict() for row in found] == rows


@contextmanager
def _engine(server: DatabaseServer, address: tuple[str, int]) -> Iterator[sql.Engine]:
    host, port = address
    url = sql.URL.create("postgresql+psycopg", server.user, server.password, host, port, "app")
    engine = sql.create_engine(url)
    try:
        yield engine
    finally:
        engine.dispose()
