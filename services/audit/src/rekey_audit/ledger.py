"""Everything audit knows: every key folded from its facts, each fact verified as it came. No I/O.

``judge`` says what a message is and changes nothing; ``keep`` takes the judgement over. A message that is not a valid
fact is a *finding*: it has no effect on the key beyond its place in the log, and it becomes an alarm.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Final

from rekey_audit.drills import Drills, newer
from rekey_audit.entries import delivered_entry, fact_entry, void_entry
from rekey_core.authority import CONSUMERS, Identity, Stream
from rekey_core.contracts import (
    Alert,
    Delivered,
    Fact,
    HistoryEntry,
    KeySummary,
    Refusal,
)
from rekey_core.drilled import Drill
from rekey_core.ended import Ended
from rekey_core.envelope import BusMessage, Stored, Void, unpack_or_void
from rekey_core.errors import CheckSequenceError, IllegalTransitionError, MalformedError, ReplayedError
from rekey_core.fold import KeyState, fold
from rekey_core.names import Service, is_token
from rekey_core.readers import open_delivered, open_fact
from rekey_core.trust import Trust

MAX_ALERTS: Final = 1000  # newest kept; who makes more of them in a day is found without the older ones
MAX_REFUSALS: Final = 100_000  # of commands, newest kept; one has some 0.5 kB
HOLDABLE: Final = frozenset(
    {"pre-activation", "active", "deactivated"}
)  # states in which a version may be given out
_DECIDES: Final = {  # the distributor acts on stops as well and makes no fact of any command
    ".".join(wanted.split(".")[:2]): Service(consumer.identity)
    for consumer in CONSUMERS
    if consumer.stream is Stream.COMMANDS and consumer.identity is not Identity.DISTRIBUTOR
    for wanted in consumer.filters
}


@dataclass
class KeyRecord:
    """One key: its folded state, its history, its deliveries."""

    state: KeyState
    entries: list[HistoryEntry] = field(default_factory=list)
    deliveries: list[Stored[Delivered]] = field(default_factory=list)


@dataclass(frozen=True)
class Judged:
    """What one message of the log is: the key's state after it, its line in the history, what is wrong with it."""

    message: BusMessage
    state: KeyState | None  # none: the subject names no key
    entry: HistoryEntry | None
    finding: MalformedError | None
    cause: str | None = None
    delivery: Stored[Delivered] | None = None


@dataclass
class Ledger:
    """The keys of one environment up to sequence ``applied``."""

    env: str
    applied: int = 0
    keys: dict[str, KeyRecord] = field(default_factory=dict)
    by_cause: dict[str, list[HistoryEntry]] = field(default_factory=dict)
    refusals: OrderedDict[str, Refusal | Alert] = field(default_factory=OrderedDict)
    alerts: deque[Stored[Alert]] = field(default_factory=lambda: deque(maxlen=MAX_ALERTS))
    drills: Drills = field(default_factory=Drills)
    ended: dict[int, Ended] = field(default_factory=dict)  # KEK epochs on record as ended
    unread: int = (
        0  # keys not in ``keys`` may have messages up to here that this ledger did not read; 0: it read all
    )
    recalled: dict[str, KeySummary] = field(
        default_factory=dict
    )  # what the database says of keys not in ``keys``

    def judge(self, message: BusMessage, trust: Trust) -> Judged:
        """What the message is, under this trust. Raises nothing for what a message says: all of it may be hostile."""
        kind, key = place(message.subject)
        if key is None:
            text = f"{message.subject}: expected a subject that names a key"
            return Judged(message, None, None, ReplayedError(text))
        record = self.keys.get(key)
        state = record.state if record else fold(self.env, key, (), trust)
        return (_judge_delivered if kind == "dlv" else _judge_fact)(message, state, trust)

    def keep(self, judged: Judged) -> None:
        """Take a judgement over; the message is applied from here on."""
        self.applied = judged.message.sequence
        if judged.state is None or judged.entry is None:
            return
        record = self.keys.setdefault(judged.state.key, KeyRecord(judged.state))
        record.state = judged.state
        record.entries.append(judged.entry)
        if judged.delivery is not None:
            record.deliveries.append(judged.delivery)
        if judged.cause is not None:
            self.by_cause.setdefault(judged.cause, []).append(judged.entry)

    def alerted(self, alert: Stored[Alert]) -> None:
        """Remember an alert; said again in the same place, the newest word counts."""
        again = [known for known in self.alerts if known.subject == alert.subject]
        for known in again:
            self.alerts.remove(known)
        self.alerts.append(alert)

    def drilled(self, drill: Drill) -> None:
        """Remember a drill; the latest counts."""
        self.drills = replace(self.drills, newest=newer(self.drills.newest, drill))

    def epoch_ended(self, end: Ended) -> None:
        """Remember that a KEK epoch has ended; the first record of it counts."""
        self.ended.setdefault(end.found.epoch, end)

    def recall(self, applied: int, summaries: Mapping[str, KeySummary]) -> None:
        """Begin at ``applied`` instead of at nothing. Only for a ledger that has read nothing yet."""
        if self.applied:
            text = f"the ledger has read up to {self.applied}"
            raise ValueError(text)
        self.applied = self.unread = applied
        self.recalled = dict(summaries)

    def read(self, key: str, messages: Iterable[BusMessage], trust: Trust) -> list[Judged]:
        """Take in a key whose messages up to ``applied`` were not read: judged one by one, as if they came now."""
        part = Ledger(self.env)
        judged = []
        for message in (m for m in messages if m.sequence <= self.applied):
            judged.append(part.judge(message, trust))
            part.keep(judged[-1])
        self.keys |= part.keys
        for cause, entries in part.by_cause.items():
            self.by_cause.setdefault(cause, []).extend(entries)
        self.recalled.pop(key, None)
        return judged

    def reported(self, report: Refusal | Alert) -> None:
        """Remember what the service that decides on a command said about it, by its subject; the newest word counts.

        What another one says of it is no refusal: whoever waits would think that nothing comes of the command any more.
        """
        if report.author is not decides_on(report.subject):
            return
        self.refusals[report.subject] = report
        self.refusals.move_to_end(report.subject)
        if len(self.refusals) > MAX_REFUSALS:
            self.refusals.popitem(last=False)


def decides_on(subject: str) -> Service | None:
    """Who alone makes a fact of the command on a subject, so who alone can refuse it; none: it is no command."""
    return _DECIDES.get(".".join(subject.split(".")[:2]))


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


def _judge_fact(message: BusMessage, before: KeyState, trust: Trust) -> Judged:
    item: Stored[Fact] | Void = unpack_or_void(message, lambda m: open_fact(m, trust))
    after = before.apply(item, trust)
    if isinstance(item, Void):
        return Judged(message, after, void_entry(message, item.error), item.error)
    if len(after.voids) > len(before.voids):
        finding = after.voids[-1].error
        return Judged(message, after, void_entry(message, finding), finding)
    return Judged(message, after, fact_entry(item), None, cause=item.model.cause)


def _judge_delivered(message: BusMessage, state: KeyState, trust: Trust) -> Judged:
    try:
        item = open_delivered(message, trust)
        check_delivered(state, item.model)
    except MalformedError as error:
        return Judged(message, state, void_entry(message, error), error)
    return Judged(message, state, delivered_entry(item), None, delivery=item)


def place(subject: str) -> tuple[str, str | None]:
    """The kind of message and the key that a subject of the log names, if it names one."""
    tokens = [*subject.split("."), "", ""]
    return tokens[0], tokens[2] if is_token(tokens[2]) else None
