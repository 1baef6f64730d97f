"""A key for which this instance gets no lease goes on until the end of the one that it has; the others are renewed."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from rekey.errors import UnavailableError
from rekey.keystate import KeyState
from rekey.retry import FIRST_PAUSE_S, LONGEST_PAUSE_S
from rekey_core.contracts import Answer, LeaseAnswer, LeaseRequest
from rekey_core.errors import (
    NotFoundError,
    NotGrantedError,
    NotInstalledError,
    RekeyError,
    UndecidableKeyError,
)
from rekey_core.names import Service
from tests.unit.rekey.desk import Instance
from tests.unit.rekey.world import KEY, World

W = World()
OTHER = "orders-archive"
LEASE_S = 30.0
NOT_GRANTED = NotGrantedError("key orders-db is not granted to orders", hint="ask its owner alice")
NOT_INSTALLED = NotInstalledError("orders-db@2 is not proved by the receipt of 7", hint="install the version")
UNDECIDABLE = UndecidableKeyError("orders-db: type v2")


class Booted:
    """The clock of leases, moved by the test."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


class Two(Instance):
    """An instance with leases for two keys, which have just been given."""

    def __init__(self, place: Path) -> None:
        super().__init__(W, place, KEY)
        self.other = KeyState(OTHER)

    async def begin(self) -> None:
        await self.trust.refresh()
        self.desk.put(W.stored(W.notice((1,), 1), Service.DISTRIBUTOR))
        await self.worker.reconcile()
        for key in (self.key, self.other):
            await self.renewing.once(key)
        await self.renewing.once()

    @property
    def asked(self) -> list[LeaseRequest]:
        return [request for request in self.desk.requests if isinstance(request, LeaseRequest)]


@pytest.fixture
async def me(tmp_path: Path) -> Two:
    two = Two(tmp_path)
    await two.begin()
    assert set(two.renewing.admitted) == {KEY, OTHER}
    assert two.key.leased == {1}
    return two


@pytest.mark.parametrize(
    ("error", "leased"),
    [
        pytest.param(NOT_GRANTED, {1}, id="not granted"),
        pytest.param(UNDECIDABLE, {1}, id="not decidable"),
        pytest.param(NOT_INSTALLED, set(), id="not installed: everything is proved again"),
    ],
)
async def test_a_key_that_is_refused_keeps_its_end_and_says_why_and_the_other_one_goes_on(
    me: Two, error: RekeyError, leased: set[int]
) -> None:
    ends = me.key.lease.until, me.other.lease.until
    me.desk.refused = {KEY: error}
    await me.renewing.once()
    assert me.key.lease.until == ends[0]
    assert me.other.lease.until > ends[1]
    assert str(error) in me.key.lease.problem
    assert me.other.lease.problem == "it was not renewed in time"
    assert me.key.leased == leased
    assert me.asked[-1].keys == (OTHER, KEY)
    me.desk.refused = {}
    await me.renewing.once()
    assert me.key.lease.until > ends[0]
    assert me.asked[-1].keys == (OTHER, KEY), "it was asked for again"
    assert me.key.lease.problem == "it was not renewed in time"


async def test_what_another_key_has_proved_stays_proved(me: Two) -> None:
    me.desk.refused = {OTHER: NotInstalledError("orders-archive@1 is not proved by the receipt of 7")}
    await me.renewing.once()
    assert me.key.leased == {1}


async def test_a_lease_of_which_it_was_told_nothing_is_none_that_it_renews(me: Two) -> None:
    me.desk.refused = {KEY: NOT_GRANTED}
    await me.renewing.once()
    me.desk.refused = {KEY: NOT_GRANTED, OTHER: NotFoundError("key orders-archive is not registered")}
    await me.renewing.once()
    await me.renewing.once()
    some, none, after = me.asked[-3:]
    assert [none.after, after.after] == [some.nonce, some.nonce]


async def test_each_of_those_that_join_at_once_is_told_of_its_own_refusal(me: Two) -> None:
    me.desk.refused = {"not-mine": NOT_GRANTED, "no-key": NotFoundError("key no-key is not registered")}
    until, before = me.key.lease.until, len(me.asked)
    async with me.renewing.asking:
        names = ("orders-1", "not-mine", "no-key", "orders-2")
        joining = [asyncio.create_task(me.renewing.once(KeyState(name))) for name in names]
        await asyncio.sleep(0)
    told = await asyncio.gather(*joining, return_exceptions=True)
    assert [type(one) for one in told] == [type(None), NotGrantedError, NotFoundError, type(None)]
    assert set(me.renewing.admitted) == {KEY, OTHER, "orders-1", "orders-2"}
    assert me.key.lease.until > until, "and the leases of the others are renewed"
    assert len(me.asked) <= before + 2


async def test_who_wants_a_key_that_is_refused_is_told_so_though_it_is_admitted(me: Two) -> None:
    me.desk.refused = {KEY: NOT_GRANTED}
    with pytest.raises(NotGrantedError, match="orders-db is not granted"):
        await me.renewing.once(me.key)
    await me.renewing.once(me.other)


async def test_who_still_wants_a_key_when_another_one_has_given_it_up_is_asked_for(me: Two) -> None:
    new = KeyState("orders-1")
    async with me.renewing.asking:
        first, second = (asyncio.create_task(me.renewing.once(new)) for _ in range(2))
        await asyncio.sleep(0)
        first.cancel()
        await asyncio.sleep(0)
    await second
    assert "orders-1" in me.renewing.admitted
    assert new.lease.is_valid


async def test_a_version_is_not_switched_to_while_its_key_is_refused_and_has_a_lease(me: Two) -> None:
    """It has no messages of it yet."""
    me.desk.refused = {KEY: NOT_INSTALLED}
    me.desk.put(W.stored(W.notice((1, 2), 2, as_of=11), Service.DISTRIBUTOR, sequence=2))
    with pytest.raises(NotInstalledError):
        await me.worker.reconcile()
    assert me.key.view.current is me.key.held[1]
    me.desk.refused = {OTHER: NOT_GRANTED}
    await me.worker.reconcile()
    assert me.key.view.current is me.key.held[2], "the refusal of another key is no matter of this one"


async def test_a_key_that_was_refused_again_and_again_is_asked_for_at_once_when_its_receipt_says_something_new(
    me: Two,
) -> None:
    """Who was passed over switches when its lease is over: until then it was refused, at every pass of its worker."""
    me.desk.refused = {KEY: NOT_INSTALLED}
    me.desk.put(W.stored(W.notice((1, 2), 2, as_of=11), Service.DISTRIBUTOR, sequence=2))
    for _ in range(12):
        with pytest.raises(NotInstalledError):
            await me.worker.reconcile()
    asked = asyncio.Event()

    def heard(answer: Answer) -> Answer:
        if isinstance(answer, LeaseAnswer):
            asked.set()
        return answer

    me.desk.forge = heard
    me.renewing.hurry()
    renewing = asyncio.create_task(me.renewing.for_ever())
    await asked.wait()
    asked.clear()
    me.key.lease.until = 0.0
    me.desk.refused = {}
    await me.worker.reconcile()
    assert me.key.protects == 2
    await asyncio.wait_for(asked.wait(), LEASE_S / 6)
    renewing.cancel()


PAUSES = [
    pytest.param((), 0, LEASE_S / 3, LEASE_S / 3, id="nobody is refused: at a third"),
    pytest.param((KEY,), 1, FIRST_PAUSE_S, 2 * FIRST_PAUSE_S, id="refused once: soon"),
    pytest.param((KEY,), 4, 8 * FIRST_PAUSE_S, 16 * FIRST_PAUSE_S, id="refused again and again: ever later"),
    pytest.param((KEY,), 12, LEASE_S / 3, LEASE_S / 3, id="for long: with the next renewal of the others"),
    pytest.param((KEY, OTHER), 12, LONGEST_PAUSE_S / 2, LONGEST_PAUSE_S, id="all: as after failures"),
]


@pytest.mark.parametrize(("refused", "times", "at_least", "at_most"), PAUSES)
async def test_a_key_that_is_refused_is_asked_for_again_ever_later_and_makes_no_other_one_late(
    me: Two, refused: tuple[str, ...], times: int, at_least: float, at_most: float
) -> None:
    me.desk.refused = dict.fromkeys(refused, NOT_GRANTED)
    for _ in range(times):
        await me.renewing.once()
    clock = Booted()
    for key in (me.key, me.other):
        key.lease.now = clock
        key.lease.until = LEASE_S
    assert at_least <= me.renewing.next_in_s() <= at_most
    clock.now = LEASE_S / 3
    if OTHER not in refused:
        assert me.renewing.next_in_s() == 0, "the other one is due"
    me.desk.refused = {}
    await me.renewing.once()
    clock.now = 0.0
    me.key.lease.until = me.other.lease.until = LEASE_S
    assert me.renewing.next_in_s() == LEASE_S / 3, "once it is given it pauses no more"


async def test_a_refusal_that_decides_nothing_is_tried_again_by_who_joins(me: Two) -> None:
    me.desk.refused = {"orders-1": UNDECIDABLE}
    with pytest.raises(UnavailableError, match="orders-db: type v2"):
        await me.renewing.once(KeyState("orders-1"))
