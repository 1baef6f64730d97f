"""Who may know what, and the answers from what audit knows. Pure: the ledger and the trust document decide.

A person sees a key that is theirs, or that is in their scope while they are owner, responder or auditor. Outside of
that a key that does not exist is refused like one that does, so that names cannot be found out by asking.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from datetime import datetime
from typing import Final

from rekey_audit.ledger import KeyRecord, Ledger
from rekey_core.adoption import Adoption, InstanceProof
from rekey_core.contracts import (
    Alert,
    Command,
    DependentAdoption,
    HistoryEntry,
    InstanceAdoption,
    KeySummary,
    Receipt,
    RecentAlarm,
    Resumption,
    VersionSummary,
)
from rekey_core.envelope import Stored
from rekey_core.errors import NotFoundError, NotInScopeError, StateRefusedError
from rekey_core.fold import KeyState
from rekey_core.names import Role
from rekey_core.suspension import resumes_to
from rekey_core.tracecontext import Attribute
from rekey_core.trust import Trust
from rekey_core.versions import VersionFacts
from rekey_runtime.about import names_in

PAGE_KEYS: Final = 200  # of ls; with PAGE_VERSIONS each some 150 kB at most, the bus takes 1 MB
PAGE_VERSIONS: Final = 5  # of each key in ls
MAX_VERSIONS: Final = 500  # of show, newest
MAX_ALARMS: Final = 20  # of health, newest
MAX_ENTRIES: Final = 400  # of history, newest; one has at most some 900 bytes
READERS: Final = frozenset({Role.OWNER, Role.RESPONDER, Role.AUDITOR})


def may_see(trust: Trust, person: str, key: str, owner: str | None) -> bool:
    """Whether this person may know about the key.

    Raises:
        AuthorityError: the trust document does not know the person.
    """
    roles = READERS & set(trust.person(person).roles)
    return bool(roles) and (owner == person or trust.in_scope(person, key))


def may_ask(trust: Trust, person: str) -> None:
    """Figures of the environment are for everybody who may see any key.

    Raises:
        AuthorityError: the trust document does not know the person.
        NotInScopeError: the person is none of those.
    """
    if not READERS & set(trust.person(person).roles):
        text = f"{person} is neither owner, responder nor auditor"
        raise NotInScopeError(text, hint="ask a trust officer for a role")


def alerts_since(ledger: Ledger, since: datetime) -> list[Stored[Alert]]:
    """Alerts that the log took since then, oldest first."""
    return [alert for alert in ledger.alerts if alert.stored_at >= since]


def seen_alerts(
    ledger: Ledger, trust: Trust, person: str, alerts: Iterable[Stored[Alert]]
) -> tuple[RecentAlarm, ...]:
    """The newest of those that the person may see: about a key of theirs, or about no key."""
    seen = [alert for alert in alerts if _may_see_alert(ledger, trust, person, alert.model.subject)]
    return tuple(
        RecentAlarm(
            at=alert.stored_at,
            author=alert.model.author,
            code=alert.model.code,
            stream=alert.model.stream,
            sequence=alert.model.sequence,
            subject=alert.model.subject,
        )
        for alert in seen[-MAX_ALARMS:]
    )


def _may_see_alert(ledger: Ledger, trust: Trust, person: str, subject: str) -> bool:
    """What names no key is nobody's: a subject that somebody made up must not show others' names either."""
    key = names_in(subject).get(Attribute.KEY)
    if key is None:
        return Role.AUDITOR in trust.person(person).roles
    record = ledger.keys.get(str(key))
    return may_see(trust, person, str(key), record.state.owner if record else None)


def known(ledger: Ledger, trust: Trust, person: str, key: str) -> KeyRecord:
    """The key's record, for somebody who may see it.

    Raises:
        AuthorityError: the trust document does not know the person.
        NotInScopeError: the key is not the person's to see, whether it exists or not.
        NotFoundError: it is in the person's scope and nobody registered it.
    """
    record = ledger.keys.get(key)
    registered = record is not None and record.state.is_registered
    if not may_see(trust, person, key, record.state.owner if record and registered else None):
        text = f"{key}: not in the scope of {person}"
        raise NotInScopeError(
            text, hint="ask its owner, or a trust officer for the scope; rekey key ls shows your keys"
        )
    if record is None or not registered:
        text = f"{key}: no key of this name is registered in {ledger.env}"
        raise NotFoundError(text, hint="rekey key ls")
    return record


def page(ledger: Ledger, trust: Trust, person: str, after: str | None) -> tuple[KeySummary, ...]:
    """The next keys that the person may see, by name; those that the ledger did not read as the database has them."""
    names = sorted(name for name in {*ledger.keys, *ledger.recalled} if after is None or name > after)
    seen = (
        name
        for name in names
        if (owner := _owner(ledger, name)) is not None and may_see(trust, person, name, owner)
    )
    return tuple(_listed(ledger, name) for name, _ in zip(seen, range(PAGE_KEYS), strict=False))


def _owner(ledger: Ledger, name: str) -> str | None:
    record = ledger.keys.get(name)
    return record.state.owner if record else ledger.recalled[name].owner


def _listed(ledger: Ledger, name: str) -> KeySummary:
    record = ledger.keys.get(name)
    return summary(record.state, PAGE_VERSIONS) if record else ledger.recalled[name]


def summary(state: KeyState, newest: int = MAX_VERSIONS, named: int | None = None) -> KeySummary:
    """The key as it is, with its newest versions and the one that was named, however old it is."""
    if state.registered is None:
        text = f"{state.key} is not registered"
        raise ValueError(text)
    registered = state.registered.model
    versions = tuple(_versions(state))
    older = tuple(version for version in versions[:-newest] if version.version == named)
    return KeySummary(
        key=state.key,
        owner=registered.owner,
        key_class=registered.key_class,
        algorithm=registered.algorithm,
        release=registered.release,
        purpose=registered.purpose,
        dependents=tuple(sorted(state.grants)),
        current=state.current,
        rotates_by=state.rotates_by(),
        versions=older + versions[-newest:],
        counts=dict(Counter(version.state.value for version in state.versions.values())),
        as_of=state.last_sequence,
    )


def history(record: KeyRecord) -> tuple[tuple[HistoryEntry, ...], bool]:
    """The newest entries, oldest first, and whether older ones are left out."""
    return tuple(record.entries[-MAX_ENTRIES:]), len(record.entries) > MAX_ENTRIES


def may_see_command(ledger: Ledger, trust: Trust, person: str, command: Command) -> None:
    """A command is for its author, and for whoever may see the key.

    Raises:
        AuthorityError: the trust document does not know the person.
        NotInScopeError: neither.
    """
    record = ledger.keys.get(command.key)
    owner = record.state.owner if record else None
    if command.author != person and not may_see(trust, person, command.key, owner):
        text = f"{command.key}: not in the scope of {person}"
        raise NotInScopeError(text)


def adoption_version(state: KeyState, asked: int | None) -> int | None:
    """The version that the question is about: the one asked for, in motion, or current.

    Raises:
        NotFoundError: the key has no such version.
    """
    if asked is None:
        return state.in_motion() or state.current
    if asked not in state.versions:
        newest = max(state.versions, default=0)
        text = f"{state.key}: no version {asked}, the newest is {newest}"
        raise NotFoundError(text, hint=f"rekey key show {state.key}")
    return asked


def dependents(
    state: KeyState, version: VersionFacts, found: Adoption, receipts: Iterable[Stored[Receipt]]
) -> tuple[DependentAdoption, ...]:
    """Every dependent with a grant, those without a live instance too; of one stopped or destroyed, who has left it."""
    stopped = _who_left(state, version, receipts)
    return tuple(
        DependentAdoption(
            dependent=name, instances=tuple(_instance(name, proof, stopped) for proof in proofs)
        )
        for name, proofs in found.dependents.items()
    )


def resumption(state: KeyState, version: VersionFacts) -> Resumption | None:
    """What a resume of the version would have to name; none where it would be refused."""
    try:
        to = resumes_to(state.versions, state.key, version.number)
    except (NotFoundError, StateRefusedError):
        return None
    return Resumption(lifts=version.lifts, state=to.value)


def _instance(
    dependent: str, proof: InstanceProof, stopped: frozenset[tuple[str, str]] | None
) -> InstanceAdoption:
    return InstanceAdoption(
        instance=proof.instance,
        lease_until=proof.lease_until,
        installed=proof.installed,
        switched=proof.switched,
        stopped=proof.stopped if stopped is None else (dependent, proof.instance) in stopped,
        waived=proof.waived,
    )


def _who_left(
    state: KeyState, version: VersionFacts, receipts: Iterable[Stored[Receipt]]
) -> frozenset[tuple[str, str]] | None:
    """Those that signed that they refuse the version, or have it no longer; none for one that nobody took away."""
    if not version.stopped_by and version.destroyed is None:
        return None
    return frozenset(
        (stored.model.dependent, stored.model.instance)
        for stored in receipts
        if (held := stored.model.keys.get(state.key)) is not None
        and (
            version.number in held.destroyed
            if version.destroyed
            else not {0, version.number}.isdisjoint(held.refused)
        )
    )


def _versions(state: KeyState) -> Iterable[VersionSummary]:
    for number, version in sorted(state.versions.items()):
        yield VersionSummary(
            version=number,
            state=version.state.value,
            since=version.state_since,
            key_id=version.generated.model.key_id if version.generated else None,
            destruction=version.pending.not_before if version.pending else None,
        )
