"""Whether a decision about two instances cares how many others there are: leases, receipts, deliveries, read anew."""

from __future__ import annotations

import asyncio
import statistics
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from rekey_core.authority import Identity, Stream
from rekey_core.contracts import KeyReceipt, Lease, LeasedKey, Receipt
from rekey_core.envelope import pack
from rekey_core.names import Service
from rekey_core.readers import endorse
from rekey_core.signing import SigningKey
from rekey_rotation_scheduler.proofs import adopted
from rekey_runtime import wire
from rekey_runtime.bus import Bus
from rekey_runtime.keylog import KeyLog
from tests.bench.figures import Outcome, Scale, interleaved_async
from tests.bench.system import filling
from tests.system.bus import RunningBus, running_bus
from tests.system.certificates import ENV

KEY: Final = "key"
EVERYBODYS: Final = "everybodys"
LEASE_S: Final = 3600


def many_instances(place: Path, scale: Scale) -> Outcome:
    """Milliseconds to find out who has proved what of a version, with 500 instances of 50 dependents in the system."""
    names = [f"dependent-{number}" for number in range(scale.dependents)]
    empty, full = place / "empty", place / "full"
    empty.mkdir()
    full.mkdir()
    with running_bus(empty, dependents=names) as small, running_bus(full, dependents=names) as big:
        return asyncio.run(_many_instances(small, big, names, scale))


async def _many_instances(small: RunningBus, big: RunningBus, names: Sequence[str], scale: Scale) -> Outcome:
    each = scale.instances // len(names)
    for bus, populated in ((small, names[:2]), (big, names)):
        async with filling(bus) as log:
            await log.register(KEY, names[:2])
            await log.register(EVERYBODYS, names)
            await log.version(KEY, EVERYBODYS)
        await _populate(bus, populated, each)
    async with (
        small.service_bus(Service.ROTATION_SCHEDULER) as one,
        big.service_bus(Service.ROTATION_SCHEDULER) as other,
    ):
        pairs = await interleaved_async(
            scale.pairs,
            lambda _: _p50_ms(other, KEY, scale.decisions),
            lambda _: _p50_ms(one, KEY, scale.decisions),
        )
        everybody = await _p50_ms(other, EVERYBODYS, 3)
    what = f"{scale.decisions} decisions about 2 dependents x {each} instances, p50; {scale.instances} instances in all"
    return Outcome(pairs, "ms", what, {f"of a key of all {len(names)} dependents, ms": everybody})


async def _p50_ms(bus: Bus, key: str, count: int) -> float:
    state = await KeyLog(bus).state(key)
    took = []
    for _ in range(count):
        began = time.perf_counter()
        await adopted(bus, state, 1)
        took.append(time.perf_counter() - began)
    return statistics.median(took) * 1000


async def _populate(bus: RunningBus, names: Sequence[str], each: int) -> None:
    """A lease and a receipt for every instance: written by those who may."""
    distributor = bus.services[Service.DISTRIBUTOR]
    async with bus.service_bus(Service.DISTRIBUTOR) as connection:
        for name in names:
            client = await bus.connect(Identity.APPLICATION, name)
            for _ in range(each):
                lease, receipt, key = _instance(bus, name)
                where = connection.subjects.lease(name, lease.instance)
                packed = pack(lease, distributor, source=connection.source)
                await connection.replace(Stream.LEASES, where, packed, 0)
                said = pack(receipt, key, source=f"/rekey/{ENV}/{name}")
                where = connection.subjects.receipt(name, lease.instance)
                answer = await client.request(where, said.data, timeout=5, headers=said.headers)
                wire.acknowledged(answer.data, where=where)
            await client.close()


def _instance(bus: RunningBus, dependent: str) -> tuple[Lease, Receipt, SigningKey]:
    key, now = SigningKey.generate(), datetime.now(UTC)
    endorsement = endorse(dependent, ENV, key.public_raw, bus.dependents[dependent])
    leased = LeasedKey(versions=(1,), as_of=1, lease_s=LEASE_S)
    said = KeyReceipt(proofs={}, protects=1, stopped=(), refused=(), destroyed=(), as_of=1)
    keys = (KEY, EVERYBODYS)
    lease = Lease(
        env=ENV,
        dependent=dependent,
        instance=key.key_id,
        endorsement=endorsement,
        nonce="0" * 32,
        at=now,
        keys=dict.fromkeys(keys, leased),
    )
    receipt = Receipt(
        env=ENV,
        dependent=dependent,
        instance=key.key_id,
        endorsement=endorsement,
        n=1,
        at=now,
        keys=dict.fromkeys(keys, said),
    )
    return lease, receipt, key
