"""Separation of duties in the database: each service's role tries what is not its own, on the real server.

The fifth ring. A role may make and drop tables in its own schema and nothing else: rows are all that it can get wrong.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from rekey_core.authority import Identity
from rekey_core.errors import ConfigurationError, UnavailableError
from rekey_core.projections import PROJECTIONS, Projection, database_name
from rekey_core.secret import Secret
from rekey_local import database
from rekey_local.plan import HOST
from rekey_provision.database import provision_database
from rekey_provision.database_url import in_database
from tests.system.files import files_under, what_is_in
from tests.system.postgres import Server, running_postgres

REFUSED = (asyncpg.InsufficientPrivilegeError, asyncpg.InvalidAuthorizationSpecificationError)
MAKE = "DROP TABLE IF EXISTS {0}; CREATE TABLE {0} (key text); INSERT INTO {0} VALUES ('orders-db')"
COUNT = "SELECT count(*) FROM {}"
OTHER = {one.identity: next(p for p in PROJECTIONS if p is not one) for one in PROJECTIONS}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """Both services' tables are there, each with a row."""
    with running_postgres(tmp_path_factory.mktemp("roles")) as running:
        for projection in PROJECTIONS:
            asyncio.run(make_table(running, projection))
        yield running


@asynccontextmanager
async def logged_in(server: Server, identity: Identity, name: str | None = None) -> AsyncIterator[Any]:
    """With the URL that the service is given."""
    url = in_database(Secret(server.url_file(identity).read_bytes()), name)
    connection = await asyncpg.connect(dsn=url.reveal().decode(), timeout=10)
    try:
        yield connection
    finally:
        await connection.close()


async def make_table(server: Server, projection: Projection) -> None:
    async with logged_in(server, projection.identity) as connection:
        await connection.execute(MAKE.format(f"{projection.schema}.{projection.table}"))


FORBIDDEN = [
    pytest.param("SELECT * FROM {other}", id="read the other's rows"),
    pytest.param("INSERT INTO {other} VALUES ('mine')", id="write into the other's rows"),
    pytest.param("DROP TABLE {other}", id="drop the other's table"),
    pytest.param("BEGIN; LOCK TABLE {other}", id="lock the other's table"),
    pytest.param("CREATE TABLE {other}2 (key text)", id="make a table in the other's schema"),
    pytest.param("CREATE TABLE public.mine (key text)", id="make a table that all see"),
    pytest.param("CREATE TEMPORARY TABLE mine (key text)", id="make a temporary table"),
    pytest.param("CREATE SCHEMA mine", id="make a schema"),
    pytest.param("DROP SCHEMA {own_schema}", id="drop its own schema"),
    pytest.param("ALTER SCHEMA {own_schema} RENAME TO mine", id="rename its own schema"),
    pytest.param("GRANT USAGE ON SCHEMA {other_schema} TO {own_role}", id="give itself the other's schema"),
    pytest.param("CREATE ROLE mine", id="make a role"),
    pytest.param("ALTER ROLE {other_role} PASSWORD 'known'", id="change the other's password"),
    pytest.param("ALTER ROLE {own_role} SUPERUSER", id="make itself superuser"),
    pytest.param("SET ROLE {other_role}", id="become the other"),
    pytest.param("SET SESSION AUTHORIZATION provisioner", id="become the administrator"),
    pytest.param("CREATE DATABASE mine", id="make a database"),
    pytest.param("DROP DATABASE {database}", id="drop the database"),
    pytest.param("ALTER DATABASE {database} SET log_statement = 'all'", id="change the database"),
    pytest.param("ALTER SYSTEM SET log_statement = 'all'", id="change the server"),
    pytest.param("SELECT pg_reload_conf()", id="have the server read its configuration"),
    pytest.param("CREATE EXTENSION vector SCHEMA {own_schema}", id="load an extension"),
    pytest.param("COPY {own} TO '/tmp/rekey-rows'", id="write a file"),
    pytest.param("COPY {own} FROM '/etc/passwd'", id="read a file"),
    pytest.param("COPY {own} FROM PROGRAM 'id'", id="run a program"),
    pytest.param("SELECT pg_read_file('/etc/passwd')", id="read a file by function"),
    pytest.param("SELECT lo_import('/etc/passwd')", id="read a file as large object"),
    pytest.param("SELECT rolpassword FROM pg_authid", id="read verifiers"),
    pytest.param("CREATE FUNCTION {own_schema}.f() RETURNS int LANGUAGE c AS 'libc'", id="load a library"),
    pytest.param(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = 'provisioner'",
        id="end the administrator's session",
    ),
]


@pytest.mark.parametrize("identity", [p.identity for p in PROJECTIONS])
@pytest.mark.parametrize("statement", FORBIDDEN)
async def test_a_role_is_refused_what_is_not_its_own(
    server: Server, identity: Identity, statement: str
) -> None:
    own, other = next(p for p in PROJECTIONS if p.identity is identity), OTHER[identity]
    text = statement.format(
        own=f"{own.schema}.{own.table}",
        own_schema=own.schema,
        own_role=own.role(server.plan.env),
        other=f"{other.schema}.{other.table}",
        other_schema=other.schema,
        other_role=other.role(server.plan.env),
        database=database_name(server.plan.env),
    )
    async with server.connected(), logged_in(server, identity) as connection:
        with pytest.raises(REFUSED):
            await connection.execute(text)


@pytest.mark.parametrize("identity", [p.identity for p in PROJECTIONS])
async def test_a_role_has_its_own_schema_for_itself(server: Server, identity: Identity) -> None:
    own = next(p for p in PROJECTIONS if p.identity is identity)
    async with logged_in(server, identity) as connection:
        assert await connection.fetchval(COUNT.format(f"{own.schema}.{own.table}")) == 1


@pytest.mark.parametrize("name", ["postgres", "template1"])
async def test_a_role_enters_no_other_database(server: Server, name: str) -> None:
    with pytest.raises(REFUSED, match="no pg_hba"):
        async with logged_in(server, Identity.AUDIT, name):
            pass


PASSWORDS = [
    pytest.param("rekey_dev_audit:wrong@", id="a wrong password"),
    pytest.param("rekey_dev_audit@", id="no password"),
    pytest.param("provisioner:postgres@", id="the administrator with a guess"),
    pytest.param("rekey_dev_generator:x@", id="a service that has no rows"),
]


@pytest.mark.parametrize("who", PASSWORDS)
async def test_nobody_enters_without_the_password(server: Server, who: str) -> None:
    url = f"postgresql://{who}{HOST}:{server.plan.database_port}/{database_name(server.plan.env)}"
    with pytest.raises((*REFUSED, asyncpg.PostgresError), match="password"):
        await asyncpg.connect(dsn=url, timeout=10, passfile="/nonexistent")


async def test_the_server_keeps_verifiers_and_writes_no_password_down(server: Server) -> None:
    async with server.connected() as connection:
        verifiers = [
            row["rolpassword"] for row in await connection.fetch("SELECT rolpassword FROM pg_authid")
        ]
    given = [p for p in verifiers if p is not None]
    assert len(given) == len(PROJECTIONS) + 1
    assert all(one.startswith("SCRAM-SHA-256$") for one in given)
    files = list(files_under(server.layout.root))
    passwords = [file for file in files if file.name == "database.password"]
    assert len(passwords) == len(PROJECTIONS) + 1
    assert {oct(file.stat().st_mode & 0o777) for file in passwords} == {"0o600"}
    written = [path for path in files if path.name != "database.url"]
    for secret in (file.read_bytes() for file in passwords):
        holders = [path for path in written if secret in what_is_in(path)]
        assert [path for path in holders if path.name != "database.password"] == []
    assert server.process is not None
    process = Path("/proc") / str(server.process.pid)
    shown = (process / "cmdline").read_bytes() + (process / "environ").read_bytes()
    assert [file for file in passwords if file.read_bytes() in shown] == []


async def test_made_again_nothing_changes_and_what_is_more_than_it_should_be_is_told(server: Server) -> None:
    admin = database.admin_url(server.layout, server.plan)
    passwords = {
        p.identity: Secret((server.layout.service(p.identity.value) / "database.password").read_bytes())
        for p in PROJECTIONS
    }
    report = await provision_database(admin, server.plan.env, passwords)
    assert (report.created, report.drift) == ((), ())
    role = PROJECTIONS[0].role(server.plan.env)
    await server.execute(f"ALTER ROLE {role} CREATEDB")
    try:
        report = await provision_database(admin, server.plan.env, passwords, dry=True)
        assert report.drift == (
            f"database role {role}: may more than log in, or is a member of another role",
        )
    finally:
        await server.execute(f"ALTER ROLE {role} NOCREATEDB")


BAD = [
    pytest.param("nonsense", ConfigurationError, "the URL of the database server is none", id="no URL"),
    pytest.param(
        "postgresql://a:se/cret@h:1/x", ConfigurationError, "the URL of", id="a URL with a slash in it"
    ),
    pytest.param(f"postgresql://a:b@{HOST}:1/x", UnavailableError, "database server", id="nobody listens"),
]


@pytest.mark.parametrize(("url", "error", "text"), BAD)
async def test_a_server_that_cannot_be_used_is_told_without_its_url(
    url: str, error: type[Exception], text: str
) -> None:
    passwords = {p.identity: Secret(b"x") for p in PROJECTIONS}
    with pytest.raises(error, match=text) as caught:
        await provision_database(Secret(url.encode()), "dev", passwords)
    assert "cret" not in str(caught.value)


async def test_a_service_without_a_password_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="found none for audit, rotation-scheduler"):
        await provision_database(Secret(b"postgresql://"), "dev", {})
