"""What database clients are told, engine by engine: a connection string, variables, an option file.

The certificate of a database names its real host, and connections go to this machine. libpq takes both a name
and an address; clients of MySQL do not, and check the authority alone; Redis' own clients never check names.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final
from urllib.parse import quote, urlencode

from ssm_ssh.errors import InvalidOption

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

# libpq's modes that may send a password in the clear.
_UNSAFE_MODES: Final = frozenset({"disable", "allow", "prefer"})


@dataclass(frozen=True, slots=True)
class Login:
    """What a client needs.

    Attributes:
        host: The real one.
        local_host: Where to connect to.
        user: Empty for none.
        token: An IAM token; None without.
        authority: The file of the authority's certificates; None if the user has none.
        has_tls: Whether to speak TLS.
    """

    engine: str
    host: str
    local_host: str
    local_port: int
    user: str = ""
    database_name: str = ""
    token: str | None = field(default=None, repr=False)
    authority: str | None = None
    has_tls: bool = True


@dataclass(frozen=True, slots=True)
class ClientSettings:
    """What to tell a client.

    Attributes:
        connection_string: In the engine's own form; never with a password.
        environment: The client's own variables.
        option_file: Text of a ``my.cnf``, or empty.
    """

    connection_string: str
    environment: Mapping[str, str] = field(default_factory=dict, repr=False)
    option_file: str = field(default="", repr=False)


def client_settings(login: Login, environment: Mapping[str, str]) -> ClientSettings:
    """What the clients of the engine are to be told.

    Args:
        login: What they need.
        environment: The user's own, whose choices hold.

    Raises:
        InvalidOption: If a token would have to travel without TLS, or the engine takes none.
    """
    settings = _FAMILIES.get(engine_family(login.engine))
    if login.token is not None:
        if settings is None or settings is _redis:
            raise InvalidOption(f"--iam is not for {login.engine}", hint="leave --iam away")
        mode = environment.get("PGSSLMODE", "")
        if not login.has_tls or (settings is _postgres and mode in _UNSAFE_MODES):
            raise InvalidOption(
                "an IAM token is not sent without TLS", hint="leave --no-tls away and PGSSLMODE unset"
            )
    if settings is None:
        return ClientSettings(f"{login.local_host}:{login.local_port}")
    return settings(login, environment)


def engine_family(engine: str) -> str:
    """Whose protocol an engine speaks: ``postgres``, ``mysql``, ``redis``, or the engine's own name."""
    return _ENGINES.get(engine, engine)


def _postgres(login: Login, environment: Mapping[str, str]) -> ClientSettings:
    mode = environment.get("PGSSLMODE") or ("verify-full" if login.has_tls else "disable")
    parameters = {"hostaddr": login.local_host, "sslmode": mode}
    variables = {
        "PGHOST": login.host,
        "PGHOSTADDR": login.local_host,
        "PGPORT": str(login.local_port),
        "PGSSLMODE": mode,
    }
    if login.authority is not None and login.has_tls:
        parameters["sslrootcert"] = variables["PGSSLROOTCERT"] = login.authority
    if login.token is not None:
        variables["PGPASSWORD"] = login.token
    names = {"PGUSER": login.user, "PGDATABASE": login.database_name}
    variables |= {name: value for name, value in names.items() if value}
    user = f"{quote(login.user, safe='')}@" if login.user else ""
    return ClientSettings(
        f"postgresql://{user}{login.host}:{login.local_port}/{quote(login.database_name, safe='')}"
        f"?{urlencode(parameters, safe='/:')}",
        variables,
    )


def _mysql(login: Login, _environment: Mapping[str, str]) -> ClientSettings:
    user = f"{quote(login.user, safe='')}@" if login.user else ""
    name = quote(login.database_name, safe="")
    return ClientSettings(
        f"mysql://{user}{login.local_host}:{login.local_port}/{name}",
        {"MYSQL_HOST": login.local_host, "MYSQL_TCP_PORT": str(login.local_port)},
        # Read after the system's option files and before the user's own, whose choices hold.
        "".join(_option_group(group, options) for group, options in _option_groups(login).items()),
    )


def _option_groups(login: Login) -> dict[str, dict[str, str]]:
    """The options of a ``my.cnf``; the second group is read by MariaDB's clients only."""
    client = {"host": login.local_host, "port": str(login.local_port), "protocol": "tcp", "user": login.user}
    mariadb: dict[str, str] = {}
    # MySQL's own names; loose- keeps MariaDB's clients from refusing them, which reach MySQL, too.
    mysql: dict[str, str] = {}
    if login.token is not None:
        client["password"] = login.token
        # The token is sent as it is, inside TLS. MariaDB's clients do so without being told.
        mysql["loose-enable-cleartext-plugin"] = "1"
    if login.has_tls:
        client["ssl-ca"] = login.authority or ""
        mariadb["ssl"] = "1"
        mysql["loose-ssl-mode"] = "REQUIRED" if login.authority is None else "VERIFY_CA"
    if login.engine != "mariadb":
        client |= mysql
    return {"client": client, "client-mariadb": mariadb}


def _option_group(group: str, options: Mapping[str, str]) -> str:
    lines = [f'{name}="{_escaped(value)}"' for name, value in options.items() if value]
    return "\n".join([f"[{group}]", *lines, ""])


def _escaped(value: str) -> str:
    return value.replace("\\", "\\\\").replace('"', '\\"')


def _redis(login: Login, _environment: Mapping[str, str]) -> ClientSettings:
    scheme = "rediss" if login.has_tls else "redis"
    user = f"{quote(login.user, safe='')}@" if login.user else ""
    url = f"{scheme}://{user}{login.local_host}:{login.local_port}/0"
    return ClientSettings(url, {"REDIS_URL": url})


_ENGINES: Final = {
    "postgres": "postgres",
    "aurora-postgresql": "postgres",
    "mysql": "mysql",
    "mariadb": "mysql",
    "aurora": "mysql",
    "aurora-mysql": "mysql",
    "redis": "redis",
    "valkey": "redis",
}
_FAMILIES: Final[dict[str, Callable[[Login, Mapping[str, str]], ClientSettings]]] = {
    "postgres": _postgres,
    "mysql": _mysql,
    "redis": _redis,
}
