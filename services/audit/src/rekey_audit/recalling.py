"""A start that reads what is new: the rest of the log is read key by key, when a key moves or somebody asks for it.

The database says where to begin and what ``ls`` shows of keys that were not read yet. What it says of a key is never judged
by: a key that is read is read from the log, with every signature. Nor can it make audit overlook a message that was
not judged before: reading begins at what the bus has as acknowledged, if the database claims more.
"""

from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass, field
from typing import Final

from pydantic import TypeAdapter, ValidationError

from rekey_audit import questions
from rekey_audit.ledger import Ledger
from rekey_core.authority import Stream
from rekey_core.contracts import KeySummary
from rekey_core.envelope import BusMessage
from rekey_core.fold import KeyState
from rekey_core.names import is_token
from rekey_runtime.bus import Bus
from rekey_runtime.database import Row
from rekey_runtime.projector import Projector

VERSION: Final = 1  # of what a row says; raised when it says something else of the same facts
CONSUMER: Final = "audit"
TRIES: Final = (
    5  # of a read that shows less than the row: on three nodes it may be behind for some milliseconds
)
PAUSE_S: Final = 0.02

_BODY: Final[TypeAdapter[KeySummary | None]] = TypeAdapter(KeySummary | None)

_log = logging.getLogger(__name__)


@dataclass
class Recalling:
    """Brings keys into the ledger when they are needed."""

    bus: Bus
    ledger: Ledger
    _seen: dict[str, int] = field(default_factory=dict)  # key → its last message, as its row says
    _reading: asyncio.Lock = field(default_factory=asyncio.Lock)

    async def begin(self, projector: Projector) -> None:
        """Let the ledger begin where the database and the bus agree that everything was judged.

        Raises:
            StaleReadError, UnavailableError: the bus does not answer.
        """
        recalled = await projector.recall()
        if recalled is None:
            return
        applied, rows = recalled
        info = await self.bus.info(f"CONSUMER.INFO.{Stream.LIFECYCLE}.{CONSUMER}")
        floor = info.get("ack_floor")
        acknowledged = int(floor.get("stream_seq", 0)) if isinstance(floor, dict) else 0
        try:
            summaries = {row.key: body for row in rows if (body := summary_in(row)) is not None}
        except ValueError as error:
            _log.warning("rows are not used: %s", error, extra={"event": "rows-not-used"})
            return
        self._seen = {row.key: row.sequence for row in rows}
        self.ledger.recall(min(applied.sequence, acknowledged), summaries)

    async def know(self, key: str) -> None:
        """Have the key's messages up to the ledger's place in the ledger.

        Raises:
            StaleReadError: the read was cut short.
            UnavailableError: the trust documents could not be read.
        """
        if not self.ledger.unread or key in self.ledger.keys or not is_token(key):
            return
        async with self._reading:  # a second one would take the same messages in twice
            if key not in self.ledger.keys:
                messages = await self._messages(key)
                trust = await self.bus.trust.refresh()
                self.ledger.read(key, messages, trust)

    async def know_all(self) -> None:
        """Have every key in the ledger; one that was read stays, so that a second try goes on. Raises as ``know``."""
        for key in sorted(self.ledger.recalled):
            await self.know(key)

    async def row(self, key: str) -> Row:
        """The key's row as the ledger has it now. Raises as ``know``."""
        await self.know(key)
        record = self.ledger.keys.get(key)
        if record is None:
            return Row(key, 0, "null")
        return inventory_row(record.state)

    async def _messages(self, key: str) -> list[BusMessage]:
        """All of the key's messages. What the row counted should be there; if it never is, the log is right."""
        env = self.bus.settings.env
        least = min(self._seen.get(key, 0), self.ledger.unread)
        filters = [f"evt.{env}.{key}.>", f"dlv.{env}.{key}.>"]
        for _ in range(TRIES):
            messages = await self.bus.read_many(Stream.LIFECYCLE, filters)
            if max((message.sequence for message in messages), default=0) >= least:
                return messages
            await asyncio.sleep(PAUSE_S)
        _log.warning(
            "row of %s: claims a message that the log does not have", key, extra={"event": "row-wrong"}
        )
        return await self.bus.read_many(Stream.LIFECYCLE, filters)


def inventory_row(state: KeyState) -> Row:
    """The row of a key: what ``ls`` shows of it; nothing for a name that nobody registered."""
    body = questions.summary(state, questions.PAGE_VERSIONS) if state.is_registered else None
    return Row(state.key, state.last_sequence, _BODY.dump_json(body).decode())


def summary_in(row: Row) -> KeySummary | None:
    """What the row says of its key; None for a name that nobody registered.

    Raises:
        ValueError: it is no row of ours, or another key's.
    """
    try:
        body = _BODY.validate_json(row.body)
    except ValidationError:
        text = f"row of {row.key}: expected a summary of a key"
        raise ValueError(text) from None
    if body is not None and body.key != row.key:
        text = f"row of {row.key}: found the summary of {body.key}"
        raise ValueError(text)
    return body
