"""A step of a rotation names the fact that the step before it left: an activation its generation, an end its activation."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from rekey_core.contracts import Activated, Deactivated, Fact
from rekey_core.errors import IllegalTransitionError
from tests.unit.facts import states, world
from tests.unit.world import World


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
