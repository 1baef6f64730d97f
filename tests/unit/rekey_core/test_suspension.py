"""Where to a suspended version comes back, and whose word brings it back."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta

import pytest

from rekey_core.commands import command_id
from rekey_core.contracts import (
    MAX_LIFTED,
    Compromised,
    Resume,
    Resumed,
    SignedCommand,
    Suspended,
)
from rekey_core.errors import NotFoundError, StateRefusedError
from rekey_core.lifecycle import VersionState as S
from rekey_core.suspension import resumes_to
from tests.unit.facts import resume, resumed, states, world
from tests.unit.world import NOW, World


def active_and_current(w: World) -> None:
    w.suspended(2)


def deactivated(w: World) -> None:
    w.deactivated(1)
    w.suspended(1)


def overtaken(w: World) -> None:
    w.suspended(2)
    w.version(3)


def overtaken_by_a_version_that_is_stopped_itself(w: World) -> None:
    overtaken(w)
    w.compromised(3)


def not_left_by_everybody_when_it_was_suspended(w: World) -> None:
    w.suspended(1)


def in_motion(w: World) -> None:
    w.deactivated(1)
    w.generated(3, w.requested(3))
    w.suspended(3)


def in_motion_and_overtaken(w: World) -> None:
    in_motion(w)
    w.requested(4)


def beside_one_in_motion(w: World) -> None:
    w.suspended(2)
    w.generated(3, w.requested(3))


def twice(w: World) -> None:
    w.suspended(2)
    w.suspended(2)


def with_the_whole_key(w: World) -> None:
    w.suspended(0)


ROWS = {
    "the current one protects again": (active_and_current, 2, S.ACTIVE, 2),
    "one that processed processes again": (deactivated, 1, S.DEACTIVATED, 2),
    "one that was rotated away is deactivated": (overtaken, 2, S.DEACTIVATED, 3),
    "a newer one counts, stopped or not": (
        overtaken_by_a_version_that_is_stopped_itself,
        2,
        S.DEACTIVATED,
        None,
    ),
    "an older active one is left at last": (
        not_left_by_everybody_when_it_was_suspended,
        1,
        S.DEACTIVATED,
        2,
    ),
    "one in motion goes on": (in_motion, 3, S.PRE_ACTIVATION, 2),
    "one in motion goes nowhere beside a newer one": (in_motion_and_overtaken, 3, S.DEACTIVATED, 2),
    "the current one protects until the one in motion does": (beside_one_in_motion, 2, S.ACTIVE, 2),
    "two suspensions are lifted together": (twice, 2, S.ACTIVE, 2),
    "one of a key that is suspended whole": (with_the_whole_key, 2, S.ACTIVE, 2),
}


@pytest.mark.parametrize(
    ("before", "number", "after", "current"), [pytest.param(*row, id=name) for name, row in ROWS.items()]
)
def test_where_to_it_comes_back(
    before: Callable[[World], None], number: int, after: S, current: int | None
) -> None:
    w = world(versions=2)
    before(w)
    others = {n: state for n, state in states(w).items() if n != number}
    resumed(w, number, at=NOW + timedelta(minutes=1))
    state = w.state()
    assert (state.voids, state.versions[number].state, state.current) == ((), after, current)
    assert {n: one for n, one in states(w).items() if n != number} == others
    assert state.versions[number].stopped_by == ()
    assert state.versions[number].state_since == NOW + timedelta(minutes=1)
    assert number in state.versions_to_hold()


def test_a_rotation_goes_on_to_its_end_after_a_resume() -> None:
    w = world(versions=1)
    w.generated(2, w.requested(2))
    w.suspended(0)
    resumed(w, 1)
    resumed(w, 2)
    w.activated(2)
    w.deactivated(1)
    assert (w.state().voids, states(w), w.state().current) == ((), {1: S.DEACTIVATED, 2: S.ACTIVE}, 2)


def test_it_can_be_suspended_again_and_a_second_resume_names_both() -> None:
    w = world(versions=1)
    ids = []
    for _ in range(2):
        ids.append(w.suspended(1).model.cause)
        resumed(w, 1)
    fact = w.log[-1].model
    assert isinstance(fact, Resumed)
    assert w.state().versions[1].lifted == frozenset(ids)
    assert (w.state().voids, states(w)) == ((), {1: S.ACTIVE})


def test_a_second_suspension_changes_neither_since_when_nor_where_to() -> None:
    w = world(versions=1)
    w.suspended(1)
    command = w.suspend(1)
    w.add(w.fact(Suspended, 1, command_id(command), command=command), at=NOW + timedelta(hours=1))
    version = w.state().versions[1]
    assert (version.state, version.state_since, version.resume_to) == (S.SUSPENDED, NOW, S.ACTIVE)
    assert len(version.stopped_by) == 2


def test_however_often_it_is_stopped_few_words_are_passed_on() -> None:
    w = world(versions=1)
    facts = [w.suspended(1).model for _ in range(5)] + [w.compromised(1).model]
    assert isinstance(facts[0], Suspended)
    assert isinstance(facts[-1], Compromised)
    assert w.state().versions[1].stops_to_tell == (facts[0].command, facts[-1].command)


def one_person(w: World) -> SignedCommand:
    return resume(w, 1).model_copy(update={"cosignatures": ()})


def with_herself(w: World) -> SignedCommand:
    return resume(w, 1, "rita")


def two_owners(w: World) -> SignedCommand:
    return resume(w, 1, author="alice")


def a_suspension(w: World) -> SignedCommand:
    return w.suspend(1)


def of_another_version(w: World) -> SignedCommand:
    return resume(w, 2, lifts=w.state().versions[1].lifts)


def without_the_last_fact(w: World) -> SignedCommand:
    return resume(w, 1, seen=w.log[-2].sequence)


def without_one_suspension(w: World) -> SignedCommand:
    w.suspended(1)
    return resume(w, 1, lifts=w.state().versions[1].lifts[:1])


def with_a_suspension_that_nobody_knows(w: World) -> SignedCommand:
    return resume(w, 1, lifts=tuple(sorted((*w.state().versions[1].lifts, "f" * 64))))


def with_a_cosignature_under_something_else(w: World) -> SignedCommand:
    return resume(w, 1).model_copy(update={"cosignatures": resume(w, 1).cosignatures})


@pytest.mark.parametrize(
    "command",
    [
        pytest.param(one_person, id="a responder alone"),
        pytest.param(with_herself, id="a responder twice"),
        pytest.param(two_owners, id="two owners, and no responder"),
        pytest.param(a_suspension, id="a command to suspend"),
        pytest.param(of_another_version, id="a command about another version"),
        pytest.param(without_the_last_fact, id="who did not see the last fact"),
        pytest.param(without_one_suspension, id="who did not see a suspension"),
        pytest.param(with_a_suspension_that_nobody_knows, id="who names a suspension that is not there"),
        pytest.param(with_a_cosignature_under_something_else, id="a cosignature under something else"),
    ],
)
def test_whose_word_lifts_nothing(command: Callable[[World], SignedCommand]) -> None:
    w = world(versions=2)
    w.suspended(1)
    resumed(w, 1, command(w))
    assert len(w.state().voids) == 1
    assert states(w)[1] is S.SUSPENDED


def test_a_resume_works_once() -> None:
    w = world(versions=1)
    w.suspended(1)
    command = resume(w, 1)
    resumed(w, 1, command)
    w.suspended(1)
    resumed(w, 1, command)
    assert (len(w.state().voids), states(w)) == (1, {1: S.SUSPENDED})


def test_a_resume_that_was_not_used_is_void_after_another_suspension() -> None:
    w = world(versions=1)
    w.suspended(1)
    command = resume(w, 1)
    w.suspended(1)
    resumed(w, 1, command)
    assert (len(w.state().voids), states(w)) == (1, {1: S.SUSPENDED})


def before_it_was_made(w: World) -> None:
    w.requested(2)
    w.suspended(2)


@pytest.mark.parametrize(
    ("before", "number", "error", "words", "hint"),
    [
        pytest.param(
            lambda _: None,
            1,
            StateRefusedError,
            "orders-db@1 is active, expected suspended",
            "rekey key history orders-db",
            id="one that works",
        ),
        pytest.param(
            lambda w: w.compromised(1),
            1,
            StateRefusedError,
            "orders-db@1 is compromised, expected suspended",
            "rekey key history orders-db",
            id="one that is compromised",
        ),
        pytest.param(
            before_it_was_made,
            2,
            StateRefusedError,
            "orders-db@2 was suspended before it was made",
            "rekey key rotate orders-db",
            id="one that was never made",
        ),
        pytest.param(
            lambda _: None,
            7,
            NotFoundError,
            "orders-db@7 does not exist; versions: 1",
            "rekey key show orders-db",
            id="one that does not exist",
        ),
    ],
)
def test_what_cannot_be_resumed(
    before: Callable[[World], None], number: int, error: type[Exception], words: str, hint: str
) -> None:
    w = world(versions=1)
    before(w)
    with pytest.raises(error, match=words) as raised:
        resumes_to(w.state().versions, "orders-db", number)
    assert getattr(raised.value, "hint", None) == hint
    known = w.state().versions.get(number)
    resumed(w, number, resume(w, number, lifts=(known.lifts if known else ()) or ("0" * 64,)))
    assert len(w.state().voids) == 1


def test_what_was_compromised_after_it_was_suspended_never_comes_back() -> None:
    w = world(versions=1)
    w.suspended(1)
    command = resume(w, 1)
    w.compromised(1)
    resumed(w, 1, command)
    resumed(w, 1)
    assert (len(w.state().voids), states(w)) == (2, {1: S.COMPROMISED})


def test_more_suspensions_than_a_command_can_name_cannot_be_lifted() -> None:
    w = World()
    ids = tuple(f"{n:064x}" for n in range(MAX_LIFTED + 1))
    with pytest.raises(ValueError, match="lifts"):
        w.command(Resume, "rita", version=1, seen=1, lifts=ids)
