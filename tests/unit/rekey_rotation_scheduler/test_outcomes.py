"""What people may do about a rotation whose deadline has passed, and what they may not."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta

import pytest

from rekey_core.adoption import waiting
from rekey_core.commands import read_command
from rekey_core.contracts import Activated, Deactivated, Force, SignedCommand, Waive, Whom
from rekey_core.errors import AlreadyDoneError, NotFoundError, PolicyError, StateRefusedError
from rekey_rotation_scheduler import outcomes, planner
from tests.unit.facts import BASE, HOUR, world
from tests.unit.fleet import ONE, OTHER, TWO, Fleet
from tests.unit.rekey_core.test_fold_waived import force, waive
from tests.unit.world import NOW, World

LATE = NOW + HOUR


def stuck(*, release: str = "trusted-recipient") -> Fleet:
    """Version 2 is in motion: orders/1 holds it, orders/2 and billing do not."""
    w = world(versions=1, release=release)
    w.generated(2, w.requested(2))
    it = Fleet(w)
    for dependent, instance in (("orders", ONE), ("orders", TWO), ("billing", OTHER)):
        it.live(dependent, instance)
        it.deliver(dependent, instance)
    if release == "trusted-recipient":
        it.says("orders", ONE, it.confirmation(ONE))
    return it


def decide(it: Fleet, signed: SignedCommand, now: datetime = LATE) -> tuple[Whom, ...]:
    """The command becomes a fact that is not void; whom it names."""
    command = read_command(signed)
    assert isinstance(command, Waive | Force)
    fact = outcomes.waived(it.world.state(), command, signed, it.adoption(), now)
    it.world.add(fact)
    assert it.world.state().voids == ()
    return fact.whom


Making = Callable[[World], SignedCommand]
TOO_EARLY = LATE - timedelta(seconds=1)

REFUSED: dict[str, tuple[Making, datetime, str]] = {
    "before the deadline": (lambda w: waive(w, instance=TWO), TOO_EARLY, "the deadline is"),
    "forced before the deadline": (lambda w: force(w, "rita"), TOO_EARLY, "the deadline is"),
    "who is not missing": (waive, LATE, f"orders/{ONE} is not waited for; missing: billing"),
    "who has no grant": (
        lambda w: waive(w, dependent="shipping", instance=None),
        LATE,
        "shipping is not waited for",
    ),
    "for a version that is complete": (
        lambda w: waive(w, version=1, instance=TWO),
        LATE,
        "orders-db@1: nobody",
    ),
    "for a version that does not exist": (lambda w: force(w, "rita", version=3), LATE, "orders-db@3: nobody"),
}


@pytest.mark.parametrize(("signed", "now", "words"), REFUSED.values(), ids=REFUSED)
def test_nobody_is_waived(signed: Making, now: datetime, words: str) -> None:
    it = stuck()
    with pytest.raises(StateRefusedError, match=words) as refused:
        decide(it, signed(it.world), now)
    assert refused.value.hint


def test_a_key_that_does_not_exist_has_nobody_to_waive() -> None:
    it = Fleet(World(services=BASE.services, people=BASE.people, dependents=BASE.dependents))
    with pytest.raises(NotFoundError):
        decide(it, waive(it.world))


def test_a_class_that_lets_an_owner_waive_lets_nobody_force() -> None:
    it = stuck(release="never")
    with pytest.raises(PolicyError, match="token-signing allows waive"):
        decide(it, force(it.world, "rita"))


def test_who_is_waived_by_name_is_not_waited_for_and_the_others_are() -> None:
    it = stuck()
    assert decide(it, waive(it.world, instance=TWO)) == (Whom(dependent="orders", instance=TWO),)
    assert planner.step(it.world.state(), it.adoption(), LATE) is None, "billing is waited for still"
    it.says("billing", OTHER, it.confirmation(OTHER))
    fact = planner.step(it.world.state(), it.adoption(), LATE)
    assert isinstance(fact, Activated)
    assert [(c.dependent, c.instances, c.waived) for c in fact.proved] == [
        ("billing", (OTHER,), ()),
        ("orders", (ONE,), (TWO,)),
    ]


def test_two_people_force_past_those_who_are_missing_and_nobody_else() -> None:
    it = stuck()
    assert decide(it, force(it.world, "rita")) == (
        Whom(dependent="billing", instance=OTHER),
        Whom(dependent="orders", instance=TWO),
    )
    fact = planner.step(it.world.state(), it.adoption(), LATE)
    assert isinstance(fact, Activated)
    it.world.add(fact)
    assert planner.step(it.world.state(), it.adoption(), LATE) is None, (
        "orders/1 has to switch before it ends"
    )
    it.says("orders", ONE, it.confirmation(ONE, switched=True), protects=2, stopped=(1,))
    last = planner.step(it.world.state(), it.adoption(), LATE)
    assert isinstance(last, Deactivated)
    assert [(c.dependent, c.waived) for c in last.proved] == [("billing", (OTHER,)), ("orders", (TWO,))]
    it.world.add(last)
    assert it.world.state().voids == ()


def test_who_was_waived_and_comes_back_is_counted_as_having_proved() -> None:
    it = stuck()
    decide(it, force(it.world, "rita"))
    it.says("orders", TWO, it.confirmation(TWO))
    fact = planner.step(it.world.state(), it.adoption(), LATE)
    assert isinstance(fact, Activated)
    assert [(c.instances, c.waived) for c in fact.proved] == [((), (OTHER,)), ((ONE, TWO), ())]


def test_a_command_counts_once() -> None:
    it = stuck()
    signed = waive(it.world, instance=TWO)
    decide(it, signed)
    with pytest.raises(AlreadyDoneError):
        decide(it, signed)


def test_who_is_missing_is_said_once_the_deadline_has_passed() -> None:
    it = stuck()
    state, proof = it.world.state(), it.adoption()
    assert outcomes.overdue(state, proof, LATE - timedelta(seconds=1)) is None
    late = outcomes.overdue(state, proof, LATE)
    assert late is not None
    assert (late.version, late.step, late.missing) == (2, "installed", (f"billing/{OTHER}", f"orders/{TWO}"))


def test_the_step_that_is_waited_for_is_switching_once_the_version_is_active() -> None:
    it = stuck()
    it.world.activated(2)
    found = waiting(it.world.state(), it.adoption())
    assert found is not None
    assert (found.step, len(found.missing)) == ("switched", 3)
    it.world.deactivated(1)
    assert waiting(it.world.state(), it.adoption()) is None
