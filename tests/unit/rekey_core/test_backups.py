"""A version is activated after the log says that it is backed up, where its class wants that, and that is no lie."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta

import pytest

from rekey_core.lifecycle import VersionState
from rekey_core.policy import CLASSES, needs_backup
from rekey_core.signatures import SCHEMES
from tests.unit.facts import states, world
from tests.unit.world import NOW, World


def generated(*, release: str = "trusted-recipient") -> World:
    """Version 1 is generated and nothing says that it is backed up."""
    w = world(release=release)
    w.generated(1, w.requested(1), backed_up=False)
    return w


def test_a_version_that_is_not_backed_up_is_not_activated() -> None:
    w = generated()
    w.activated(1)
    assert [str(void.error) for void in w.state().voids] == [
        "orders-db@1 is not backed up and cannot be activated"
    ]
    assert states(w) == {1: VersionState.PRE_ACTIVATION}
    w = generated()
    w.backed_up(1)
    w.activated(1)
    assert (w.state().voids, w.state().current) == ((), 1)


def test_a_class_without_backups_goes_on_without() -> None:
    w = generated(release="never")
    w.activated(1)
    assert (w.state().voids, w.state().current) == ((), 1)


def test_keys_that_open_something_are_backed_up_and_signing_keys_are_not() -> None:
    assert {c.name for c in CLASSES if needs_backup(c.name)} == {
        c.name for c in CLASSES if c.algorithm not in SCHEMES
    }


def early() -> World:
    w = world()
    w.requested(1)
    w.backed_up(1)
    return w


def twice() -> World:
    w = generated()
    w.backed_up(1)
    w.backed_up(1)
    return w


def of_another() -> World:
    w = generated()
    w.backed_up(1, cause="another")
    return w


def without() -> World:
    w = generated(release="never")
    w.backed_up(1)
    return w


def gone() -> World:
    w = generated()
    w.scheduled(1)
    later = NOW + timedelta(days=365)
    w.destroyed(1, at=later)
    w.backed_up(1)
    return w


@pytest.mark.parametrize(
    ("make", "why"),
    [
        pytest.param(early, "cannot be backed up", id="before it is generated"),
        pytest.param(twice, "cannot be backed up (again)", id="twice"),
        pytest.param(of_another, "expected cause", id="of another generated"),
        pytest.param(without, "there are no backups", id="of a class without backups"),
        pytest.param(gone, "cannot be backed up", id="of a destroyed version"),
    ],
)
def test_a_backed_up_that_is_void(make: Callable[[], World], why: str) -> None:
    w = make()
    assert [why in str(void.error) for void in w.state().voids] == [True]


@pytest.mark.parametrize("stop", [World.suspended, World.compromised])
def test_a_stop_in_between_loses_no_backup(stop: Callable[[World, int], object]) -> None:
    w = generated()
    stop(w, 1)
    before = states(w)
    w.backed_up(1)
    assert (w.state().voids, states(w)) == ((), before)
    assert w.state().versions[1].backed_up is not None
