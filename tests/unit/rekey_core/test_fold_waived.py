"""Whom a rotation does not wait for: only whom an owner names, or who is missing when two people say so; else it is void."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from rekey_core.commands import command_id
from rekey_core.contracts import (
    COMMAND_NAMESPACE,
    Activated,
    Command,
    Cosignature,
    Count,
    Deactivated,
    Fact,
    Force,
    SignedCommand,
    Waive,
    Waived,
    Whom,
)
from rekey_core.encoding import b64u_decode
from rekey_core.errors import IllegalTransitionError, MalformedError, SchemaError, SignatureError
from rekey_core.fold import KeyState
from tests.unit.facts import stop, world
from tests.unit.fleet import ONE, TWO
from tests.unit.world import World

ORDERS_ONE = Whom(dependent="orders", instance=ONE)


def moving() -> World:
    """Version 1 is current, version 2 generated."""
    w = world(versions=1)
    w.generated(2, w.requested(2))
    return w


def waive(w: World, author: str = "alice", version: int = 2, **said: Any) -> SignedCommand:
    fields: dict[str, Any] = {"key": "orders-db", "version": version, "dependent": "orders", "instance": ONE}
    return w.signed(w.command(Waive, author, **(fields | said)))


def force(
    w: World, *others: str, author: str = "alice", version: int = 2, key: str = "orders-db"
) -> SignedCommand:
    signed = w.signed(w.command(Force, author, key, version=version))
    payload = b64u_decode(signed.payload)
    more = tuple(Cosignature(person=p, sshsig=w.officer(p, payload, COMMAND_NAMESPACE)) for p in others)
    return signed.model_copy(update={"cosignatures": more})


def waived(
    w: World, signed: SignedCommand, *whom: Whom, version: int = 2, cause: str | None = None
) -> Waived:
    """What the scheduler says of such a command."""
    said: dict[str, Any] = {"whom": whom or (ORDERS_ONE,), "command": signed}
    fact = w.fact(Waived, version, cause or command_id(signed), **said)
    assert isinstance(fact, Waived)
    return fact


def activated(w: World, *not_waited_for: str, dependent: str = "orders", version: int = 2) -> Fact:
    generated = w.state().versions[version].generated
    cause = str(generated.model.id) if generated else "nothing"
    return w.fact(
        Activated, version, cause, proved=(Count(dependent=dependent, instances=(), waived=not_waited_for),)
    )


def error_of(w: World, bad: Fact) -> MalformedError:
    """What is wrong with the fact; it changes nothing."""
    before = w.state()
    w.add(bad)
    after = w.state()
    assert (after.versions, after.current) == (before.versions, before.current)
    [void] = after.voids
    return void.error


VOID: dict[str, tuple[type[MalformedError], Callable[[World], Fact]]] = {
    "without the owner's command": (SchemaError, lambda w: waived(w, w.rotate())),
    "by a responder": (SchemaError, lambda w: waived(w, waive(w, "rita"))),
    "by an owner of other keys": (SchemaError, lambda w: waived(w, waive(w, "otto"))),
    "by a command that she did not sign": (
        SignatureError,
        lambda w: waived(w, waive(w).model_copy(update={"sshsig": waive(w).sshsig})),
    ),
    "by her command for another version": (SchemaError, lambda w: waived(w, waive(w, version=1))),
    "by her command for another key": (SchemaError, lambda w: waived(w, waive(w, key="orders-archive"))),
    "by a command that is not the cause": (SchemaError, lambda w: waived(w, waive(w), cause="f" * 64)),
    "of another instance": (SchemaError, lambda w: waived(w, waive(w), Whom(dependent="orders", instance=TWO))),
    "of the whole dependent": (SchemaError, lambda w: waived(w, waive(w), Whom(dependent="orders"))),
    "of one instance instead of all": (SchemaError, lambda w: waived(w, waive(w, instance=None))),
    "of one more": (SchemaError, lambda w: waived(w, waive(w), ORDERS_ONE, Whom(dependent="billing"))),
    "forced by one person": (SchemaError, lambda w: waived(w, force(w))),
    "forced by one person twice": (SchemaError, lambda w: waived(w, force(w, "alice"))),
    "forced by an owner and an auditor": (SchemaError, lambda w: waived(w, force(w, "adam"))),
    "forced by two who do not own it": (SchemaError, lambda w: waived(w, force(w, "rita", author="otto"))),
    "forced by two for another version": (SchemaError, lambda w: waived(w, force(w, "rita", version=1))),
    "forced by two for another key": (SchemaError, lambda w: waived(w, force(w, "rita", key="orders-x"))),
}  # fmt: skip


@pytest.mark.parametrize(("error", "bad"), VOID.values(), ids=VOID)
def test_somebody_is_waived(error: type[MalformedError], bad: Callable[[World], Fact]) -> None:
    w = moving()
    assert type(error_of(w, bad(w))) is error


def test_a_waiver_counts_once_and_for_its_version_alone() -> None:
    w = moving()
    fact = waived(w, waive(w))
    w.add(fact)
    assert w.state().versions[2].waived == {ORDERS_ONE}
    replayed = fact.model_copy(update={"checked": w.log[-1].sequence})
    assert "done already" in str(error_of(w, replayed))


def later_version(w: World) -> World:
    """The rotation to version 2 is over, and version 3 in motion."""
    w.activated(2)
    w.deactivated(1)
    w.generated(3, w.requested(3))
    return w


def test_a_waiver_is_not_carried_over_to_the_next_rotation() -> None:
    w = moving()
    signed = waive(w)
    w.add(waived(w, signed))
    later_version(w)
    assert w.state().versions[3].waived == frozenset()
    again = waived(w, signed, version=3)
    assert isinstance(error_of(w, again), SchemaError)
    assert "nobody waived" in str(_last(w, activated(w, ONE, version=3)).voids[-1].error)


def _last(w: World, fact: Fact) -> KeyState:
    w.add(fact)
    return w.state()


def test_a_version_that_nobody_waits_for_has_nobody_to_waive() -> None:
    w = moving()
    w.add(stop(w, w.suspend(2), 2))
    assert type(error_of(w, waived(w, waive(w)))) is IllegalTransitionError


def test_a_class_may_not_let_two_people_force() -> None:
    w = world(versions=0, release="never")
    w.version(1)
    w.generated(2, w.requested(2))
    assert "allows waive at a deadline, found force" in str(error_of(w, waived(w, force(w, "rita"))))
    assert _last(w, waived(w, waive(w))).versions[2].waived == {ORDERS_ONE}


PASSED_OVER = [
    pytest.param((ONE,), "orders", True, id="the instance that was waived"),
    pytest.param((), "orders", True, id="nobody"),
    pytest.param((ONE, TWO), "orders", False, id="another one with it"),
    pytest.param((TWO,), "orders", False, id="another instance of the dependent"),
    pytest.param((ONE,), "billing", False, id="an instance of that name of another dependent"),
]


@pytest.mark.parametrize(("instances", "dependent", "counts"), PASSED_OVER)
@pytest.mark.parametrize("forced", [False, True], ids=["waived", "forced"])
def test_only_who_was_waived_can_be_passed_over(
    *, instances: tuple[str, ...], dependent: str, counts: bool, forced: bool
) -> None:
    w = moving()
    w.add(waived(w, force(w, "rita") if forced else waive(w)))
    after = _last(w, activated(w, *instances, dependent=dependent))
    assert (after.current == 2) is counts
    assert len(after.voids) == (not counts)
    if counts:
        cause, proved = str(w.log[-1].model.id), (Count(dependent="orders", instances=(), waived=(ONE,)),)
        assert _last(w, w.fact(Deactivated, 1, cause, proved=proved)).voids == ()


def test_a_waived_dependent_is_all_its_instances() -> None:
    w = moving()
    w.add(waived(w, waive(w, instance=None), Whom(dependent="orders")))
    assert _last(w, activated(w, ONE, TWO)).current == 2


def test_the_commands_say_which_kind_they_are() -> None:
    kinds: tuple[type[Command], ...] = (Waive, Force)
    assert [kind.VERB for kind in kinds] == ["waive", "force"]
