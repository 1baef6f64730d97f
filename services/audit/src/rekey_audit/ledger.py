"""Everything audit knows: every key folded from its facts, each fact verified as it came. No I/O.

``judge`` says what a message is and changes nothing; ``keep`` takes the judgement over. A message that is not a valid
fact is a *finding*: it has no effect on the key beyond its place in the log, and it becomes an alarm.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass, field, replace
from typing import Final

from rekey_audit.entries import delivered_entry, fact_entry, void_entry
from rekey_core.contracts import Delivered, Fact, HistoryEntry, Refusal
from rekey_core.envelope import BusMessage, Stored, Void, unpack_or_void
from rekey_core.errors import CheckSequenceError, IllegalTransitionError, MalformedError, ReplayedError
from rekey_core.fold import KeyState, fold
from rekey_core.names import is_token
from rekey_core.readers import open_delivered, open_fact
from rekey_core.trust import Trust

MAX_REFUSALS: Final = 100_000  # of commands, newest kept; one has some 0.5 kB
HOLDABLE: Final = frozenset({"pre-activation", "active", "deactivated"})  # states in which a version may be given out


@dataclass(frozen=True)
class KeyRecord:
    """One key: its folded state, its history, its deliveries."""

    state: KeyState
    entries: tuple[HistoryEntry, ...] = ()
    deliveries: tuple[Stored[Delivered], ...] = ()


@dataclass(frozen=True)
class Judged:
    """What one message of the log is: the key's record after it, and what is wrong with it."""

    message: BusMessage
    record: KeyRecord | None  # none: the subject names no key
    finding: MalformedError | None
    cause: str | None = None


@dataclass
class Ledger:
    """The keys of one environment up to sequence ``applied``."""

    env: str
    applied: int = 0
    keys: dict[str, KeyRecord] = field(default_factory=dict)
    by_cause: dict[str, list[HistoryEntry]] = field(default_factory=dict)
    refusals: OrderedDict[str, Refusal] = field(default_factory=OrderedDict)

    def judge(self, message: BusMessage, trust: Trust) -> Judged:
        """What the message is, under this trust. Never raises for what a message says: all of it may be hostile."""
        kind, key = _kind_and_key(message.subject)
        if key is None:
            error = ReplayedError(f"{message.subject}: expected a subject that names a key")
            return Judged(message, None, error)
        record = self.keys.get(key) or KeyRecord(fold(self.env, key, (), trust))
        if kind == "dlv":
            return _judge_delivered(message, record, trust)
        return _judge_fact(message, record, trust)

    def keep(self, judged: Judged) -> None:
        """Take a judgement over; the message is applied from here on."""
        if judged.record is not None:
            self.keys[judged.record.state.key] = judged.record
            if judged.cause is not None:
                self.by_cause.setdefault(judged.cause, []).append(judged.record.entries[-1])
        self.applied = judged.message.sequence

    def refused(self, refusal: Refusal) -> None:
        """Remember what a service said about a command; the newest word counts."""
        self.refusals[refusal.cause] = refusal
        self.refusals.move_to_end(refusal.cause)
        if len(self.refusals) > MAX_REFUSALS:
            self.refusals.popitem(last=False)


def _judge_fact(message: BusMessage, record: KeyRecord, trust: Trust) -> Judged:
    item: Stored[Fact] | Void = unpack_or_void(message, lambda m: open_fact(m, trust))
    state = record.state.apply(item, trust)
    finding = _finding(item, record.state, state)
    if finding is not None or isinstance(item, Void):
        entry = void_entry(message, finding or MalformedError("void"))
        return Judged(message, replace(record, state=state, entries=(*record.entries, entry)), finding)
    entries = (*record.entries, fact_entry(item))
    return Judged(message, replace(record, state=state, entries=entries), None, item.model.cause)


def _finding(item: Stored[Fact] | Void, before: KeyState, after: KeyState) -> MalformedError | None:
    if isinstance(item, Void):
        return item.error
    return after.voids[-1].error if len(after.voids) > len(before.voids) else None


def _judge_delivered(message: BusMessage, record: KeyRecord, trust: Trust) -> Judged:
    item: Stored[Delivered] | Void = unpack_or_void(message, lambda m: open_delivered(m, trust))
    if isinstance(item, Void):
        finding: MalformedError = item.error
    else:
        try:
            check_delivered(record.state, item.model)
        except MalformedError as error:
            finding = error
        else:
            entries = (*record.entries, delivered_entry(item))
            return Judged(message, replace(record, entries=entries, deliveries=(*record.deliveries, item)), None)
    return Judged(message, replace(record, entries=(*record.entries, void_entry(message, finding))), finding)


def check_delivered(state: KeyState, batch: Delivered) -> None:
    """A delivery is right only to dependents with a grant, of a version in use, decided on the last fact (DESIGN §3).

    Raises:
        CheckSequenceError: a fact came between decision and delivery.
        IllegalTransitionError: the version does not exist or is stopped, or a dependent has no grant.
    """
    where = f"{batch.key}@{batch.version}: delivered"
    if batch.checked != state.last_sequence:
        text = f"{where} after {batch.checked}, expected the last fact of the key, {state.last_sequence}"
        raise CheckSequenceError(text)
    version = state.versions.get(batch.version)
    found = version.state.value if version else "no such version"
    if found not in HOLDABLE:
        text = f"{where}, expected a version that may be held, found {found}"
        raise IllegalTransitionError(text)
    foreign = sorted({delivery.dependent for delivery in batch.deliveries} - state.grants)
    if foreign:
        text = f"{where} to {', '.join(foreign)}, expected only dependents with a grant"
        raise IllegalTransitionError(text)


def _kind_and_key(subject: str) -> tuple[str, str | None]:
    tokens = [*subject.split("."), "", ""]
    return tokens[0], tokens[2] if is_token(tokens[2]) else None
