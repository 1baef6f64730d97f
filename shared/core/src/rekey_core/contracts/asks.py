"""What people ask audit, and its signed answers. The asker is who its certificate (and so the subject) says."""

from __future__ import annotations

from typing import Annotated, ClassVar, Final, Literal

from pydantic import Field, StringConstraints

from rekey_core.contracts.base import Message, Model, Nonce, Sequence, Time, Version, VersionOrKey
from rekey_core.names import (
    Algorithm,
    DependentName,
    Digest,
    Environment,
    InstanceId,
    KeyName,
    PersonName,
    Release,
    Service,
)

Epoch = Annotated[int, Field(ge=1)]  # of KEKs


class Ask(Model):
    """A question; ``key``, ``version`` and ``command`` as the verb needs them.

    ``ls`` answers one page: the keys that come after ``key``. ``adoption`` is of ``version``, if one is named, and
    ``show`` has that one beside the newest. ``kek`` is of
    ``epoch``, else of every epoch before the newest.
    """

    nonce: Nonce
    key: KeyName | None = None
    version: Version | None = None
    command: Digest | None = None
    epoch: Epoch | None = None


class VersionSummary(Model):
    """One version: state, since when, Tink key id; ``destruction``: from when on it is destroyed, until when cancelled."""

    version: Version
    state: str
    since: Time
    key_id: int | None
    destruction: Time | None = None


class KeySummary(Model):
    """One key as it is; ``counts``: how many of all its versions are in which state."""

    key: KeyName
    owner: PersonName
    key_class: str
    algorithm: Algorithm
    release: Release
    purpose: str
    dependents: tuple[DependentName, ...]
    current: Version | None
    rotates_by: Time | None
    versions: tuple[VersionSummary, ...]
    counts: dict[str, int]
    as_of: Sequence


class HistoryEntry(Model):
    """One fact of a key: what, when, who decided, on whose command."""

    sequence: Sequence
    at: Time
    version: VersionOrKey
    event: str
    author: str
    person: PersonName | None
    detail: Annotated[str, StringConstraints(max_length=500)]
    void: str | None = None


class InstanceAdoption(Model):
    """One live instance: what it has proved of the version in question."""

    instance: InstanceId
    lease_until: Time
    installed: bool
    switched: bool
    stopped: bool
    waived: bool = False  # nobody waits for it


class DependentAdoption(Model):
    """One dependent and its live instances."""

    dependent: DependentName
    instances: tuple[InstanceAdoption, ...]


class Waiting(Model):
    """Whom a rotation waits for: which step, since when, until when they should have come, and who is missing."""

    version: Version
    step: Literal["installed", "switched"]
    since: Time
    deadline: Time
    missing: tuple[str, ...]  # dependent/instance


class AskAnswer(Message):
    """What every answer of audit says; signed by audit."""

    VERB: ClassVar[str]
    env: Environment
    person: PersonName
    nonce: Nonce
    as_of: Sequence
    at: Time


class ListAnswer(AskAnswer):
    """The keys in the person's scope by name, one page; an empty one is the end."""

    VERB: ClassVar[str] = "ls"
    TYPE: ClassVar[str] = "rekey.answer.ls.v1"
    type: Literal["rekey.answer.ls.v1"] = "rekey.answer.ls.v1"
    keys: tuple[KeySummary, ...]


class ShowAnswer(AskAnswer):
    """One key; ``waiting`` while a rotation waits for somebody."""

    VERB: ClassVar[str] = "show"
    TYPE: ClassVar[str] = "rekey.answer.show.v1"
    type: Literal["rekey.answer.show.v1"] = "rekey.answer.show.v1"
    key: KeySummary
    waiting: Waiting | None = None


class HistoryAnswer(AskAnswer):
    """One key's facts, oldest first; ``truncated`` when only the newest fit."""

    VERB: ClassVar[str] = "history"
    TYPE: ClassVar[str] = "rekey.answer.history.v1"
    type: Literal["rekey.answer.history.v1"] = "rekey.answer.history.v1"
    key: KeyName
    entries: tuple[HistoryEntry, ...]
    truncated: bool


class Resumption(Model):
    """What a resume of a suspended version would have to name, and the state that the version would be in then."""

    lifts: tuple[Digest, ...]
    state: str


class AdoptionAnswer(AskAnswer):
    """Who has proved what of a version: the one asked for, else the one in motion, else the current one."""

    VERB: ClassVar[str] = "adoption"
    TYPE: ClassVar[str] = "rekey.answer.adoption.v1"
    type: Literal["rekey.answer.adoption.v1"] = "rekey.answer.adoption.v1"
    key: KeyName
    version: Version | None
    state: str | None
    deadline: Time | None
    dependents: tuple[DependentAdoption, ...]
    waiting: Waiting | None = None
    resumption: Resumption | None = None  # of a suspended version that can be resumed


class CommandAnswer(AskAnswer):
    """What became of a command. ``done`` lists the facts that name it as cause."""

    VERB: ClassVar[str] = "command"
    TYPE: ClassVar[str] = "rekey.answer.command.v1"
    type: Literal["rekey.answer.command.v1"] = "rekey.answer.command.v1"
    command: Digest
    status: Literal["pending", "done", "refused"]
    facts: tuple[HistoryEntry, ...]
    code: str | None
    message: str | None
    hint: str | None


class ConsumerLag(Model):
    """How far one durable consumer is behind its stream."""

    consumer: str
    stream: str
    pending: int  # not delivered yet
    unacknowledged: int  # delivered, and not settled


class StreamFill(Model):
    """How full one stream is, in bytes."""

    stream: str
    messages: int
    bytes: int
    max_bytes: int


class RecentAlarm(Model):
    """An alert of a service."""

    at: Time
    author: Service
    code: str
    stream: str
    sequence: Sequence
    subject: str


class HealthAnswer(AskAnswer):
    """How the environment is: figures of every consumer and stream, and the alerts of the last day.

    ``alarms`` are the newest about keys in the person's scope; ``alarms_last_day`` counts all of them. ``bus_time`` is what
    the bus's clock said when it was asked for this answer.
    """

    VERB: ClassVar[str] = "health"
    TYPE: ClassVar[str] = "rekey.answer.health.v1"
    type: Literal["rekey.answer.health.v1"] = "rekey.answer.health.v1"
    bus_time: Time
    consumers: tuple[ConsumerLag, ...]
    streams: tuple[StreamFill, ...]
    alarms: tuple[RecentAlarm, ...]
    alarms_last_day: int


class KekUse(Model):
    """How many versions lie under the KEK of a class, an algorithm and an epoch; no epoch: generated is not said yet."""

    key_class: str
    algorithm: Algorithm
    release: Release
    epoch: Epoch | None
    versions: int


class HangingVersion(Model):
    """A version that hangs under a KEK that is asked about, and what people type next about it."""

    key: KeyName
    version: Version
    epoch: Epoch | None
    state: str
    command: str


class EndedEpoch(Model):
    """A KEK epoch whose halves are destroyed, as officers attest; ``log``: the newest fact of the log that they went by."""

    epoch: Epoch
    at: Time
    log: Sequence
    officers: tuple[PersonName, ...]
    reason: str


class KekAnswer(AskAnswer):
    """What lies under which KEK, and what hangs under the epoch asked for, or under those before the newest.

    ``uses`` and ``hanging`` count the whole environment. ``names`` are the first of those in the person's scope. ``ended``:
    the epochs that are on record as ended, the newest ones.
    """

    VERB: ClassVar[str] = "kek"
    TYPE: ClassVar[str] = "rekey.answer.kek.v1"
    type: Literal["rekey.answer.kek.v1"] = "rekey.answer.kek.v1"
    newest: Epoch | None  # under which a version lies; none: there is no version
    epoch: Epoch | None  # the one asked for
    uses: tuple[KekUse, ...]
    hanging: int
    names: tuple[HangingVersion, ...]
    ended: tuple[EndedEpoch, ...] = ()


class DrillSummary(Model):
    """A drill on record: how it ended. ``failures``: what was wrong with versions that the person may see."""

    at: Time
    expires_at: Time
    log: Sequence  # it covers the log up to here
    officers: tuple[PersonName, ...]  # who attested it
    backup_epochs: tuple[int, ...]
    checked: int
    restored: int
    failures: tuple[str, ...]
    more_failures: int


class UncoveredVersion(Model):
    """A version that the last drill proves nothing of.

    ``not-drilled``: backed up since, or there was no drill that passed. ``class-has-none``: nothing can be restored.
    """

    key: KeyName
    version: Version
    why: Literal["not-drilled", "not-backed-up", "class-has-none"]


class BackupAnswer(AskAnswer):
    """Whether the backups are proved. ``due``: from when on they are not; none before a version is backed up.

    ``uncovered`` are those of ``uncovered_in_all`` versions that the person may see, the first ones.
    """

    VERB: ClassVar[str] = "backup"
    TYPE: ClassVar[str] = "rekey.answer.backup.v1"
    type: Literal["rekey.answer.backup.v1"] = "rekey.answer.backup.v1"
    status: Literal["proved", "never-drilled", "overdue", "failed"]
    due: Time | None
    drill: DrillSummary | None
    covered: int
    uncovered: tuple[UncoveredVersion, ...]
    uncovered_in_all: int


class AskRefused(AskAnswer):
    """Audit does not answer this question to this person, or there is nothing of that name."""

    VERB: ClassVar[str] = "refused"
    TYPE: ClassVar[str] = "rekey.answer.ask-refused.v1"
    type: Literal["rekey.answer.ask-refused.v1"] = "rekey.answer.ask-refused.v1"
    code: str
    message: str
    hint: Annotated[str | None, Field(max_length=500)]


ASK_ANSWERS: Final[tuple[type[AskAnswer], ...]] = (
    ListAnswer,
    ShowAnswer,
    HistoryAnswer,
    AdoptionAnswer,
    CommandAnswer,
    HealthAnswer,
    BackupAnswer,
    KekAnswer,
    AskRefused,
)
