"""Which versions hang under a KEK epoch: all that are not destroyed, and those of which the log says nothing yet."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta

import pytest

from rekey_core.census import hanging
from tests.unit.facts import world
from tests.unit.orders import EPOCH, restored
from tests.unit.world import NOW, World

LATER = NOW + timedelta(days=400)
KEY = "orders-db"


def rolled_over(w: World) -> None:
    """Version 3 under the next epoch, current; 2 stays under the first one, and processes."""
    w.deactivated(1)
    w.generated(3, w.requested(3), epoch=2)
    w.activated(3)
    w.deactivated(2)


def asked_for(w: World) -> None:
    w.deactivated(1)
    w.requested(3)


def going_on(w: World) -> None:
    w.deactivated(1)
    w.generated(3, w.requested(3), epoch=2)


def followed(w: World) -> None:
    going_on(w)
    w.activated(3)


def destroyed(w: World) -> None:
    w.deactivated(1)
    w.scheduled(1)
    w.destroyed(1, at=LATER)


def destroyed_without_a_blob(w: World) -> None:
    asked_for(w)
    w.scheduled(3)
    w.destroyed(3, at=LATER)


def scheduled(w: World) -> None:
    w.deactivated(1)
    w.scheduled(1)


def came_back(w: World) -> None:
    w.deactivated(1)
    restored(w, 1)


def stopped(w: World) -> None:
    w.deactivated(1)
    w.suspended(2)


def given_up(w: World) -> None:
    w.deactivated(1)
    w.compromised(2)


ROWS = [
    pytest.param(lambda w: w.deactivated(1), {1: (1, "destroy orders-db@1"), 2: (1, "rotate orders-db")}, id="before"),
    pytest.param(
        rolled_over,
        {1: (1, "destroy orders-db@1"), 2: (1, "destroy orders-db@2"), 3: (2, "rotate orders-db")},
        id="the current one left it by a rotation, the older ones did not",
    ),
    pytest.param(
        asked_for,
        {1: (1, "destroy orders-db@1"), 2: (1, None), 3: (None, None)},
        id="what is asked for may lie anywhere, whatever the newest epoch is",
    ),
    pytest.param(
        going_on, {1: (1, "destroy orders-db@1"), 2: (1, None), 3: (2, None)}, id="a rotation that goes on"
    ),
    pytest.param(
        followed,
        {1: (1, "destroy orders-db@1"), 2: (1, None), 3: (2, "rotate orders-db")},
        id="a rotation that not everybody has followed",
    ),
    pytest.param(destroyed, {2: (1, "rotate orders-db")}, id="what is destroyed has left"),
    pytest.param(
        destroyed_without_a_blob,
        {1: (1, "destroy orders-db@1"), 2: (1, "rotate orders-db")},
        id="what was never generated has left once it is destroyed",
    ),
    pytest.param(
        scheduled, {1: (1, "show orders-db"), 2: (1, "rotate orders-db")}, id="what is to be destroyed hangs until then"
    ),
    pytest.param(
        came_back,
        {1: (EPOCH, "destroy orders-db@1"), 2: (1, "rotate orders-db")},
        id="what was restored lies where it was restored to",
    ),
    pytest.param(stopped, {1: (1, "destroy orders-db@1"), 2: (1, "history orders-db")}, id="what is suspended"),
    pytest.param(
        given_up, {1: (1, "destroy orders-db@1"), 2: (1, "destroy orders-db@2")}, id="what is compromised"
    ),
]  # fmt: skip


@pytest.mark.parametrize(("happened", "expected"), ROWS)
def test_what_hangs_where_and_what_is_typed_next(
    happened: Callable[[World], object], expected: dict[int, tuple[int | None, str | None]]
) -> None:
    w = world(versions=2)
    happened(w)
    commands = {
        n: (e, f"rekey key {c}" if c else "rekey adoption orders-db") for n, (e, c) in expected.items()
    }
    assert {lies.version: (lies.epoch, lies.command) for lies in hanging(w.state())} == commands
    assert w.state().voids == ()


def test_what_may_lie_anywhere_is_under_every_epoch() -> None:
    w = world(versions=2)
    asked_for(w)
    lies = {found.name: found for found in hanging(w.state())}
    assert [name for name, found in lies.items() if found.is_under(1)] == [
        "orders-db@1",
        "orders-db@2",
        "orders-db@3",
    ]
    assert [name for name, found in lies.items() if found.is_under(2)] == ["orders-db@3"]
