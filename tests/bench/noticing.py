"""Whether telling 50 dependents of one rotation costs the same with the notices of a thousand other keys beside it.

Before that the distributor writes every one of those notices, in turns with ready bytes of the same size on the same bus.
"""

from __future__ import annotations

import asyncio
import contextlib
import statistics
import time
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from nats.aio.client import Client

from rekey_core.authority import Identity
from rekey_core.names import Service
from rekey_distributor.emergencies import Emergencies
from rekey_distributor.handlers import Distributor
from rekey_distributor.records import Records
from rekey_hsm import DistributorHsm
from rekey_runtime.keylog import KeyLog
from tests.bench.figures import Outcome, Pair, Scale, interleaved_async
from tests.bench.log import Log
from tests.bench.system import filling, found_tokens
from tests.bench.telling import dependents_of, raw_notices, told
from tests.system.bus import RunningBus, running_bus

TURNS: Final = 5  # parts in which all notices are written
RAW_KEYS: Final = 20  # keys whose notices are written as ready bytes in each turn
ROTATIONS: Final = 5  # in each half of a pair


@dataclass
class System:
    """A bus with a distributor, and the writer of its log."""

    distributor: Distributor
    log: Log
    client: Client
    keys: Sequence[str]


def many_notices(place: Path, scale: Scale) -> Outcome:
    """Milliseconds until 50 dependents are told of one version, beside the notices of a thousand keys for each of them."""
    names = dependents_of(scale)
    tokens = found_tokens(place)
    for which in ("small", "big"):
        (place / which).mkdir()
    with (
        running_bus(place / "small", dependents=names) as small,
        running_bus(place / "big", dependents=names) as big,
    ):

        async def measured() -> Outcome:
            hsm = await DistributorHsm.open(tokens.distributor)
            try:
                async with (
                    _system(small, hsm, scale.pairs * ROTATIONS) as there,
                    _system(big, hsm, scale.told_keys) as here,
                ):
                    return await _measured(here, there, names, scale)
            finally:
                await hsm.close()

        return asyncio.run(measured())


@contextlib.asynccontextmanager
async def _system(bus: RunningBus, hsm: DistributorHsm, keys: int) -> AsyncIterator[System]:
    names = [f"key-{number}" for number in range(keys)]
    async with filling(bus) as log, bus.service_bus(Service.DISTRIBUTOR) as connection:
        client = await bus.connect(Identity.DISTRIBUTOR)
        distributor = Distributor(
            connection, KeyLog(connection), hsm, Records(connection, hsm), Emergencies()
        )
        try:
            yield System(distributor, log, client, names)
        finally:
            await client.close()


async def _measured(here: System, there: System, names: Sequence[str], scale: Scale) -> Outcome:
    for system in (here, there):
        for key in system.keys:
            await system.log.register(key, names)
        await system.log.version(*system.keys)
        await system.log.flush()
    all_told = await _all_told(here, names)
    await told(there.distributor, there.keys, len(names))
    pairs = await interleaved_async(
        scale.pairs, lambda n: _rotated(here, n, len(names)), lambda n: _rotated(there, n, len(names))
    )
    notices = len(here.keys) * len(names)
    took = sum(part.seconds for part in all_told)
    ratio = statistics.median(part.pair.ratio for part in all_told)
    more = {
        "all notices before it, s": took,
        "of them, 1/s": notices / took,
        "ready bytes on the same bus, 1/s": statistics.median(part.pair.raw for part in all_told),
        "ratio of the two": ratio,
    }
    return Outcome(pairs, "ms", f"{len(names)} dependents, p50 of {ROTATIONS}; {notices} notices there", more)


@dataclass(frozen=True)
class _Part:
    pair: Pair
    seconds: float


async def _all_told(system: System, names: Sequence[str]) -> list[_Part]:
    each = -(-len(system.keys) // TURNS)
    parts = []
    for number in range(0, len(system.keys), each):
        keys = system.keys[number : number + each]
        rate = await told(system.distributor, keys, len(names))
        raw = await raw_notices(system.client, number, min(RAW_KEYS, each), names)
        parts.append(_Part(Pair(rate, raw), len(keys) * len(names) / rate))
    return parts


async def _rotated(system: System, pair: int, dependents: int) -> float:
    """The next version of some keys, one after the other; milliseconds from the fact to the last of its notices."""
    keys = [system.keys[(pair * ROTATIONS + number) % len(system.keys)] for number in range(ROTATIONS)]
    await system.log.begin()
    await system.log.version(*keys)
    await system.log.flush()
    took = []
    for key in keys:
        began = time.perf_counter()
        await told(system.distributor, [key], dependents)
        took.append(time.perf_counter() - began)
    return statistics.median(took) * 1000
