"""What the URL of a database server may say, and that nothing of the administrator's goes on to a service."""

from __future__ import annotations

from pathlib import Path

import pytest

from rekey_core.errors import ConfigurationError
from rekey_core.secret import Secret
from rekey_provision.database_url import as_role, check_url, in_database, role_of, server_of

OWN = "postgresql://operator:s3cret%40@db.example:5433/postgres"

BAD = [
    pytest.param("", "is none", id="nothing"),
    pytest.param("nonsense-s3cret", "is none", id="no URL"),
    pytest.param("mysql://operator:s3cret@h/x", "is none", id="another kind of server"),
    pytest.param("postgresql://operator:s3cret@[::1/x", "is none", id="half of an address"),
    pytest.param("postgresql://operator:s3/cret@h:1/x", "role:password@host:port", id="a slash in the password"),
    pytest.param("postgresql://operator:s3#cret@h:1/x", "role:password@host:port", id="a hash in the password"),
    pytest.param("postgresql://operator:s3?cret@h:1/x", "role:password@host:port", id="a question mark in it"),
    pytest.param("postgresql://operator:s3@cret@h:1/x", "role:password@host:port", id="an at sign in it"),
    pytest.param("postgresql://h:1/x", "role:password@host:port", id="no role: the environment's would be taken"),
    pytest.param("postgresql://:s3cret@h:1/x", "role:password@host:port", id="a password of nobody"),
    pytest.param("postgresql://operator:s3cret@h:s3cret/x", "role:password@host:port", id="a port that is none"),
    pytest.param("postgresql://operator:s3cret@h:0/x", "role:password@host:port", id="port 0"),
    pytest.param(f"{OWN}?password=s3cret", "found password", id="a password that services would get"),
    pytest.param(f"{OWN}?user=operator", "found user", id="a role that services would get"),
    pytest.param(f"{OWN}?sslkey=/k&passfile=/f", "found passfile, sslkey", id="files that services would get"),
    pytest.param(f"{OWN}?service=other", "found service", id="a file that says something else"),
    pytest.param(f"{OWN}?search_path=public", "found search_path", id="a setting of the session"),
    pytest.param(f"{OWN}?s3cret", "name=value", id="a parameter without a value"),
    pytest.param(f"{OWN}?sslmode=verify-full", "file of a CA in sslrootcert, found none", id="whom to trust?"),
    pytest.param(f"{OWN}?sslmode=verify-ca&sslrootcert=/no/ca", "found /no/ca", id="a CA that is not there"),
]  # fmt: skip


@pytest.mark.parametrize(("url", "text"), BAD)
def test_a_url_that_can_be_read_in_two_ways_is_refused_without_being_shown(url: str, text: str) -> None:
    with pytest.raises(ConfigurationError, match=text) as caught:
        check_url(Secret(url.encode()))
    assert caught.value.hint
    assert "cret" not in f"{caught.value} {caught.value.hint}"


def test_bytes_that_are_no_text_are_refused() -> None:
    with pytest.raises(ConfigurationError, match="is none"):
        check_url(Secret(b"postgresql://operator:\xff@h/x"))


def test_what_is_said_once_is_taken(tmp_path: Path) -> None:
    ca = tmp_path / "ca.crt"
    ca.touch()
    for url, server in (
        (OWN, "db.example:5433"),
        ("postgres://operator@[::1]/x", "::1:5432"),
        ("postgresql://operator:s3cret@/x?host=/run/postgresql", "/run/postgresql:5432"),
        (f"{OWN}?sslmode=verify-full&sslrootcert={ca}", "db.example:5433"),
    ):
        secret = Secret(url.encode())
        check_url(secret)
        assert (server_of(secret), role_of(secret)) == (server, "operator")


URLS = [
    pytest.param(None, "postgresql://a:b@h:1/one?sslmode=verify-full", id="the same"),
    pytest.param(
        "two", "postgresql://a:b@h:1/two?sslmode=verify-full", id="another database, all else as it was"
    ),
]


@pytest.mark.parametrize(("database", "expected"), URLS)
def test_a_url_of_another_database_demands_the_same(database: str | None, expected: str) -> None:
    given = Secret(b"postgresql://a:b@h:1/one?sslmode=verify-full")
    assert in_database(given, database).reveal().decode() == expected


def test_a_service_gets_the_same_demands_and_nothing_of_the_administrator() -> None:
    url = as_role(Secret(f"{OWN}?sslmode=require".encode()), "rekey_dev_audit", Secret(b"own"), "rekey_dev")
    assert url.reveal() == b"postgresql://rekey_dev_audit:own@db.example:5433/rekey_dev?sslmode=require"
