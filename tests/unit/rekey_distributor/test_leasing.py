"""A lease is proof of every version that the instance should hold: checked before it is stored, and once more after."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Awaitable, Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from rekey_core.adoption import adoption
from rekey_core.authority import Stream, Subjects
from rekey_core.contracts import LeaseAnswer, LeaseRequest, Quota, Receipt
from rekey_core.errors import (
    ExpiredError,
    NotFoundError,
    NotInstalledError,
    ReplayedError,
    WrongAuthorError,
)
from rekey_core.quotas import LEAST
from rekey_core.readers import open_lease
from rekey_core.signing import SigningKey
from tests.fakes.scene import KEY, Asker
from tests.unit.rekey_distributor.desk import Desk
from tests.unit.world import ENV


def leased(desk: Desk, asker: Asker) -> bool:
    return bool(desk.scene.server.messages(Stream.LEASES, Subjects(ENV).lease("orders", asker.instance)))


async def test_who_proves_every_version_gets_a_lease(desk: Desk) -> None:
    await desk.made(1)
    asker = desk.scene.asker()
    answer = await desk.lease(asker.lease(await desk.receipt(asker, 1)))
    assert answer.keys[KEY].versions == (1,)
    assert leased(desk, asker)
    await desk.leasing.check("orders", asker.instance, KEY)


async def test_who_proves_nothing_gets_none(desk: Desk) -> None:
    await desk.made(1)
    asker = desk.scene.asker()
    with pytest.raises(NotInstalledError, match="orders-db@1 is not proved"):
        await desk.lease(asker.lease(asker.receipt({})))
    assert not leased(desk, asker)
    with pytest.raises(ExpiredError, match="has no lease for key orders-db"):
        await desk.leasing.check("orders", asker.instance, KEY)


async def test_a_version_that_is_born_while_a_lease_is_stored_must_be_proved(desk: Desk) -> None:
    """The joiner's race (DESIGN §2): its lease is stored, so it is waited for; it is not told, so it installs first."""
    await desk.made(1)
    asker = desk.scene.asker()
    request = asker.lease(await desk.receipt(asker, 1))

    def born() -> None:
        desk.scene.generated(2, desk.scene.requested(2))

    desk.scene.server.once("after", Subjects(ENV).lease("orders", asker.instance), born)
    with pytest.raises(NotInstalledError, match="orders-db@2 is not proved"):
        await desk.lease(request)
    assert leased(desk, asker), "the scheduler sees it before version 2 could be activated"


async def test_a_request_that_another_replica_has_answered_changes_nothing(desk: Desk) -> None:
    """Somebody may have kept it: it says nothing of what the instance holds now, nor which lease it was told of since."""
    await desk.made(1)
    asker = desk.scene.asker()
    request = asker.lease(await desk.receipt(asker, 1))
    await desk.lease(request)
    await desk.made(2, activated=False)
    subject = Subjects(ENV).lease("orders", asker.instance)
    before = desk.scene.server.messages(Stream.LEASES, subject)
    with pytest.raises(ReplayedError, match="was answered before"):
        await desk.lease(request)
    assert desk.scene.server.messages(Stream.LEASES, subject) == before


async def test_a_receipt_of_another_instance_proves_nothing(desk: Desk) -> None:
    await desk.made(1)
    other, asker = desk.scene.asker(), desk.scene.asker()
    with pytest.raises(WrongAuthorError, match="in the request of orders/"):
        await desk.lease(asker.lease(await desk.receipt(other, 1), by=other.key))
    assert not leased(desk, asker)


async def test_a_receipt_that_somebody_else_signed_proves_nothing(desk: Desk) -> None:
    await desk.made(1)
    asker = desk.scene.asker()
    with pytest.raises(WrongAuthorError, match="not the author's"):
        await desk.lease(asker.lease(await desk.receipt(asker, 1), by=SigningKey.generate()))
    assert not leased(desk, asker)


async def test_a_key_that_nobody_registered_is_not_leased(desk: Desk) -> None:
    asker = desk.scene.asker()
    request = asker.request(LeaseRequest, keys=("no-key",), receipt=asker.lease(asker.receipt({})).receipt)
    with pytest.raises(NotFoundError, match="key no-key is not registered"):
        await desk.lease(request)
    assert not leased(desk, asker)


async def test_what_a_responder_stopped_need_not_be_proved(desk: Desk) -> None:
    await desk.made(1)
    desk.responder_speaks()
    asker = desk.scene.asker()
    answer = await desk.lease(asker.lease(asker.receipt({})))
    assert answer.keys[KEY].versions == ()


async def holds_one(desk: Desk, asker: Asker) -> tuple[Receipt, LeaseAnswer]:
    """An instance that proved version 1 and was told of its lease; version 2 is made, and not active."""
    await desk.made(1)
    await desk.clock.ask()
    receipt = await desk.receipt(asker, 1)
    answer = await desk.lease(asker.lease(receipt))
    await desk.made(2, activated=False)
    return receipt, answer


def waited_for(desk: Desk, asker: Asker, version: int) -> tuple[str, ...]:
    """Whom the activation of a version waits for, by the leases that stand there."""
    messages = desk.scene.server.messages(Stream.LEASES, Subjects(ENV).lease("orders", asker.instance))
    leases = [open_lease(message, desk.scene.trust) for message in messages]
    return adoption(desk.scene.state(), version, leases, [], [], datetime.now(UTC)).missing("installed")


async def test_a_lease_is_renewed_without_a_version_that_is_not_active_yet_and_which_stays_awaited(
    desk: Desk,
) -> None:
    asker = desk.scene.asker()
    receipt, before = await holds_one(desk, asker)
    answer = await desk.lease(asker.lease(receipt, after=before.nonce))
    assert answer.keys[KEY].versions == (1,), "what it has not proved is not in it"
    assert waited_for(desk, asker, 2) == (f"orders/{asker.instance}",)
    again = await desk.lease(asker.lease(receipt, after=answer.nonce))
    assert again.keys[KEY].versions == (1,)
    both = await desk.receipt(asker, 1, 2)
    answer = await desk.lease(asker.lease(both, after=again.nonce))
    assert (answer.keys[KEY].versions, waited_for(desk, asker, 2)) == ((1, 2), ())


async def test_a_version_that_became_active_since_the_lease_before_is_proved_by_the_one_after_it(
    desk: Desk,
) -> None:
    """Its proof may be on its way: the scheduler has read a receipt that is newer than the one in the request."""
    asker = desk.scene.asker()
    receipt, before = await holds_one(desk, asker)
    desk.scene.activated(2)
    answer = await desk.lease(asker.lease(receipt, after=before.nonce))
    assert answer.keys[KEY].versions == (1,)
    with pytest.raises(NotInstalledError, match="orders-db@2 is not proved"):
        await desk.lease(asker.lease(receipt, after=answer.nonce))


async def test_who_was_passed_over_gets_the_lease_to_go_over_within_once_it_holds_what_to_go_over_to(
    desk: Desk,
) -> None:
    """The messages for that version come with this lease, and there is no second one."""
    asker = desk.scene.asker()
    receipt, before = await holds_one(desk, asker)
    desk.scene.activated(2)
    desk.scene.deactivated(1)
    with pytest.raises(NotInstalledError, match="orders-db@2 is not proved"):
        await desk.lease(asker.lease(protecting(receipt, 1), after=before.nonce))
    both = protecting(await desk.receipt(asker, 1, 2), 1)
    answer = await desk.lease(asker.lease(both, after=before.nonce))
    assert answer.keys[KEY].versions == (1, 2)
    with pytest.raises(
        NotInstalledError, match="orders-db@1 is deactivated, expected to protect with version 2"
    ):
        await desk.lease(asker.lease(both, after=answer.nonce))


async def test_with_the_lease_to_go_over_within_come_messages_to_go_over_with_though_it_asked_for_the_other_version(
    desk: Desk,
) -> None:
    """Another version became current and the one before was left, between the notice that it read and its request.

    With none it could not go over before this lease ends, since it gets no second one: one that joins would not be ready.
    """
    await desk.made(1)
    await desk.made(2)
    desk.scene.deactivated(1)
    asker = desk.scene.asker()
    both = protecting(await desk.receipt(asker, 1, 2), 1)
    wanted = {KEY: Quota(version=1, messages=5 * LEAST)}
    answer = await desk.lease(asker.lease(both).model_copy(update={"wanted": wanted}))
    assert answer.keys[KEY].quota == Quota(version=2, messages=LEAST), "as many as with any version at first"
    over = protecting(both, 2)
    wanted = {KEY: Quota(version=2, messages=LEAST)}
    answer = await desk.lease(asker.lease(over, after=answer.nonce).model_copy(update={"wanted": wanted}))
    assert answer.keys[KEY].quota == Quota(version=2, messages=LEAST), "which count like any others"


async def test_who_still_protects_with_an_active_version_gets_messages_of_the_one_that_it_asks_for(
    desk: Desk,
) -> None:
    """Whoever goes over in time asks for as many as it needs."""
    await desk.made(1)
    await desk.made(2)
    asker = desk.scene.asker()
    both = protecting(await desk.receipt(asker, 1, 2), 1)
    wanted = {KEY: Quota(version=1, messages=5 * LEAST)}
    answer = await desk.lease(asker.lease(both).model_copy(update={"wanted": wanted}))
    assert answer.keys[KEY].quota == Quota(version=2, messages=0)


def protecting(receipt: Receipt, version: int) -> Receipt:
    """The receipt of one that protects with the version."""
    held = receipt.keys[KEY].model_copy(update={"protects": version})
    return receipt.model_copy(update={"keys": {KEY: held}})


@pytest.mark.parametrize("born", ["generated", "activated"])
async def test_a_version_that_is_born_while_a_lease_is_renewed_may_be_proved_later(
    desk: Desk, born: str
) -> None:
    asker = desk.scene.asker()
    receipt, before = await holds_one(desk, asker)

    def happens() -> None:
        desk.scene.activated(2)
        if born == "generated":
            desk.scene.generated(3, desk.scene.requested(3))

    desk.scene.server.once("after", Subjects(ENV).lease("orders", asker.instance), happens)
    answer = await desk.lease(asker.lease(receipt, after=before.nonce))
    assert answer.keys[KEY].versions == (1,)


async def untold(desk: Desk, asker: Asker, before: LeaseAnswer) -> str | None:
    del desk, asker, before
    return None


async def told_of_another(desk: Desk, asker: Asker, before: LeaseAnswer) -> str | None:
    """Its own request, not the one that its lease answers."""
    del desk, before
    return asker.material(1).nonce


async def too_late(desk: Desk, asker: Asker, before: LeaseAnswer) -> str | None:
    """The lease ran out."""
    del asker
    later = datetime.now(UTC) + timedelta(seconds=before.keys[KEY].lease_s + 1)
    desk.scene.server.clock = lambda: later
    await desk.clock.ask()
    return before.nonce


@pytest.mark.parametrize("after", [untold, told_of_another, too_late])
async def test_whoever_renews_nothing_proves_every_version_and_else_nothing_is_stored(
    desk: Desk, after: Callable[[Desk, Asker, LeaseAnswer], Awaitable[str | None]]
) -> None:
    asker = desk.scene.asker()
    receipt, before = await holds_one(desk, asker)
    where = Subjects(ENV).lease("orders", asker.instance)
    [stood] = desk.scene.server.messages(Stream.LEASES, where)
    request = asker.lease(receipt, after=await after(desk, asker, before))
    with pytest.raises(NotInstalledError, match="orders-db@2 is not proved"):
        await desk.lease(request)
    assert desk.scene.server.messages(Stream.LEASES, where) == [stood]


async def test_a_lease_that_was_refused_after_it_was_stored_is_no_base_for_the_next(desk: Desk) -> None:
    """The joiner's race once more: it was never told, so what stands there shows nothing."""
    await desk.made(1)
    asker = desk.scene.asker()
    receipt = await desk.receipt(asker, 1)
    where = Subjects(ENV).lease("orders", asker.instance)
    desk.scene.server.once("after", where, lambda: desk.scene.generated(2, desk.scene.requested(2)))
    with pytest.raises(NotInstalledError):
        await desk.lease(asker.lease(receipt))
    with pytest.raises(NotInstalledError, match="orders-db@2 is not proved"):
        await desk.lease(asker.lease(receipt))


async def test_a_renewal_that_is_stored_after_the_lease_before_ran_out_is_none(desk: Desk) -> None:
    """Who was not there for a moment was not waited for in it."""
    asker = desk.scene.asker()
    receipt, before = await holds_one(desk, asker)
    later = datetime.now(UTC) + timedelta(seconds=before.keys[KEY].lease_s + 1)

    def slow() -> None:
        desk.scene.server.clock = lambda: later

    desk.scene.server.once("before", Subjects(ENV).lease("orders", asker.instance), slow)
    with pytest.raises(NotInstalledError, match="orders-db@2 is not proved"):
        await desk.lease(asker.lease(receipt, after=before.nonce))


@pytest.mark.parametrize(
    ("wish", "lease_s"),
    [
        pytest.param(None, 30, id="as its class says"),
        pytest.param(4, 4, id="shorter"),
        pytest.param(3600, 30, id="longer than its class says"),
    ],
)
async def test_an_instance_may_have_shorter_leases_than_the_class_says_and_no_longer_ones(
    desk: Desk, wish: int | None, lease_s: int
) -> None:
    await desk.made(1)
    asker = desk.scene.asker()
    request = asker.lease(await desk.receipt(asker, 1)).model_copy(update={"at_most_s": wish})
    assert (await desk.lease(request)).keys[KEY].lease_s == lease_s


async def test_a_lease_is_no_longer_than_it_says_though_the_clock_of_the_bus_was_set_back(desk: Desk) -> None:
    """A replica that finds it there counts it from its own asking at most, until the clock is right again."""
    await desk.made(1)
    asker = desk.scene.asker()
    answer = await desk.lease(asker.lease(await desk.receipt(asker, 1)))
    lease_s = answer.keys[KEY].lease_s
    [stored] = desk.scene.server.messages(Stream.LEASES)
    booted = 100.0
    other = replace(desk.leasing, now=lambda: booted, _until=OrderedDict())
    desk.scene.server.clock = lambda: stored.stored_at - timedelta(hours=1)
    await other.check("orders", asker.instance, KEY)
    booted += lease_s + 1
    desk.scene.server.clock = lambda: stored.stored_at + timedelta(seconds=lease_s + 1)
    with pytest.raises(ExpiredError, match="has no lease for key orders-db"):
        await other.check("orders", asker.instance, KEY)
