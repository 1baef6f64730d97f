"""The database of an environment: one role per service that has a projection, with rights in its own schema alone.

Made by whoever administers the server, from the authority table. A password reaches the server as a SCRAM verifier
only, so no server log can hold it. Again: no change. Nothing in the database needs to be kept: every row comes from the
log, so what is missing is made anew and what is foreign is left to its owner.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import secrets
from collections.abc import Mapping
from typing import Final
from urllib.parse import urlsplit, urlunsplit

import asyncpg

from rekey_core.authority import Identity
from rekey_core.errors import ConfigurationError, UnavailableError
from rekey_core.projections import PROJECTIONS, Projection, database_name
from rekey_core.secret import Secret
from rekey_provision.provision import Report

SCHEMES: Final = (b"postgresql://", b"postgres://")
HINT: Final = "postgresql://role:password@host:port/database"
CONNECT_S: Final = 10.0
STATEMENT_S: Final = 30.0
ROLE_CONNECTIONS: Final = 8  # of each service: one for each replica, and those that are on their way out
SCRAM_ITERATIONS: Final = 4096  # PostgreSQL's own default; the passwords are 128 random bits
_DURABLE: Final = {"synchronous_commit": "on"}  # services cannot make a lost schema again
_SALT_BYTES: Final = 16  # as PostgreSQL makes them (SCRAM_DEFAULT_SALT_LEN)
_ATTRIBUTES: Final = "LOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE NOINHERIT NOREPLICATION NOBYPASSRLS"
_SAFE: Final = """SELECT NOT (rolsuper OR rolcreatedb OR rolcreaterole OR rolinherit OR rolreplication OR rolbypassrls)
  AND rolcanlogin AND NOT EXISTS (SELECT FROM pg_auth_members WHERE member = pg_roles.oid)
  FROM pg_roles WHERE rolname = $1"""


async def provision_database(
    admin_url: Secret, env: str, passwords: Mapping[Identity, Secret], *, dry: bool = False
) -> Report:
    """Create the roles, the database and the schemas that are missing. ``admin_url``: of a role that may do so.

    Passwords are set each time, so that what services were given is what holds. ``dry``: only say what would be made.

    Raises:
        ConfigurationError: the URL is none, or a service that has a projection has no password.
        UnavailableError: the server does not answer or refuses.
    """
    missing = [p.identity.value for p in PROJECTIONS if p.identity not in passwords]
    if missing:
        raise ConfigurationError(
            f"expected a password for each projection, found none for {', '.join(missing)}"
        )
    created: list[str] = []
    unchanged: list[str] = []
    drift: list[str] = []
    try:
        async with _Session(admin_url) as server:
            for projection in PROJECTIONS:
                role = projection.role(env)
                made = await _role(server, role, passwords[projection.identity], dry=dry)
                (created if made else unchanged).append(f"database role {role}")
                if not made and not await server.fetchval(_SAFE, role):
                    drift.append(
                        f"database role {role}: may more than log in, or is a member of another role"
                    )
            made = await _database(server, env, dry=dry)
            (created if made else unchanged).append(f"database {database_name(env)}")
        if dry and made:
            created += [f"schema {projection.schema}" for projection in PROJECTIONS]
        else:
            async with _Session(admin_url, database_name(env)) as inside:
                for projection in PROJECTIONS:
                    made = await _schema(inside, projection, env, dry=dry)
                    (created if made else unchanged).append(f"schema {projection.schema}")
    except (asyncpg.PostgresError, asyncpg.InterfaceError, OSError, TimeoutError) as error:
        raise UnavailableError(
            f"database server: {error}", hint="is it up, and may this role do it?"
        ) from error
    return Report(tuple(created), tuple(unchanged), tuple(drift))


class _Session:
    """One connection of the administrator; to the database of its URL, or to another one."""

    def __init__(self, url: Secret, database: str | None = None) -> None:
        self._url = url
        self._database = database
        self._connection: asyncpg.Connection | None = None

    async def __aenter__(self) -> asyncpg.Connection:
        if not self._url.reveal().startswith(
            SCHEMES
        ):  # with none asyncpg takes what it finds in the environment
            raise ConfigurationError("the URL of the database is none", hint=HINT)
        try:
            self._connection = await asyncpg.connect(
                dsn=in_database(self._url, self._database).reveal().decode(),
                timeout=CONNECT_S,
                command_timeout=STATEMENT_S,
                server_settings=_DURABLE,
            )
        except ValueError:  # its text may hold a part of the URL
            raise ConfigurationError("the URL of the database is none", hint=HINT) from None
        return self._connection

    async def __aexit__(self, *_: object) -> None:
        if self._connection is not None:
            await self._connection.close()


def in_database(url: Secret, database: str | None) -> Secret:
    """The URL of another database on the same server."""
    parts = urlsplit(url.reveal().decode())
    changed = parts if database is None else parts._replace(path=f"/{database}")
    return Secret(urlunsplit(changed).encode())


def scram_verifier(password: Secret, salt: bytes) -> str:
    """What the server keeps instead of the password (RFC 5803, in the form of PostgreSQL's ``pg_authid``)."""
    salted = hashlib.pbkdf2_hmac("sha256", password.reveal(), salt, SCRAM_ITERATIONS)
    client = hashlib.sha256(hmac.digest(salted, b"Client Key", "sha256")).digest()
    server = hmac.digest(salted, b"Server Key", "sha256")
    encoded = [base64.b64encode(part).decode() for part in (salt, client, server)]
    return f"SCRAM-SHA-256${SCRAM_ITERATIONS}:{encoded[0]}${encoded[1]}:{encoded[2]}"


async def _role(server: asyncpg.Connection, role: str, password: Secret, *, dry: bool) -> bool:
    """Make the role, or give it its password; whether it was (or would be) made."""
    exists = await server.fetchval("SELECT true FROM pg_roles WHERE rolname = $1", role)
    if not dry:
        verifier = scram_verifier(password, secrets.token_bytes(_SALT_BYTES))
        if not exists:
            await server.execute(f"CREATE ROLE {role} {_ATTRIBUTES} CONNECTION LIMIT {ROLE_CONNECTIONS}")
        await server.execute(f"ALTER ROLE {role} PASSWORD '{verifier}'")
    return not exists


async def _database(server: asyncpg.Connection, env: str, *, dry: bool) -> bool:
    name = database_name(env)
    exists = await server.fetchval("SELECT true FROM pg_database WHERE datname = $1", name)
    if not dry:
        if not exists:
            await server.execute(f"CREATE DATABASE {name}")
        await server.execute(f"REVOKE ALL ON DATABASE {name} FROM PUBLIC")
        for projection in PROJECTIONS:
            await server.execute(f"GRANT CONNECT ON DATABASE {name} TO {projection.role(env)}")
    return not exists


async def _schema(inside: asyncpg.Connection, projection: Projection, env: str, *, dry: bool) -> bool:
    """The service makes and drops tables in its schema; the schema itself is not its own."""
    exists = await inside.fetchval("SELECT true FROM pg_namespace WHERE nspname = $1", projection.schema)
    if not dry:
        role = projection.role(env)
        await inside.execute("REVOKE ALL ON SCHEMA public FROM PUBLIC")
        await inside.execute(f"CREATE SCHEMA IF NOT EXISTS {projection.schema}")
        await inside.execute(f"GRANT USAGE, CREATE ON SCHEMA {projection.schema} TO {role}")
    return not exists
