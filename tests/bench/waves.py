"""Facts of many keys appended in waves, each signed and checked, against atomic batches of ready messages."""

from __future__ import annotations

import asyncio
import time
import uuid
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from nats.aio.client import Client

from rekey_core.authority import Identity, Stream
from rekey_core.contracts import Deactivated, event_id
from rekey_core.names import Service
from rekey_core.policy import POLICY_DIGEST
from rekey_runtime.bus import Bus
from rekey_runtime.waves import BatchItem
from tests.bench.figures import Outcome, Scale, interleaved_async
from tests.bench.log import Message, store
from tests.system.bus import RunningBus, running_bus
from tests.system.certificates import ENV

WAVE: Final = 256  # keys


def append(place: Path, scale: Scale) -> Outcome:
    """Facts per second: decided, signed and stored with a check each; the raw half's were signed before."""
    with running_bus(place) as bus:
        return asyncio.run(_append(bus, scale))


async def _append(bus: RunningBus, scale: Scale) -> Outcome:
    async with bus.service_bus(Service.ROTATION_SCHEDULER) as connection:
        client = await bus.connect(Identity.ROTATION_SCHEDULER)
        try:
            pairs = await interleaved_async(
                scale.pairs,
                lambda _: _ours(connection, scale.waves),
                lambda _: _raw(connection, client, scale.waves),
            )
        finally:
            await client.close()
    return Outcome(pairs, "1/s", f"{scale.waves} waves of {WAVE} facts")


async def _ours(bus: Bus, waves: int) -> float:
    keys, at = _keys(), [0] * WAVE
    began = time.perf_counter()
    for _ in range(waves):
        last = await bus.publish_batch(
            Stream.LIFECYCLE, [_item(bus, k, n) for k, n in zip(keys, at, strict=True)]
        )
        at = list(range(last - WAVE + 1, last + 1))
    return waves * WAVE / (time.perf_counter() - began)


async def _raw(bus: Bus, client: Client, waves: int) -> float:
    keys = _keys()
    wave, took = [_ready(_item(bus, key, 0)) for key in keys], 0.0
    for _ in range(waves):
        began = time.perf_counter()
        last = await store(client, wave)
        took += time.perf_counter() - began
        at = range(last - WAVE + 1, last + 1)
        wave = [_ready(_item(bus, key, number)) for key, number in zip(keys, at, strict=True)]
    return waves * WAVE / took


def _keys() -> Sequence[str]:
    run = uuid.uuid4().hex[:12]
    return [f"wave-{run}-{number}" for number in range(WAVE)]


def _item(bus: Bus, key: str, checked: int) -> BatchItem:
    fact = Deactivated(
        id=event_id(str(checked), Deactivated.TYPE, ENV, key, 1),
        env=ENV,
        key=key,
        version=1,
        author=Service.ROTATION_SCHEDULER,
        checked=checked,
        cause=str(checked),
        policy=POLICY_DIGEST,
        at=datetime.now(UTC),
        proved=(),
    )
    subject = bus.subjects.fact(key, 1, fact.author, fact.EVENT, fact.id.hex)
    return BatchItem(subject, bus.pack(fact), checked, bus.subjects.check(key))


def _ready(item: BatchItem) -> Message:
    conditions = {
        "Nats-Expected-Stream": Stream.LIFECYCLE.value,
        "Nats-Expected-Last-Subject-Sequence": str(item.expected_last),
        "Nats-Expected-Last-Subject-Sequence-Subject": str(item.check_subject),
    }
    return item.subject, item.packed.headers | conditions, item.packed.data
