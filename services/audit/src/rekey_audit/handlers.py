"""The tail of the log, the reports of the others, and people's questions.

A message of the log is acknowledged after it is in the ledger and its alarm, if it needs one, is stored (the atomic
point). The ledger is memory: a crash loses it and the next start reads the log again, from its first message or, with a
database, from what is new. An alarm is written once per place in the log, so neither redelivery nor a new start says it
twice.
"""

from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from rekey_audit.advisories import is_everyday
from rekey_audit.answers import Answers
from rekey_audit.attesting import Attestations
from rekey_audit.ledger import Judged, Ledger, place
from rekey_audit.recalling import VERSION, Recalling
from rekey_core.authority import Stream
from rekey_core.contracts import Alert, KeySummary, Refusal
from rekey_core.drilled import ATTESTATION, is_drill, is_record, open_drill
from rekey_core.encoding import parse_json_strict, sha256_hex
from rekey_core.ended import KEK_END, open_end
from rekey_core.envelope import BusMessage, Stored, sign
from rekey_core.errors import ConflictError, MalformedError, SchemaError, UnavailableError
from rekey_core.readers import open_report
from rekey_runtime.bus import Bus
from rekey_runtime.projector import OnAway, Projector, database_of

MAX_LINE: Final = 2000  # characters of a report's line
MAX_ADVISORY_BYTES: Final = 64 * 1024

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class _Alarm:
    """Where and what; said once per place."""

    stream: str
    sequence: int
    subject: str
    code: str
    text: str

    @property
    def number(self) -> str:
        return sha256_hex(f"{self.stream}|{self.sequence}|{self.code}".encode())[:16]


@dataclass
class Audit:
    """Handlers of the three consumers, and of people's questions."""

    bus: Bus
    database: Path | None = None
    on_database_away: OnAway = lambda _: None
    ledger: Ledger = field(init=False)
    projector: Projector | None = field(init=False)
    recalling: Recalling = field(init=False)
    attestations: Attestations = field(init=False)
    _answers: Answers = field(init=False)
    _unsaid: list[_Alarm] = field(default_factory=list)
    _complained: tuple[str, int] = ("", 0)
    _saying: asyncio.Lock = field(default_factory=asyncio.Lock)

    def __post_init__(self) -> None:
        self.ledger = Ledger(self.bus.settings.env)
        self.recalling = Recalling(self.bus, self.ledger)
        self._answers = Answers(self.bus, self.ledger, self.recalling.know, self.recalling.know_all)
        self.attestations = Attestations(self.bus, self.ledger, self.recalling.know_all, self.on_report)
        self.projector = None
        if self.database is not None:
            rows = database_of(self.bus, self.database, KeySummary, VERSION)
            self.projector = Projector(
                self.bus, rows, self.recalling.row, lambda: self.ledger.applied, self.on_database_away
            )

    async def rebuild(self) -> None:
        """Read what the log has after what the database remembers, then every report.

        Raises:
            StaleReadError: a read was cut short.
            ConfigurationError: the file with the database's URL cannot be used.
        """
        if self.projector is not None:
            await self.recalling.begin(self.projector)
        await self._follow(until=None)
        async for message in self.bus.read_all(Stream.REPORTS, ">"):
            try:
                await self.on_report(message)
            except MalformedError as error:
                self._alarm(message, error.code, str(error))
        await self.say_alarms()
        _log.info("rebuilt", extra={"event": "rebuilt", "sequence": self.ledger.applied})

    async def on_fact(self, message: BusMessage) -> None:
        """A fact or delivery. What is missing before it is read by sequence first; hostile ones become alarms."""
        if message.sequence > self.ledger.applied + 1:
            await self._follow(until=message.sequence)
        if message.sequence > self.ledger.applied:
            await self._take(message)
        await self.say_alarms()

    async def on_report(self, message: BusMessage) -> None:
        """A refusal or an alert of a service, or what officers attest. Raises MalformedError for a report that is none."""
        if is_drill(message.subject):
            self.ledger.drilled(open_drill(message, await self.bus.trust.refresh()))
            return
        if is_record(message.subject, KEK_END):
            self.ledger.epoch_ended(open_end(message, await self.bus.trust.refresh()))
            return
        stored = await self.bus.trust.fresh(lambda trust: open_report(message, trust))
        report = stored.model
        if isinstance(report, Refusal) or report.stream == Stream.COMMANDS:
            self.ledger.reported(report)
        if isinstance(report, Alert):
            self.ledger.alerted(
                Stored(report, stored.sequence, stored.stored_at, stored.subject, stored.signed)
            )
            where = {"code": report.code, "subject": report.subject, "sequence": report.sequence}
            _log.warning("alert of %s: %s", report.author, report.message, extra={"event": "alert", **where})

    async def on_advisory(self, message: BusMessage) -> None:
        """The server gave a message up or a consumer terminated it: somebody must look at it (notes: nats §0.9)."""
        try:
            body = parse_json_strict(message.data, limit=MAX_ADVISORY_BYTES)
        except SchemaError as error:
            self._alarm(message, error.code, str(error))
        else:
            if is_everyday(body):
                return
            text = f"{body.get('consumer')}: {body.get('reason') or 'no more deliveries'}"
            code = "max-deliveries" if "MAX_DELIVERIES" in message.subject else "terminated"
            sequence = body.get("stream_seq")
            self._alarm_at(
                _Alarm(
                    str(body.get("stream")),
                    sequence if isinstance(sequence, int) else 0,
                    message.subject,
                    code,
                    text,
                )
            )
        await self.say_alarms()

    async def on_ask(self, subject: str, data: bytes) -> tuple[bytes, dict[str, str]]:
        """Answer a person, signed. Raises MalformedError for what nobody can be answered about."""
        answer = await self._answers.to(subject, data)
        return sign(answer, self.bus.signer).model_dump_json().encode(), {}

    async def look_at_drills(self) -> None:
        """Raise the alarm that the backups are not proved, once for each drill. Raises as ``say_alarms``."""
        await self.attestations.first_backup()
        complaint = self.attestations.complaint(datetime.now(UTC))
        newest = self.ledger.drills.newest
        about = (complaint[0] if complaint else "", newest.sequence if newest else 0)
        if complaint is not None and about != self._complained:
            subject = self.bus.subjects.report(self.bus.settings.service, ATTESTATION, "newest")
            self._alarm_at(_Alarm(Stream.REPORTS.value, about[1], subject, *complaint))
        self._complained = about
        await self.say_alarms()

    async def say_alarms(self) -> None:
        """Store the alarms that are not stored yet. Raises RetryableError while the bus does not take them."""
        async with self._saying:  # two at once would both say the first and take another one away unsaid
            while self._unsaid:
                await self._say(self._unsaid[0])
                self._unsaid.pop(0)

    async def prove(self) -> None:
        """Ready means: no alarm waits. Raises UnavailableError while one does."""
        if self._unsaid:
            text = f"{len(self._unsaid)} alarms wait for the bus"
            raise UnavailableError(text)

    async def _follow(self, *, until: int | None) -> None:
        """Apply what the log has after the ledger's place, up to before ``until``."""
        last = until - 1 if until is not None else None
        async for message in self.bus.read_all(
            Stream.LIFECYCLE, ">", start=self.ledger.applied + 1, until=last
        ):
            await self._take(message)

    async def _take(self, message: BusMessage) -> None:
        missing = message.sequence - self.ledger.applied - 1
        if missing:  # nothing is ever deleted from the log, so its sequences have no gaps
            text = f"{missing} messages before {message.sequence} are not in the log"
            self._alarm(message, "missing-sequence", text)
        await self.recalling.know(place(message.subject)[1] or "")
        judged = await self._judged(message)
        if judged.finding is not None:
            self._alarm(message, judged.finding.code, str(judged.finding))
        self.ledger.keep(judged)
        if self.projector is not None:
            self.projector.wake()

    async def _judged(self, message: BusMessage) -> Judged:
        trust = self.bus.trust.current
        judged = self.ledger.judge(message, trust)
        if judged.finding is None:
            return judged
        newer = await self.bus.trust.refresh()  # its author may be newer than the document that we know
        return judged if newer.n == trust.n else self.ledger.judge(message, newer)

    def _alarm(self, message: BusMessage, code: str, text: str) -> None:
        self._alarm_at(_Alarm(message.stream, message.sequence, message.subject, code, text))

    def _alarm_at(self, alarm: _Alarm) -> None:
        where = {"code": alarm.code, "subject": alarm.subject, "sequence": alarm.sequence}
        self.bus.metrics.alarm(alarm.code)
        _log.error("alarm: %s", alarm.text, extra={"event": "alarm", **where})
        self._unsaid.append(alarm)

    async def _say(self, alarm: _Alarm) -> None:
        report = Alert(
            env=self.bus.settings.env,
            author=self.bus.settings.service,
            subject=alarm.subject,
            stream=alarm.stream,
            sequence=alarm.sequence,
            code=alarm.code,
            message=alarm.text[:MAX_LINE],
            at=datetime.now(UTC),
        )
        subject = self.bus.subjects.report(self.bus.settings.service, "alert", alarm.number)
        try:
            await self.bus.write_once(Stream.REPORTS, subject, self.bus.pack(report))
        except ConflictError:
            _log.debug("alarm was said before", extra={"event": "alarm-known", "subject": subject})
