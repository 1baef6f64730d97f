"""What officers attest, on record: their word verified, the log counted again, then written once; and the alarms.

A drill and how it ended, or that a KEK epoch has.

Who brings the attestation does not matter: the signatures of a quorum are its authority, and the record carries them, so
that every reader judges it again. The write of the record is the atomic point; the same attestation again is no change.
"""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Final

from rekey_audit.ledger import Ledger
from rekey_core.authority import Stream
from rekey_core.contracts import (
    About,
    AttestationAnswer,
    AttestationOffer,
    Attested,
    BackedUp,
    DrillAttestation,
    EpochEnd,
    OfficersSigned,
)
from rekey_core.drilled import (
    ATTESTATION,
    attestation_id,
    attested,
    check_count,
    open_attestation_offer,
    record_subject,
)
from rekey_core.ended import KEK_END, check_empty, ended
from rekey_core.envelope import BusMessage, sign
from rekey_core.errors import ConflictError, FatalError, RekeyError, RetryableError, UnavailableError
from rekey_core.trust import Trust
from rekey_runtime.about import note_code
from rekey_runtime.bus import Bus

_Reader = Callable[[OfficersSigned, datetime, Trust], DrillAttestation | EpochEnd]
_READERS: Final[Mapping[About, _Reader]] = {ATTESTATION: attested, KEK_END: ended}

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Attestations:
    """Records what officers attest, and says when a drill is missing.

    ``know_all``: brings every key into the ledger. ``learn``: takes a report that was just stored into it.
    """

    bus: Bus
    ledger: Ledger
    know_all: Callable[[], Awaitable[None]]
    learn: Callable[[BusMessage], Awaitable[None]]

    async def on_offer(self, subject: str, data: bytes) -> tuple[bytes, dict[str, str]]:
        """Record what officers attest, or say why not. Raises MalformedError leaves for what is no offer."""
        offer = open_attestation_offer(subject, data, self.bus.settings.env)
        try:
            await self._record(offer)
            answer = _answer(offer, None)
        except FatalError:
            raise
        except RekeyError as error:
            answer = _answer(offer, error)
        return sign(answer, self.bus.signer).model_dump_json().encode(), {}

    async def first_backup(self) -> None:
        """Find when the log took the first backup, unless that is known or nobody has to know it.

        Raises:
            StaleReadError: the read was cut short.
        """
        drills = self.ledger.drills
        if drills.newest is None and drills.first_backup is None:
            async for message in self._backups():
                self.ledger.drills = replace(self.ledger.drills, first_backup=message.stored_at)
                return

    def complaint(self, now: datetime) -> tuple[str, str] | None:
        """Code and text of the alarm that there must be; the figure for whoever watches is set beside it."""
        drills = self.ledger.drills
        if drills.due is not None:
            self.bus.metrics.drill_due(drills.due)
        return drills.complaint(now)

    async def _record(self, offer: AttestationOffer) -> None:
        now = await self.bus.time(Stream.REPORTS)
        read = _READERS[offer.about]
        found = await self.bus.trust.fresh(lambda trust: read(offer.signed, now, trust))
        if found.as_of > self.ledger.applied:
            text = f"it covers the log up to {found.as_of}, audit has read up to {self.ledger.applied}"
            raise UnavailableError(text, hint="give the same attestation again")
        await self.know_all()
        self._check_log(found)
        await self._store(offer)
        _log.warning("attested", extra={"event": "attested", "about": offer.about, "log": found.as_of})

    def _check_log(self, found: DrillAttestation | EpochEnd) -> None:
        states = (record.state for record in self.ledger.keys.values())
        if isinstance(found, EpochEnd):
            check_empty(found, states)
        else:
            check_count(found, states)

    async def _store(self, offer: AttestationOffer) -> None:
        service = self.bus.settings.service
        record = Attested(env=offer.env, author=service, signed=offer.signed, at=datetime.now(UTC))
        subject = record_subject(offer.env, offer.about, offer.signed)
        try:
            await self.bus.write_once(Stream.REPORTS, subject, self.bus.pack(record))
        except ConflictError:
            _log.info("it was recorded before", extra={"event": "attestation-known", "subject": subject})
        stored = await self.bus.last(Stream.REPORTS, subject)
        if stored is not None:  # who asks for the status next is told of it already
            await self.learn(stored)

    def _backups(self) -> AsyncIterator[BusMessage]:
        subjects = f"evt.{self.bus.settings.env}.*.*.{BackedUp.AUTHOR}.{BackedUp.EVENT}.*"
        return self.bus.read_all(Stream.LIFECYCLE, subjects, batch=1)


def _answer(offer: AttestationOffer, error: RekeyError | None) -> AttestationAnswer:
    said: dict[str, object] = {"env": offer.env, "attestation": attestation_id(offer.signed)}
    if error is None:
        return AttestationAnswer.model_validate(said)
    note_code(error.code)
    _log.warning("not recorded: %s", error, extra={"event": "not-attested", "code": error.code})
    said |= {"code": error.code, "message": str(error), "hint": error.hint}
    return AttestationAnswer.model_validate(said | {"retry": isinstance(error, RetryableError)})
