"""The database of an environment: one role per service that has a projection, with rights in its own schema alone.

Made by whoever administers the server, from the authority table. A password reaches the server as a SCRAM verifier
only, so no server log can hold it. Again: no change. Nothing in the database needs to be kept: every row comes from the
log, so what is missing is made anew and what is foreign is left to its owner. All of it is made, or nothing but an empty
database.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import secrets
import ssl
from collections.abc import Mapping
from typing import Final

import asyncpg

from rekey_core.authority import Identity
from rekey_core.errors import ConfigurationError, UnavailableError
from rekey_core.projections import PROJECTIONS, Projection, database_name
from rekey_core.secret import Secret
from rekey_provision.database_url import HINT, check_url, in_database, role_of, server_of
from rekey_provision.provision import Report

CONNECT_S: Final = 10.0
STATEMENT_S: Final = 30.0
ROLE_CONNECTIONS: Final = 8  # of each service: one for each replica, and those that are on their way out
SCRAM_ITERATIONS: Final = 4096  # PostgreSQL's own default; the passwords are 128 random bits
FAILURES: Final = (
    asyncpg.PostgresError,
    asyncpg.InterfaceError,
    asyncpg.InternalClientError,
    OSError,  # a time-out is one
)
_DURABLE: Final = {"synchronous_commit": "on"}  # services cannot make a lost schema again
_SALT_BYTES: Final = 16  # as PostgreSQL makes them (SCRAM_DEFAULT_SALT_LEN)
_ATTRIBUTES: Final = "LOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE NOINHERIT NOREPLICATION NOBYPASSRLS"
_SAFE: Final = """SELECT NOT (rolsuper OR rolcreatedb OR rolcreaterole OR rolinherit OR rolreplication OR rolbypassrls)
  AND rolcanlogin AND NOT EXISTS (SELECT FROM pg_auth_members WHERE member = pg_roles.oid)
  FROM pg_roles WHERE rolname = $1"""


_MAY: Final = """SELECT rolname, rolsuper, rolcreaterole AS "CREATEROLE", rolcreatedb AS "CREATEDB"
  FROM pg_roles WHERE rolname = current_user"""
_OWNER: Final = """SELECT pg_get_userbyid(datdba) AS name, pg_has_role(current_user, datdba, 'USAGE') AS is_us
  FROM pg_database WHERE datname = $1"""
_ADMIN_OPTION_SINCE: Final = 16  # before, whoever may make roles may alter every one that is no superuser
_FOREIGN: Final = """SELECT rolname FROM pg_roles
  WHERE rolname = ANY($1) AND NOT pg_has_role(current_user, oid, 'MEMBER WITH ADMIN OPTION') ORDER BY rolname"""
_OPEN: Final = "SELECT has_schema_privilege($1, 'public', 'CREATE')"


async def check_database(admin_url: Secret, env: str) -> None:
    """Return if the server answers and the role may make there what is missing; nothing is changed. Raises as below."""
    async with _Session(admin_url) as server:
        await _check_rights(server, env, server_of(admin_url))


async def provision_database(
    admin_url: Secret, env: str, passwords: Mapping[Identity, Secret], *, dry: bool = False
) -> Report:
    """Create the roles, the database and the schemas that are missing. ``admin_url``: of a role that may do so.

    Passwords are set each time, so that what services were given is what holds. ``dry``: only say what would be made.

    Raises:
        ConfigurationError: the URL is none, or a service that has a projection has no password; the server refuses the
            role, or the role may not do it.
        UnavailableError: the server does not answer.
    """
    missing = [p.identity.value for p in PROJECTIONS if p.identity not in passwords]
    if missing:
        raise ConfigurationError(
            f"expected a password for each projection, found none for {', '.join(missing)}"
        )
    report = _Made()
    async with _Session(admin_url) as server:
        await _check_rights(server, env, server_of(admin_url))
        made = await _database(server, env, dry=dry)
        report.made(f"database {database_name(env)}", made)
    # in one transaction, in the database that it is about; a dry run has none yet and finds nothing there
    where = None if dry and made else database_name(env)
    async with _Session(admin_url, where) as inside, inside.transaction():
        for projection in PROJECTIONS:
            await _role(inside, projection.role(env), passwords[projection.identity], report, dry=dry)
        if not dry:
            await _who_enters(inside, env)
        for projection in PROJECTIONS:
            exists = where is not None and await _schema(inside, projection, env, dry=dry)
            report.made(f"schema {projection.schema}", not exists)
        if where is not None and not dry:
            await _see_what_is_open(inside, env, report)
    return report.report()


class _Made:
    """What was made, found and found different."""

    def __init__(self) -> None:
        self._created: list[str] = []
        self._unchanged: list[str] = []
        self.drift: list[str] = []

    def made(self, what: str, is_new: bool) -> None:  # noqa: FBT001 - the answer of whoever made it
        (self._created if is_new else self._unchanged).append(what)

    def report(self) -> Report:
        return Report(tuple(self._created), tuple(self._unchanged), tuple(self.drift))


class _Session:
    """One connection of the administrator; to the database of its URL, or to another one. What goes wrong in it is told."""

    def __init__(self, url: Secret, database: str | None = None) -> None:
        check_url(url)  # with none asyncpg takes what it finds in the environment
        self._url = url
        self._database = database
        self._connection: asyncpg.Connection | None = None

    async def __aenter__(self) -> asyncpg.Connection:
        try:
            self._connection = await asyncpg.connect(
                dsn=in_database(self._url, self._database).reveal().decode(),
                timeout=CONNECT_S,
                command_timeout=STATEMENT_S,
                server_settings=_DURABLE,
            )
        except ssl.SSLError as error:  # of a certificate that is not trusted; a ValueError as well
            raise self._told(error) from error
        except ValueError:  # its text may hold a part of the URL
            text = f"database server {server_of(self._url)}: expected a URL that asyncpg can read"
            raise ConfigurationError(text, hint=HINT) from None
        except FAILURES as error:
            raise self._told(error) from error
        return self._connection

    async def __aexit__(self, _: object, error: BaseException | None, __: object) -> None:
        if self._connection is not None:
            await self._connection.close(timeout=CONNECT_S)
        if isinstance(error, FAILURES):
            raise self._told(error) from error

    def _told(self, error: BaseException) -> ConfigurationError | UnavailableError:
        """The same in our words: what was expected, what the server said, what to do."""
        server, role = server_of(self._url), role_of(self._url)
        found = " ".join(str(error).split()) or type(error).__name__
        if isinstance(error, asyncpg.InvalidAuthorizationSpecificationError):
            text = f"database server {server}: expected to be let in as {role}, found: {found}"
            return ConfigurationError(text, hint="correct role and password in the URL, and run this again")
        if isinstance(error, asyncpg.InvalidCatalogNameError):
            text = f"database server {server}: expected a database to log in to, found: {found}"
            return ConfigurationError(text, hint="end the URL with one that exists, such as /postgres")
        if isinstance(error, asyncpg.InsufficientPrivilegeError):
            text = (
                f"database server {server}: expected that {role} may make roles and schemas, found: {found}"
            )
            hint = "drop what others made under these names, or give it to this role, and run this again"
            return ConfigurationError(text, hint=hint)
        text = f"database server {server}: expected PostgreSQL that answers, found: {found}"
        return UnavailableError(text, hint="start it, or correct the URL, and run this again")


def scram_verifier(password: Secret, salt: bytes) -> str:
    """What the server keeps instead of the password (RFC 5803, in the form of PostgreSQL's ``pg_authid``)."""
    salted = hashlib.pbkdf2_hmac("sha256", password.reveal(), salt, SCRAM_ITERATIONS)
    client = hashlib.sha256(hmac.digest(salted, b"Client Key", "sha256")).digest()
    server = hmac.digest(salted, b"Server Key", "sha256")
    encoded = [base64.b64encode(part).decode() for part in (salt, client, server)]
    return f"SCRAM-SHA-256${SCRAM_ITERATIONS}:{encoded[0]}${encoded[1]}:{encoded[2]}"


async def _check_rights(server: asyncpg.Connection, env: str, where: str) -> None:
    """Before anything is made. Raises ConfigurationError that says what to give to whom."""
    us = await server.fetchrow(_MAY)
    if us is None or us["rolsuper"]:
        return
    name, role = database_name(env), _quoted(us["rolname"])
    owner = await server.fetchrow(_OWNER, name)
    needed = ["CREATEROLE"] if owner else ["CREATEROLE", "CREATEDB"]
    lacking = [right for right in needed if not us[right]]
    expected = f"database server {where}: expected that {us['rolname']}"
    if lacking:
        text = f"{expected} has {' and '.join(needed)}, found no {' and no '.join(lacking)}"
        raise ConfigurationError(text, hint=f"as a superuser: ALTER ROLE {role} {' '.join(lacking)}")
    if owner and not owner["is_us"]:
        text = f"{expected} owns database {name}, found {owner['name']}"
        raise ConfigurationError(
            text, hint=f"as a superuser: ALTER DATABASE {name} OWNER TO {role}, or drop it"
        )
    if server.get_server_version().major < _ADMIN_OPTION_SINCE:
        return
    foreign = [row["rolname"] for row in await server.fetch(_FOREIGN, [p.role(env) for p in PROJECTIONS])]
    if foreign:
        text = f"{expected} may alter {', '.join(foreign)}, found that others made them"
        raise ConfigurationError(
            text, hint=f"as a superuser: GRANT {', '.join(foreign)} TO {role} WITH ADMIN OPTION, or drop them"
        )


async def _role(server: asyncpg.Connection, role: str, password: Secret, report: _Made, *, dry: bool) -> None:
    """Make the role, or give it its password."""
    exists = await server.fetchval("SELECT true FROM pg_roles WHERE rolname = $1", role)
    if not dry:
        verifier = scram_verifier(password, secrets.token_bytes(_SALT_BYTES))
        if not exists:
            await server.execute(f"CREATE ROLE {role} {_ATTRIBUTES} CONNECTION LIMIT {ROLE_CONNECTIONS}")
        await server.execute(f"ALTER ROLE {role} PASSWORD '{verifier}'")
    report.made(f"database role {role}", not exists)
    if exists and not await server.fetchval(_SAFE, role):
        report.drift.append(f"database role {role}: may more than log in, or is a member of another role")


async def _database(server: asyncpg.Connection, env: str, *, dry: bool) -> bool:
    """Make the database; whether it was (or would be) made. From template0: nothing of the server's own is in it."""
    name = database_name(env)
    exists = await server.fetchval("SELECT true FROM pg_database WHERE datname = $1", name)
    if not exists and not dry:
        await server.execute(f"CREATE DATABASE {name} TEMPLATE template0 ENCODING 'UTF8' LOCALE 'C'")
    return not exists


async def _who_enters(inside: asyncpg.Connection, env: str) -> None:
    name = database_name(env)
    await inside.execute(f"REVOKE ALL ON DATABASE {name} FROM PUBLIC")
    await inside.execute("REVOKE ALL ON SCHEMA public FROM PUBLIC")
    for projection in PROJECTIONS:
        await inside.execute(f"GRANT CONNECT ON DATABASE {name} TO {projection.role(env)}")


async def _schema(inside: asyncpg.Connection, projection: Projection, env: str, *, dry: bool) -> bool:
    """Make it; whether it was there. The service makes and drops tables in its schema; the schema itself is not its own."""
    exists = await inside.fetchval("SELECT true FROM pg_namespace WHERE nspname = $1", projection.schema)
    if not dry:
        await inside.execute(f"CREATE SCHEMA IF NOT EXISTS {projection.schema}")
        await inside.execute(f"GRANT USAGE, CREATE ON SCHEMA {projection.schema} TO {projection.role(env)}")
    return bool(exists)


async def _see_what_is_open(inside: asyncpg.Connection, env: str, report: _Made) -> None:
    """The server only warns when a right is not ours to take away (PostgreSQL 18, REVOKE), so it is looked for."""
    for projection in PROJECTIONS:
        role = projection.role(env)
        if await inside.fetchval(_OPEN, role):
            report.drift.append(
                f"schema public: {role} may make tables in it, and this role cannot forbid it"
            )


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'
