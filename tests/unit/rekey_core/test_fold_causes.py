"""A step of a rotation names the fact that the step before it left: an activation its generation, an end its activation."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from rekey_core.commands import command_id
from rekey_core.contracts import Activated, Deactivated, Fact, RotationRequested
from rekey_core.errors import IllegalTransitionError
from rekey_core.lifecycle import VersionState
from tests.unit.facts import BASE, HOUR, states, world
from tests.unit.world import NOW, World


def activation_without(w: World) -> Fact:
    w.generated(3, w.requested(3))
    return w.fact(Activated, 3, "cause", proved=())


def activation_of_another(w: World) -> Fact:
    generated = w.state().versions[2].generated
    w.generated(3, w.requested(3))
    assert generated is not None
    return w.fact(Activated, 3, str(generated.model.id), proved=())


def end_without(w: World) -> Fact:
    return w.fact(Deactivated, 1, "cause", proved=())


def end_by_its_own_activation(w: World) -> Fact:
    activated = w.state().versions[1].activated
    assert activated is not None
    return w.fact(Deactivated, 1, str(activated.model.id), proved=())


@pytest.mark.parametrize(
    "step",
    [
        pytest.param(activation_without, id="an activation that names no generation"),
        pytest.param(activation_of_another, id="an activation that names another version's generation"),
        pytest.param(end_without, id="an end that names no activation"),
        pytest.param(end_by_its_own_activation, id="an end that names the old version's own activation"),
    ],
)
def test_a_step_that_names_another_cause_is_void(step: Callable[[World], Fact]) -> None:
    w = world(versions=2)
    fact = step(w)
    before = states(w)
    w.add(fact)
    [void] = w.state().voids
    assert isinstance(void.error, IllegalTransitionError)
    assert "expected cause" in str(void.error)
    assert states(w) == before


@pytest.mark.parametrize(
    "cause", ["initial", "time-1", command_id(BASE.suspend(0))], ids=["a word", "a clock", "a command"]
)
def test_the_first_version_is_asked_for_on_account_of_the_registration_alone(cause: str) -> None:
    w = world()
    body: dict[str, Any] = {"reason": "initial", "deadline": NOW + HOUR}
    w.add(w.fact(RotationRequested, 1, cause, **body))
    [void] = w.state().voids
    assert "on account of" in str(void.error)
    assert states(w) == {}
    w.add(w.fact(RotationRequested, 1, w.log[0].model.cause, **body))
    assert states(w) == {1: VersionState.PRE_ACTIVATION}
