"""What the next fact of a key is: registration, a person's rotation, and the steps that receipts and time allow."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest

from rekey_core.adoption import awaited
from rekey_core.commands import command_id
from rekey_core.contracts import (
    Activated,
    Deactivated,
    Granted,
    Register,
    Registered,
    RotationRequested,
    SignedCommand,
)
from rekey_core.errors import (
    AlreadyDoneError,
    AlreadyExistsError,
    NotFoundError,
    PolicyError,
    RekeyError,
    StateRefusedError,
)
from rekey_core.lifecycle import VersionState
from rekey_core.quotas import BUDGET, ROTATE_AT
from rekey_rotation_scheduler import planner
from tests.unit.facts import world
from tests.unit.fleet import ONE, OTHER, TWO, Fleet
from tests.unit.world import ENV, NOW, World

LONG_AFTER = NOW + timedelta(days=91)


def register(w: World, signed: SignedCommand, command: Register) -> list[str]:
    """Take every step of a registration; the facts in order."""
    said = []
    while fact := planner.registration(w.state(), command, signed, w.trust, NOW):
        w.add(fact)
        said.append(f"{fact.EVENT} {getattr(fact, 'dependent', fact.version)}")
    return said


def a_registration(w: World, **fields: Any) -> tuple[Register, SignedCommand]:
    body: dict[str, Any] = {
        "key_class": "application-data",
        "purpose": "orders",
        "dependents": ("orders", "billing"),
    }
    command = Register.model_validate(w.command(Register, "alice", **(body | fields)).model_dump())
    return command, w.signed(command)


def test_a_registration_is_registered_then_each_grant_then_the_first_request() -> None:
    w = World()
    command, signed = a_registration(w)
    assert register(w, signed, command) == [
        "registered 0",
        "granted billing",
        "granted orders",
        "rotation-requested 1",
    ]
    state = w.state()
    assert state.voids == ()
    assert (state.owner, set(state.grants)) == ("alice", {"orders", "billing"})
    assert command_id(signed) in state.causes


@pytest.mark.parametrize("done", range(5))
def test_a_registration_goes_on_where_a_crash_left_it(done: int) -> None:
    whole, cut = World(), World()
    cut.services, cut.people, cut.dependents = whole.services, whole.people, whole.dependents
    command, signed = a_registration(whole)
    register(whole, signed, command)
    cut.log = whole.log[:done]
    register(cut, signed, command)
    assert [f.model.id for f in cut.log] == [f.model.id for f in whole.log]


REFUSED: dict[str, tuple[dict[str, object], type[RekeyError], str]] = {
    "a dependent that is not enrolled": (
        {"dependents": ("orders", "nobody")},
        NotFoundError,
        "nobody is not enrolled",
    ),
    "a class that does not exist": ({"key_class": "gold"}, NotFoundError, "'gold' does not exist; classes: "),
    "a longer cryptoperiod than the class's": ({"cryptoperiod_s": 10**9}, PolicyError, "at most"),
}


@pytest.mark.parametrize(
    ("fields", "error", "words"), [pytest.param(*row, id=name) for name, row in REFUSED.items()]
)
def test_what_cannot_be_registered(fields: dict[str, object], error: type[RekeyError], words: str) -> None:
    w = World()
    command, signed = a_registration(w, **fields)
    with pytest.raises(error, match=words):
        register(w, signed, command)
    assert w.log == []


def test_a_name_that_another_command_took_is_refused() -> None:
    w = world()
    command, signed = a_registration(w)
    with pytest.raises(AlreadyExistsError, match="orders-db is registered, by alice"):
        planner.registration(w.state(), command, signed, w.trust, NOW)


def test_a_person_gets_the_next_version() -> None:
    w = world(versions=2)
    w.deactivated(1)
    signed = w.rotate()
    fact = planner.rotation(w.state(), signed, NOW)
    assert isinstance(fact, RotationRequested)
    assert (fact.version, fact.reason, fact.cause) == (3, "person", command_id(signed))
    w.add(fact)
    assert w.state().voids == ()


def test_a_key_whose_current_version_was_stopped_in_a_rotation_can_rotate_again() -> None:
    w = world(versions=2)
    w.suspended(2)
    state = w.state()
    assert (state.current, state.versions[1].state) == (None, VersionState.ACTIVE)
    w.add(planner.rotation(state, w.rotate(), NOW))
    assert w.state().voids == ()
    assert planner.unfinished(w.state()) == [3]


def moving(w: World) -> None:
    w.requested(3)


def not_deactivated(w: World) -> None:
    w.version(3)


def finished(w: World) -> None:
    w.deactivated(1)


@pytest.mark.parametrize(
    "before",
    [
        pytest.param(moving, id="while a version is in pre-activation"),
        pytest.param(not_deactivated, id="while older versions are active"),
    ],
)
def test_one_rotation_at_a_time(before: Callable[[World], None]) -> None:
    w = world(versions=2)
    finished(w)
    before(w)
    with pytest.raises(StateRefusedError, match="a rotation is under way") as caught:
        planner.rotation(w.state(), w.rotate(), NOW)
    assert caught.value.hint == "rekey adoption orders-db"


def test_a_command_that_the_log_names_is_done() -> None:
    w = world(versions=1)
    signed = w.rotate()
    w.add(planner.rotation(w.state(), signed, NOW))
    with pytest.raises(AlreadyDoneError):
        planner.rotation(w.state(), signed, NOW)


def test_a_suspended_key_can_be_rotated_out_of_its_suspension() -> None:
    w = world(versions=1)
    w.suspended(1)
    assert planner.rotation(w.state(), w.rotate(), NOW).version == 2


def fleet(*, backed_up: bool = True) -> Fleet:
    """Version 1 current, version 2 generated; one instance each of orders and billing is live."""
    w = world(versions=1)
    w.generated(2, w.requested(2), backed_up=backed_up)
    it = Fleet(w)
    it.live("orders", ONE)
    it.live("billing", OTHER)
    for dependent, instance in (("orders", ONE), ("billing", OTHER)):
        it.deliver(dependent, instance)
    return it


def test_a_version_is_activated_when_every_live_instance_proved_that_it_holds_it() -> None:
    it = fleet()
    state = it.world.state()
    assert awaited(state) == 2
    assert planner.step(state, it.adoption(), NOW) is None
    it.says("orders", ONE, it.confirmation(ONE))
    assert planner.step(state, it.adoption(), NOW) is None, "billing has not answered"
    it.says("billing", OTHER, it.confirmation(OTHER))
    fact = planner.step(state, it.adoption(), NOW)
    assert isinstance(fact, Activated)
    assert {(c.dependent, c.instances) for c in fact.proved} == {("orders", (ONE,)), ("billing", (OTHER,))}
    it.world.add(fact)
    assert it.world.state().current == 2


def test_a_version_that_everybody_holds_is_activated_after_it_is_backed_up() -> None:
    it = fleet(backed_up=False)
    it.says("orders", ONE, it.confirmation(ONE))
    it.says("billing", OTHER, it.confirmation(OTHER))
    assert planner.step(it.world.state(), it.adoption(), NOW) is None
    it.world.backed_up(2)
    assert isinstance(planner.step(it.world.state(), it.adoption(), NOW), Activated)


def test_a_joiner_with_a_lease_holds_the_activation_up() -> None:
    it = fleet()
    it.says("orders", ONE, it.confirmation(ONE))
    it.says("billing", OTHER, it.confirmation(OTHER))
    it.live("orders", TWO)
    assert planner.step(it.world.state(), it.adoption(), NOW) is None


def test_the_old_version_is_deactivated_when_every_live_instance_switched_and_signed_that_it_stopped() -> (
    None
):
    it = fleet()
    it.world.activated(2)
    state = it.world.state()
    assert awaited(state) == 2
    it.says("orders", ONE, it.confirmation(ONE, switched=True), protects=2, stopped=(1,))
    assert planner.step(state, it.adoption(), NOW) is None, "billing has not switched"
    it.says("billing", OTHER, it.confirmation(OTHER, switched=True), protects=2, stopped=(1,))
    fact = planner.step(state, it.adoption(), NOW)
    assert isinstance(fact, Deactivated)
    assert fact.version == 1
    it.world.add(fact)
    after = it.world.state()
    assert (after.versions[1].state, after.voids) == (VersionState.DEACTIVATED, ())
    assert planner.step(after, None, NOW) is None


def test_an_instance_that_goes_on_protecting_with_the_old_version_holds_its_end_up() -> None:
    it = fleet()
    it.world.activated(2)
    it.says("orders", ONE, it.confirmation(ONE, switched=True), protects=2, stopped=(1,))
    it.says("billing", OTHER, it.confirmation(OTHER, switched=True), protects=1)
    assert planner.step(it.world.state(), it.adoption(), NOW) is None


def test_nobody_live_is_nobody_to_wait_for_and_the_fact_says_so() -> None:
    w = world(versions=1)
    w.generated(2, w.requested(2))
    fact = planner.step(w.state(), Fleet(w).adoption(), NOW)
    assert isinstance(fact, Activated)
    assert [c.instances for c in fact.proved] == [(), ()]


def test_an_adoption_of_another_version_decides_nothing() -> None:
    w = world(versions=1)
    w.generated(2, w.requested(2))
    assert planner.step(w.state(), Fleet(w).adoption(1), NOW) is None


def test_time_asks_for_a_version_when_the_cryptoperiod_is_over() -> None:
    w = world(versions=1)
    assert planner.step(w.state(), None, NOW) is None
    fact = planner.step(w.state(), None, LONG_AFTER)
    assert isinstance(fact, RotationRequested)
    assert (fact.version, fact.reason, fact.command) == (2, "time", None)


def test_time_asks_once() -> None:
    w = world(versions=1)
    first = planner.step(w.state(), None, LONG_AFTER)
    assert first is not None
    w.add(first, at=LONG_AFTER)
    assert planner.step(w.state(), None, LONG_AFTER) is None


def in_motion(w: World) -> None:
    w.generated(2, w.requested(2))


def half_way(w: World) -> None:
    w.version(2)


def stopped(w: World) -> None:
    w.suspended(1)


@pytest.mark.parametrize(
    ("release", "before", "allotted", "reason"),
    [
        pytest.param("trusted-recipient", None, ROTATE_AT, "volume", id="three quarters are given away"),
        pytest.param("trusted-recipient", None, ROTATE_AT - 1, None, id="not yet"),
        pytest.param("trusted-recipient", in_motion, BUDGET, None, id="another version is on its way"),
        pytest.param("trusted-recipient", half_way, BUDGET, None, id="the version before is not left yet"),
        pytest.param("trusted-recipient", stopped, BUDGET, None, id="nobody protects with it"),
        pytest.param("never", None, BUDGET, None, id="its messages are not counted"),
    ],
)
def test_volume_asks_for_a_version_when_the_budget_is_nearly_given_away(
    release: str, before: Callable[[World], None] | None, allotted: int, reason: str | None
) -> None:
    w = world(versions=1, release=release)
    if before:
        before(w)
    fact = planner.step(w.state(), None, NOW, allotted)
    assert (fact.reason if isinstance(fact, RotationRequested) else None) == reason
    if fact is not None:
        w.add(fact)
        assert w.state().voids == ()
        assert planner.step(w.state(), None, NOW, allotted) is None, "it asks once"


def test_a_key_without_a_current_version_is_not_rotated_by_time() -> None:
    w = world(versions=1)
    w.suspended(1)
    assert planner.step(w.state(), None, LONG_AFTER) is None


def test_facts_are_decided_on_the_sequence_that_was_folded() -> None:
    w = world(versions=1)
    fact = planner.rotation(w.state(), w.rotate(), NOW)
    assert fact.checked == w.log[-1].sequence
    assert (fact.env, fact.author) == (ENV, Registered.AUTHOR)
    assert Granted.AUTHOR is fact.author
