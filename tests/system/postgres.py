"""A real PostgreSQL for tests: the cluster that a local stack would make, in a directory of its own.

with running_postgres(tmp_path) as server:
    database = server.database(Identity.AUDIT)
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import subprocess
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import asyncpg

from rekey_core.authority import Identity
from rekey_core.names import Service
from rekey_core.projections import PROJECTIONS, database_name
from rekey_local import database
from rekey_local.layout import Layout
from rekey_local.plan import Plan, new_ports
from rekey_provision.database_url import in_database
from tests.system.ports import ports_in_a_row

START_S = 60
STOP_S = 20
PAUSE_S = 0.2
PROGRAM_S = 60
ROWS = 'SELECT key, sequence, body FROM {} ORDER BY key COLLATE "C"'
APPLIED = "SELECT applied FROM {}.stamp"


@dataclass
class Administrator:
    """What whoever administers the server of a stack can do to it."""

    layout: Layout
    plan: Plan

    @contextlib.asynccontextmanager
    async def connected(self, name: str | None = None) -> AsyncIterator[Any]:
        """As the superuser, in the database of the environment or another one."""
        url = in_database(database.admin_url(self.layout, self.plan), name or database_name(self.plan.env))
        connection = await asyncpg.connect(dsn=url.reveal().decode(), timeout=10)
        try:
            yield connection
        finally:
            await connection.close()

    async def execute(self, *statements: str, name: str | None = None) -> None:
        """One after the other, each on its own."""
        async with self.connected(name) as connection:
            for statement in statements:
                await connection.execute(statement)

    async def drop(self) -> None:
        """Drop the database of the environment under whoever uses it."""
        name = database_name(self.plan.env)
        await self.execute(f"DROP DATABASE {name} WITH (FORCE)", name="postgres")

    async def provision(self) -> None:
        """Make again what is missing."""
        await database.provision(self.layout, self.plan)

    async def rows(self, identity: Identity) -> bytes:
        """The rows of a service in canonical form: one line each, by key; nothing where there is no table."""
        projection = next(p for p in PROJECTIONS if p.identity is identity)
        table = f"{projection.schema}.{projection.table}"
        async with self.connected() as connection:
            if await connection.fetchval("SELECT to_regclass($1)", table) is None:
                return b""
            found = await connection.fetch(ROWS.format(table))
        return b"".join(f"{row['key']} {row['sequence']} {row['body']}\n".encode() for row in found)

    async def applied(self, identity: Identity) -> int:
        """Up to where the rows of a service go."""
        schema = next(p.schema for p in PROJECTIONS if p.identity is identity)
        async with self.connected() as connection:
            if await connection.fetchval("SELECT to_regclass($1)", f"{schema}.stamp") is None:
                return 0
            return int(await connection.fetchval(APPLIED.format(schema)) or 0)

    def dump(self, file: Path) -> None:
        """``pg_dump`` of the environment's database."""
        self._run("pg_dump", "--format=custom", f"--file={file}", database_name(self.plan.env))

    def restore(self, file: Path) -> None:
        """``pg_restore`` over what is there."""
        name = database_name(self.plan.env)
        self._run(
            "pg_restore", "--clean", "--if-exists", "--single-transaction", f"--dbname={name}", str(file)
        )

    def _run(self, program: str, *arguments: str) -> None:
        parts = urlsplit(database.admin_url(self.layout, self.plan).reveal().decode())
        where = ("--host", str(parts.hostname), "--port", str(parts.port), "--username", str(parts.username))
        environment = {"PGPASSWORD": parts.password or "", "PATH": os.environ["PATH"]}
        command = [str(database.program(program)), *where, *arguments]
        done = subprocess.run(
            command, env=environment, capture_output=True, text=True, check=False, timeout=PROGRAM_S
        )
        assert done.returncode == 0, done.stderr


@dataclass
class Server(Administrator):
    """One PostgreSQL and its process."""

    process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start and wait until it takes connections; as a supervisor would, again while one that was killed still ends."""
        asyncio.run(asyncio.wait_for(self._started(), START_S))

    async def _started(self) -> None:
        answering = asyncio.create_task(database.answers(self.plan))
        while not answering.done():
            if self.process is None or self.process.poll() is not None:
                self._launch()
            await asyncio.wait([answering], timeout=PAUSE_S)

    def _launch(self) -> None:
        command = database.command(self.layout, self.plan)
        with (self.layout.logs / "postgres.log").open("ab") as log:
            self.process = subprocess.Popen(command, stdout=log, stderr=log)

    def stop(self, number: signal.Signals = database.FAST_SHUTDOWN) -> None:
        """End it."""
        if self.process is not None:
            self.process.send_signal(number)
            self.process.wait(timeout=STOP_S)
            self.process = None

    def url_file(self, identity: Identity) -> Path:
        """What the service is given."""
        return database.url_file(self.layout, identity)


@contextlib.contextmanager
def running_postgres(directory: Path) -> Iterator[Server]:
    """Found a cluster, start it, make roles and database; end it again."""
    os.environ.pop(database.URL_VARIABLE, None)  # a benchmark has no conftest, and drops databases as well
    plan = Plan.model_validate(new_ports(ports_in_a_row(2 + len(Service))))
    server = Server(Layout(directory), plan)
    asyncio.run(database.found(server.layout, plan))
    try:
        server.start()
        asyncio.run(server.provision())
        yield server
    finally:
        server.stop()
