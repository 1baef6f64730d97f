"""The bus goes away and comes back; three nodes race: nothing is lost, nothing is decided twice."""

from __future__ import annotations

import asyncio
import json
import random
import signal
import uuid
from collections.abc import Iterator
from contextlib import AsyncExitStack, suppress
from pathlib import Path

import pytest

from rekey_core.authority import Identity, Stream
from rekey_core.contracts import Fact
from rekey_core.envelope import BusMessage
from rekey_core.errors import AlreadyDoneError, ConflictError, RetryableError, UnknownOutcomeError
from rekey_core.fold import KeyState
from rekey_core.names import Service as Name
from rekey_core.quotas import BUDGET
from rekey_core.readers import open_quota
from rekey_distributor.quotas import Quotas
from rekey_runtime.bus import Bus
from rekey_runtime.keylog import KeyLog
from rekey_runtime.service import Service
from tests.system.bus import RunningBus, running_bus, wait_until
from tests.system.certificates import ENV
from tests.system.one_service import LIMIT_S, command, consumer_info, running, settled
from tests.system.test_bus import a_key, a_register, alert_subject, an_alert, registered
from tests.system.test_leases import take_all

DRAIN_S = 2.0  # beside it a busy bus still confirms the end of a subscription in time


@pytest.fixture
def fresh(tmp_path: Path) -> Iterator[RunningBus]:
    """A bus of the test's own, to be killed."""
    with running_bus(tmp_path) as bus:
        yield bus


async def test_a_service_goes_on_after_the_server_was_killed(
    fresh: RunningBus, capsys: pytest.CaptureFixture[str]
) -> None:
    seen: set[str] = set()
    said: list[str] = []

    async def handler(message: BusMessage) -> None:
        seen.add(message.subject.split(".")[3])

    async def compose(service: Service) -> None:
        service.consume("rotation-scheduler", handler)

    async def ready_having(keys: set[str]) -> None:
        until = asyncio.get_running_loop().time() + LIMIT_S
        while not (keys <= seen and said[-1:] == ["ready"]):
            assert asyncio.get_running_loop().time() < until, (seen, said)
            await asyncio.sleep(0.05)
            said.extend(json.loads(line)["event"] for line in capsys.readouterr().out.splitlines())

    async with running(fresh, Name.ROTATION_SCHEDULER, compose):
        before, after = a_key(), a_key()
        await command(fresh, before)
        await ready_having({before})
        fresh.nodes[0].kill()
        await asyncio.sleep(1)
        fresh.nodes[0].start()
        await command(fresh, after)
        await ready_having({before, after})


async def test_a_service_ends_in_order_though_the_bus_is_silent_once_it_has_confirmed_the_end_of_a_subscription(
    fresh: RunningBus,
) -> None:
    service = Service(fresh.settings(Name.DISTRIBUTOR).model_copy(update={"drain_s": DRAIN_S}))
    server, loop, ended = fresh.nodes[0].process, asyncio.get_running_loop(), asyncio.Event()
    said: list[int] = []
    assert server is not None

    async def answer(_: str, data: bytes) -> tuple[bytes, dict[str, str]]:
        return data, {}

    async def end() -> None:
        client = service.bus.client
        unsubscribe = client._send_unsubscribe  # noqa: SLF001 - the moment that counts

        async def held(sid: int, limit: int = 0) -> None:
            if sid in said:  # it is confirmed, and said once more when what came since is in its handler
                server.send_signal(signal.SIGSTOP)
                loop.call_later(DRAIN_S + 0.5, server.send_signal, signal.SIGCONT)
            said.append(sid)
            await unsubscribe(sid, limit)

        client._send_unsubscribe = held  # type: ignore[method-assign]  # noqa: SLF001
        service.stop()

    async def last() -> None:
        ended.set()

    async def compose(composing: Service) -> None:
        composing.answer(f"req.{ENV}.>", answer)
        composing.background(end)
        composing.on_stop(last)

    assert await service.run(compose) == 0
    assert len(said) > len(set(said))
    assert ended.is_set(), "what comes after the connection"


async def test_a_durable_is_asked_for_as_many_messages_as_hands_are_free(fresh: RunningBus) -> None:
    prefix, free, full, taken = f"key-{uuid.uuid4().hex[:12]}", asyncio.Event(), asyncio.Event(), 0

    async def handler(message: BusMessage) -> None:
        nonlocal taken
        if message.subject.split(".")[3].startswith(prefix):
            taken += 1
            if taken == 3:
                full.set()
            await free.wait()

    async def compose(service: Service) -> None:
        service.consume("rotation-scheduler", handler, concurrency=3)

    async with running(fresh, Name.ROTATION_SCHEDULER, compose), fresh.client(Identity.PROVISIONER) as client:
        await settled(fresh, "rotation-scheduler")
        async with asyncio.timeout(LIMIT_S):  # one question, and between two of them none
            while (await consumer_info(client, "rotation-scheduler"))["num_waiting"] != 1:  # noqa: ASYNC110 - the bus tells nobody
                await asyncio.sleep(0.05)
        for number in range(5):
            await command(fresh, f"{prefix}-{number}")
        await asyncio.wait_for(full.wait(), LIMIT_S)
        info = await consumer_info(client, "rotation-scheduler")
        found = info["num_ack_pending"], info["num_pending"], info["num_waiting"]
        assert found == (3, 2, 0), (
            "what no hand is free for stays with the bus, where another replica gets it"
        )
        free.set()
        await settled(fresh, "rotation-scheduler")
    assert taken == 5


async def test_a_write_without_an_answer_has_an_unknown_outcome(fresh: RunningBus) -> None:
    async with fresh.service_bus(Name.ROTATION_SCHEDULER) as bus:
        bus.settings = bus.settings.model_copy(update={"request_timeout_s": 0.5})
        fresh.nodes[0].kill()
        with pytest.raises(UnknownOutcomeError):
            await bus.publish(Stream.REPORTS, alert_subject(bus, "a1"), an_alert(bus))
        with pytest.raises(RetryableError):
            await bus.read_many(Stream.LIFECYCLE, [bus.subjects.check("k")])
        fresh.nodes[0].start()
        await asyncio.to_thread(wait_until, lambda: bus.client.is_connected, "the connection again")


async def test_a_message_whose_service_died_comes_to_the_next_one(fresh: RunningBus) -> None:
    await command(fresh, a_key())
    async with fresh.client(Identity.ROTATION_SCHEDULER) as client:
        inbox = client.new_inbox()
        answers = await client.subscribe(inbox)
        await client.publish(
            "JSC.API.CONSUMER.MSG.NEXT.COMMANDS.rotation-scheduler", b'{"batch": 1}', reply=inbox
        )
        await answers.next_msg(LIMIT_S)  # taken, never acknowledged
    seen = asyncio.Event()

    async def handler(_: BusMessage) -> None:
        seen.set()

    async def compose(service: Service) -> None:
        service.consume("rotation-scheduler", handler)

    async with running(fresh, Name.ROTATION_SCHEDULER, compose):
        await asyncio.wait_for(seen.wait(), LIMIT_S)


@pytest.mark.slow
async def test_on_three_nodes_one_of_many_decides_and_no_confirmed_read_is_stale(cluster: RunningBus) -> None:
    async with AsyncExitStack() as stack:
        buses = []
        for node in range(3):
            bus = await stack.enter_async_context(cluster.service_bus(Name.ROTATION_SCHEDULER, node=node))
            buses.append(bus)
        for _ in range(10):
            key = a_key()
            outcomes = await asyncio.gather(*(compete(cluster, buses[n % 3], key) for n in range(9)))
            assert sorted(outcomes) == ["first"] + ["late"] * 8
            folds = await asyncio.gather(*(KeyLog(bus).confirmed(key) for bus in buses))
            assert {fold.is_registered for fold in folds} == {True}


async def compete(environment: RunningBus, bus: Bus, key: str) -> str:
    """Register the key if nobody did; whether we were first."""
    registration, signed = a_register(environment, key)

    def decide(state: KeyState) -> Fact | None:
        if state.is_registered:
            raise AlreadyDoneError("somebody else did")
        return registered(state, registration, signed)

    try:
        await KeyLog(bus).decide(key, decide)
    except AlreadyDoneError:
        return "late"
    return "first"


@pytest.mark.slow
async def test_on_three_nodes_replicas_of_the_distributor_give_a_budget_once(cluster: RunningBus) -> None:
    taken: list[int] = []
    chance = random.Random(uuid.uuid4().int)
    async with (
        cluster.service_bus(Name.DISTRIBUTOR, node=0) as one,
        cluster.service_bus(Name.DISTRIBUTOR, node=1) as other,
    ):
        await asyncio.gather(*(take_all(Quotas(bus), chance, taken) for bus in (one, other, one, other)))
        stored = await one.last(Stream.QUOTAS, one.subjects.quota("orders-raced", 1))
        assert stored is not None
        assert open_quota(stored, one.trust.current).model.allotted == BUDGET
    assert sum(taken) <= BUDGET


@pytest.mark.slow
async def test_on_three_nodes_one_may_be_killed(cluster: RunningBus) -> None:
    async with cluster.service_bus(Name.ROTATION_SCHEDULER) as bus:
        cluster.nodes[2].kill()
        until = asyncio.get_running_loop().time() + LIMIT_S
        number = f"after-{uuid.uuid4().hex[:8]}"
        while True:
            try:
                await bus.publish(
                    Stream.REPORTS, f"rpt.{ENV}.rotation-scheduler.alert.{number}", an_alert(bus)
                )
                break
            except ConflictError:  # an earlier try, of which we had no answer, was stored
                break
            except RetryableError:  # no answer, or no leader
                assert asyncio.get_running_loop().time() < until
        cluster.nodes[2].start()
    await answers(cluster, node=2)  # the next test may begin with it


async def answers(cluster: RunningBus, *, node: int) -> None:
    """Wait until a node that was started again reaches the leaders."""
    end = asyncio.get_running_loop().time() + 30
    while asyncio.get_running_loop().time() < end:
        with suppress(RetryableError):
            async with cluster.service_bus(Name.ROTATION_SCHEDULER, node=node) as bus:
                await bus.last(Stream.LIFECYCLE, bus.subjects.check("any"))
                return
    raise AssertionError(f"node {node} does not reach the leaders")
