"""What of a notice or stop is believed: only what its own author signed, whoever passed it on. Pure.

The distributor says which versions to hold; that a version is current only the scheduler's signed ``activated`` says; that
one is stopped only a responder's signed command; that one lives again only revocation's signed ``resumed`` with two people's
command inside, which lifts the suspensions that it names and no other one: so it is no matter which message comes first,
twice, or not at all. What does not verify is left out with a reason, and the rest counts.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Literal, TypeVar

from rekey.errors import (
    VersionCompromisedError,
    VersionDestroyedError,
    VersionStoppedError,
    VersionSuspendedError,
)
from rekey.versions import check_generated, data_id
from rekey_core.commands import command_id, verify_accepted
from rekey_core.contracts import (
    Activated,
    Destroyed,
    Fact,
    Generated,
    Notice,
    NoticedVersion,
    Resume,
    Resumed,
    Revoke,
    Signed,
    StoppedVersion,
    Suspend,
)
from rekey_core.embedded import commanded
from rekey_core.envelope import Stored
from rekey_core.errors import MalformedError, RefusedError, ReplayedError, UnknownTypeError
from rekey_core.readers import open_embedded_fact
from rekey_core.trust import Trust

F = TypeVar("F", bound=Fact)
Lifts = Mapping[int, frozenset[str]]  # by version: the ids of the suspensions that were lifted


@dataclass(frozen=True)
class Stopped:
    """A version that a responder stopped (as told, 0: all that there are); also what ``on_stopped`` handlers get."""

    key: str
    version: int
    kind: Literal["suspended", "compromised"]
    responder: str
    reason: str
    at: datetime
    command: str = ""  # its id

    def is_lifted(self, lifts: Lifts) -> bool:
        """Whether two people have taken it back; a version that is compromised never lives again."""
        return self.kind == "suspended" and self.command in lifts.get(self.version, ())

    def error(self) -> VersionStoppedError:
        """What a call under the version raises: names key, version, responder and reason, and what to do next."""
        name = f"{self.key}@{self.version}"
        text = f"{name} was {self.kind} by {self.responder} at {self.at:%Y-%m-%dT%H:%M:%SZ}: {self.reason}"
        if self.kind == "suspended":
            hint = f"ask {self.responder}, who can lift it with another person (rekey resume {name}); "
            hint += f"or rotate: rekey key rotate {self.key}"
            return VersionSuspendedError(text, hint=hint)
        hint = f"never again usable; rotate: rekey key rotate {self.key}"
        return VersionCompromisedError(text, hint=hint)


@dataclass(frozen=True)
class Gone:
    """A version that the generator has destroyed."""

    key: str
    version: int
    at: datetime

    def error(self) -> VersionDestroyedError:
        """What a call for data of the version raises."""
        text = f"{self.key}@{self.version} was destroyed at {self.at:%Y-%m-%dT%H:%M:%SZ}"
        hint = f"what is under it cannot be read any more, by anybody: rekey key history {self.key}"
        return VersionDestroyedError(text, hint=hint)


@dataclass(frozen=True)
class Believed:
    """A notice after every word in it was held against its author's signature.

    ``generated`` and ``ids`` are of versions to hold and of others too: by those, data of stopped and destroyed versions is
    recognised.
    """

    notice: Notice
    versions: Mapping[int, NoticedVersion]
    generated: Mapping[int, Generated]
    ids: Mapping[int, int | str]  # by version: the key id or ``kid`` that its data carries
    activated: frozenset[int]
    destroyed: Mapping[int, Gone]  # never one that is to be held
    doubts: tuple[str, ...]

    @property
    def current(self) -> int | None:
        """The version to protect with, if the scheduler's ``activated`` says so too."""
        current = self.notice.current
        return current if current in self.activated and current in self.versions else None


def believe(notice: Notice, trust: Trust) -> Believed:
    """Sort what is in a notice whose own signature by the distributor was verified."""
    versions = {noticed.version: noticed for noticed in notice.versions}
    generated: dict[int, Generated] = {}
    ids: dict[int, int | str] = {}
    activated: set[int] = set()
    destroyed: dict[int, Gone] = {}
    doubts: list[str] = []
    for signed in notice.facts:
        try:
            fact = _fact(signed, notice, trust)
        except MalformedError as error:
            doubts.append(str(error))
            continue
        if isinstance(fact, Activated):
            activated.add(fact.version)
        elif isinstance(fact, Destroyed):
            if fact.version in versions:
                doubts.append(f"{notice.key}@{fact.version} is said to be destroyed and to be held")
            else:
                destroyed[fact.version] = Gone(notice.key, fact.version, fact.at)
        elif isinstance(fact, Generated):
            try:
                _check(fact, notice, versions.get(fact.version))
                ids[fact.version] = data_id(fact)
            except MalformedError as error:
                doubts.append(str(error))
                continue
            generated[fact.version] = fact
    if notice.current is not None and notice.current not in activated:
        doubts.append(f"{notice.key}@{notice.current} is said to be current without a signed activated")
    return Believed(notice, versions, generated, ids, frozenset(activated), destroyed, tuple(doubts))


def believed_stops(
    entries: Iterable[StoppedVersion], key: str, trust: Trust, stored_at: datetime
) -> tuple[tuple[Stopped, ...], tuple[str, ...]]:
    """The stops that a responder's command says, all of them as told (version 0: of all), and what is wrong with others.

    A command is judged as the log may have accepted it, not later than the message that carries it: it was in time then, and
    relays repeat it for as long as the version is stopped.
    """
    stops: list[Stopped] = []
    doubts: list[str] = []
    for entry in entries:
        try:
            stops.append(_stop(entry, key, trust, stored_at))
        except (MalformedError, RefusedError) as error:
            doubts.append(f"stop of {key}@{entry.version}: {error}")
    return tuple(stops), tuple(doubts)


def believed_lifts(
    notice: Notice, trust: Trust, stored_at: datetime
) -> tuple[dict[int, frozenset[str]], tuple[str, ...]]:
    """What two people's commands lift, inside the ``resumed`` of a notice, and what is wrong with the others."""
    lifts: dict[int, frozenset[str]] = {}
    doubts: list[str] = []
    for signed in notice.facts:
        if signed.type != Resumed.TYPE:
            continue
        try:
            version, ids = _lifted(signed, notice, trust, stored_at)
        except (MalformedError, RefusedError) as error:
            doubts.append(f"resumed in the notice of {notice.key}: {error}")
            continue
        lifts[version] = lifts.get(version, frozenset()) | ids
    return lifts, tuple(doubts)


def _lifted(signed: Signed, notice: Notice, trust: Trust, stored_at: datetime) -> tuple[int, frozenset[str]]:
    fact = _fact(signed, notice, trust)
    if not isinstance(fact, Resumed):
        raise UnknownTypeError(f"expected resumed, found {fact.EVENT}")
    where = f"{fact.EVENT} of {fact.key}@{fact.version}"
    command = commanded(Stored(fact, 0, stored_at, where, signed), fact.command, Resume, trust)
    if command.version != fact.version:
        raise ReplayedError(f"{where}: the command is about version {command.version}")
    return fact.version, frozenset(command.lifts)


def believed_fact(signed: Signed, kind: type[F], *, key: str, version: int, trust: Trust) -> F:
    """A signed fact of this kind about this version.

    Raises:
        MalformedError: not signed by its author, or about something else.
    """
    fact = open_embedded_fact(signed, trust, where=f"fact of {key}@{version}")
    if not isinstance(fact, kind) or (fact.key, fact.version) != (key, version):
        raise ReplayedError(
            f"expected {kind.EVENT} of {key}@{version}, found {fact.EVENT} of {fact.key}@{fact.version}"
        )
    return fact


def _fact(signed: Signed, notice: Notice, trust: Trust) -> Fact:
    fact = open_embedded_fact(signed, trust, where=f"fact in the notice of {notice.key}")
    if fact.key != notice.key:
        raise ReplayedError(f"notice of {notice.key} carries {fact.EVENT} of {fact.key}@{fact.version}")
    return fact


def _check(fact: Generated, notice: Notice, noticed: NoticedVersion | None) -> None:
    check_generated(
        fact,
        env=notice.env,
        key=notice.key,
        noticed=noticed,
        algorithm=notice.algorithm,
        release=notice.release,
    )


def _stop(entry: StoppedVersion, key: str, trust: Trust, stored_at: datetime) -> Stopped:
    command = verify_accepted(entry.command, trust=trust, env=trust.env, stored_at=stored_at)
    if not isinstance(command, Suspend | Revoke):
        raise UnknownTypeError(f"expected suspend or revoke, found {command.VERB}")
    if command.key != key or command.version not in (0, entry.version):
        raise ReplayedError(f"the command is about {command.key}@{command.version}")
    kind: Literal["suspended", "compromised"] = "suspended" if isinstance(command, Suspend) else "compromised"
    by = command_id(entry.command)
    return Stopped(key, entry.version, kind, command.author, command.reason, command.issued_at, by)
