"""Whether a decision costs the same in a system that has grown: a decision in it, right beside one in an empty system.

A decision is what every service does with a key: read its facts, fold, append the next one with that sequence.
"""

from __future__ import annotations

import asyncio
import contextlib
import statistics
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from rekey_core.authority import Stream
from rekey_core.contracts import Fact, Granted, event_id
from rekey_core.errors import ConflictError
from rekey_core.fold import KeyState
from rekey_core.names import Service
from rekey_core.policy import POLICY_DIGEST
from rekey_runtime import wire
from rekey_runtime.bus import Bus
from rekey_runtime.keylog import KeyLog
from tests.bench.figures import Outcome, Pair, Scale, interleaved_async
from tests.bench.system import filling
from tests.system.bus import RunningBus, running_bus
from tests.system.certificates import ENV

DEPENDENTS: Final = ("orders", "billing")
BIG: Final = "big"
TIMEOUT_S: Final = 10.0


@dataclass
class System:
    """One environment and the keys that are decided on in it."""

    bus: Bus
    keylog: KeyLog
    names: list[str]
    turn: int = 0

    def next_name(self) -> str:
        """A key that has not been decided on."""
        self.turn += 1
        return self.names[self.turn - 1]


def many_facts(place: Path, scale: Scale) -> Outcome:
    """Milliseconds of a decision with a million facts of other keys in the stream; keys are read and folded from nothing."""
    empty, full = place / "empty", place / "full"
    empty.mkdir()
    full.mkdir()
    with running_bus(empty) as small, running_bus(full) as big:
        return asyncio.run(_many_facts(small, big, scale))


async def _many_facts(small: RunningBus, big: RunningBus, scale: Scale) -> Outcome:
    names = [f"key-{number}" for number in range(scale.pairs * scale.decisions)]
    for bus, before in ((small, 0), (big, scale.facts)):
        async with filling(bus) as log:
            for name in names:
                await log.register(name, DEPENDENTS)
            await log.others(before)
            await log.version(*names)
    async with (
        small.service_bus(Service.ROTATION_SCHEDULER) as one,
        big.service_bus(Service.ROTATION_SCHEDULER) as other,
    ):
        there, here = System(one, KeyLog(one), names), System(other, KeyLog(other), names)
        pairs = await _decided(here.next_name, here, there.next_name, there, scale)
    return Outcome(
        pairs, "ms", f"{scale.decisions} decisions, p50; {scale.facts} facts of other keys in between"
    )


def many_versions(place: Path, scale: Scale) -> Outcome:
    """Milliseconds of a decision on a key with thousands of versions, that the process has decided on before."""
    with running_bus(place) as bus:
        return asyncio.run(_many_versions(bus, scale))


async def _many_versions(bus: RunningBus, scale: Scale) -> Outcome:
    names = [f"key-{number}" for number in range(scale.pairs)]
    bigs = [BIG]
    async with filling(bus) as log:
        for name in (*names, *bigs):
            await log.register(name, DEPENDENTS)
        await log.version(*names)
        for _ in range(scale.versions):
            await log.version(BIG)
    async with bus.service_bus(Service.ROTATION_SCHEDULER) as connection:
        keylog = KeyLog(connection)
        began = time.perf_counter()
        state = await keylog.state(BIG)
        first_s = time.perf_counter() - began
        if len(state.versions) != scale.versions or state.voids:
            raise AssertionError(f"expected {scale.versions} versions, found {len(state.versions)}")
        await keylog.state(names[0])
        system = System(connection, keylog, names)
        checks: dict[str, list[float]] = {BIG: [], names[0]: []}

        async def p50(key: str) -> float:
            decided = statistics.median([await _decision(system, key) for _ in range(scale.decisions)])
            checks[key] += [await _refused(connection, key) for _ in range(scale.decisions)]
            return decided * 1000

        pairs = await interleaved_async(scale.pairs, lambda _: p50(BIG), lambda _: p50(names[0]))
    what = f"{scale.decisions} decisions, p50; {scale.versions} versions against 1"
    there, here = (statistics.median(checks[key]) * 1000 for key in (BIG, names[0]))
    more = {
        "the server's check alone there, ms": there,
        "and here, ms": here,
        "first read and fold, s": first_s,
    }
    return Outcome(pairs, "ms", what, more)


async def _refused(bus: Bus, key: str) -> float:
    """Seconds of an append that the server refuses: it looks for the key's last fact and stores nothing."""
    subject = bus.subjects.fact(key, 0, Service.ROTATION_SCHEDULER, Granted.EVENT, uuid.uuid4().hex)
    headers = wire.conditions(Stream.LIFECYCLE, 1, bus.subjects.check(key))
    began = time.perf_counter()
    answer = await bus.client.request(subject, b"", timeout=TIMEOUT_S, headers=headers)
    took = time.perf_counter() - began
    with contextlib.suppress(ConflictError):
        wire.acknowledged(answer.data, where=subject)
        raise AssertionError(f"{subject} was stored, expected a refusal")
    return took


async def _decided(
    ours: Callable[[], str], here: System, raw: Callable[[], str], there: System, scale: Scale
) -> tuple[Pair, ...]:
    async def p50(system: System, name: Callable[[], str]) -> float:
        return statistics.median([await _decision(system, name()) for _ in range(scale.decisions)]) * 1000

    return await interleaved_async(scale.pairs, lambda _: p50(here, ours), lambda _: p50(there, raw))


async def _decision(system: System, key: str) -> float:
    """Seconds of one: the same grant once more, which is legal and changes nothing."""
    began = time.perf_counter()
    await system.keylog.decide(key, _grant)
    return time.perf_counter() - began


def _grant(state: KeyState) -> Fact:
    if state.registered is None or state.voids:
        raise AssertionError(f"{state.key} is not as it was filled: {state.voids[:1]}")
    command = state.registered.model.command
    cause = state.registered.model.cause
    return Granted(
        id=event_id(cause, Granted.TYPE, ENV, state.key, 0, state.last_sequence),
        env=ENV,
        key=state.key,
        version=0,
        author=Service.ROTATION_SCHEDULER,
        checked=state.last_sequence,
        cause=cause,
        policy=POLICY_DIGEST,
        at=datetime.now(UTC),
        dependent=DEPENDENTS[0],
        command=command,
    )
