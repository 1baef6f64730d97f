"""From two people's word to a version that is gone: what counts, what is void, and what comes in between."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timedelta

import pytest

from rekey_core.commands import command_id
from rekey_core.contracts import Destroyed, DestructionScheduled, Fact
from rekey_core.encoding import b64u_decode, sha256_hex
from rekey_core.envelope import Stored
from rekey_core.errors import (
    CheckSequenceError,
    IllegalTransitionError,
    MalformedError,
    SchemaError,
    TrustError,
)
from rekey_core.fold import KeyState, fold
from rekey_core.lifecycle import VersionState
from rekey_core.policy import DEVELOPMENT_DESTRUCTION_DELAY_S, class_named
from rekey_core.trust import Trust, issue
from tests.unit.facts import generation, states, world
from tests.unit.world import ENV, NOW, World

S = VersionState
DELAY = timedelta(seconds=class_named("application-data").destruction_delay_s)
DUE = NOW + DELAY
EARLY = DUE - timedelta(microseconds=1)


def a_world() -> World:
    """Version 1 deactivated, 2 active but not current, 3 current, 4 suspended, 5 generated."""
    w = world(versions=3)
    w.deactivated(1)
    w.generated(4, w.requested(4))
    w.suspended(4)
    w.generated(5, w.requested(5))
    assert w.state().voids == ()
    return w


def void(w: World, stored: Stored[Fact]) -> MalformedError:
    """What is wrong with the last fact of the log, which must have had no effect."""
    assert w.log[-1] is stored
    before = fold(ENV, "orders-db", w.log[:-1], w.trust)
    after = w.state()
    assert after.versions == before.versions
    return after.voids[-1].error


def pending(w: World, version: int = 1) -> datetime | None:
    """From when on the version is destroyed."""
    found = w.state().versions[version].pending
    return found.not_before if found else None


Do = Callable[[World], Stored[Fact]]

SCHEDULES: dict[str, tuple[type[MalformedError], Do]] = {
    "by one person": (
        SchemaError,
        lambda w: w.scheduled(1, w.destroy(1).model_copy(update={"cosignatures": ()})),
    ),
    "by one person twice": (SchemaError, lambda w: w.scheduled(1, w.destroy(1, "alice"))),
    "with an auditor as the second": (SchemaError, lambda w: w.scheduled(1, w.destroy(1, "adam"))),
    "by two people of whom none owns the key": (
        SchemaError,
        lambda w: w.scheduled(1, w.destroy(1, "alice", author="otto")),
    ),
    "by two responders": (SchemaError, lambda w: w.scheduled(1, w.destroy(1, "otto", author="rita"))),
    "by a command to rotate": (SchemaError, lambda w: w.scheduled(1, w.rotate())),
    "by a command about another version": (SchemaError, lambda w: w.scheduled(1, w.destroy(5))),
    "by a command about another key": (
        SchemaError,
        lambda w: w.scheduled(1, w.destroy(1, key="orders-archive")),
    ),
    "with a cause that is not its command": (SchemaError, lambda w: w.scheduled(1, cause="f" * 64)),
    "sooner than the class allows": (
        SchemaError,
        lambda w: w.scheduled(1, w.destroy(1, delay_s=int(DELAY.total_seconds()) - 1)),
    ),
    "of the current version": (IllegalTransitionError, lambda w: w.scheduled(3)),
    "of an active version": (IllegalTransitionError, lambda w: w.scheduled(2)),
    "of a suspended version": (IllegalTransitionError, lambda w: w.scheduled(4)),
    "of a version that nobody requested": (IllegalTransitionError, lambda w: w.scheduled(9)),
}


@pytest.mark.parametrize(("error", "do"), SCHEDULES.values(), ids=SCHEDULES)
def test_no_destruction_is_scheduled(error: type[MalformedError], do: Do) -> None:
    w = a_world()
    assert type(void(w, do(w))) is error
    assert w.state().destructions() == ()


@pytest.mark.parametrize("version", [1, 5], ids=["deactivated", "pre-activation"])
def test_two_people_schedule_a_destruction_and_nothing_else_changes(version: int) -> None:
    w = a_world()
    before = w.state()
    w.scheduled(version)
    after = w.state()
    assert (after.voids, after.destructions(), pending(w, version)) == ((), (version,), DUE)
    assert (after.versions_to_hold(), after.current) == (before.versions_to_hold(), before.current)


@pytest.mark.parametrize(
    ("named", "asked", "moment"),
    [
        pytest.param(
            NOW - DELAY, None, DUE, id="the scheduler names the past: the class's delay from the fact on"
        ),
        pytest.param(DUE + DELAY, None, DUE + DELAY, id="the scheduler names a later moment"),
        pytest.param(NOW, 2 * DELAY, NOW + 2 * DELAY, id="the command asks for longer"),
    ],
)
def test_the_delay_counts_by_the_clock_of_the_bus(
    named: datetime, asked: timedelta | None, moment: datetime
) -> None:
    w = a_world()
    delay_s = int(asked.total_seconds()) if asked else None
    w.scheduled(1, w.destroy(1, delay_s=delay_s), not_before=named)
    assert pending(w) == moment


def cancelled_before(w: World) -> Stored[Fact]:
    w.scheduled(1)
    w.cancelled(1)
    return w.cancelled(1)


def cancelled_with_old_eyes(w: World) -> Stored[Fact]:
    seen = w.log[-1].sequence
    w.scheduled(1)
    return w.cancelled(1, w.cancel(1, seen=seen))


def cancelled_at(moment: datetime) -> Do:
    def do(w: World) -> Stored[Fact]:
        w.scheduled(1)
        return w.cancelled(1, at=moment)

    return do


def cancelled_by(author: str) -> Do:
    def do(w: World) -> Stored[Fact]:
        w.scheduled(1)
        return w.cancelled(1, w.cancel(1, author))

    return do


def cancelled_after_all(w: World) -> Stored[Fact]:
    w.scheduled(1)
    w.destroyed(1, at=DUE)
    return w.cancelled(1)


def suspended_too_late(w: World) -> Stored[Fact]:
    w.scheduled(1)
    suspend(w, 1, at=DUE)
    return w.cancelled(1, at=DUE)


CANCELS: dict[str, tuple[type[MalformedError], Do]] = {
    "of nothing": (IllegalTransitionError, lambda w: w.cancelled(1)),
    "of what is cancelled": (IllegalTransitionError, cancelled_before),
    "of what is carried out": (IllegalTransitionError, cancelled_after_all),
    "by somebody who has not seen the schedule": (CheckSequenceError, cancelled_with_old_eyes),
    "by an owner of other keys": (SchemaError, cancelled_by("otto")),
    "by a responder": (SchemaError, cancelled_by("rita")),
    "when the delay is over": (IllegalTransitionError, cancelled_at(DUE)),
    "of a version that was suspended when the delay was over": (IllegalTransitionError, suspended_too_late),
}


@pytest.mark.parametrize(("error", "do"), CANCELS.values(), ids=CANCELS)
def test_a_cancellation_is_void(error: type[MalformedError], do: Do) -> None:
    w = a_world()
    assert type(void(w, do(w))) is error


def test_an_owner_cancels_until_the_last_moment_and_may_begin_again_with_new_words() -> None:
    w = a_world()
    command = w.destroy(1)
    w.scheduled(1, command)
    w.cancelled(1, at=EARLY)
    assert (w.state().voids, pending(w)) == ((), None)
    assert type(void(w, w.scheduled(1, command, at=EARLY))) is SchemaError  # one command, one effect
    w.scheduled(1, at=EARLY)
    assert pending(w) == EARLY + DELAY


def carried_out_for_another(w: World) -> Stored[Fact]:
    old = w.scheduled(1)
    w.cancelled(1)
    w.scheduled(1)
    return w.destroyed(1, at=DUE, cause=str(old.model.id))


def carried_out(at: datetime, **fields: object) -> Do:
    def do(w: World) -> Stored[Fact]:
        w.scheduled(1)
        return w.destroyed(1, at=at, **fields)

    return do


def carried_out_though_suspended(w: World) -> Stored[Fact]:
    w.scheduled(1)
    suspend(w, 1)
    return w.destroyed(1, at=DUE)


def carried_out_twice(w: World) -> Stored[Fact]:
    w.scheduled(1)
    w.destroyed(1, at=DUE)
    return w.destroyed(1, at=DUE)


DESTROYED: dict[str, Do] = {
    "that nobody wants": lambda w: w.destroyed(1, at=DUE),
    "the current one": lambda w: w.destroyed(3, at=DUE),
    "a moment too early": carried_out(EARLY),
    "for a destruction that was cancelled": carried_out_for_another,
    "with another wrapped blob": carried_out(DUE, blob_digest="e" * 64),
    "with no wrapped blob": carried_out(DUE, blob_digest=None),
    "under another KEK epoch": carried_out(DUE, epoch=2),
    "while it is suspended": carried_out_though_suspended,
    "twice": carried_out_twice,
}


@pytest.mark.parametrize("do", DESTROYED.values(), ids=DESTROYED)
def test_no_version_is_destroyed(do: Do) -> None:
    w = a_world()
    assert type(void(w, do(w))) is IllegalTransitionError


def test_a_destroyed_version_is_held_by_nobody_and_counted_for_ever() -> None:
    w = a_world()
    w.scheduled(1)
    w.destroyed(1, at=DUE)
    state = w.state()
    assert (state.voids, state.versions[1].state, state.destructions()) == ((), S.DESTROYED, ())
    assert (state.versions_to_hold(), state.current, state.next_version()) == ((2, 3, 5), 3, 6)


def test_a_version_that_was_never_generated_is_destroyed_too_and_never_generated() -> None:
    w = world(versions=1)
    request = w.requested(2)
    w.scheduled(2)
    w.destroyed(2, at=DUE)
    assert states(w) == {1: S.ACTIVE, 2: S.DESTROYED}
    late = w.add(generation(w, request, 2))
    assert type(void(w, late)) is IllegalTransitionError
    assert w.state().in_motion() is None  # the key rotates on


def suspend(w: World, version: int, at: datetime = NOW) -> None:
    """Rita suspends at some moment."""
    stored = w.suspended(version)
    w.log[-1] = replace(stored, stored_at=at)


def test_a_compromise_in_the_delay_changes_the_end_and_not_the_time() -> None:
    w = a_world()
    w.scheduled(1)
    w.compromised(1)
    assert (states(w)[1], pending(w)) == (S.COMPROMISED, DUE)
    w.destroyed(1, at=DUE)
    assert (w.state().voids, states(w)[1]) == ((), S.DESTROYED_COMPROMISED)


def test_a_suspension_in_the_delay_holds_it_up_until_somebody_decides() -> None:
    w = a_world()
    w.scheduled(1)
    suspend(w, 1)
    assert type(void(w, w.destroyed(1, at=DUE + DELAY))) is IllegalTransitionError
    w.compromised(1)
    w.destroyed(1, at=DUE + DELAY)
    assert states(w)[1] is S.DESTROYED_COMPROMISED


def test_what_is_suspended_since_before_the_end_of_the_delay_is_cancelled_at_any_time() -> None:
    w = a_world()
    w.scheduled(1)
    suspend(w, 1, at=EARLY)
    w.cancelled(1, at=DUE + DELAY)
    assert (w.state().voids, pending(w), states(w)[1]) == ((), None, S.SUSPENDED)


def test_what_is_to_be_destroyed_is_not_activated() -> None:
    w = a_world()
    w.scheduled(5)
    assert type(void(w, w.activated(5))) is IllegalTransitionError
    w.cancelled(5)
    w.activated(5)
    assert (w.state().current, states(w)[5]) == (5, S.ACTIVE)


def test_a_destroyed_version_may_still_be_declared_compromised_and_nothing_else() -> None:
    w = a_world()
    w.scheduled(1)
    w.destroyed(1, at=DUE)
    assert type(void(w, w.suspended(1))) is IllegalTransitionError
    assert type(void(w, w.scheduled(1))) is IllegalTransitionError
    w.compromised(1)
    assert states(w)[1] is S.DESTROYED_COMPROMISED


def test_an_undecidable_key_loses_nothing() -> None:
    w = a_world()
    w.scheduled(1)
    unknown = replace(w.state(), undecidable="type v2")
    stored = w.destroyed(1, at=DUE)
    after = unknown.apply(stored, w.trust)
    assert (after.versions[1].state, len(after.voids)) == (S.DEACTIVATED, 1)


def test_a_key_that_is_folded_again_from_the_start_is_the_same() -> None:
    w = a_world()
    w.scheduled(1)
    w.destroyed(1, at=DUE)
    state = KeyState(env=ENV, key="orders-db")
    for item in w.log:
        state = state.apply(item, w.trust)
    assert state == w.state()


def development_trust(w: World) -> Trust:
    """The same people, who say that nothing here is worth a long delay."""
    signed = issue(w.document(development=True), ())
    return Trust.from_chain([signed], genesis=sha256_hex(b64u_decode(signed.payload)), env=ENV)


def test_only_where_the_officers_say_development_the_delay_is_short() -> None:
    w = a_world()
    w.scheduled(1, w.destroy(1, delay_s=DEVELOPMENT_DESTRUCTION_DELAY_S + 1))
    assert pending(w) is None
    found = fold(ENV, "orders-db", w.log, development_trust(w)).versions[1].pending
    assert found is not None
    assert found.not_before == NOW + timedelta(seconds=DEVELOPMENT_DESTRUCTION_DELAY_S + 1)


def test_an_environment_that_is_not_for_development_never_becomes_one() -> None:
    w = world()
    with pytest.raises(TrustError, match="never becomes one"):
        w.trust.extended(w.next_trust("oliver", "olga", development=True))
    first = development_trust(w)
    for development in (True, False):
        second = w.next_trust("oliver", "olga", development=development, previous=first.digest)
        assert first.extended(second).is_development is development


def test_the_facts_name_the_commands_behind_them() -> None:
    w = a_world()
    command = w.destroy(1)
    item = w.scheduled(1, command)
    assert isinstance(item.model, DestructionScheduled)
    assert command_id(command) in w.state().causes
    done = w.destroyed(1, at=DUE)
    assert isinstance(done.model, Destroyed)
    assert done.model.cause == str(item.model.id)
    assert w.state().events_of[str(item.model.id)][0].model == done.model
