"""Which versions the last drill proved, which it did not, and what of that a person may be told by name. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Final, Literal

from rekey_audit.ledger import Ledger
from rekey_audit.questions import READERS, may_see
from rekey_core.contracts import DrillSummary, UncoveredVersion
from rekey_core.drilled import Drill, is_backed_up
from rekey_core.errors import NotInScopeError
from rekey_core.fold import KeyState
from rekey_core.names import Role
from rekey_core.policy import needs_backup
from rekey_core.trust import Trust
from rekey_core.versions import VersionFacts

Why = Literal["not-drilled", "not-backed-up", "class-has-none"]

MAX_UNCOVERED: Final = 200  # named; with MAX_FAILURES lines of a drill some 60 kB


def may_ask_of_backups(trust: Trust, person: str) -> None:
    """Counts are for everybody who may see any key, and for the officers who see to backups.

    Raises:
        AuthorityError: the trust document does not know the person.
        NotInScopeError: the person is none of those.
    """
    if not {*READERS, Role.TRUST_OFFICER} & set(trust.person(person).roles):
        text = f"{person} is neither owner, responder, auditor nor trust officer"
        raise NotInScopeError(text, hint="ask a trust officer for a role")


def covered(ledger: Ledger) -> int:
    """How many versions that still have a backup the last drill brought back, if it passed."""
    as_of = _proved_up_to(ledger)
    return sum(is_backed_up(version, as_of) for _, version in _made(ledger))


def uncovered(ledger: Ledger) -> list[UncoveredVersion]:
    """Every generated version that is not destroyed and that the last drill says nothing good about, and why.

    Those that the next drill would cover come first.
    """
    as_of = _proved_up_to(ledger)
    found = (
        UncoveredVersion(key=state.key, version=version.number, why=why)
        for state, version in _made(ledger)
        if (why := _why(state, version, as_of)) is not None
    )
    return sorted(found, key=lambda one: one.why == "class-has-none")


def seen(
    ledger: Ledger, trust: Trust, person: str, found: Iterable[UncoveredVersion]
) -> tuple[UncoveredVersion, ...]:
    """Those that the person may be told by name, the first ones."""
    may = [one for one in found if _may_see(ledger, trust, person, one.key)]
    return tuple(may[:MAX_UNCOVERED])


def summary_of(drill: Drill, ledger: Ledger, trust: Trust, person: str) -> DrillSummary:
    """The drill; of what was wrong in it, what the person may be told, and how much more there is."""
    found = drill.found
    failures = tuple(
        line for line in found.failures if _may_see(ledger, trust, person, line.partition("@")[0])
    )
    return DrillSummary(
        at=found.at,
        expires_at=found.expires_at,
        log=found.as_of,
        officers=drill.officers,
        backup_epochs=found.backup_epochs,
        checked=found.checked,
        restored=found.restored,
        failures=failures,
        more_failures=found.more_failures + len(found.failures) - len(failures),
    )


def _proved_up_to(ledger: Ledger) -> int:
    """Up to which sequence of the log the last drill, if it passed, proved every backup."""
    newest = ledger.drills.newest
    return newest.found.as_of if newest is not None and newest.found.is_passed else 0


def _made(ledger: Ledger) -> Iterator[tuple[KeyState, VersionFacts]]:
    for _, record in sorted(ledger.keys.items()):
        for _, version in sorted(record.state.versions.items()):
            if version.generated is not None and version.destroyed is None:
                yield record.state, version


def _why(state: KeyState, version: VersionFacts, as_of: int) -> Why | None:
    if not needs_backup(state.key_class or ""):
        return "class-has-none"
    if version.backed_up is None:
        return "not-backed-up"
    return None if is_backed_up(version, as_of) else "not-drilled"


def _may_see(ledger: Ledger, trust: Trust, person: str, key: str) -> bool:
    record = ledger.keys.get(key)
    return may_see(trust, person, key, record.state.owner if record else None)
