"""The one place where messages of a version's budget are given away: counted first, told afterwards (SP 800-38D §8.3).

**Atomic point**: the ledger's own write with the expected sequence of its subject. Two replicas cannot give the same
messages, a stale read gives none, and what is not told after it is lost to the budget, never given twice. The sum of what
was told is therefore at most what the ledger says, and that at most ``BUDGET``.
"""

from __future__ import annotations

import asyncio
import logging
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Final

from rekey_core.authority import Stream
from rekey_core.contracts import QuotaLedger
from rekey_core.envelope import BusMessage
from rekey_core.errors import ConflictError, MalformedError
from rekey_core.quotas import BUDGET, portion
from rekey_core.readers import open_quota
from rekey_runtime.bus import Bus

TRIES: Final = 8  # writes that another replica was before
PAUSE_S: Final = 0.01

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Quotas:
    """Gives away what budgets hold. ``BUDGET`` counts whatever asks: instances' leases and use inside the HSM alike."""

    bus: Bus
    _turns: dict[tuple[str, int], asyncio.Lock] = field(default_factory=dict)

    async def allot(self, key: str, version: int, wanted: int) -> int:
        """Take up to ``wanted`` messages (at most ``MOST``) out of the budget for good; how many. 0: there are none left.

        Raises:
            ConflictError: others were first every time.
            UnknownOutcomeError: not known whether they were taken: they count as taken, nobody may use them.
            UnavailableError: the stream is full or has no leader.
        """
        async with self._turns.setdefault((key, version), asyncio.Lock()):
            for attempt in range(1, TRIES + 1):
                with suppress(ConflictError):
                    return await self._take(key, version, wanted)
                await asyncio.sleep(PAUSE_S * attempt)
        message = f"{key}@{version}: others took from the budget first {TRIES} times"
        raise ConflictError(message)

    async def _take(self, key: str, version: int, wanted: int) -> int:
        subject = self.bus.subjects.quota(key, version)
        stored = await self.bus.last(Stream.QUOTAS, subject)
        allotted = await self._allotted(stored)
        given = portion(wanted, allotted)
        if given == 0:
            return 0
        ledger = QuotaLedger(
            env=self.bus.settings.env,
            key=key,
            version=version,
            allotted=allotted + given,
            at=datetime.now(UTC),
        )
        previous = stored.sequence if stored else 0
        await self.bus.replace(Stream.QUOTAS, subject, self.bus.pack(ledger), previous)
        return given

    async def _allotted(self, stored: BusMessage | None) -> int:
        """A ledger that does not verify may stand in the place of one that did: then nothing is left to give."""
        if stored is None:
            return 0
        try:
            return (await self.bus.trust.fresh(lambda trust: open_quota(stored, trust))).model.allotted
        except MalformedError as error:
            _log.error("ledger: %s", error, extra={"event": "ledger-not-ours", "subject": stored.subject})
            return BUDGET
