"""Which versions a drill proves: those that were backed up when it began and still are; names only for who may see them."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from rekey_audit import coverage
from rekey_audit.drills import Drills
from rekey_audit.ledger import KeyRecord, Ledger
from rekey_core.drilled import Drill
from rekey_core.errors import NotInScopeError, RekeyError
from tests.unit.facts import BASE, world
from tests.unit.orders import attestation
from tests.unit.world import ENV, NOW, World


def ledger_of(w: World, **said: Any) -> Ledger:
    """What audit knows: the key of the world, and a drill if anything is said of one."""
    drills = Drills(Drill(attestation(**said), ("olga", "oliver"), 7)) if said else Drills()
    ledger = Ledger(ENV, drills=drills)
    ledger.keys["orders-db"] = KeyRecord(w.state())
    return ledger


def names(ledger: Ledger) -> list[tuple[int, str]]:
    return [(one.version, one.why) for one in coverage.uncovered(ledger)]


def three_versions() -> tuple[World, int]:
    """Versions 1 to 3, and where the log was before the third was backed up."""
    w = world(versions=2)
    before = w.log[-1].sequence
    w.version(3)
    return w, before


def test_without_a_drill_nothing_is_proved() -> None:
    ledger = ledger_of(three_versions()[0])
    assert (coverage.covered(ledger), len(names(ledger))) == (0, 3)


def test_what_was_made_since_is_named() -> None:
    w, before = three_versions()
    ledger = ledger_of(w, as_of=before)
    assert (coverage.covered(ledger), names(ledger)) == (2, [(3, "not-drilled")])
    assert names(ledger_of(w, as_of=w.log[-1].sequence)) == []


def test_a_drill_that_failed_proves_nothing() -> None:
    w, before = three_versions()
    ledger = ledger_of(w, as_of=before, restored=2)
    assert (coverage.covered(ledger), [number for number, _ in names(ledger)]) == (0, [1, 2, 3])


def test_what_is_destroyed_since_is_neither_covered_nor_missing() -> None:
    w, before = three_versions()
    w.deactivated(1)
    w.scheduled(1)
    w.destroyed(1, at=NOW + timedelta(days=365))
    ledger = ledger_of(w, as_of=before)
    assert (coverage.covered(ledger), names(ledger)) == (1, [(3, "not-drilled")])


def test_a_class_without_backups_and_a_backup_that_is_not_said_yet() -> None:
    signing = ledger_of(world(versions=1, release="never"), as_of=100)
    assert (coverage.covered(signing), names(signing)) == (0, [(1, "class-has-none")])
    w = world()
    w.generated(1, w.requested(1), backed_up=False)
    assert names(ledger_of(w, as_of=100)) == [(1, "not-backed-up")]


def test_what_the_next_drill_would_cover_comes_first() -> None:
    ledger = ledger_of(three_versions()[0], as_of=1)
    ledger.keys["a-signer"] = KeyRecord(replace(world(versions=1, release="never").state(), key="a-signer"))
    assert [one.why for one in coverage.uncovered(ledger)] == [*["not-drilled"] * 3, "class-has-none"]


@pytest.mark.parametrize(
    ("person", "sees"),
    [
        pytest.param("alice", True, id="its owner"),
        pytest.param("rita", True, id="a responder in scope"),
        pytest.param("adam", True, id="an auditor in scope"),
        pytest.param("oliver", False, id="an officer is told how many, and no name"),
    ],
)
def test_names_are_for_those_who_may_see_the_key(person: str, sees: bool) -> None:  # noqa: FBT001
    w, before = three_versions()
    ledger = ledger_of(w, as_of=before, restored=2, failures=("orders-db@1: altered",))
    coverage.may_ask_of_backups(BASE.trust, person)
    assert bool(coverage.seen(ledger, BASE.trust, person, coverage.uncovered(ledger))) is sees
    newest = ledger.drills.newest
    assert newest is not None
    summary = coverage.summary_of(newest, ledger, BASE.trust, person)
    assert (len(summary.failures), summary.more_failures) == ((1, 0) if sees else (0, 1))


def test_somebody_without_a_role_is_refused() -> None:
    people = BASE.document().people
    people["adam"] = people["adam"].model_copy(update={"roles": ()})
    trust = BASE.trust.extended(BASE.next_trust("oliver", "olga", people=people))
    with pytest.raises(NotInScopeError):
        coverage.may_ask_of_backups(trust, "adam")
    with pytest.raises(RekeyError, match="nobody is not in the trust document"):
        coverage.may_ask_of_backups(BASE.trust, "nobody")
