"""What is decided again while and after the HSM works: commitment, the key's newest fact, the emergency lane."""

from __future__ import annotations

import asyncio
import threading
import uuid

import pytest

from rekey_core.authority import Stream
from rekey_core.confirmation import record_mac_input
from rekey_core.contracts import Generated, MaterialAnswer, ProbeRequest, SignRequest
from rekey_core.encoding import b64u_encode, sha256_hex
from rekey_core.envelope import Stored
from rekey_core.errors import RecordError, StateRefusedError, UnavailableError
from rekey_core.fold import KeyState
from rekey_core.versions import Wrapped
from rekey_distributor import granting
from rekey_distributor.delivering import Values
from rekey_distributor.records import context_of
from rekey_hsm import record_mac_label
from rekey_hsm.thread import on_hsm_thread
from tests.fakes.scene import KEY
from tests.unit.rekey_distributor.desk import Desk
from tests.unit.world import ENV

MESSAGE = b64u_encode(b"eyJhbGciOiJFUzI1NiJ9.e30")


async def test_a_release_is_recorded_and_opens_for_its_dependent_alone(desk: Desk) -> None:
    await desk.made(1)
    answer = await desk.releasing.material(desk.scene.asker().material(1))
    [released] = answer.releases
    assert len(desk.opened(released)) == 64
    assert desk.delivered() == 1
    assert released.activated is not None


async def test_no_version_of_a_request_waits_until_another_one_is_stored(desk: Desk) -> None:
    """An instance that comes back asks for sixteen at once, and asks again when they take longer than it waits."""
    await desk.made(1)
    await desk.made(2)
    stored: list[int] = []
    desk.while_the_record_is_read(lambda: stored.append(desk.delivered(1)), version=2)
    answer = await desk.releasing.material(desk.scene.asker().material(1, 2))
    assert stored == [0]
    assert (desk.delivered(1), desk.delivered(2)) == (1, 1)
    assert [one.version for one in answer.releases] == [1, 2]


async def test_every_version_of_an_answer_is_as_of_its_newest_fact(desk: Desk) -> None:
    await desk.made(1)
    await desk.made(2, activated=False)
    asker = desk.scene.asker()
    await desk.releasing.material(asker.material(1, 2))
    desk.while_the_record_is_read(lambda: desk.scene.activated(2), version=1)
    answer = await desk.releasing.material(asker.material(2, 1))
    assert answer.as_of == desk.scene.state().last_sequence
    assert answer.releases[0].activated is not None


async def test_one_version_that_is_refused_is_the_end_of_its_request(desk: Desk) -> None:
    await desk.made(1)
    await desk.made(2)
    desk.while_the_record_is_read(lambda: desk.scene.suspended(2), version=2)
    with pytest.raises(StateRefusedError, match="2 is suspended"):
        await desk.releasing.material(desk.scene.asker().material(1, 2))


async def test_a_key_that_generated_does_not_commit_to_is_not_given(desk: Desk) -> None:
    """A generator that wraps one key and commits to another: log, record, signature and MAC agree."""
    fact, wrong = (await desk.made(1)).made, "0" * 64
    request = desk.scene.requested(2)
    said = {"version": 2, "key_id": fact.key_id + 1, "cause": str(request.model.id), "commitment": wrong}
    lie = fact.model_copy(update=said | {"id": uuid.uuid4(), "checked": request.sequence})
    data = record_mac_input(context_of(lie), lie.key_id, lie.blob_digest, wrong, lie.cause)
    mac = await desk.generator.record_mac(record_mac_label(ENV, 1), data)
    desk.put(desk.record(1).model_copy(update=said | {"mac": b64u_encode(mac)}), version=2)
    desk.scene.add(lie)
    assert sha256_hex(await desk.records.blob(desk.lies(2))) == lie.blob_digest
    with pytest.raises(RecordError, match="not the one that generated commits to"):
        await desk.releasing.material(desk.scene.asker().material(2))
    assert desk.delivered(2) == 0


async def test_a_responder_who_speaks_while_the_hsm_works_is_heard(desk: Desk) -> None:
    await desk.made(1)
    desk.while_the_record_is_read(desk.responder_speaks)
    with pytest.raises(StateRefusedError, match="stopped by a responder's command"):
        await desk.releasing.material(desk.scene.asker().material(1))


async def test_a_fact_that_comes_while_the_hsm_works_is_heard(desk: Desk) -> None:
    await desk.made(1)
    desk.while_the_record_is_read(lambda: desk.scene.suspended(1))
    with pytest.raises(StateRefusedError, match="is suspended"):
        await desk.releasing.material(desk.scene.asker().material(1))
    assert desk.delivered() == 0, "the delivery was decided before the stop"


async def test_a_second_delivery_says_nothing_older_than_its_as_of(desk: Desk) -> None:
    await desk.made(1, activated=False)
    asker = desk.scene.asker()
    first = await desk.releasing.material(asker.material(1))
    assert first.releases[0].activated is None
    desk.while_the_record_is_read(lambda: desk.scene.activated(1))
    again: MaterialAnswer = await desk.releasing.material(asker.material(1))
    assert again.as_of > first.as_of
    assert again.releases[0].activated is not None
    assert again.releases[0].delivery == first.releases[0].delivery
    assert desk.delivered() == 1


async def test_a_second_delivery_is_decided_at_the_state_that_it_tells(desk: Desk) -> None:
    await desk.made(1)
    asker = desk.scene.asker()
    await desk.releasing.material(asker.material(1))
    decided: list[int] = []

    def check(state: KeyState) -> Stored[Generated]:
        decided.append(state.last_sequence)
        return granting.check_release(state, "orders", 1, ())

    async def made(lies: Wrapped, _: str) -> Values[bytes]:
        if len(decided) == 1:
            desk.scene.requested(2)
        return Values(await desk.records.blob(lies), b"", b"")

    given = await desk.delivering.deliver(asker.material(1), 1, check, made)
    assert given.state.last_sequence == decided[-1] > decided[0]


async def test_a_stop_that_comes_during_a_second_delivery_is_heard(desk: Desk) -> None:
    await desk.made(1)
    asker = desk.scene.asker()
    await desk.releasing.material(asker.material(1))
    desk.while_the_record_is_read(lambda: desk.scene.suspended(1))
    with pytest.raises(StateRefusedError, match="is suspended"):
        await desk.releasing.material(asker.material(1))


async def test_a_responder_who_speaks_while_the_hsm_signs_is_heard(signing_desk: Desk) -> None:
    desk = signing_desk
    await desk.made(1)
    asker = desk.scene.asker()
    request = asker.request(SignRequest, key=KEY, version=1, message=MESSAGE)
    assert len((await desk.using.sign(request)).signature) > 80
    desk.while_the_record_is_read(desk.responder_speaks)
    with pytest.raises(StateRefusedError, match="stopped by a responder's command"):
        await desk.using.sign(request)
    with pytest.raises(StateRefusedError, match="stopped by a responder's command"):
        await desk.using.probe(asker.request(ProbeRequest, key=KEY, version=1, phase="installed"))


async def test_at_80_percent_nothing_new_is_delivered_and_what_was_is_given_again(desk: Desk) -> None:
    await desk.made(1)
    before, newcomer = desk.scene.asker(), desk.scene.asker()
    first = await desk.releasing.material(before.material(1))
    desk.scene.server.shares[Stream.LIFECYCLE] = 0.81
    await desk.bus.room.look()
    with pytest.raises(UnavailableError, match="LIFECYCLE is 81% full, deliveries are recorded below 80%"):
        await desk.releasing.material(newcomer.material(1))
    assert desk.delivered() == 1
    again = await desk.releasing.material(before.material(1))
    assert again.releases[0].delivery == first.releases[0].delivery
    desk.scene.server.shares[Stream.LIFECYCLE] = 0.79
    await desk.bus.room.look()
    assert (await desk.releasing.material(newcomer.material(1))).releases


async def test_while_the_hsm_is_slow_leases_go_on_and_the_release_comes_when_it_can(desk: Desk) -> None:
    await desk.made(1)
    asker, newcomer = desk.scene.asker(), desk.scene.asker()
    request = asker.lease(await desk.receipt(asker, 1))
    done = threading.Event()
    call = asyncio.create_task(
        on_hsm_thread(lambda: done.wait(60))
    )  # a call of the module that takes its time
    release = asyncio.create_task(desk.releasing.material(newcomer.material(1)))
    try:
        assert (await desk.lease(request)).keys
        assert not release.done()
        assert desk.delivered() == 1, "nothing of the waiting release is recorded"
    finally:
        done.set()
    assert await call
    assert (await release).releases
    assert desk.delivered() == 2
