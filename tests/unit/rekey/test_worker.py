from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from rekey.beliefs import Stopped
from rekey.versions import SecretVersion
from rekey_core.contracts import Confirmation, LeaseRequest, MaterialRequest, Notice, ProbeRequest, Request
from rekey_core.errors import (
    MalformedError,
    RefusedError,
    StaleReadError,
    StateRefusedError,
    TrustError,
    UnavailableError,
)
from rekey_core.names import Release, Service
from rekey_core.readers import open_embedded_receipt
from tests.unit.rekey.desk import Instance
from tests.unit.rekey.world import KEY, NOW, World

TOKEN = "token-signer"
W = World()


@pytest.fixture
async def me(tmp_path: Path) -> Instance:
    instance = Instance(W, tmp_path, KEY)
    await instance.trust.refresh()
    return instance


@pytest.fixture
async def signing(tmp_path: Path) -> Instance:
    instance = Instance(W, tmp_path, TOKEN)
    await instance.trust.refresh()
    return instance


def tell(instance: Instance, notice: Notice, *, sequence: int = 1, by: Service = Service.DISTRIBUTOR) -> None:
    instance.desk.put(W.stored(notice, by, sequence=sequence))


async def until(is_true: Callable[[], bool], what: str) -> None:
    end = time.monotonic() + 30
    while not is_true():
        assert time.monotonic() < end, what
        await asyncio.sleep(0.01)


def current(instance: Instance) -> int | None:
    version = instance.key.view.current
    return version.version if version else None


async def test_install_then_switch_with_a_receipt_after_each(me: Instance) -> None:
    tell(me, W.notice((1,)))
    await me.worker.reconcile()
    assert (sorted(me.key.held), current(me)) == ([1], None)
    first = me.desk.receipts[-1].keys[KEY]
    assert (sorted(first.proofs), first.protects) == ([1], None)
    tell(me, W.notice((1,), 1, as_of=11), sequence=2)
    await me.worker.reconcile()
    second = me.desk.receipts[-1].keys[KEY]
    proof = second.proofs[1]
    assert isinstance(proof, Confirmation)
    assert (second.protects, current(me)) == (1, 1)
    assert proof.switched is not None
    assert [receipt.n for receipt in me.desk.receipts] == [1, 2]
    assert me.rotated == [], "the first activation is no rotation"


async def test_a_rotation_keeps_the_old_version_for_processing_and_says_so(me: Instance) -> None:
    tell(me, W.notice((1,), 1))
    await me.worker.reconcile()
    tell(me, W.notice((1, 2), 1, as_of=12), sequence=2)
    await me.worker.reconcile()
    assert current(me) == 1
    tell(me, W.notice((1, 2), 2, as_of=13), sequence=3)
    await me.worker.reconcile()
    receipt = me.desk.receipts[-1].keys[KEY]
    assert (receipt.protects, receipt.stopped, sorted(receipt.proofs)) == (2, (1,), [1, 2])
    assert [(event.version, event.previous) for event in me.rotated] == [(2, 1)]


async def test_again_without_news_nothing_is_asked_and_nothing_written(me: Instance) -> None:
    tell(me, W.notice((1,), 1))
    await me.worker.reconcile()
    requests, receipts = len(me.desk.requests), len(me.desk.receipts)
    for _ in range(5):
        await me.worker.reconcile()
    assert (len(me.desk.requests), len(me.desk.receipts)) == (requests, receipts)


async def test_an_older_notice_changes_nothing(me: Instance) -> None:
    tell(me, W.notice((1, 2), 2, as_of=20), sequence=9)
    await me.worker.reconcile()
    tell(me, W.notice((1, 3), 3, as_of=19), sequence=10)
    with pytest.raises(StaleReadError, match="as of 19, seen before was 20"):
        await me.worker.reconcile()
    assert (sorted(me.key.held), current(me)) == ([1, 2], 2)


async def test_an_older_notice_is_older_after_a_restart_too(me: Instance, tmp_path: Path) -> None:
    tell(me, W.notice((1,), 1, as_of=20))
    await me.worker.reconcile()
    again = Instance(W, tmp_path, KEY)
    await again.trust.refresh()
    tell(again, W.notice((1,), 1, as_of=19))
    with pytest.raises(StaleReadError):
        await again.worker.reconcile()
    assert not again.key.held


@pytest.mark.parametrize(
    "notice",
    [
        pytest.param(W.notice((1,), 1, dependent="billing"), id="another dependent's"),
        pytest.param(W.notice((1,), 1, key="billing-db"), id="another key's"),
        pytest.param(W.notice((1,), 1).model_copy(update={"env": "prod"}), id="another environment's"),
    ],
)
async def test_a_notice_that_stands_elsewhere_than_it_says_is_not_taken(me: Instance, notice: Notice) -> None:
    me.desk.put(W.stored(notice, Service.DISTRIBUTOR, subject=W.subjects.notice("orders", KEY)))
    with pytest.raises(MalformedError):
        await me.worker.reconcile()
    assert not me.key.held


@pytest.mark.parametrize("by", [service for service in Service if service is not Service.DISTRIBUTOR])
async def test_a_notice_by_anybody_but_the_distributor_is_not_taken(me: Instance, by: Service) -> None:
    tell(me, W.notice((1,), 1), by=by)
    with pytest.raises(MalformedError):
        await me.worker.reconcile()
    assert not me.key.held


async def test_a_forged_activated_does_not_switch(me: Instance) -> None:
    tell(me, W.notice((1, 2), 1))
    await me.worker.reconcile()
    forged = (W.signed(W.activated(2), Service.DISTRIBUTOR),)
    tell(me, W.notice((1, 2), 2, as_of=11, facts=forged), sequence=2)
    await me.worker.reconcile()
    assert current(me) == 1


@pytest.mark.parametrize("way", ["notice", "stop"])
async def test_a_responders_stop_works_by_either_way_alone(me: Instance, way: str) -> None:
    tell(me, W.notice((1, 2), 2))
    await me.worker.reconcile()
    if way == "notice":
        tell(me, W.notice((1,), stopped=(W.stopped(2),)), sequence=2)
    else:
        me.desk.put(W.stored(W.stop(W.stopped(2)), Service.REVOCATION))
    await me.worker.reconcile()
    assert current(me) is None
    assert sorted(me.key.held) == [1]
    assert [stop.version for stop in me.stopped] == [2]
    receipt = me.desk.receipts[-1].keys[KEY]
    assert (receipt.protects, receipt.stopped) == (None, (1, 2))


async def test_a_stop_works_when_the_notice_cannot_be_believed_and_nobody_answers(me: Instance) -> None:
    tell(me, W.notice((1,), 1))
    await me.worker.reconcile()
    tell(me, W.notice((1,), 1, as_of=11), by=Service.GENERATOR, sequence=2)
    me.desk.put(W.stored(W.stop(W.stopped(1)), Service.REVOCATION))
    me.desk.silent = True
    with pytest.raises(MalformedError):
        await me.worker.reconcile()
    assert current(me) is None
    assert me.key.stopped[1].responder == "rita"


async def test_a_stop_by_anybody_but_revocation_or_without_the_responder_is_not_taken(me: Instance) -> None:
    tell(me, W.notice((1,), 1))
    await me.worker.reconcile()
    for message in (
        W.stored(W.stop(W.stopped(1)), Service.ROTATION_SCHEDULER),
        W.stored(W.stop(W.stopped(1, W.command(1, author="alice"))), Service.REVOCATION),
    ):
        me.desk.put(message)
        await me.worker.reconcile()
        assert current(me) == 1


async def test_a_joiner_after_a_stop_says_that_it_does_not_use_the_version(me: Instance) -> None:
    tell(me, W.notice((1,), stopped=(W.stopped(2),)))
    await me.worker.reconcile()
    assert me.key.is_ready, "calls can say who stopped it"
    assert me.desk.receipts[-1].keys[KEY].stopped == (2,)
    with pytest.raises(RefusedError, match="suspended by rita"):
        me.key.enter()
    assert me.stopped == [], "nothing that was held here"


async def test_one_refused_version_does_not_keep_the_others_away(me: Instance) -> None:
    def refuse(request: Request) -> RefusedError | None:
        named = isinstance(request, MaterialRequest) and 2 in request.versions
        return StateRefusedError("version 2 is suspended") if named else None

    me.desk.refuse = refuse
    tell(me, W.notice((1, 2, 3), 3))
    with pytest.raises(StateRefusedError):
        await me.worker.reconcile()
    assert (sorted(me.key.held), current(me)) == ([1, 3], 3)
    assert sorted(me.desk.receipts[-1].keys[KEY].proofs) == [1, 3]


async def test_a_key_id_that_is_another_versions_is_refused(me: Instance) -> None:
    tell(me, W.notice((1,), 1))
    await me.worker.reconcile()
    fact = W.generated(2).model_copy(update={"key_id": 1001})
    noticed = W.notice((1, 2), 1, as_of=11, facts=(W.signed(fact, Service.GENERATOR),))
    versions = (noticed.versions[0], noticed.versions[1].model_copy(update={"key_id": 1001}))
    me.desk.forge = lambda answer: answer.model_copy(
        update={
            "releases": (W.released(2).model_copy(update={"generated": W.signed(fact, Service.GENERATOR)}),)
        }
    )
    tell(me, noticed.model_copy(update={"versions": versions}), sequence=2)
    with pytest.raises(MalformedError, match="key id 1001 is another version's"):
        await me.worker.reconcile()
    assert sorted(me.key.held) == [1]


async def test_the_switch_is_said_only_when_nobody_is_inside_the_old_version(me: Instance) -> None:
    tell(me, W.notice((1,), 1))
    await me.worker.reconcile()
    inside = me.key.enter()
    tell(me, W.notice((1, 2), 2, as_of=11), sequence=2)
    work = asyncio.create_task(me.worker.reconcile())
    await until(lambda: current(me) == 2, "new calls take the new version at once")
    await asyncio.sleep(0.05)
    assert me.desk.receipts[-1].keys[KEY].protects == 1
    inside.in_flight.leave()
    await work
    assert me.desk.receipts[-1].keys[KEY].protects == 2


async def test_a_stop_waits_for_no_answer_that_a_pass_waits_for(me: Instance) -> None:
    tell(me, W.notice((1,), 1))
    await me.worker.reconcile()
    inside = me.key.enter()
    tell(me, W.notice((1, 2), 2, as_of=11), sequence=2)
    task = asyncio.create_task(me.worker.run())
    me.worker.poke()
    await until(lambda: current(me) == 2, "the pass waits for the call inside version 1")
    me.desk.put(W.stored(W.stop(W.stopped(2)), Service.REVOCATION))
    me.worker.poke()
    await until(lambda: current(me) is None, "the stop")
    inside.in_flight.leave()
    await until(lambda: me.desk.receipts[-1].keys[KEY].stopped == (1, 2), "the receipt")
    assert me.desk.receipts[-1].keys[KEY].protects is None
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


async def test_a_version_that_is_stopped_while_it_is_on_its_way_is_not_held(me: Instance) -> None:
    def stop_it(request: Request) -> None:
        if isinstance(request, MaterialRequest):
            me.key.stop({1: Stopped(KEY, 1, "suspended", "rita", "why", NOW)})

    me.desk.refuse = stop_it
    tell(me, W.notice((1,), 1))
    await me.worker.reconcile()
    assert (me.key.held, current(me)) == ({}, None)


async def test_a_receipt_that_was_not_stored_is_written_again_with_the_same_number(me: Instance) -> None:
    tell(me, W.notice((), None))
    me.desk.silent = True
    with pytest.raises(UnavailableError):
        await me.worker.reconcile()
    me.desk.silent = False
    await me.worker.reconcile()
    assert [receipt.n for receipt in me.desk.receipts] == [1]


async def test_a_signing_key_is_proved_by_probes(signing: Instance) -> None:
    tell(signing, W.notice((1,), key=TOKEN, release=Release.NEVER))
    await signing.worker.reconcile()
    tell(signing, W.notice((1,), 1, as_of=11, key=TOKEN, release=Release.NEVER), sequence=2)
    await signing.worker.reconcile()
    probes = [(r.version, r.phase) for r in signing.desk.requests if isinstance(r, ProbeRequest)]
    assert probes == [(1, "installed"), (1, "switched")]
    assert signing.desk.receipts[-1].keys[TOKEN].protects == 1


async def test_a_switch_that_cannot_be_proved_yet_is_proved_later(signing: Instance) -> None:
    tell(signing, W.notice((1,), 1, key=TOKEN, release=Release.NEVER))
    signing.desk.refuse = lambda request: (
        StateRefusedError("not current")
        if isinstance(request, ProbeRequest) and request.phase == "switched"
        else None
    )
    with pytest.raises(StateRefusedError):
        await signing.worker.reconcile()
    assert signing.desk.receipts[-1].keys[TOKEN].protects is None
    signing.desk.refuse = lambda _: None
    await signing.worker.reconcile()
    assert signing.desk.receipts[-1].keys[TOKEN].protects == 1


async def test_a_signing_version_without_its_generated_is_not_installed(signing: Instance) -> None:
    tell(signing, W.notice((1,), key=TOKEN, release=Release.NEVER, facts=()))
    with pytest.raises(MalformedError, match="no signed generated"):
        await signing.worker.reconcile()
    assert not signing.key.held


async def test_the_receipt_in_a_lease_request_is_the_one_that_was_stored(me: Instance) -> None:
    tell(me, W.notice((1,), 1))
    await me.worker.reconcile()
    await me.requests.lease([KEY], await me.receipts.write())
    request = me.desk.requests[-1]
    assert isinstance(request, LeaseRequest)
    assert open_embedded_receipt(request.receipt, W.trust, where="test") == me.desk.receipts[-1]


async def test_pokes_start_a_pass_and_failures_are_tried_again(me: Instance) -> None:
    me.desk.silent = True
    tell(me, W.notice((1,), 1))
    task = asyncio.create_task(me.worker.run())
    me.worker.poke()
    await until(lambda: me.key.problem is not None, "why it is not ready")
    me.desk.silent = False
    await until(lambda: current(me) is not None and not me.key.problem, "the next try")
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


async def test_an_older_trust_document_than_seen_before_is_refused(me: Instance, tmp_path: Path) -> None:
    me.seen.trust_n = 2
    me.seen.save()
    again = Instance(W, tmp_path, KEY)
    with pytest.raises(TrustError, match="expected at least 2"):
        await again.trust.refresh()


async def test_a_damaged_memory_is_not_taken_for_none(tmp_path: Path) -> None:
    (tmp_path / "seen.json").write_text("{")
    with pytest.raises(TrustError, match="damaged"):
        Instance(W, tmp_path, KEY)


async def test_a_full_disk_keeps_no_instance_from_following_a_rotation(me: Instance, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    me.seen.path = tmp_path / "file" / "seen.json"
    tell(me, W.notice((1,), 1))
    await me.worker.reconcile()
    tell(me, W.notice((1, 2), 2, as_of=13), sequence=2)
    await me.worker.reconcile()
    assert (current(me), me.key.problem) == (2, None)
    assert me.desk.receipts[-1].keys[KEY].protects == 2


async def test_the_secret_is_dropped_with_the_stopped_version(me: Instance) -> None:
    tell(me, W.notice((1,), 1))
    await me.worker.reconcile()
    held = me.key.held[1]
    assert isinstance(held, SecretVersion)
    me.desk.put(W.stored(W.stop(W.stopped(1)), Service.REVOCATION))
    await me.worker.reconcile()
    assert held not in [*me.key.held.values(), *me.key.leaving, *me.key.view.by_id.values()]
