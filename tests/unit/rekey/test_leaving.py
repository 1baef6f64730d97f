from __future__ import annotations

import asyncio
import logging
from pathlib import Path

import pytest

from rekey.errors import LeaseExpiredError, UnavailableError
from rekey.leaving import LEAVE_S, leave
from rekey_core.contracts import Answer, LeasedKey, LeaseRequest, Request
from rekey_core.errors import ExpiredError, RefusedError
from rekey_core.names import Service
from rekey_core.readers import open_embedded_receipt
from tests.unit.rekey.desk import Instance
from tests.unit.rekey.world import KEY, World

W = World()


@pytest.fixture(autouse=True)
def _patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine that stands still for a moment keeps nobody from leaving."""
    monkeypatch.setattr("rekey.leaving.LEAVE_S", 60.0)


@pytest.fixture
async def me(tmp_path: Path) -> Instance:
    """An instance that protects with version 1, and that is about to close."""
    instance = Instance(W, tmp_path, KEY)
    await instance.trust.refresh()
    instance.desk.put(W.stored(W.notice((1,), 1), Service.DISTRIBUTOR))
    await instance.worker.reconcile()
    instance.desk.requests.clear()
    return instance


async def go(me: Instance, asking: asyncio.Lock | None = None) -> None:
    me.key.close()
    await leave([me.worker], me.requests, me.receipts, asking or asyncio.Lock())


def asked(me: Instance) -> list[LeaseRequest]:
    return [request for request in me.desk.requests if isinstance(request, LeaseRequest)]


async def test_it_says_once_that_it_leaves_and_proves_nothing_new(me: Instance) -> None:
    written = len(me.desk.receipts)
    await go(me)
    [request] = asked(me)
    assert (request.leaving, request.keys) == (True, (KEY,))
    assert open_embedded_receipt(request.receipt, W.trust, where="test") == me.desk.receipts[-1]
    assert len(me.desk.receipts) == written


async def test_it_leaves_only_when_nobody_is_inside_and_lets_nobody_in(me: Instance) -> None:
    inside = me.key.enter()
    leaving = asyncio.create_task(go(me))
    await asyncio.sleep(0.05)
    assert asked(me) == []
    with pytest.raises(LeaseExpiredError, match="closed"):
        me.key.enter()
    inside.in_flight.leave()
    await leaving
    assert len(asked(me)) == 1


async def test_a_call_inside_a_version_that_was_stopped_is_waited_for_too(me: Instance) -> None:
    inside = me.key.enter()
    me.key.leaving.append(me.key.held.pop(1))
    leaving = asyncio.create_task(go(me))
    await asyncio.sleep(0.05)
    assert asked(me) == []
    inside.in_flight.leave()
    await leaving
    assert len(asked(me)) == 1


async def test_a_call_that_does_not_end_keeps_nobody_from_closing(
    me: Instance, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    me.key.enter()
    monkeypatch.setattr("rekey.leaving.LEAVE_S", LEAVE_S)
    with caplog.at_level(logging.INFO, "rekey.leaving"):
        async with asyncio.timeout(30):  # for ever would be longer
            await go(me)
    assert asked(me) == []
    assert "not done within 1 s" in caplog.text


async def test_it_waits_for_a_renewal_under_way(me: Instance) -> None:
    asking = asyncio.Lock()
    await asking.acquire()
    leaving = asyncio.create_task(go(me, asking))
    await asyncio.sleep(0.05)
    assert asked(me) == []
    asking.release()
    await leaving
    assert len(asked(me)) == 1


async def test_a_bus_that_is_away_is_no_error(me: Instance, caplog: pytest.LogCaptureFixture) -> None:
    me.desk.silent = True
    with caplog.at_level(logging.INFO, "rekey.leaving"):
        await go(me)
    assert "it runs out: nobody answers" in caplog.text


async def test_a_refusal_is_no_error(me: Instance, caplog: pytest.LogCaptureFixture) -> None:
    def refuse(_: Request) -> RefusedError:
        return ExpiredError("instance has no lease")

    me.desk.refuse = refuse
    with caplog.at_level(logging.INFO, "rekey.leaving"):
        await go(me)
    assert len(asked(me)) == 1
    assert "has no lease" in caplog.text


async def test_who_was_never_given_a_lease_has_nothing_to_end(me: Instance) -> None:
    await leave([], me.requests, me.receipts, asyncio.Lock())
    assert me.desk.requests == []


async def test_an_answer_that_goes_on_ends_nothing_and_one_without_keys_gives_none(me: Instance) -> None:
    def other(answer: Answer) -> Answer:
        leased = LeasedKey(versions=(), as_of=10, lease_s=30)
        return answer.model_copy(update={"keys": {} if getattr(answer, "keys", {}) else {KEY: leased}})

    me.desk.forge = other
    receipt = await me.receipts.write()
    with pytest.raises(UnavailableError, match="it goes on for orders-db"):
        await me.requests.leave([KEY], receipt)
    with pytest.raises(UnavailableError, match="or none"):
        await me.requests.lease([KEY], receipt)
