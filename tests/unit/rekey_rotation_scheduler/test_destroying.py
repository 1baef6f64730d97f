"""What an owner's words about a destruction become, and when they are refused."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

import pytest

from rekey_core.adoption import Adoption
from rekey_core.commands import command_id
from rekey_core.contracts import CancelDestruction, Destroy
from rekey_core.errors import AlreadyDoneError, NotFoundError, PolicyError, RekeyError, StateRefusedError
from rekey_core.fold import KeyState
from rekey_core.policy import class_named
from rekey_rotation_scheduler import destroying, planner
from tests.unit.facts import world
from tests.unit.world import ENV, NOW, World

DUE = NOW + timedelta(seconds=class_named("application-data").destruction_delay_s)


def a_world() -> World:
    """Version 1 deactivated, 2 current, 3 suspended."""
    w = world(versions=2)
    w.deactivated(1)
    w.generated(3, w.requested(3))
    w.suspended(3)
    return w


def schedule(w: World, version: int = 1, **said: Any) -> None:
    """Decide alice's command on the state as it is, and append the fact."""
    command = Destroy.model_validate(w.command(Destroy, "alice", version=version, **said).model_dump())
    signed = w.together(command, "otto")
    w.add(destroying.schedule(w.state(), command, signed, w.trust, NOW))


def cancel(w: World, now: datetime = NOW, **said: Any) -> None:
    """As ``schedule``."""
    body = {"version": 1, "seen": w.state().last_sequence} | said
    command = CancelDestruction.model_validate(w.command(CancelDestruction, "alice", **body).model_dump())
    w.add(destroying.cancel(w.state(), command, w.signed(command), now), at=now)


def test_a_schedule_has_effect_and_names_its_time() -> None:
    w = a_world()
    schedule(w)
    pending = w.state().versions[1].pending
    assert pending is not None
    assert (w.state().voids, pending.not_before, pending.scheduled.model.not_before) == ((), DUE, DUE)


def test_a_cancellation_has_effect() -> None:
    w = a_world()
    schedule(w)
    cancel(w)
    assert (w.state().voids, w.state().destructions()) == ((), ())


def twice(w: World) -> None:
    schedule(w)
    schedule(w)


REFUSED: dict[str, tuple[type[RekeyError], str, Callable[[World], None]]] = {
    "the current version": (StateRefusedError, "active, and current", lambda w: schedule(w, 2)),
    "a suspended version": (StateRefusedError, "is suspended", lambda w: schedule(w, 3)),
    "a version that is not there": (NotFoundError, "versions: 1, 2, 3", lambda w: schedule(w, 9)),
    "a shorter delay": (PolicyError, "at the earliest", lambda w: schedule(w, delay_s=60)),
    "twice": (StateRefusedError, "already", twice),
    "a cancellation of nothing": (StateRefusedError, "no destruction is scheduled", cancel),
    "a cancellation of a version that is not there": (
        NotFoundError,
        "does not exist",
        lambda w: cancel(w, version=9),
    ),
}


@pytest.mark.parametrize(("error", "words", "do"), REFUSED.values(), ids=REFUSED)
def test_it_is_refused(error: type[RekeyError], words: str, do: Callable[[World], None]) -> None:
    with pytest.raises(error, match=words):
        do(a_world())


def test_a_cancellation_by_somebody_who_has_not_seen_it_is_refused() -> None:
    w = a_world()
    seen = w.state().last_sequence
    schedule(w)
    with pytest.raises(StateRefusedError, match=f"saw orders-db as of {seen}"):
        cancel(w, seen=seen)


def test_a_cancellation_comes_too_late() -> None:
    w = a_world()
    schedule(w)
    with pytest.raises(StateRefusedError, match="could be cancelled until"):
        cancel(w, DUE)


def test_a_command_is_done_once() -> None:
    w = a_world()
    command = Destroy.model_validate(w.command(Destroy, "alice", version=1).model_dump())
    signed = w.together(command, "otto")
    w.add(destroying.schedule(w.state(), command, signed, w.trust, NOW))
    cancel(w)
    assert command_id(signed) in w.state().causes
    with pytest.raises(AlreadyDoneError):
        destroying.schedule(w.state(), command, signed, w.trust, NOW)


def test_what_is_to_be_destroyed_is_not_activated_whoever_has_proved_it() -> None:
    w = world(versions=1)
    w.generated(2, w.requested(2))
    nobody = Adoption(2, {"billing": (), "orders": ()})
    activated = planner.step(w.state(), nobody, NOW)
    assert activated is not None
    schedule(w, 2)
    assert planner.step(w.state(), nobody, NOW) is None


def test_a_key_that_nobody_registered() -> None:
    w = World()
    command = Destroy.model_validate(w.command(Destroy, "alice", version=1).model_dump())
    with pytest.raises(NotFoundError, match="not registered"):
        destroying.schedule(KeyState(ENV, "orders-db"), command, w.together(command, "otto"), w.trust, NOW)
