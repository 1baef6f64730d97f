"""A lease ends by the clock of the bus: a distributor or scheduler with a wrong clock lets nobody be forgotten."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest

from rekey_core.adoption import LEASE_MARGIN_S, is_live
from rekey_core.contracts import Lease
from rekey_core.envelope import Stored
from rekey_rotation_scheduler.proofs import on_the_clock_of_the_bus
from tests.unit.facts import world
from tests.unit.fleet import KEY, ONE, Fleet, stored
from tests.unit.world import NOW

GIVEN = timedelta(seconds=30)


def lease(said_at: timedelta, *, ended: bool = False) -> Stored[Lease]:
    """Stored NOW by a distributor whose clock is off by ``said_at``."""
    fleet = Fleet(world())
    fleet.live("orders", ONE)
    at = NOW + said_at
    one = fleet.leases[0].model_copy(update={"at": at, "ended": ended})
    return replace(stored(one), stored_at=NOW)


@pytest.mark.parametrize(
    "off",
    [
        pytest.param(timedelta(), id="a right clock"),
        pytest.param(-timedelta(hours=1), id="a distributor that is an hour behind"),
        pytest.param(timedelta(hours=1), id="a distributor that is an hour ahead"),
    ],
)
def test_an_instance_is_live_as_long_as_its_lease_was_given(off: timedelta) -> None:
    counted = on_the_clock_of_the_bus(lease(off)).model
    end = NOW + GIVEN + timedelta(seconds=LEASE_MARGIN_S)
    assert is_live(counted, KEY, end)
    assert not is_live(counted, KEY, end + timedelta(seconds=1))


def test_a_lease_that_was_ended_is_over_whatever_anybodys_clock_says() -> None:
    counted = on_the_clock_of_the_bus(lease(timedelta(hours=1), ended=True)).model
    assert not is_live(counted, KEY, NOW - timedelta(hours=2))
