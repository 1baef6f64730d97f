"""A server of the user's own (``REKEY_DATABASE_URL``): what its role makes there, and what stops it before anything is made.

The role may make roles and databases and is no superuser. Each refusal names what was expected, what was found and what
to do; no word of a password is in it, and neither the server nor the state directory is changed by it.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from rekey_core.authority import Identity
from rekey_core.errors import ConfigurationError, RekeyError, UnavailableError
from rekey_core.projections import PROJECTIONS
from rekey_core.secret import Secret
from rekey_local import database
from rekey_local.layout import Layout
from rekey_local.plan import HOST, Plan
from rekey_provision import check_database, provision_database
from tests.system.files import files_under, what_is_in
from tests.system.postgres import Server, running_postgres

OWN = "rekey_own"  # the database of the environment "own"
PASSWORD = "s3cret/of@operator"
WRITTEN = "s3cret%2Fof%40operator"  # the same in a URL
ROLES = [projection.role("own") for projection in PROJECTIONS]
EVERYTHING = """SELECT rolname FROM pg_roles UNION ALL SELECT datname FROM pg_database
  UNION ALL SELECT rolpassword FROM pg_authid WHERE rolpassword IS NOT NULL ORDER BY 1"""


@dataclass
class Own:
    """The server, and the environment whose services are to have their rows there."""

    server: Server
    administrator: Secret  # what the variable does not name
    layout: Layout
    plan: Plan

    def url(self, who: str = f"operator:{WRITTEN}", name: str = "postgres") -> str:
        return f"postgresql://{who}@{HOST}:{self.server.plan.database_port}/{name}"

    async def everything(self) -> list[str]:
        """Roles, databases and verifiers of the server."""
        async with self._connected() as connection:
            return [row[0] for row in await connection.fetch(EVERYTHING)]

    async def execute(self, *statements: str) -> None:
        async with self._connected() as connection:
            for statement in statements:
                await connection.execute(statement)

    @asynccontextmanager
    async def _connected(self) -> AsyncIterator[Any]:
        connection = await asyncpg.connect(dsn=self.administrator.reveal().decode(), timeout=10)
        try:
            yield connection
        finally:
            await connection.close()


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with running_postgres(tmp_path_factory.mktemp("own")) as running:
        rules = running.layout.database / "data" / "pg_hba.conf"
        rules.write_text(f"host all all {HOST}/32 scram-sha-256\n", encoding="utf-8")
        asyncio.run(running.execute("SELECT pg_reload_conf()"))
        yield running


@pytest.fixture
def own(server: Server, tmp_path: Path) -> Iterator[Own]:
    administrator = database.admin_url(server.layout, server.plan)
    plan = server.plan.model_copy(update={"env": "own"})
    own = Own(server, administrator, Layout(tmp_path / "state"), plan)
    role = f"CREATE ROLE operator LOGIN CREATEROLE CREATEDB PASSWORD '{PASSWORD}'"
    asyncio.run(own.execute(role, "CREATE ROLE other LOGIN CREATEROLE CREATEDB"))
    yield own
    gone = [f"DROP ROLE IF EXISTS {role}" for role in (*ROLES, "operator", "other")]
    asyncio.run(own.execute(f"DROP DATABASE IF EXISTS {OWN} WITH (FORCE)", *gone))


async def test_a_role_that_is_no_superuser_makes_it_all_and_again_nothing(
    own: Own, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(database.URL_VARIABLE, f"{own.url()}?sslmode=prefer")
    await database.check_given(own.plan)
    assert not own.layout.root.exists()
    await database.provision(own.layout, own.plan)
    for projection in PROJECTIONS:
        url = Secret(database.url_file(own.layout, projection.identity).read_bytes())
        assert url.reveal().endswith(b"/rekey_own?sslmode=prefer")
        connection = await asyncpg.connect(dsn=url.reveal().decode(), timeout=10)
        await connection.execute(f"CREATE TABLE {projection.schema}.{projection.table} (key text)")
        for forbidden in ("CREATE TABLE public.mine (key text)", "CREATE SCHEMA mine", "SET ROLE operator"):
            with pytest.raises(asyncpg.InsufficientPrivilegeError):
                await connection.execute(forbidden)
        await connection.close()
    before = await own.everything()
    passwords = {p.identity: Secret(b"another one") for p in PROJECTIONS}
    report = await provision_database(Secret(own.url().encode()), "own", passwords, dry=True)
    assert (report.created, report.drift, await own.everything()) == ((), (), before)


async def test_the_password_of_its_role_is_in_no_file(own: Own, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(database.URL_VARIABLE, own.url())
    await database.provision(own.layout, own.plan)
    seen = [path for root in (own.layout.root, own.server.layout.root) for path in files_under(root)]
    assert {own.layout.service(p.identity.value) / "database.url" for p in PROJECTIONS} <= set(seen)
    assert [path for path in seen if b"s3cret" in what_is_in(path)] == []
    assert {oct(path.stat().st_mode & 0o077) for path in seen if path.name.startswith("database.")} == {"0o0"}


async def test_an_environment_that_is_gone_from_it_is_made_again(
    own: Own, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(database.URL_VARIABLE, own.url())
    await database.provision(own.layout, own.plan)
    await own.execute(f"DROP DATABASE {OWN} WITH (FORCE)")
    await database.provision(own.layout, own.plan)
    connection = await asyncpg.connect(
        dsn=database.url_file(own.layout, Identity.AUDIT).read_text(), timeout=10
    )
    await connection.close()


MADE_BY_OTHER = "SET ROLE other; CREATE ROLE {}; RESET ROLE".format
REFUSED = [
    pytest.param((), "operator:wrong", "expected to be let in as operator", "correct role and", id="a wrong password"),
    pytest.param((), "nobody:wrong", "expected to be let in as nobody", "correct role and", id="a role of nobody"),
    pytest.param(
        ("ALTER ROLE operator NOCREATEROLE",), None,
        "has CREATEROLE and CREATEDB, found no CREATEROLE", 'ALTER ROLE "operator" CREATEROLE$', id="it may not make roles",
    ),
    pytest.param(
        ("ALTER ROLE operator NOCREATEDB",), None,
        "found no CREATEDB", 'ALTER ROLE "operator" CREATEDB$', id="it may not make a database",
    ),
    pytest.param(
        ("ALTER ROLE operator NOCREATEDB NOCREATEROLE",), None,
        "found no CREATEROLE and no CREATEDB", 'ALTER ROLE "operator" CREATEROLE CREATEDB', id="it may not do anything",
    ),
    pytest.param(
        (f"CREATE DATABASE {OWN} OWNER other",), None,
        "operator owns database rekey_own, found other", "OWNER TO", id="the database is somebody else's",
    ),
    pytest.param(
        (f"CREATE DATABASE {OWN} OWNER operator", *map(MADE_BY_OTHER, ROLES[:1])), None,
        f"may alter {ROLES[0]}, found that others made them", "WITH ADMIN OPTION", id="a service's role is somebody else's",
    ),
]  # fmt: skip


@pytest.mark.parametrize(("before", "who", "text", "hint"), REFUSED)
async def test_a_role_that_cannot_do_it_is_told_before_anything_is_made(
    own: Own, monkeypatch: pytest.MonkeyPatch, before: tuple[str, ...], who: str | None, text: str, hint: str
) -> None:
    await own.execute(*before)
    found = await own.everything()
    monkeypatch.setenv(database.URL_VARIABLE, own.url(who) if who else own.url())
    for use in (database.check_given(own.plan), database.provision(own.layout, own.plan)):
        with pytest.raises(ConfigurationError, match=text) as caught:
            await use
        told(caught.value, hint)
    assert await own.everything() == found
    assert [path for path in own.layout.root.rglob("database.url") if path.is_file()] == []


AWAY = [
    pytest.param(f"postgresql://operator:s3cret@{HOST}:1/x", UnavailableError, "Connect call failed", id="nobody listens"),
    pytest.param("{url}?sslmode=require", UnavailableError, "rejected SSL upgrade", id="without the TLS that was demanded"),
    pytest.param("{other}", ConfigurationError, 'database "none" does not exist', id="no such database"),
]  # fmt: skip


@pytest.mark.parametrize(("url", "error", "text"), AWAY)
async def test_a_server_that_is_not_as_the_url_says_is_told(
    own: Own, url: str, error: type[RekeyError], text: str
) -> None:
    given = url.format(url=own.url(), other=own.url(name="none"))
    with pytest.raises(error, match=text) as caught:
        await check_database(Secret(given.encode()), "own")
    told(caught.value, "URL")


def told(error: RekeyError, hint: str) -> None:
    """In one line, with a next step, without the password."""
    said = f"{error} {error.hint}"
    assert "expected" in str(error)
    assert "found" in str(error)
    assert "\n" not in said
    assert "s3cret" not in said
    assert error.hint is not None
    assert re.search(hint, error.hint)
