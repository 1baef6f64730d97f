"""Creating one key version after the other, and many at once in worker processes, against the HSM and the bus alone."""

from __future__ import annotations

import asyncio
import statistics
import time
import uuid
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from nats.aio.client import Client

from rekey_core.authority import Identity, Stream, Subjects
from rekey_core.envelope import BusMessage
from rekey_core.names import Service
from rekey_generator.app import AT_ONCE
from rekey_generator.handlers import Generator
from rekey_hsm import GeneratorHsm
from rekey_hsm.thread import on_hsm_thread
from rekey_runtime import wire
from rekey_runtime.bus import Bus
from rekey_runtime.keylog import KeyLog
from tests.bench.figures import Outcome, Pair, Scale, interleaved_async
from tests.bench.log import store
from tests.bench.system import EPOCH, RawHsm, Tokens, filling, found_tokens
from tests.bench.workers import Workers
from tests.system.bus import RunningBus, running_bus
from tests.system.certificates import ENV

PROCESSES: Final = 2
PEER_PER_S: Final = 120.0  # keys that a single-threaded peer makes in a second: the figure
RAW_WAVE: Final = 256  # versions whose messages go to the bus together
RECORD_BYTES: Final = 750  # a record in MATERIAL and a generated fact, as they are
FACT_BYTES: Final = 750
TIMEOUT_S: Final = 10.0
LAST: Final = "Nats-Expected-Last-Subject-Sequence"
HEADERS: Final = {"ce-dssesignature": "x" * 86, "ce-dssekeyid": "x" * 32, "ce-type": "x" * 24}


def create(place: Path, scale: Scale) -> Outcome:
    """Milliseconds until a requested version stands in the log, p50, against the sum of its raw steps, p50."""
    tokens = found_tokens(place)
    with running_bus(place, dependents=("orders",)) as bus:
        return asyncio.run(_create(bus, tokens, scale))


def create_rate(place: Path, scale: Scale) -> Outcome:
    """Versions per second that generator processes make, one for each processor, against the peer's 120."""
    return _at_once(place, scale, workers=PROCESSES, peer=True)


def mass_rekey(place: Path, scale: Scale) -> Outcome:
    """Versions per second that generator processes make, against generate and wrap alone in as many."""
    return _at_once(place, scale, workers=PROCESSES, peer=False)


async def _create(bus: RunningBus, tokens: Tokens, scale: Scale) -> Outcome:
    names = [f"key-{number}" for number in range(scale.pairs * scale.creations)]
    await requested(bus, names)
    async with bus.service_bus(Service.GENERATOR) as connection:
        client = await bus.connect(Identity.GENERATOR)
        hsm = await GeneratorHsm.open(tokens.generator)
        raw = await on_hsm_thread(lambda: RawHsm(tokens.generator))
        try:
            generator = Generator(connection, KeyLog(connection), hsm, EPOCH)
            requests = await read_requests(connection, names)
            each = scale.creations
            pairs = await interleaved_async(
                scale.pairs,
                lambda pair: _ours(generator, requests[pair * each : (pair + 1) * each]),
                lambda _: _raw(client, raw, each),
            )
        finally:
            await on_hsm_thread(raw.close)
            await hsm.close()
            await client.close()
    return Outcome(pairs, "ms", f"{scale.creations} versions one after the other, p50")


async def _ours(generator: Generator, requests: Sequence[BusMessage]) -> float:
    took = []
    for request in requests:
        began = time.perf_counter()
        await generator.on_rotation_requested(request)
        took.append(time.perf_counter() - began)
    return statistics.median(took) * 1000


async def _raw(client: Client, hsm: RawHsm, count: int) -> float:
    """Generate, wrap twice, MAC; store record and backup; append two facts with their check. Each as bare as it can be."""
    took = []
    for _ in range(count):
        began = time.perf_counter()
        await on_hsm_thread(lambda: (hsm.generate_and_wrap(), hsm.mac()))
        await raw_store_and_append(client)
        took.append(time.perf_counter() - began)
    return statistics.median(took) * 1000


async def raw_store_and_append(client: Client) -> None:
    """What a version costs on the bus at least."""
    key, subjects = f"raw-{uuid.uuid4().hex[:16]}", Subjects(ENV)
    once = {LAST: "0"} | HEADERS
    batch = once | {"Nats-Batch-Id": uuid.uuid4().hex}
    first, commit = {"Nats-Batch-Sequence": "1"}, {"Nats-Batch-Sequence": "2", "Nats-Batch-Commit": "1"}
    await client.request(
        subjects.material(key, 1), bytes(RECORD_BYTES), timeout=TIMEOUT_S, headers=batch | first
    )
    answer = await client.request(
        subjects.backup(key, 1), bytes(RECORD_BYTES), timeout=TIMEOUT_S, headers=batch | commit
    )
    wire.acknowledged(answer.data, where=key)
    last = 0
    for event in ("generated", "backed-up"):
        fact = subjects.fact(key, 1, "generator", event, uuid.uuid4().hex)
        checked = HEADERS | {LAST: str(last), f"{LAST}-Subject": subjects.check(key)}
        answer = await client.request(fact, bytes(FACT_BYTES), timeout=TIMEOUT_S, headers=checked)
        last = wire.acknowledged(answer.data, where=fact)


def _at_once(place: Path, scale: Scale, *, workers: int, peer: bool) -> Outcome:
    tokens = found_tokens(place)
    each = scale.keys // scale.pairs // workers
    names = [f"key-{number}" for number in range(scale.pairs * workers * each)]
    with running_bus(place, dependents=("orders",)) as bus:
        asyncio.run(requested(bus, names, versions=2))
        with Workers(bus, tokens, workers, AT_ONCE) as makers:
            pairs, bus_alone = [], []
            for number in range(scale.pairs):
                turn = names[number * workers * each : (number + 1) * workers * each]
                raw = PEER_PER_S if peer else makers.raw(each)
                pairs.append(Pair(makers.ours([turn[at::workers] for at in range(workers)]), raw))
                bus_alone.append(makers.bus(each))
            processor = makers.processor_ms()
    what = f"{scale.pairs} x {workers * each} keys get version 2, {AT_ONCE} at once in {workers} process(es)"
    more = {
        "the same messages on the bus alone, 1/s": statistics.median(bus_alone),
        "processor time of a generator, ms a version": processor,
    }
    return Outcome(tuple(pairs), "1/s", what, more)


async def raw_versions(client: Client, count: int) -> float:
    """Seconds to store so many versions' records, backups and facts in waves, as bare as it can be."""
    began = time.perf_counter()
    for start in range(0, count, RAW_WAVE):
        await _raw_wave(client, min(RAW_WAVE, count - start))
    return time.perf_counter() - began


async def _raw_wave(client: Client, count: int) -> None:
    run, subjects = uuid.uuid4().hex[:12], Subjects(ENV)
    keys = [f"raw-{run}-{number}" for number in range(count)]
    once, body = {LAST: "0"} | HEADERS, bytes(RECORD_BYTES)
    places = [place(key, 1) for key in keys for place in (subjects.material, subjects.backup)]
    await store(client, [(place, once, body) for place in places])
    before = [0] * count
    for event in ("generated", "backed-up"):
        facts = [subjects.fact(key, 1, "generator", event, uuid.uuid4().hex) for key in keys]
        checks = [
            HEADERS | {LAST: str(last), f"{LAST}-Subject": subjects.check(key)}
            for key, last in zip(keys, before, strict=True)
        ]
        last = await store(
            client, [(fact, check, bytes(FACT_BYTES)) for fact, check in zip(facts, checks, strict=True)]
        )
        before = list(range(last - count + 1, last + 1))


async def requested(bus: RunningBus, names: Sequence[str], versions: int = 1) -> None:
    """Keys whose newest version is asked for, and not made yet."""
    async with filling(bus) as log:
        for name in names:
            await log.register(name, ("orders",))
        for _ in range(versions - 1):
            await log.version(*names)
        for name in names:
            await log.request(name)


async def read_requests(bus: Bus, names: Sequence[str], version: int = 1) -> list[BusMessage]:
    """The requests as the consumer would hand them over."""
    wanted = f"evt.{ENV}.*.{version}.rotation-scheduler.rotation-requested.*"
    found = {
        message.subject.split(".")[2]: message async for message in bus.read_all(Stream.LIFECYCLE, wanted)
    }
    return [found[name] for name in names]
