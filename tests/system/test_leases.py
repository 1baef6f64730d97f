"""Leases end and come back, budgets are never overdrawn: the bus away, the process suspended, replicas that race.

Leases are DIVISOR times shorter here (``dev_lease_divisor``), and the distributor's wall clock is one that can be moved.
"""

from __future__ import annotations

import asyncio
import contextlib
import math
import os
import random
import re
import signal
import subprocess
import time
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

import pytest

import rekey
from rekey.lease import boottime
from rekey.retry import persistently
from rekey_core.adoption import LEASE_MARGIN_S
from rekey_core.authority import Stream
from rekey_core.contracts import Quota, QuotaLedger, Rotate
from rekey_core.envelope import Packed
from rekey_core.errors import RetryableError
from rekey_core.names import Service
from rekey_core.policy import class_named
from rekey_core.quotas import BUDGET, MOST, ROTATE_AT
from rekey_core.readers import open_lease, open_quota
from rekey_distributor.quotas import Quotas
from rekey_local.settings import instance_settings
from rekey_runtime.bus import Bus
from tests.attacks.intruder import Intruder, a_key, intruder
from tests.system import wrong_clock
from tests.system.bus import RunningBus
from tests.system.certificates import ENV
from tests.system.instances import AAD, a_process, ask, reads, said, spent
from tests.system.stack import NATS, RunningStack, running_stack, stopped
from tests.system.wrong_clock import move

DATA, TOKEN = "orders-db", "token-signer"
EVENTS, EVENTS_CLASS = "orders-events", "application-data-high-volume"
DIVISOR = 15
LEASE_S = class_named("application-data").lease_s // DIVISOR
LONGER_S = class_named(EVENTS_CLASS).lease_s // DIVISOR
DAY_S = 24 * 3600.0
SLACK_S = 15.0  # from the end of a lease to the fact that waited for it, on a slow machine; a lease of its class is longer
LIVES = 5
TRIES = 3
WITHIN_S = 30.0


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningStack]:
    with running_stack(tmp_path_factory.mktemp("leases"), instances=False) as running:
        running.hold("distributor")
        with (running.layout.service("distributor") / "settings.toml").open("a") as settings:
            settings.write(f"dev_lease_divisor = {DIVISOR}\n")
        keeper = running.keeper("distributor")
        python, _, *program = keeper.plan.command  # the interpreter, -m, module and arguments
        wrapped = (python, "-P", wrong_clock.__file__, str(clock_of(running)), *program)
        keeper.plan = replace(keeper.plan, command=wrapped)
        running.release("distributor")
        yield running


def clock_of(stack: RunningStack) -> Path:
    """The file of the distributor's clock."""
    return stack.layout.root / "distributor.clock"


@contextlib.asynccontextmanager
async def an_instance(stack: RunningStack, dependent: str = "orders") -> AsyncIterator[rekey.Keys]:
    async with rekey.connect(rekey.Settings.load(instance_settings(stack.layout, dependent, 1))) as keys:
        yield keys


@contextlib.contextmanager
def at_work(stack: RunningStack, clock: Path | None = None) -> Iterator[subprocess.Popen[str]]:
    """A process of billing that has a lease; its wall clock is the one of a file, if one is named."""
    with a_process(instance_settings(stack.layout, "billing", 1), DATA, clock) as process:
        assert said(process) == "ready"
        stack.until(lambda: ask(process) == "ok", what="a lease")
        yield process


@contextlib.asynccontextmanager
async def held(stack: RunningStack, name: str) -> AsyncIterator[None]:
    """A process that does not run for the time of the block, whatever becomes of the test."""
    await asyncio.to_thread(stack.hold, name)
    try:
        yield
    finally:
        await asyncio.to_thread(stack.release, name)


async def until(is_true: Callable[[], bool], what: str) -> None:
    async with asyncio.timeout(WITHIN_S):
        while not is_true():  # noqa: ASYNC110 - what is waited for happens in other processes
            await asyncio.sleep(0.02)
    assert is_true(), what


def works(box: rekey.Keyring) -> bool:
    """Whether it encrypts; no other error than those that pass by themselves."""
    try:
        box.encrypt(b"data", AAD)
    except (rekey.LeaseExpiredError, rekey.QuotaExhaustedError):
        return False
    return True


def why_not(call: Callable[[], object]) -> str:
    """What a call with an ended lease says, and its hint."""
    with pytest.raises(rekey.LeaseExpiredError) as caught:
        call()
    return f"{caught.value}; {caught.value.hint}"


def names_the_bus(call: Callable[[], object]) -> bool:
    return "bus" in why_not(call)


async def last_use(box: rekey.Keyring, ends: float = math.inf) -> float:
    """When the last call that worked began; it does not call after ``ends``."""
    last = began = boottime()
    while began < ends and works(box):
        last = began
        await asyncio.sleep(0.01)
        began = boottime()
    return last


async def test_an_instance_that_is_cut_off_from_the_bus_stops_with_each_lease_and_comes_back_by_itself(
    stack: RunningStack,
) -> None:
    words = ("--class", EVENTS_CLASS, "--purpose", "a lot", "--dependent", "orders", "--reason", "test")
    registered = await asyncio.to_thread(stack.rekey, "alice", "key", "register", EVENTS, *words)
    assert registered.code == 0, registered.err
    async with an_instance(stack) as keys:
        box, signer, events = await asyncio.gather(
            keys.keyring(DATA), keys.signer(TOKEN), keys.keyring(EVENTS)
        )
        await until(lambda: works(box) and works(events), "a lease")
        ciphertext = box.encrypt(b"data", AAD)
        async with held(stack, NATS):
            cut_off = boottime()
            ended, later = await asyncio.gather(last_use(box), last_use(events))
            assert ended < cut_off + LEASE_S
            assert ended < later < cut_off + LONGER_S, "each key ends with the lease of its class"
            calls = (
                lambda: box.encrypt(b"data", AAD),
                lambda: box.decrypt(ciphertext, AAD),
                lambda: signer.verify_jwt("a.b.c"),
                lambda: events.encrypt(b"data", AAD),
            )
            for call in calls:
                await until(partial(names_the_bus, call), "a reason, once a renewal has failed")
                assert re.search(r"ran out at \d{4}-.*Z: .*bus.*; .*renewed by itself", why_not(call))
        await until(lambda: works(box) and works(events), "the leases again")
        assert box.decrypt(ciphertext, AAD) == b"data"


def test_a_process_that_was_suspended_for_longer_than_its_lease_refuses_the_first_call_and_recovers(
    stack: RunningStack, tmp_path: Path
) -> None:
    """Its wall clock says afterwards that no time has passed."""
    clock = tmp_path / "clock"
    with at_work(stack, clock) as process:
        with stopped(stack, "distributor"):  # or a renewal might be quicker than the call
            os.kill(process.pid, signal.SIGSTOP)
            time.sleep(LEASE_S + 0.1)
            move(clock, -LEASE_S - 0.1)
            os.kill(process.pid, signal.SIGCONT)
            first = ask(process)
        assert first.startswith(f"lease-expired key {DATA}: the lease ran out at"), first
        stack.until(lambda: ask(process) == "ok", what="the lease again")


def test_an_instance_whose_clock_is_moved_goes_on_and_one_that_is_cut_off_too_stops_in_time(
    stack: RunningStack, tmp_path: Path
) -> None:
    clock = tmp_path / "clock"
    with at_work(stack, clock) as process:
        assert abs(float(ask(process, "clock")) - time.time()) < DAY_S / 2
        move(clock, DAY_S)
        assert float(ask(process, "clock")) > time.time() + DAY_S / 2, "the clock is moved"
        days = range(2, 2 + TRIES)
        assert any(goes_on(stack, process, partial(move, clock, n * DAY_S)) for n in days), (
            "no day has passed"
        )
        with stopped(stack, "distributor"):
            move(clock, -DAY_S)
            cut_off = last = began = boottime()
            while (answer := ask(process)) == "ok":
                last, began = began, boottime()
                time.sleep(0.01)
        assert last < cut_off + LEASE_S, "a clock that is set back prolongs none"
        assert answer.startswith("lease-expired "), answer
        stack.until(lambda: ask(process) == "ok", what="the lease again")


def goes_on(stack: RunningStack, process: subprocess.Popen[str], moved: Callable[[], None]) -> bool:
    """Whether it works from then on for longer than its lease; a machine that stands still ends one too, and rightly."""
    stack.until(lambda: ask(process) == "ok", what="a lease")
    moved()
    ends = boottime() + 1.5 * LEASE_S
    while (went_on := ask(process) == "ok") and boottime() < ends:
        time.sleep(0.01)
    return went_on


@pytest.mark.parametrize(
    "seconds", [pytest.param(DAY_S, id="forwards"), pytest.param(-DAY_S, id="backwards")]
)
async def test_who_died_is_waited_for_until_its_lease_ends_however_the_distributor_s_clock_was_moved(
    stack: RunningStack, seconds: float
) -> None:
    settings = instance_settings(stack.layout, "orders", 2)
    async with intruder(stack) as people:
        key = a_key()
        await people.registered(key, dependents=("orders",))
        try:
            move(clock_of(stack), seconds)
            with a_process(settings, key) as process:
                assert await asyncio.to_thread(said, process) == "ready"
                await asyncio.to_thread(stack.until, lambda: ask(process) == "ok", what="a lease")
                process.kill()
            await people.give(people.command(Rotate, "alice", key))
            state = await people.until(key, lambda s: s.current == 2, within_s=WITHIN_S)
        finally:
            move(clock_of(stack), 0.0)
        lease = await people.last(Stream.LEASES, f"lse.{people.env}.orders.*")
    assert lease is not None
    said_at = open_lease(lease, people.trust).model.at - lease.stored_at
    assert abs(said_at.total_seconds() - seconds) < DAY_S / 2, "the clock was moved"
    activated = state.versions[2].activated
    assert activated is not None
    waited_s = (activated.stored_at - lease.stored_at).total_seconds()
    assert LEASE_S <= waited_s < LEASE_S + LEASE_MARGIN_S + SLACK_S
    assert state.voids == ()


def test_a_forked_child_may_not_use_what_its_parent_was_given(stack: RunningStack) -> None:
    with at_work(stack) as process:
        assert ask(process, "fork").startswith(f"lease-expired key {DATA}: "), "the child"
        stack.until(lambda: ask(process) == "ok", what="the parent")


async def test_each_key_of_an_instance_has_a_lease_and_only_what_is_counted_a_quota(
    stack: RunningStack,
) -> None:
    async with an_instance(stack) as keys:
        await keys.keyring(DATA)
        await keys.signer(TOKEN)
        receipt = await keys._members.first.receipts.write()  # noqa: SLF001 - no application sees an answer
        answer = await keys._members.first.requests.lease([DATA, TOKEN], receipt)  # noqa: SLF001 - as above
        assert {name: key.lease_s for name, key in answer.keys.items()} == {DATA: LEASE_S, TOKEN: LEASE_S}
        quota = answer.keys[DATA].quota
        assert quota is not None
        assert (quota.version, answer.keys[TOKEN].quota) == (keys.status()[DATA].current, None)


async def test_a_key_that_nobody_can_decide_takes_no_other_key_of_its_instance_along(
    stack: RunningStack,
) -> None:
    async with intruder(stack) as people:
        for _ in range(TRIES):  # a machine that stands still ends a lease too, and rightly
            async with an_instance(stack) as keys:
                if await goes_on_without(people, keys, a_key()):
                    return
    pytest.fail("the other one goes on past the lease that it had then")


async def goes_on_without(people: Intruder, keys: rekey.Keys, name: str) -> bool:
    """Whether each call with one key works for longer than the lease that it had when nobody could decide the other."""
    await people.registered(name, dependents=("orders",))
    box, lost = await asyncio.gather(keys.keyring(DATA), keys.keyring(name))
    await until(lambda: works(box) and works(lost), "two leases")
    await people.unheard_of(name)
    unheard = boottime()
    assert await last_use(lost) < unheard + LEASE_S, "not renewed any more"
    await last_use(box, ends := unheard + 2 * LEASE_S)
    went_on = boottime() >= ends
    ended = re.compile(rf"key {name}: the lease ran out at .*blessed")
    await until(lambda: ended.search(why_not(lambda: lost.encrypt(b"", AAD))) is not None, "the reason")
    stored = await people.last(Stream.LEASES, people.subjects.lease("orders", keys.instance))
    assert stored is not None
    lease = open_lease(stored, people.trust).model
    assert (set(lease.keys), set(lease.until)) == ({DATA, name}, {name})
    return went_on


async def test_a_version_gives_its_budget_and_not_one_message_more_then_encrypt_stops_and_the_key_rotates(
    stack: RunningStack,
) -> None:
    async with an_instance(stack) as keys, an_instance(stack, "billing") as greedy:
        box = await keys.keyring(DATA)
        await greedy.keyring(DATA)
        await until(lambda: works(box), "a quota")
        ciphertext, version = box.encrypt(b"data", AAD), keys.status()[DATA].current
        assert version is not None
        await asyncio.to_thread(stack.hold, "rotation-scheduler")
        most = await everything(greedy, version)
        assert ROTATE_AT < most < BUDGET, "others have some too"
        before = await total_of(greedy, version, most)
        assert before == await total_of(greedy, version, most), "asked again, it costs nothing"
        error = await spent(box)
        assert re.search(rf"{DATA}@{version}: all .*800-38D", str(error))
        assert f"rekey key rotate {DATA}" in (error.hint or "")
        await until(lambda: reads(box, ciphertext), "decrypt goes on")
        await asyncio.to_thread(stack.release, "rotation-scheduler")
        await until(lambda: works(box), "the next version")
        assert keys.status()[DATA].current == version + 1
    entries = (await asyncio.to_thread(stack.history, DATA)).entries
    requested = [entry for entry in entries if entry.event == "rotation-requested"][-1]
    assert (requested.version, requested.detail.split(",")[0]) == (version + 1, "reason volume")


async def total_of(keys: rekey.Keys, version: int, messages: int) -> int:
    """Ask for so many messages in all; how many there are."""
    receipt = await keys._members.first.receipts.write()  # noqa: SLF001 - no application asks for a number of messages
    wanted = {DATA: Quota(version=version, messages=messages)}
    async with keys._members.first.renewing.asking:  # noqa: SLF001 - as above
        once = partial(keys._members.first.requests.lease, [DATA], receipt, wanted)  # noqa: SLF001 - as above
        answer = await persistently(once, WITHIN_S, what=DATA)
    quota = answer.keys[DATA].quota
    assert quota is not None
    assert quota.version == version
    return quota.messages


async def everything(keys: rekey.Keys, version: int) -> int:
    """Ask for more until there is no more."""
    total, more = 0, -1
    while total != more:
        total = more
        more = await total_of(keys, version, min(BUDGET, max(total, 0) + MOST))
    return total


async def take_all(quotas: Quotas, chance: random.Random, taken: list[int]) -> None:
    """Take until there is nothing; what is not told is not used."""
    given = -1
    while given:
        with contextlib.suppress(RetryableError):
            given = await quotas.allot("orders-raced", 1, chance.randrange(1, 2 * MOST))
            taken.append(given)


async def test_replicas_that_race_and_start_again_give_a_budget_once(environment: RunningBus) -> None:
    seed = random.randrange(2**32)
    chance = random.Random(seed)
    taken: list[int] = []

    async def replica(bus: Bus, lives: int) -> None:
        for life in range(lives):  # each knows nothing of what was given before
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(None if life == lives - 1 else 0.1 * chance.random()):
                    await take_all(Quotas(bus), chance, taken)

    async with (
        environment.service_bus(Service.DISTRIBUTOR) as one,
        environment.service_bus(Service.DISTRIBUTOR) as other,
    ):
        await asyncio.gather(*(replica(bus, lives) for bus in (one, other) for lives in (1, 1, LIVES)))
        stored = await one.last(Stream.QUOTAS, one.subjects.quota("orders-raced", 1))
        assert stored is not None
        assert open_quota(stored, one.trust.current).model.allotted == BUDGET, seed
    assert sum(taken) <= BUDGET, seed
    assert BUDGET - sum(taken) <= 2 * (LIVES - 1) * MOST, "what was cut off is lost, and nothing else"


async def test_a_ledger_that_does_not_verify_gives_nothing(environment: RunningBus) -> None:
    async with environment.service_bus(Service.DISTRIBUTOR) as bus:
        ledger = QuotaLedger(env=ENV, key="orders-other", version=1, allotted=0, at=datetime.now(UTC))
        packed = bus.pack(ledger)
        subject = bus.subjects.quota("orders-forged", 1)
        for forged in (Packed(packed.headers, b"{}", packed.signed), packed):  # garbage, and another key's
            await bus.publish(Stream.QUOTAS, subject, forged)
            assert await Quotas(bus).allot("orders-forged", 1, MOST) == 0
