"""What a key's facts make of it; facts without effect are in test_fold_void.py."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

from rekey_core.commands import command_id
from rekey_core.contracts import Activated, Generated
from rekey_core.encoding import b64u_decode
from rekey_core.errors import IllegalTransitionError
from rekey_core.fold import KeyState, fold, rotation_due
from rekey_core.lifecycle import VersionState
from tests.unit.facts import BASE, person_request, states, world
from tests.unit.world import ENV, NOW, World

S = VersionState


def test_nothing_is_a_key_that_does_not_exist() -> None:
    state = fold(ENV, "orders-db", [], BASE.trust)
    assert state == KeyState(env=ENV, key="orders-db")
    assert (state.is_registered, state.owner, state.next_version(), state.versions_to_hold()) == (
        False,
        None,
        1,
        (),
    )
    assert (state.key_class, state.algorithm, state.release, state.cryptoperiod_s) == (None, None, None, None)


def test_a_registration_makes_the_key_and_its_grants() -> None:
    state = world().state()
    assert (state.owner, state.key_class) == ("alice", "application-data")
    assert state.grants == frozenset({"orders", "billing"})
    assert (state.voids, state.current, state.undecidable) == ((), None, None)


def test_a_version_walks_from_request_to_current() -> None:
    w = world()
    request = w.requested(1)
    assert (states(w), w.state().in_motion(), w.state().versions_to_hold()) == ({1: S.PRE_ACTIVATION}, 1, ())
    w.generated(1, request)
    assert (w.state().current, w.state().versions_to_hold()) == (None, (1,))
    w.activated(1)
    assert (states(w), w.state().current, w.state().in_motion()) == ({1: S.ACTIVE}, 1, None)
    assert w.state().voids == ()


def test_a_rotation_makes_before_it_breaks() -> None:
    w = world(versions=1)
    w.generated(2, w.requested(2))
    assert (w.state().current, w.state().versions_to_hold()) == (1, (1, 2))
    w.activated(2)
    assert (states(w), w.state().current) == ({1: S.ACTIVE, 2: S.ACTIVE}, 2)
    w.deactivated(1)
    assert (states(w), w.state().versions_to_hold()) == ({1: S.DEACTIVATED, 2: S.ACTIVE}, (1, 2))
    assert w.state().voids == ()


def test_a_rotation_by_its_owner_needs_her_command() -> None:
    w = world(versions=1)
    command = w.rotate()
    w.add(person_request(w, command))
    assert (w.state().voids, w.state().in_motion()) == ((), 2)
    assert command_id(command) in w.state().causes


def test_a_suspended_current_version_leaves_none_current() -> None:
    w = world(versions=2)
    w.suspended(2)
    assert (w.state().current, states(w)) == (None, {1: S.ACTIVE, 2: S.SUSPENDED})
    assert w.state().versions[2].resume_to is S.ACTIVE
    assert w.state().versions_to_hold() == (1,)


def test_a_suspended_older_version_leaves_the_current_one() -> None:
    w = world(versions=2)
    w.suspended(1)
    assert (w.state().current, states(w)) == (2, {1: S.SUSPENDED, 2: S.ACTIVE})


def test_a_whole_key_is_suspended_the_version_in_motion_included() -> None:
    w = world(versions=1)
    request = w.requested(2)
    w.suspended(0)
    assert (w.state().current, states(w)) == (None, {1: S.SUSPENDED, 2: S.SUSPENDED})
    assert w.state().versions[2].resume_to is S.PRE_ACTIVATION
    w.generated(2, request)
    assert isinstance(w.state().voids[0].error, IllegalTransitionError)
    assert w.state().versions_to_hold() == ()


def test_after_a_stop_a_new_rotation_begins() -> None:
    w = world(versions=1)
    w.compromised(0)
    w.version(2)
    assert (w.state().voids, w.state().current, states(w)) == ((), 2, {1: S.COMPROMISED, 2: S.ACTIVE})


def test_a_suspicion_is_confirmed_and_both_commands_are_kept() -> None:
    w = world(versions=1)
    w.suspended(1)
    w.compromised(0)
    version = w.state().versions[1]
    assert (version.state, len(version.stopped_by), version.resume_to) == (S.COMPROMISED, 2, None)


def test_a_stop_of_the_key_takes_what_the_table_lets() -> None:
    w = world(versions=2)
    w.compromised(1)
    w.suspended(0)
    assert (w.state().voids, states(w)) == ((), {1: S.COMPROMISED, 2: S.SUSPENDED})


def test_facts_are_found_by_their_cause() -> None:
    w = world(versions=1)
    suspension = w.suspended(1)
    assert [s.model.EVENT for s in w.state().events_of[suspension.model.cause]] == ["suspended"]
    by_registration = w.state().events_of[w.log[0].model.cause]
    assert [s.model.EVENT for s in by_registration] == ["registered", "granted", "granted"]


def test_public_keys_are_those_to_hold_newest_first() -> None:
    w = world(versions=2, release="never")
    w.generated(3, w.requested(3))
    w.suspended(1)
    facts = [s.model for s in w.log if isinstance(s.model, Generated)]
    assert w.state().public_keys() == tuple(b64u_decode(f.spki or "") for f in reversed(facts[1:]))
    assert world(versions=1).state().public_keys() == ()


def test_a_version_is_due_when_its_cryptoperiod_is_over() -> None:
    w = world(versions=1)
    days = timedelta(days=90)
    assert w.state().rotates_by() == NOW + days
    assert not rotation_due(w.state(), NOW + days - timedelta(seconds=1))
    assert rotation_due(w.state(), NOW + days)


def test_no_current_version_is_never_due() -> None:
    assert not rotation_due(world().state(), NOW + timedelta(days=9999))


def readable(state: KeyState) -> tuple[KeyState, list[str]]:
    """Errors compare by identity, so a state is compared without them, and they by what they say."""
    return replace(state, voids=()), [f"{void.sequence}: {void.error!r}" for void in state.voids]


def busy() -> World:
    """A log with everything in it, void facts included."""
    w = world(versions=2)
    w.deactivated(1)
    w.add(w.fact(Activated, 1, proved=()))
    w.suspended(1)
    w.version(3)
    w.compromised(0)
    w.version(4)
    return w


def test_folding_at_once_and_fact_by_fact_give_the_same() -> None:
    w = busy()
    for cut in range(len(w.log) + 1):
        state = fold(ENV, "orders-db", w.log[:cut], w.trust)
        for item in w.log[cut:]:
            state = state.apply(item, w.trust)
        assert readable(state) == readable(w.state())


def test_a_state_is_not_changed_by_what_comes_after() -> None:
    w = world(versions=1)
    before = w.state()
    versions, causes = dict(before.versions), before.causes
    for item in busy().log:
        before.apply(item, w.trust)
    w.suspended(1)
    assert (dict(before.versions), before.causes, before.current) == (versions, causes, 1)


def test_at_most_one_version_is_current_and_it_is_active() -> None:
    w = busy()
    for cut in range(len(w.log) + 1):
        state = fold(ENV, "orders-db", w.log[:cut], w.trust)
        assert state.current is None or state.versions[state.current].state is S.ACTIVE


def test_a_log_without_any_one_of_its_facts_is_never_folded_on_silently() -> None:
    """Whoever hides a fact from a reader makes the next one void: it checked what is not there."""
    w = world(versions=2)
    for hidden in range(len(w.log) - 1):
        items = [item for number, item in enumerate(w.log) if number != hidden]
        assert fold(ENV, "orders-db", items, w.trust).voids
