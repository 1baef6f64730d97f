"""Leases and quotas of one instance: each key for its own time, no version is left before there is a quota for the next."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from rekey.errors import LeaseExpiredError, QuotaExhaustedError
from rekey.keyring import Keyring
from rekey.keystate import KeyState
from rekey.lease import boottime
from rekey.renewing import APART_S
from rekey.versions import SecretVersion
from rekey_core.contracts import Answer, LeaseAnswer, LeaseRequest, Notice, Quota
from rekey_core.errors import UnavailableError
from rekey_core.names import Service
from rekey_core.quotas import LEAST
from tests.unit.rekey.desk import Instance
from tests.unit.rekey.world import KEY, World

W = World()
AAD = b"row 7"
OTHER = "orders-archive"


@pytest.fixture
async def joiner(tmp_path: Path) -> Instance:
    """An instance that protects with version 1 and has no lease yet."""
    instance = Instance(W, tmp_path, KEY)
    await instance.trust.refresh()
    tell(instance, W.notice((1,), 1))
    await instance.worker.reconcile()
    return instance


@pytest.fixture
async def me(joiner: Instance) -> Instance:
    """One that has a lease."""
    await joiner.renewing.once(joiner.key)
    return joiner


def tell(instance: Instance, notice: Notice, sequence: int = 1) -> None:
    instance.desk.put(W.stored(notice, Service.DISTRIBUTOR, sequence=sequence))


def version(me: Instance, number: int) -> SecretVersion:
    held = me.key.held[number]
    assert isinstance(held, SecretVersion)
    return held


def leases(me: Instance) -> list[LeaseRequest]:
    return [request for request in me.desk.requests if isinstance(request, LeaseRequest)]


def protects_with(me: Instance) -> int | None:
    current = me.key.view.current
    return current.version if current else None


def with_quota(number: int, messages: int) -> Callable[[Answer], Answer]:
    """Leases whose messages are so many, of that version."""

    def forge(answer: Answer) -> Answer:
        if not isinstance(answer, LeaseAnswer):
            return answer
        leased = answer.keys[KEY].model_copy(update={"quota": Quota(version=number, messages=messages)})
        return answer.model_copy(update={"keys": {KEY: leased}})

    return forge


async def test_with_the_first_lease_come_the_first_messages(me: Instance) -> None:
    assert leases(me)[-1].wanted == {KEY: Quota(version=1, messages=LEAST)}
    assert version(me, 1).quota.left == LEAST
    box = Keyring(me.key, me.key.lease)
    assert box.decrypt(box.encrypt(b"data", AAD), AAD) == b"data"
    assert version(me, 1).quota.left == LEAST - 1


async def test_a_lease_counts_from_before_it_was_asked_for(me: Instance) -> None:
    asked: list[float] = []

    def late(answer: Answer) -> Answer:
        asked.append(boottime())
        return answer

    me.desk.forge = late
    await me.renewing.once()
    assert me.key.lease.until <= asked[0] + 30


async def test_without_a_quota_encrypt_stops_and_decrypt_goes_on(me: Instance) -> None:
    box = Keyring(me.key, me.key.lease)
    ciphertext = box.encrypt(b"data", AAD)
    for _ in range(version(me, 1).quota.left):
        version(me, 1).quota.take()
    with pytest.raises(QuotaExhaustedError, match="orders-db@1") as caught:
        box.encrypt(b"data", AAD)
    assert caught.value.hint
    assert version(me, 1).in_flight.is_empty, "nobody waits for it"
    assert box.decrypt(ciphertext, AAD) == b"data"
    await me.renewing.once()
    assert box.encrypt(b"data", AAD)


async def test_the_next_version_has_a_quota_before_the_one_before_is_left(me: Instance) -> None:
    seen: list[int | None] = []

    def look(answer: Answer) -> Answer:
        if isinstance(answer, LeaseAnswer):
            seen.append(protects_with(me))
        return answer

    me.desk.forge = look
    version(me, 1).quota.ahead = 5 * LEAST
    tell(me, W.notice((1, 2), 2, as_of=11), sequence=2)
    await me.worker.reconcile()
    assert (seen, protects_with(me)) == ([1], 2)
    assert version(me, 2).quota.left == 5 * LEAST, "at the pace of the version before"


async def test_a_version_for_which_nobody_answers_is_not_switched_to_yet(me: Instance) -> None:
    def none(answer: Answer) -> Answer:
        if isinstance(answer, LeaseAnswer):
            raise UnavailableError("no answer")
        return answer

    me.desk.forge = none
    tell(me, W.notice((1, 2), 2, as_of=11), sequence=2)
    with pytest.raises(UnavailableError):
        await me.worker.reconcile()
    assert protects_with(me) == 1
    assert sorted(me.desk.receipts[-1].keys[KEY].proofs) == [1, 2], "what was installed is said"
    me.desk.forge = lambda answer: answer
    await me.worker.reconcile()
    assert protects_with(me) == 2


async def test_a_version_whose_budget_gives_nothing_holds_no_rotation_up(me: Instance) -> None:
    me.desk.forge = with_quota(2, 0)
    tell(me, W.notice((1, 2), 2, as_of=11), sequence=2)
    await me.worker.reconcile()
    assert protects_with(me) == 2
    with pytest.raises(QuotaExhaustedError, match="orders-db@2: all 0 messages"):
        Keyring(me.key, me.key.lease).encrypt(b"data", AAD)


async def test_a_joiner_is_not_ready_while_it_has_no_messages_of_the_version_that_it_protects_with(
    joiner: Instance,
) -> None:
    tell(joiner, W.notice((1, 2), 1, as_of=11), sequence=2)
    await joiner.worker.reconcile()
    joiner.desk.forge = with_quota(2, LEAST)
    await joiner.renewing.once(joiner.key)
    was_ready = [joiner.key.is_ready]
    tell(joiner, W.notice((1, 2), 2, as_of=12), sequence=3)
    await joiner.worker.reconcile()
    assert [*was_ready, joiner.key.is_ready] == [False, True], "nobody waited for it when 2 became current"
    assert len(leases(joiner)) == 1, "its first lease was enough"


async def test_messages_of_the_version_that_protects_are_enough_while_the_lease_runs_ahead_of_the_notice(
    me: Instance,
) -> None:
    for number in (2, 3):
        tell(me, W.notice(tuple(range(1, number + 1)), number - 1, as_of=10 + number), sequence=number)
        await me.worker.reconcile()
        me.desk.forge = with_quota(number, LEAST)
        await me.renewing.once()
        assert (protects_with(me), me.key.is_ready) == (number - 1, True)
        assert Keyring(me.key, me.key.lease).encrypt(b"data", AAD)


async def test_who_went_over_while_its_lease_was_asked_for_says_that_it_has_no_lease_until_it_has_messages(
    me: Instance,
) -> None:
    """Without a lease it goes over at once; what is given to who protects with the version before has none of the next."""
    tell(me, W.notice((1, 2), 1, as_of=11), sequence=2)
    await me.worker.reconcile()
    me.key.lease.until = 0.0
    of_before = with_quota(2, 0)

    def goes_over(answer: Answer) -> Answer:
        me.key.switch(2)
        return of_before(answer)

    me.desk.forge = goes_over
    await me.renewing.once()
    with pytest.raises(LeaseExpiredError):
        Keyring(me.key, me.key.lease).encrypt(b"data", AAD)
    me.desk.forge = lambda answer: answer
    async with asyncio.timeout(10), renewing(me):
        while not me.key.lease.is_valid:  # noqa: ASYNC110 - no event says so
            await asyncio.sleep(0.01)
    assert Keyring(me.key, me.key.lease).encrypt(b"data", AAD)


async def test_a_quota_of_a_version_that_is_not_held_is_not_taken(me: Instance) -> None:
    me.desk.forge = with_quota(7, LEAST)
    await me.renewing.once()
    assert version(me, 1).quota.total == LEAST


async def test_each_key_has_a_lease_of_its_own_length(me: Instance) -> None:
    lengths = {KEY: 30, OTHER: 10}

    def other_length(answer: Answer) -> Answer:
        if not isinstance(answer, LeaseAnswer):
            return answer
        keys = {name: k.model_copy(update={"lease_s": lengths[name]}) for name, k in answer.keys.items()}
        return answer.model_copy(update={"keys": keys})

    me.desk.forge = other_length
    other = KeyState(OTHER)
    await me.renewing.once(other)
    assert me.key.lease.until - other.lease.until == 20
    assert set(me.renewing.admitted) == {KEY, OTHER}


async def test_what_many_keys_need_at_once_is_asked_for_once(me: Instance) -> None:
    before = len(leases(me))
    async with me.renewing.asking:
        many = [asyncio.create_task(me.renewing.once()) for _ in range(10)]
        await asyncio.sleep(0)
    await asyncio.gather(*many)
    assert before < len(leases(me)) <= before + 2


async def test_keys_that_join_at_once_are_asked_for_together(me: Instance) -> None:
    before = len(leases(me))
    async with me.renewing.asking:
        many = [asyncio.create_task(me.renewing.once(KeyState(f"orders-{number}"))) for number in range(10)]
        await asyncio.sleep(0)
    await asyncio.gather(*many)
    assert before < len(leases(me)) <= before + 2
    assert len(me.renewing.admitted) == 11


async def test_whoever_renews_says_of_which_lease_it_was_told(me: Instance) -> None:
    def refused(_: Answer) -> Answer:
        raise UnavailableError("no answer")

    await me.renewing.once()
    me.desk.forge = refused
    with pytest.raises(UnavailableError):
        await me.renewing.once()
    me.desk.forge = lambda answer: answer
    await me.renewing.once()
    first, second, lost, third = leases(me)
    assert [one.after for one in (first, second, lost, third)] == [
        None,
        first.nonce,
        second.nonce,
        second.nonce,
    ]


async def test_a_version_that_is_missing_in_the_lease_is_proved_once_more(me: Instance) -> None:
    def without(answer: Answer) -> Answer:
        if not isinstance(answer, LeaseAnswer):
            return answer
        keys = {name: key.model_copy(update={"versions": ()}) for name, key in answer.keys.items()}
        return answer.model_copy(update={"keys": keys})

    await me.renewing.once()
    assert me.key.leased == {1}
    me.desk.forge = without
    await me.renewing.once()
    assert me.key.leased == frozenset()


@asynccontextmanager
async def renewing(me: Instance) -> AsyncIterator[None]:
    task = asyncio.create_task(me.renewing.for_ever())
    try:
        yield
    finally:
        task.cancel()
        await asyncio.wait([task])


async def until_asked(me: Instance, times: int) -> None:
    async with asyncio.timeout(10):
        while len(leases(me)) < times:  # noqa: ASYNC110 - the desk has no event to wait for
            await asyncio.sleep(0.01)


async def test_a_call_that_finds_its_lease_over_hurries_the_renewal_from_any_thread(me: Instance) -> None:
    me.renewing.watch(me.key)
    box = Keyring(me.key, me.key.lease)
    async with renewing(me):
        await asyncio.sleep(0)
        me.key.lease.until = 0.0
        with pytest.raises(LeaseExpiredError):
            await asyncio.to_thread(box.encrypt, b"data", AAD)
        await until_asked(me, 2)
    assert box.encrypt(b"data", AAD)


async def test_hurrying_all_the_time_makes_no_flood(me: Instance) -> None:
    began = time.monotonic()
    async with renewing(me):
        for _ in range(50):
            me.renewing.hurry()
            await asyncio.sleep(0.01)
    assert len(leases(me)) <= 2 + (time.monotonic() - began) / APART_S


async def test_a_failure_says_why_in_every_key_and_is_tried_again(me: Instance) -> None:
    me.desk.silent = True
    async with renewing(me):
        me.renewing.hurry()
        async with asyncio.timeout(10):
            while me.key.lease.problem != "nobody answers":  # noqa: ASYNC110 - as above
                await asyncio.sleep(0.01)
        me.desk.silent = False
        await until_asked(me, 2)
    assert me.key.lease.problem == "it was not renewed in time"
