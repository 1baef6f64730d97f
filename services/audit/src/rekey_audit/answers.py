"""From a person's question to audit's answer. Who asks is who the bus let publish on the subject."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import islice
from typing import Any, Final, TypeVar

from pydantic import ValidationError

from rekey_audit import coverage, figures, keks, questions
from rekey_audit.ledger import KeyRecord, Ledger
from rekey_core.adoption import Adoption, adoption, awaited, waiting
from rekey_core.authority import CONSUMERS, STREAMS, Stream
from rekey_core.commands import command_id, read_command
from rekey_core.contracts import (
    AdoptionAnswer,
    Ask,
    AskAnswer,
    AskRefused,
    BackupAnswer,
    Command,
    CommandAnswer,
    HealthAnswer,
    HistoryAnswer,
    KekAnswer,
    Lease,
    ListAnswer,
    Message,
    Receipt,
    Refusal,
    ShowAnswer,
)
from rekey_core.envelope import BusMessage, Stored
from rekey_core.errors import (
    MalformedError,
    NotFoundError,
    OversizedError,
    RefusedError,
    RekeyError,
    ReplayedError,
    SchemaError,
    UsageRefusedError,
)
from rekey_core.names import is_token
from rekey_core.readers import open_command_message, open_lease, open_receipt
from rekey_core.trust import Trust
from rekey_runtime.about import note_code
from rekey_runtime.bus import Bus

MAX_ASK_BYTES: Final = 4096
DAY: Final = timedelta(days=1)
M = TypeVar("M", bound=Message)

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class _Question:
    """A question with what every answer repeats."""

    person: str
    verb: str
    ask: Ask


@dataclass(frozen=True)
class Answers:
    """Answers from the ledger; leases, receipts and commands are read as they are now.

    ``know``, ``know_all``: bring a key, or each, into the ledger, where the ledger did not read the whole log.
    """

    bus: Bus
    ledger: Ledger
    know: Callable[[str], Awaitable[None]]
    know_all: Callable[[], Awaitable[None]]

    async def to(self, subject: str, data: bytes) -> AskAnswer:
        """The answer, or the refusal with its reason.

        Raises:
            MalformedError: the subject or the question is none, so nobody can be answered.
        """
        question = parse_question(subject, data, self.bus.settings.env)
        try:
            return await self._answer(question)
        except RekeyError as error:
            note_code(error.code)
            return AskRefused(
                **self._common(question, AskRefused), code=error.code, message=str(error), hint=error.hint
            )

    async def _answer(self, question: _Question) -> AskAnswer:
        await self.bus.trust.fresh(lambda trust: trust.person(question.person))
        verbs: Mapping[str, Callable[[_Question], Awaitable[AskAnswer]]] = {
            ListAnswer.VERB: self._list,
            ShowAnswer.VERB: self._show,
            HistoryAnswer.VERB: self._history,
            AdoptionAnswer.VERB: self._adoption,
            CommandAnswer.VERB: self._command,
            HealthAnswer.VERB: self._health,
            KekAnswer.VERB: self._keks,
            BackupAnswer.VERB: self._backup,
        }
        if question.verb not in verbs:
            text = f"audit does not know the question {question.verb}"
            raise UsageRefusedError(text, hint=f"ask one of {', '.join(verbs)}")
        return await verbs[question.verb](question)

    async def _list(self, question: _Question) -> ListAnswer:
        keys = questions.page(self.ledger, self.bus.trust.current, question.person, question.ask.key)
        return ListAnswer(**self._common(question, ListAnswer), keys=keys)

    async def _health(self, question: _Question) -> HealthAnswer:
        """Figures of the bus as they are now; nothing of it is kept."""
        questions.may_ask(self.bus.trust.current, question.person)
        now = await self.bus.time(Stream.LIFECYCLE)
        streams = [(s.name, await self.bus.info(f"STREAM.INFO.{s.name}")) for s in STREAMS]
        consumers = [(c, await self.bus.info(f"CONSUMER.INFO.{c.stream}.{c.name}")) for c in CONSUMERS]
        alerts = questions.alerts_since(self.ledger, now - DAY)
        seen = questions.seen_alerts(self.ledger, self.bus.trust.current, question.person, alerts)
        return HealthAnswer(
            **self._common(question, HealthAnswer),
            bus_time=now,
            streams=tuple(figures.fill(name, info) for name, info in streams),
            consumers=tuple(figures.lag(consumer, info) for consumer, info in consumers),
            alarms=seen,
            alarms_last_day=len(alerts),
        )

    async def _keks(self, question: _Question) -> KekAnswer:
        """Counts are of every key, so every key is read that was not yet: the first time after a start takes long."""
        trust, person, epoch = self.bus.trust.current, question.person, question.ask.epoch
        questions.may_ask(trust, person)
        await self.know_all()
        states = [record.state for _, record in sorted(self.ledger.keys.items())]
        uses = keks.uses(states)
        newest = keks.newest(uses)
        found = keks.left(states, epoch, newest)
        owners = {state.key: state.owner for state in states}
        seen = (lies for lies in found if questions.may_see(trust, person, lies.key, owners[lies.key]))
        return KekAnswer(
            **self._common(question, KekAnswer),
            newest=newest,
            epoch=epoch,
            uses=uses,
            hanging=len(found),
            names=tuple(keks.named(lies) for lies in islice(seen, keks.MAX_NAMES)),
            ended=keks.on_record(self.ledger.ended),
        )

    async def _backup(self, question: _Question) -> BackupAnswer:
        ledger, trust, person = self.ledger, self.bus.trust.current, question.person
        coverage.may_ask_of_backups(trust, person)
        await self.know_all()
        drills, uncovered = ledger.drills, coverage.uncovered(ledger)
        return BackupAnswer(
            **self._common(question, BackupAnswer),
            status=drills.status(datetime.now(UTC)),
            due=drills.due,
            drill=coverage.summary_of(drills.newest, ledger, trust, person) if drills.newest else None,
            covered=coverage.covered(ledger),
            uncovered=coverage.seen(ledger, trust, person, uncovered),
            uncovered_in_all=len(uncovered),
        )

    async def _show(self, question: _Question) -> ShowAnswer:
        record = await self._known(question)
        target = awaited(record.state)
        found = (await self._adopted(record, target))[0] if target is not None else None
        return ShowAnswer(
            **self._common(question, ShowAnswer),
            key=questions.summary(record.state, named=question.ask.version),
            waiting=waiting(record.state, found) if found is not None else None,
        )

    async def _history(self, question: _Question) -> HistoryAnswer:
        record = await self._known(question)
        entries, truncated = questions.history(record)
        common = self._common(question, HistoryAnswer)
        return HistoryAnswer(**common, key=record.state.key, entries=entries, truncated=truncated)

    async def _adoption(self, question: _Question) -> AdoptionAnswer:
        record = await self._known(question)
        state = record.state
        number = questions.adoption_version(state, question.ask.version)
        found = state.versions.get(number) if number is not None else None
        common = self._common(question, AdoptionAnswer)
        if found is None:
            return AdoptionAnswer(
                **common, key=state.key, version=None, state=None, deadline=None, dependents=()
            )
        adopted, receipts = await self._adopted(record, found.number)
        return AdoptionAnswer(
            **common,
            key=state.key,
            version=number,
            state=found.state.value,
            deadline=found.requested.model.deadline,
            dependents=questions.dependents(state, found, adopted, receipts),
            waiting=waiting(state, adopted),
            resumption=questions.resumption(state, found),
        )

    async def _adopted(self, record: KeyRecord, version: int) -> tuple[Adoption, list[Stored[Receipt]]]:
        """Who has proved what, and the receipts that say so."""
        grants = record.state.grants
        leases, receipts = await self._leases(grants), await self._receipts(grants)
        batches = [stored.model for stored in record.deliveries]
        return adoption(record.state, version, leases, receipts, batches, datetime.now(UTC)), receipts

    async def _command(self, question: _Question) -> CommandAnswer:
        identity = question.ask.command
        if identity is None:
            text = "expected the id of a command"
            raise UsageRefusedError(text)
        subject, command = await self._stored_command(identity)
        await self.know(command.key)
        questions.may_see_command(self.ledger, self.bus.trust.current, question.person, command)
        facts = tuple(self.ledger.by_cause.get(identity, ()))
        report = None if facts else self.ledger.refusals.get(subject)
        return CommandAnswer(
            **self._common(question, CommandAnswer),
            command=identity,
            status="done" if facts else "refused" if report else "pending",
            facts=facts,
            code=report.code if report else None,
            message=report.message if report else None,
            hint=report.hint if isinstance(report, Refusal) else None,
        )

    async def _stored_command(self, identity: str) -> tuple[str, Command]:
        pattern = f"cmd.*.{self.bus.settings.env}.*.{identity[:16]}"
        for message in await self.bus.read_many(Stream.COMMANDS, [pattern]):
            try:
                signed = open_command_message(message)
                if command_id(signed) == identity:
                    return message.subject, read_command(signed)
            except (
                MalformedError
            ) as error:  # on the same subject token, and not the command that was asked for
                _log.debug(
                    "not a command: %s", error, extra={"event": "not-counted", "subject": message.subject}
                )
        text = f"command {identity[:16]}: the log has no such command"
        raise NotFoundError(text, hint="it may not have been accepted; publish it again")

    async def _known(self, question: _Question) -> KeyRecord:
        if question.ask.key is None:
            text = f"{question.verb}: expected the name of a key"
            raise UsageRefusedError(text)
        await self.know(question.ask.key)
        return questions.known(self.ledger, self.bus.trust.current, question.person, question.ask.key)

    async def _leases(self, grants: frozenset[str]) -> list[Stored[Lease]]:
        filters = [f"lse.{self.bus.settings.env}.{dependent}.*" for dependent in sorted(grants)]
        return _opened(await self._read(Stream.LEASES, filters), open_lease, await self.bus.trust.refresh())

    async def _receipts(self, grants: frozenset[str]) -> list[Stored[Receipt]]:
        filters = [f"rcpt.{self.bus.settings.env}.{dependent}.*" for dependent in sorted(grants)]
        return _opened(
            await self._read(Stream.RECEIPTS, filters), open_receipt, await self.bus.trust.refresh()
        )

    async def _read(self, stream: Stream, filters: Sequence[str]) -> list[BusMessage]:
        return await self.bus.read_many(stream, filters) if filters else []

    def _common(self, question: _Question, model: type[AskAnswer]) -> dict[str, Any]:
        return {
            "type": model.TYPE,
            "env": self.bus.settings.env,
            "person": question.person,
            "nonce": question.ask.nonce,
            "as_of": self.ledger.applied,
            "at": datetime.now(UTC),
        }


def parse_question(subject: str, data: bytes, env: str) -> _Question:
    """Who asks what.

    Raises:
        ReplayedError: not a subject on which people ask.
        OversizedError: longer than any question.
        SchemaError: not a question.
    """
    tokens = subject.split(".")
    if len(tokens) != 4 or tokens[:2] != ["ask", env] or not is_token(tokens[2]):  # noqa: PLR2004 - ask.<env>.<person>.<verb>
        text = f"{subject}: expected ask.{env}.<person>.<verb>"
        raise ReplayedError(text)
    if len(data) > MAX_ASK_BYTES:
        text = f"{subject}: {len(data)} bytes, expected at most {MAX_ASK_BYTES}"
        raise OversizedError(text)
    try:
        return _Question(tokens[2], tokens[3], Ask.model_validate_json(data))
    except ValidationError:
        text = f"{subject}: expected a question, found something else"
        raise SchemaError(text) from None


def _opened(
    messages: Sequence[BusMessage], open_message: Callable[[BusMessage, Trust], Stored[M]], trust: Trust
) -> list[Stored[M]]:
    """The valid ones. What is not valid proves nothing, so leaving it out can only show less adoption, never more."""
    opened = []
    for message in messages:
        try:
            opened.append(open_message(message, trust))
        except (MalformedError, RefusedError) as error:
            where = {"code": error.code, "subject": message.subject, "sequence": message.sequence}
            _log.warning("not counted: %s", error, extra={"event": "not-counted", **where})
    return opened
