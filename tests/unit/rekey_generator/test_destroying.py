"""When a version is destroyed, and what the generator says of it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timedelta

import pytest

from rekey_core.contracts import MaterialRecord, Tombstone
from rekey_core.errors import AlreadyDoneError, RekeyError, StateRefusedError, UndecidableKeyError
from rekey_core.fold import KeyState
from rekey_core.lifecycle import VersionState
from rekey_core.policy import class_named
from rekey_generator import destroying
from rekey_generator.destroying import CLOCK_MARGIN_S, HeldUpError
from tests.unit.facts import world
from tests.unit.world import NOW, World

DUE = NOW + timedelta(seconds=class_named("application-data").destruction_delay_s)
TIME = DUE + timedelta(seconds=CLOCK_MARGIN_S)  # from when on the generator acts


def a_world() -> World:
    """Version 1 deactivated and to be destroyed, 2 current."""
    w = world(versions=2)
    w.deactivated(1)
    w.scheduled(1)
    return w


def test_it_is_time_after_the_delay_and_a_margin_for_clocks() -> None:
    state = a_world().state()
    assert destroying.due(state, 1, TIME) == state.versions[1].destruction


def unscheduled(w: World) -> KeyState:
    w.cancelled(1)
    return w.state()


def one_person(w: World) -> KeyState:
    w.cancelled(1)
    w.scheduled(1, w.destroy(1).model_copy(update={"cosignatures": ()}))
    return w.state()


def suspended(w: World) -> KeyState:
    w.suspended(1)
    return w.state()


def done(w: World) -> KeyState:
    w.destroyed(1, at=DUE)
    return w.state()


def undecidable(w: World) -> KeyState:
    return replace(w.state(), undecidable="type v2")


def in_use(w: World) -> KeyState:
    """As no log can make it: what stands there is active."""
    state = w.state()
    active = replace(state.versions[1], state=VersionState.ACTIVE)
    return replace(state, versions=state.versions.put(active))


@pytest.mark.parametrize(
    ("state_of", "version", "at", "error"),
    [
        pytest.param(World.state, 1, TIME - timedelta(microseconds=1), HeldUpError, id="a moment too early"),
        pytest.param(suspended, 1, TIME, HeldUpError, id="a suspended version"),
        pytest.param(unscheduled, 1, TIME, StateRefusedError, id="a destruction that was cancelled"),
        pytest.param(one_person, 1, TIME, StateRefusedError, id="one person's word"),
        pytest.param(World.state, 2, TIME, StateRefusedError, id="the current version"),
        pytest.param(World.state, 9, TIME, StateRefusedError, id="a version that is not there"),
        pytest.param(in_use, 1, TIME, StateRefusedError, id="a version in use"),
        pytest.param(done, 1, TIME, AlreadyDoneError, id="a version that is destroyed"),
        pytest.param(
            undecidable, 1, TIME, UndecidableKeyError, id="a key that this program does not understand"
        ),
    ],
)
def test_nothing_is_destroyed(
    state_of: Callable[[World], KeyState], version: int, at: datetime, error: type[RekeyError]
) -> None:
    with pytest.raises(error):
        destroying.due(state_of(a_world()), version, at)


def test_what_the_generator_says_has_effect_and_names_what_it_claims() -> None:
    w = a_world()
    pending = destroying.due(w.state(), 1, TIME)
    fact = destroying.destroyed(w.state(), 1, pending, 7, DUE)
    w.add(fact, at=DUE)
    assert (w.state().voids, w.state().versions[1].state) == ((), VersionState.DESTROYED)
    assert fact.claimed == ("wrapped-blob-overwritten", "backup-blob-overwritten")
    assert fact.not_claimed == ("copies-in-bus-storage-and-backups", "memory-of-instances")
    assert (fact.epoch, fact.tombstone) == (1, 7)


def test_every_try_says_the_same() -> None:
    w = a_world()
    pending = destroying.due(w.state(), 1, TIME)
    ids = {destroying.destroyed(w.state(), 1, pending, 7, at).id for at in (DUE, TIME)}
    assert len(ids) == 1


def test_only_the_tombstone_of_this_destruction_is_adopted() -> None:
    w = a_world()
    pending = destroying.due(w.state(), 1, TIME)
    own = destroying.tombstone(w.state(), 1, pending, NOW)
    made = w.state().versions[1].generated
    assert made is not None
    record = MaterialRecord(
        env="dev", key="orders-db", version=1, algorithm=made.model.algorithm, release=made.model.release,
        epoch=1, key_id=1001, blob="", commitment="cd" * 32, mac="", cause=own.cause, at=NOW,
    )  # fmt: skip
    assert destroying.is_tombstone_of(own, pending)
    other = Tombstone.model_validate(own.model_dump() | {"cause": "another"})
    assert not destroying.is_tombstone_of(other, pending)
    assert not destroying.is_tombstone_of(record, pending)
