"""A service's rows in PostgreSQL: derived from the log, stamped, applied only upwards, made anew when in doubt.

The database holds nothing that the log does not say (DESIGN §3). Rows and the sequence up to which they cover the log
are written in one transaction. A stamp names what the rows were made by and of: another stamp, a foreign table or another
log under the same name means drop and replay; there is nothing to migrate. No error of asyncpg leaves this module.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import ssl
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import asyncpg

from rekey_core.authority import Identity
from rekey_core.errors import ConfigurationError, ConflictError, UnavailableError
from rekey_core.projections import PROJECTIONS, Projection
from rekey_core.secret import Secret

CONNECT_S: Final = 3.0
STATEMENT_S: Final = 10.0
SCHEMES: Final = (b"postgresql://", b"postgres://")
HINT: Final = "postgresql://role:password@host:port/database"
OTHERS: Final = 0o077
_LOST: Final = (  # the last: the connection ends in the very moment in which it is used
    asyncpg.PostgresError,
    asyncpg.InterfaceError,
    OSError,
    TimeoutError,
    asyncpg.InternalClientError,
)
STAMP_TABLE: Final = "stamp"

_MAKE: Final = """
CREATE TABLE stamp (
  one boolean PRIMARY KEY DEFAULT true CHECK (one),
  made_by text NOT NULL,
  applied bigint NOT NULL,
  place text NOT NULL
);
CREATE TABLE {table} (
  key text PRIMARY KEY,
  sequence bigint NOT NULL,
  body text NOT NULL
);
"""
_FOUND: Final = """SELECT c.relname, c.relkind::text, a.attname, format_type(a.atttypid, a.atttypmod)
  FROM pg_class c LEFT JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
  WHERE c.relnamespace = $1::regnamespace AND c.relkind IN ('r', 'p', 'f', 'v', 'm')"""
_KINDS: Final = {
    "v": "VIEW",
    "m": "MATERIALIZED VIEW",
    "f": "FOREIGN TABLE",
}  # pg_class.relkind; others: TABLE
_STAMP: Final = {("made_by", "text"), ("applied", "bigint"), ("place", "text"), ("one", "boolean")}
_ROW: Final = {("key", "text"), ("sequence", "bigint"), ("body", "text")}
_LOCKED: Final = "SELECT made_by, applied, place FROM stamp FOR UPDATE"
_ALL: Final = 'SELECT key, sequence, body FROM {table} ORDER BY key COLLATE "C"'
_UPSERT: Final = """INSERT INTO {table} (key, sequence, body) VALUES ($1, $2, $3)
  ON CONFLICT (key) DO UPDATE SET sequence = excluded.sequence, body = excluded.body
  WHERE excluded.sequence > {table}.sequence"""

_log = logging.getLogger(__name__)


class DatabaseAwayError(UnavailableError):
    """The database does not answer or refuses; whatever it would have said is in the log."""


@dataclass(frozen=True)
class Row:
    """What the database says of one key, as of the key's own last message."""

    key: str
    sequence: int
    body: str


@dataclass(frozen=True)
class Applied:
    """Up to where the rows cover the log, and the subject that stands there: another subject is another log."""

    sequence: int = 0
    place: str = ""


class Database:
    """One connection to one service's own schema; opened when first needed and again after it was lost.

    ``made_by`` names everything that decides what a row says: environment, log, rule. Rows of another are dropped.
    """

    def __init__(self, url_file: Path, identity: Identity, made_by: str) -> None:
        self._url_file = url_file
        self._projection = _projection(identity)
        self._made_by = made_by
        self._connection: asyncpg.Connection | None = None
        self._is_damaged = False

    async def applied(self) -> Applied:
        """Up to where the rows go; from nothing where there are none of ours.

        Raises:
            DatabaseAwayError: it does not answer or refuses.
            ConfigurationError: the file with its URL cannot be used.
        """
        with self._translated():
            connection = await self._connected()
            async with connection.transaction():
                return await self._stamped(connection)

    async def read(self) -> tuple[Applied, list[Row]]:
        """Up to where the rows go, and every one of them by key. Raises as ``applied``."""
        with self._translated():
            connection = await self._connected()
            async with connection.transaction():
                applied = await self._stamped(connection)
                found = await connection.fetch(_ALL.format(table=self._table))
        return applied, [Row(row["key"], row["sequence"], row["body"]) for row in found]

    async def store(self, rows: Sequence[Row], *, after: int, applied: Applied) -> None:
        """Write rows that cover the log from ``after`` up to ``applied``, all or none; never downwards.

        Raises:
            ConflictError: the database is not at ``after`` or beyond it: it was set back or made anew; read it again.
            DatabaseAwayError, ConfigurationError: as ``applied``.
        """
        with self._translated():
            connection = await self._connected()
            async with connection.transaction():
                before = await self._stamped(connection)
                if before.sequence < after:
                    raise ConflictError(f"database: expected rows up to {after}, found {before.sequence}")
                await connection.executemany(
                    _UPSERT.format(table=self._table), [(row.key, row.sequence, row.body) for row in rows]
                )
                await connection.execute(
                    "UPDATE stamp SET applied = $1, place = $2 WHERE applied < $1",
                    applied.sequence,
                    applied.place,
                )

    async def forget(self) -> None:
        """Drop every row: they are of another log. Raises as ``applied``."""
        with self._translated():
            connection = await self._connected()
            async with connection.transaction():
                await self._make(connection)

    async def close(self) -> None:
        """Leave; the next call connects again."""
        self._leave()

    @property
    def _table(self) -> str:
        return f"{self._projection.schema}.{self._projection.table}"

    async def _connected(self) -> asyncpg.Connection:
        if self._connection is None or self._connection.is_closed():
            self._connection = await asyncpg.connect(
                dsn=_url(self._url_file).reveal().decode(),
                timeout=CONNECT_S,
                command_timeout=STATEMENT_S,
                server_settings={
                    "application_name": f"rekey-{self._projection.identity}",
                    "search_path": self._projection.schema,
                },
            )
        return self._connection

    async def _stamped(self, connection: asyncpg.Connection) -> Applied:
        """The stamp, locked until the transaction ends; what is not as this program makes it is made anew."""
        columns: dict[str, set[tuple[str, str]]] = {}
        for name, _, column, kind in await connection.fetch(_FOUND, self._projection.schema):
            columns.setdefault(name, set()).add((column, kind))
        if columns == {STAMP_TABLE: _STAMP, self._projection.table: _ROW} and not self._is_damaged:
            stamp = await connection.fetchrow(_LOCKED)
            if stamp is not None and stamp["made_by"] == self._made_by:
                return Applied(stamp["applied"], stamp["place"])
        await self._make(connection)
        return Applied()

    async def _make(self, connection: asyncpg.Connection) -> None:
        schema = self._projection.schema
        _log.warning("the rows are made anew", extra={"event": "projection-made"})
        found = {name: kind for name, kind, *_ in await connection.fetch(_FOUND, schema)}
        for name, kind in found.items():
            await connection.execute(
                f"DROP {_KINDS.get(kind, 'TABLE')} IF EXISTS {schema}.{_quoted(name)} CASCADE"
            )
        await connection.execute(_MAKE.format(table=self._projection.table))
        await connection.execute("INSERT INTO stamp VALUES (true, $1, 0, '')", self._made_by)
        self._is_damaged = False

    @contextlib.contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            yield
        except ssl.SSLError as error:  # of a certificate that is not trusted (any more); a ValueError as well
            raise self._away(error) from error
        except ValueError:  # asyncpg's text may hold a part of the URL
            raise ConfigurationError(f"{self._url_file}: not the URL of a database", hint=HINT) from None
        except _LOST as error:
            self._is_damaged |= isinstance(error, asyncpg.DataCorruptedError | asyncpg.IndexCorruptedError)
            raise self._away(error) from error
        except asyncio.CancelledError:
            self._leave()
            raise

    def _away(self, error: Exception) -> DatabaseAwayError:
        self._leave()
        text = f"database: {type(error).__name__}: {str(error) or 'no answer in time'}"
        return DatabaseAwayError(text, hint="its rows are read from the log again when it is back")

    def _leave(self) -> None:
        """Whatever state the connection is in: the next call has a new one."""
        connection, self._connection = self._connection, None
        if connection is not None and not connection.is_closed():
            connection.terminate()


def _projection(identity: Identity) -> Projection:
    found = [p for p in PROJECTIONS if p.identity is identity]
    if not found:
        raise ValueError(f"{identity} has no projection in the authority table")
    return found[0]


def _url(file: Path) -> Secret:
    try:
        if file.stat().st_mode & OTHERS:
            raise ConfigurationError(f"{file} may be read by others", hint=f"chmod 600 {file}")
        url = file.read_bytes().strip()
    except OSError as error:
        raise ConfigurationError(f"database URL {file}: {error.strerror}") from error
    if not url.startswith(SCHEMES):  # with none asyncpg takes what it finds in the environment
        raise ConfigurationError(f"{file}: not the URL of a database", hint=HINT)
    return Secret(url)


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'
