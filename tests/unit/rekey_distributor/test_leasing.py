"""A lease is proof of every version that the instance should hold: checked before it is stored, and once more after."""

from __future__ import annotations

import pytest

from rekey_core.authority import Stream, Subjects
from rekey_core.contracts import LeaseRequest
from rekey_core.errors import ExpiredError, NotFoundError, NotInstalledError, WrongAuthorError
from rekey_core.signing import SigningKey
from tests.fakes.scene import KEY, Asker
from tests.unit.rekey_distributor.desk import Desk
from tests.unit.world import ENV


def leased(desk: Desk, asker: Asker) -> bool:
    return bool(desk.scene.server.messages(Stream.LEASES, Subjects(ENV).lease("orders", asker.instance)))


async def test_who_proves_every_version_gets_a_lease(desk: Desk) -> None:
    await desk.made(1)
    asker = desk.scene.asker()
    answer = await desk.leasing.lease(asker.lease(await desk.receipt(asker, 1)))
    assert answer.keys[KEY].versions == (1,)
    assert leased(desk, asker)
    await desk.leasing.check("orders", asker.instance, KEY)


async def test_who_proves_nothing_gets_none(desk: Desk) -> None:
    await desk.made(1)
    asker = desk.scene.asker()
    with pytest.raises(NotInstalledError, match="orders-db@1 is not proved"):
        await desk.leasing.lease(asker.lease(asker.receipt({})))
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
        await desk.leasing.lease(request)
    assert leased(desk, asker), "the scheduler sees it before version 2 could be activated"


async def test_a_receipt_of_another_instance_proves_nothing(desk: Desk) -> None:
    await desk.made(1)
    other, asker = desk.scene.asker(), desk.scene.asker()
    with pytest.raises(WrongAuthorError, match="in the request of orders/"):
        await desk.leasing.lease(asker.lease(await desk.receipt(other, 1), by=other.key))
    assert not leased(desk, asker)


async def test_a_receipt_that_somebody_else_signed_proves_nothing(desk: Desk) -> None:
    await desk.made(1)
    asker = desk.scene.asker()
    with pytest.raises(WrongAuthorError, match="not the author's"):
        await desk.leasing.lease(asker.lease(await desk.receipt(asker, 1), by=SigningKey.generate()))
    assert not leased(desk, asker)


async def test_a_key_that_nobody_registered_is_not_leased(desk: Desk) -> None:
    asker = desk.scene.asker()
    request = asker.request(LeaseRequest, keys=("no-key",), receipt=asker.lease(asker.receipt({})).receipt)
    with pytest.raises(NotFoundError, match="key no-key is not registered"):
        await desk.leasing.lease(request)
    assert not leased(desk, asker)


async def test_what_a_responder_stopped_need_not_be_proved(desk: Desk) -> None:
    await desk.made(1)
    desk.responder_speaks()
    asker = desk.scene.asker()
    answer = await desk.leasing.lease(asker.lease(asker.receipt({})))
    assert answer.keys[KEY].versions == ()
