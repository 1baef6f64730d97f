"""One dependent, however many instances it is, fills no stream that all share."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from pydantic import TypeAdapter

from rekey_core.authority import STREAMS, Stream
from rekey_core.contracts import LeasedKey, Quota
from rekey_core.contracts.base import Time
from rekey_core.contracts.receipts import MAX_LEASE_S
from rekey_core.errors import UnavailableError
from rekey_core.names import Service
from rekey_core.quotas import BUDGET, LEAST
from rekey_core.readers import open_lease
from rekey_core.room import DELIVERIES_UNTIL
from rekey_distributor.shares import (
    DELIVERIES,
    DELIVERIES_PER_S,
    FIRST_BYTES,
    LEASES,
    LEASES_PER_S,
    Share,
    bytes_of,
)
from tests.fakes.scene import KEY
from tests.unit.rekey_distributor.desk import Desk

DAY_S = 86_400
ALONE = 1100  # bytes of LIFECYCLE that a delivery takes which no other one shares a message with


class Clock:
    """Boot time that a test moves."""

    now = 100.0

    def __call__(self) -> float:
        return self.now


def a_share(most: float = 3, per_s: float = 0.5) -> tuple[Share, Clock]:
    clock = Clock()
    return Share("deliveries", most, per_s, clock), clock


def test_a_share_is_used_up_by_one_and_left_to_others() -> None:
    share, _ = a_share()
    for _ in range(3):
        share.take("orders", 1)
    for _ in range(2):
        with pytest.raises(UnavailableError, match="orders has used up its share of deliveries: 3") as no:
            share.take("orders", 1)
        assert "does orders start new instances" in (no.value.hint or "")
    share.take("billing", 3)


def test_it_fills_again_by_time_and_never_over_the_brim() -> None:
    share, clock = a_share()
    share.take("orders", 3)
    clock.now += 1.9
    with pytest.raises(UnavailableError):
        share.take("orders", 1)
    clock.now += 0.1
    share.take("orders", 1)
    clock.now += 1000
    share.take("orders", 3)
    with pytest.raises(UnavailableError):
        share.take("orders", 1)


def test_nothing_is_always_there() -> None:
    share, _ = a_share(most=0)
    share.take("orders", 0)


def test_two_replicas_give_one_dependent_six_days_of_the_stream_and_a_quarter_of_the_leases() -> None:
    size = {stream.name: stream.max_bytes for stream in STREAMS}
    room = size[Stream.LIFECYCLE] * DELIVERIES_UNTIL - 2 * DELIVERIES * ALONE
    assert room / (2 * DELIVERIES_PER_S * ALONE) > 6 * DAY_S
    assert size[Stream.LEASES] / 4 >= 2 * (LEASES + LEASES_PER_S * DAY_S)


async def test_an_instance_more_than_the_share_gets_no_version_and_the_others_go_on(desk: Desk) -> None:
    await desk.made(1)
    share, clock = a_share(most=2)
    desk.deliveries.share = share
    known = desk.scene.asker()
    await desk.releasing.material(known.material(1))
    await desk.releasing.material(desk.scene.asker().material(1))
    with pytest.raises(UnavailableError, match="orders has used up its share"):
        await desk.releasing.material(desk.scene.asker().material(1))
    assert desk.delivered() == 2, "nothing was recorded for it"
    await desk.releasing.material(known.material(1))
    clock.now += 2
    await desk.releasing.material(desk.scene.asker().material(1))


async def test_an_instance_more_than_the_share_gets_no_lease_and_the_others_renew_theirs(desk: Desk) -> None:
    await desk.made(1)
    asker, more = desk.scene.asker(), desk.scene.asker()
    receipt, another = await desk.receipt(asker, 1), await desk.receipt(more, 1)
    first = await desk.lease(asker.lease(receipt))
    desk.leasing.share.most = 0
    wanted = {KEY: Quota(version=1, messages=LEAST)}
    with pytest.raises(UnavailableError, match="orders has used up its share of bytes of new leases"):
        await desk.lease(more.lease(another).model_copy(update={"wanted": wanted}))
    assert await desk.bus.last(Stream.LEASES, desk.bus.subjects.lease("orders", more.instance)) is None
    assert await desk.bus.last(Stream.QUOTAS, desk.bus.subjects.quota(KEY, 1)) is None, "the budget is whole"
    renewed = await desk.lease(asker.lease(receipt, after=first.nonce))
    assert renewed.keys[KEY].versions == (1,)


async def test_a_new_lease_counts_as_what_is_kept_of_it_and_the_next_as_nothing(desk: Desk) -> None:
    await desk.made(1)
    share = desk.leasing.share
    share.most, share.per_s = 10_000, 0
    asker = desk.scene.asker()
    request = asker.lease(await desk.receipt(asker, 1))
    first = await desk.lease(request.model_copy(update={"wanted": {KEY: Quota(version=1, messages=LEAST)}}))
    [stored] = desk.scene.server.messages(Stream.LEASES)
    size = len(stored.data) + sum(len(f"{name}: {value}\r\n") for name, value in stored.headers.items())
    with pytest.raises(UnavailableError):
        share.take("orders", 10_000 - size)
    await desk.lease(asker.lease(asker.receipt({}), after=first.nonce))
    share.take("orders", 10_000 - 2 * size)


@pytest.mark.parametrize(
    "names",
    [
        pytest.param({"k": 0}, id="a short name, nothing held"),
        pytest.param({"orders-db": 1}, id="one version"),
        pytest.param({"a" * 63: 2, "b" * 63: 2}, id="two of the longest names"),
        pytest.param({"o" * 30: 200}, id="many versions"),
    ],
)
def test_keys_never_take_more_of_a_lease_than_they_count(names: dict[str, int]) -> None:
    newest = 2**31 - 1
    versions = {name: tuple(range(newest - held, newest)) for name, held in names.items()}
    quota = Quota(version=newest, messages=BUDGET)
    keys = {
        name: LeasedKey(versions=held, as_of=10**18, lease_s=MAX_LEASE_S, quota=quota)
        for name, held in versions.items()
    }
    ends = dict.fromkeys(names, datetime.max.replace(tzinfo=UTC))
    size = len(TypeAdapter(dict[str, LeasedKey]).dump_json(keys)) - len("{}")
    size += len(TypeAdapter(dict[str, Time]).dump_json(ends)) - len("{}")
    assert size <= bytes_of(versions) <= size + 2 * len(keys)


async def test_an_instance_that_takes_on_keys_counts_as_these_alone(desk: Desk) -> None:
    await desk.made(1)
    share = desk.leasing.share
    share.most, share.per_s = 10_000, 0
    asker = desk.scene.asker()
    receipt = await desk.receipt(asker, 1)
    await desk.lease(asker.lease(receipt))
    [stored] = desk.scene.server.messages(Stream.LEASES)
    without = open_lease(stored, desk.scene.trust).model.model_copy(update={"keys": {}})
    desk.scene.put(stored.subject, without, Service.DISTRIBUTOR)
    await desk.lease(asker.lease(receipt))
    left = 10_000 - FIRST_BYTES - 2 * bytes_of({KEY: (1,)})
    with pytest.raises(UnavailableError):
        share.take("orders", left + 1)
    share.take("orders", left)
