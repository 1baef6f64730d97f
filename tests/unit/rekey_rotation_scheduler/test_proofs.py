"""A lease ends by the clock of the bus: a distributor or scheduler with a wrong clock lets nobody be forgotten."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta
from functools import partial
from pathlib import Path

import pytest

from rekey_core.adoption import LEASE_MARGIN_S, is_live
from rekey_core.authority import Stream, Subjects
from rekey_core.contracts import Lease, LeasedKey
from rekey_core.envelope import Stored
from rekey_core.errors import StaleReadError, UnavailableError
from rekey_core.names import Service
from rekey_rotation_scheduler.proofs import LONGEST, adopted, on_the_clock_of_the_bus
from tests.fakes.scene import Scene
from tests.unit.facts import world
from tests.unit.fleet import KEY, ONE, Fleet, stored
from tests.unit.world import ENV, NOW

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


@pytest.fixture
def scene(tmp_path: Path) -> Scene:
    """A key whose version 2 is in motion, and the clock of the bus at the time of the world."""
    made = Scene(home=tmp_path, transport="0" * 64)
    made.server.clock = lambda: NOW
    made.registered()
    made.version(1)
    made.generated(2, made.requested(2))
    return made


def joins(scene: Scene, key: str = KEY, until: datetime | None = None) -> str:
    """An instance of orders that holds version 1 gets a lease, or is refused one and has one until then; its id."""
    asker = scene.asker()
    lease = Lease(
        env=ENV,
        dependent="orders",
        instance=asker.instance,
        endorsement=asker.material(1).endorsement,
        nonce="0" * 32,
        at=NOW,
        keys={key: LeasedKey(versions=(1,), as_of=1, lease_s=30)},
        until={key: until} if until else {},
    )
    scene.put(Subjects(ENV).lease("orders", asker.instance), lease, Service.DISTRIBUTOR)
    return asker.instance


async def test_every_instance_with_a_lease_is_waited_for(scene: Scene) -> None:
    bus = await scene.bus(Service.ROTATION_SCHEDULER)
    instances = {joins(scene), joins(scene)}
    found = await adopted(bus, scene.state(), 2)
    assert {proof.instance for proof in found.dependents["orders"]} == instances


async def test_an_instance_that_is_refused_is_waited_for_until_the_end_that_stands_in_its_lease(
    scene: Scene,
) -> None:
    bus = await scene.bus(Service.ROTATION_SCHEDULER)
    margin = timedelta(seconds=LEASE_MARGIN_S)
    still, over = joins(scene, until=NOW - margin), joins(scene, until=NOW - margin - timedelta(seconds=1))
    found = await adopted(bus, scene.state(), 2)
    assert over != still
    assert [(proof.instance, proof.lease_until) for proof in found.dependents["orders"]] == [
        (still, NOW - margin)
    ]


async def test_a_read_that_misses_a_lease_decides_nothing(scene: Scene) -> None:
    """On three nodes a direct read may be behind the leader: an instance that is not seen is not waited for."""
    bus = await scene.bus(Service.ROTATION_SCHEDULER)
    joins(scene)
    scene.server.lag_behind[Stream.LEASES] = 1
    joins(scene)
    with pytest.raises(StaleReadError, match="read up to 1, the leader has 2"):
        await adopted(bus, scene.state(), 2)


async def test_a_lease_that_does_not_verify_is_waited_for_as_long_as_any_lasts(scene: Scene) -> None:
    bus = await scene.bus(Service.ROTATION_SCHEDULER)
    name = Subjects(ENV).lease("orders", joins(scene))
    now = await bus.time(Stream.LEASES)
    scene.server.store(name, b"garbage", {}, at=now - LONGEST + timedelta(seconds=5))
    with pytest.raises(UnavailableError, match="a lease that does not verify"):
        await adopted(bus, scene.state(), 2)
    scene.server.store(name, b"garbage", {}, at=now - LONGEST - timedelta(seconds=1))
    assert (await adopted(bus, scene.state(), 2)).dependents["orders"] == ()


async def test_what_instances_say_that_have_no_lease_of_the_key_is_not_read(scene: Scene) -> None:
    """A decision costs what the key's own instances cost, however many others the dependent has."""
    bus = await scene.bus(Service.ROTATION_SCHEDULER)
    mine, other = joins(scene), joins(scene, "orders-archive")
    read: list[str] = []
    for instance in (mine, other):
        scene.server.once("read", f"rcpt.{ENV}.orders.{instance}", partial(read.append, instance))
    found = await adopted(bus, scene.state(), 2)
    assert [proof.instance for proof in found.dependents["orders"]] == read == [mine]
