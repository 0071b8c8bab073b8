"""What each engine's clients are told, beyond what the real ones of ``tests/cli`` show."""

from __future__ import annotations

from dataclasses import replace

import pytest

from ssm_ssh.errors import InvalidOption
from ssm_ssh.forward.database_client import Login, client_settings

TOKEN = 'token"with\\quotes'
LOGIN = Login("mysql", "db.example", "127.0.0.1", 40000, "app", "shop", TOKEN, "/ca.pem")


def test_mysql_s_token_is_in_the_option_file_alone() -> None:
    """Quoted as option files want it, with what sends it in the clear inside TLS only."""
    settings = client_settings(LOGIN, {})
    assert settings.connection_string == "mysql://app@127.0.0.1:40000/shop"
    assert settings.environment == {"MYSQL_HOST": "127.0.0.1", "MYSQL_TCP_PORT": "40000"}
    assert settings.option_file.splitlines() == [
        "[client]",
        'host="127.0.0.1"',
        'port="40000"',
        'protocol="tcp"',
        'user="app"',
        'password="token\\"with\\\\quotes"',
        'ssl-ca="/ca.pem"',
        'loose-enable-cleartext-plugin="1"',
        'loose-ssl-mode="VERIFY_CA"',
        "[client-mariadb]",
        'ssl="1"',
    ]
    assert TOKEN not in repr(settings)
    assert TOKEN not in repr(LOGIN)


def test_tls_without_an_authority_is_still_tls() -> None:
    """It is asked for, unchecked; and not at all where there is none."""
    unchecked = client_settings(replace(LOGIN, authority=None), {}).option_file
    assert 'loose-ssl-mode="REQUIRED"' in unchecked
    assert "ssl-ca" not in unchecked
    assert "ssl" not in client_settings(replace(LOGIN, token=None, has_tls=False), {}).option_file


def test_mariadb_s_own_server_is_not_told_mysql_s_options() -> None:
    """Its clients would warn of them."""
    assert "loose-" not in client_settings(replace(LOGIN, engine="mariadb"), {}).option_file


@pytest.mark.parametrize("engine", ["redis", "valkey", "oracle-ee", "sqlserver-ex", "memcached"])
def test_a_token_is_not_for_every_engine(engine: str) -> None:
    """It is told, not ignored."""
    with pytest.raises(InvalidOption, match=f"--iam is not for {engine}"):
        client_settings(replace(LOGIN, engine=engine), {})


def test_a_token_needs_tls() -> None:
    """Whoever switched it off."""
    with pytest.raises(InvalidOption, match="not sent without TLS"):
        client_settings(replace(LOGIN, has_tls=False), {})
    for mode in ("disable", "allow", "prefer"):
        with pytest.raises(InvalidOption, match="not sent without TLS"):
            client_settings(replace(LOGIN, engine="postgres"), {"PGSSLMODE": mode})
    assert client_settings(LOGIN, {"PGSSLMODE": "disable"}).option_file


def test_the_user_s_own_mode_holds() -> None:
    """And without TLS nothing of it is said."""
    login = replace(LOGIN, engine="aurora-postgresql", token=None)
    assert client_settings(login, {"PGSSLMODE": "require"}).environment["PGSSLMODE"] == "require"
    plain = client_settings(replace(login, has_tls=False, user="", database_name=""), {})
    assert plain.environment == {
        "PGHOST": "db.example",
        "PGHOSTADDR": "127.0.0.1",
        "PGPORT": "40000",
        "PGSSLMODE": "disable",
    }
    assert plain.connection_string == "postgresql://db.example:40000/?hostaddr=127.0.0.1&sslmode=disable"
