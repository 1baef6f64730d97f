"""Follows the log into the database: one row per key, a pure function of its folded facts.

Beside the consumers and never in their way: nothing is decided on a row, and no message waits for one. Each batch of the
log names the keys that moved; their rows are made from the fold as it is and written with the sequence up to which
they cover the log. A database that is away, was dropped or set back is caught up with by the same way as a new one.
"""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import suppress
from pathlib import Path
from typing import Final

from pydantic import BaseModel

from rekey_core.authority import Identity, Stream
from rekey_core.contracts import FACTS
from rekey_core.encoding import sha256_hex
from rekey_core.envelope import BusMessage
from rekey_core.errors import RetryableError, SchemaError, StaleReadError
from rekey_core.policy import POLICY_DIGEST
from rekey_core.readers import key_in
from rekey_runtime.bus import Bus
from rekey_runtime.database import Applied, Database, DatabaseAwayError, Row
from rekey_runtime.log import say
from rekey_runtime.settings import ServiceSettings

BATCH: Final = 500  # messages of the log per transaction
GATHER_S: Final = 0.1  # from the first that is new to a transaction with all that came meanwhile
IDLE_S: Final = (
    5.0  # the longest time between two looks at the log when nobody says that there is something new
)
PAUSES_S: Final = (0.2, 0.5, 1.0, 2.0)  # between tries while the database or the bus is away

MakeRow = Callable[[str], Awaitable[Row]]
OnAway = Callable[[bool], None]

_log = logging.getLogger(__name__)


class Projector:
    """One service's rows, kept up with the log.

    ``row``: a key's row as the log has it now. ``upto``: how far rows may go; none is as far as the log goes.
    ``on_away``: told when the database goes away or is back.
    """

    def __init__(
        self,
        bus: Bus,
        database: Database,
        row: MakeRow,
        upto: Callable[[], int] | None = None,
        on_away: OnAway = lambda _: None,
    ) -> None:
        self._bus = bus
        self._database = database
        self._row = row
        self._upto = upto
        self._at: Applied | None = None  # none: the database has to be asked
        self._bell = asyncio.Event()
        self._is_away = False
        self._on_away = on_away

    async def recall(self) -> tuple[Applied, list[Row]] | None:
        """What the database remembers of this very log; None while it is away. Raises StaleReadError, ConfigurationError."""
        try:
            applied, rows = await self._database.read()
            if await self._stands_in_the_log(applied):
                return applied, rows
            await self._database.forget()
        except DatabaseAwayError as error:
            self._tell(error)
            return None
        return Applied(), []

    def wake(self) -> None:
        """There is something new in the log."""
        self._bell.set()

    async def catch_up(self) -> None:
        """Bring the rows up to the log as it is now.

        Raises:
            DatabaseAwayError, ConflictError: the database does not answer, or was set back meanwhile.
            StaleReadError, UnavailableError: the log could not be read.
        """
        at = self._at or await self._begin()
        until = self._upto() if self._upto else None
        news = self._bus.read_all(Stream.LIFECYCLE, ">", start=at.sequence + 1, until=until)
        async for batch in _batches(news):
            rows = [await self._fresh_row(key, least) for key, least in moved(batch).items()]
            after, at = at, Applied(batch[-1].sequence, batch[-1].subject)
            await self._database.store(rows, after=after.sequence, applied=at)
            self._at = at

    async def work(self) -> None:
        """Keep the rows up with the log, for ever. Raises FatalError leaves only."""
        failures = 0
        while True:
            self._bell.clear()
            try:
                await self.catch_up()
                self._tell(None)
                failures = 0
                try:
                    await asyncio.wait_for(self._bell.wait(), IDLE_S)
                except TimeoutError:
                    self._at = None  # nothing to write: ask whether it is still there
                else:
                    await asyncio.sleep(GATHER_S)  # facts come in twos and threes, in a storm by the dozen
            except RetryableError as error:  # the database, or the bus, whose absence everybody else reports
                self._at = None
                if isinstance(error, DatabaseAwayError):
                    self._tell(error)
                await asyncio.sleep(PAUSES_S[min(failures, len(PAUSES_S) - 1)])
                failures += 1

    async def close(self) -> None:
        """Leave the database."""
        await self._database.close()

    async def _begin(self) -> Applied:
        applied = await self._database.applied()
        if not await self._stands_in_the_log(applied):
            await self._database.forget()
            applied = Applied()
        return applied

    async def _stands_in_the_log(self, applied: Applied) -> bool:
        """Whether the log has that subject at that sequence: nothing in it is ever changed or deleted."""
        if not applied.sequence:
            return True
        found = await self._bus.at(Stream.LIFECYCLE, applied.sequence)
        return found is not None and found.subject == applied.place

    async def _fresh_row(self, key: str, least: int) -> Row:
        row = await self._row(key)
        if row.sequence < least:
            raise StaleReadError(f"key {key}: read up to {row.sequence}, expected {least}")
        return row

    def _tell(self, error: DatabaseAwayError | None) -> None:
        """Say it when it changes: the service does all its work without, so it stays ready."""
        if (error is not None) is self._is_away:
            return
        self._is_away = error is not None
        self._on_away(self._is_away)
        if error is not None:
            _log.warning("%s", error, extra={"event": "database-away"})
        say("database-away" if error else "database-back", service=self._bus.settings.service.value)


def moved(messages: list[BusMessage]) -> dict[str, int]:
    """The keys that facts among the messages are about, and the last sequence of each."""
    found: dict[str, int] = {}
    for message in messages:
        if message.subject.startswith("evt."):  # deliveries change no row
            with suppress(SchemaError):  # a subject that names no key; audit alarms about it
                found[key_in(message.subject)] = message.sequence
    return found


def made_by(settings: ServiceSettings, body: type[BaseModel], version: int) -> str:
    """Everything that decides what a row says, as one digest: whose log, the rows' form, the rules that are known.

    ``version``: raised by hand when a row says something else of the same facts than before.
    """
    rules = [fact.TYPE for fact in FACTS], POLICY_DIGEST, body.model_json_schema(), version
    return sha256_hex(json.dumps([settings.env, settings.trust_genesis, *rules], sort_keys=True).encode())


def database_of(bus: Bus, url_file: Path, body: type[BaseModel], version: int) -> Database:
    """The database of the service, for rows with this body. ``version`` as in ``made_by``."""
    return Database(url_file, Identity(bus.settings.service.value), made_by(bus.settings, body, version))


async def _batches(messages: AsyncIterator[BusMessage]) -> AsyncIterator[list[BusMessage]]:
    batch: list[BusMessage] = []
    async for message in messages:
        batch.append(message)
        if len(batch) == BATCH:
            yield batch
            batch = []
    if batch:
        yield batch
