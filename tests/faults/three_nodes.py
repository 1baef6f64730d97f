"""The services' own code on three nodes, each writer and reader connected to a node of its own.

One node hides every race (DESIGN §9): only with replicas is there a time in which a message is accepted and not applied yet,
and a replica that answers a read before it has what another one has acknowledged.
"""

from __future__ import annotations

import asyncio
import random
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Final, TypeVar

from rekey_core.authority import Stream
from rekey_core.commands import read_command, sign_command
from rekey_core.contracts import (
    Command,
    Delivered,
    Delivery,
    Fact,
    Generated,
    Register,
    SignedCommand,
    Suspend,
)
from rekey_core.errors import ConflictError, StaleReadError
from rekey_core.fold import KeyState
from rekey_core.names import Service
from rekey_core.next_fact import next_fact
from rekey_distributor.deliveries import Deliveries
from rekey_revocation.stopping import stop_fact
from rekey_rotation_scheduler.planner import registration
from rekey_runtime.bus import Bus
from rekey_runtime.keylog import KeyLog
from tests.system.bus import RunningBus
from tests.system.certificates import ENV

DEPENDENTS: Final = ("billing", "orders")
RACERS: Final = 4  # deliveries that run against one revocation
SPREAD_S: Final = (
    0.012  # within which the racers and the revocation start: about two appends with three replicas
)
C = TypeVar("C", bound=Command)

AGAIN: Final = 20  # as often as a message would come back to a reader whose replica is behind


@dataclass
class Tally:
    """What became of the racers of all rounds."""

    before: int = 0
    refused: int = 0
    behind: int = 0


@dataclass
class Reads:
    """What became of the outcomes without a fact, and of plain reads in their place."""

    outcomes: int = 0
    stale: int = 0
    plain: int = 0
    plain_stale: int = 0


@dataclass
class Cluster:
    """Scheduler, generator, distributor and revocation, logged in to different nodes."""

    bus: RunningBus
    scheduler: Bus
    generator: Bus
    distributor: Bus
    revocation: Bus
    dice: random.Random
    readers: list[tuple[Bus, KeyLog]] = field(default_factory=list)

    def command(self, kind: type[Command], author: str, key: str, **said: object) -> SignedCommand:
        """A person's command, signed with the person's key."""
        now = datetime.now(UTC)
        common = {"env": ENV, "key": key, "author": author, "nonce": uuid.uuid4().hex, "author_seq": 1}
        times = {"issued_at": now, "expires_at": now + timedelta(minutes=5), "reason": "a race"}
        return sign_command(kind.model_validate(common | times | said), self.bus.people[author])

    async def registered(self, key: str, each: Callable[[int], Awaitable[None]] | None = None) -> KeyState:
        """Register a key as the scheduler does, up to the request for version 1; ``each`` is told each sequence."""
        signed = self.command(
            Register,
            "alice",
            key,
            key_class="application-data",
            purpose="rows",
            dependents=DEPENDENTS,
        )
        command, trust = _parsed(signed, Register), self.scheduler.trust.current
        keylog = KeyLog(self.scheduler)
        state = await keylog.confirmed(key)
        while fact := registration(state, command, signed, trust, datetime.now(UTC)):
            sequence = await append(self.scheduler, fact)
            if each is not None:
                await each(sequence)
            state = await keylog.confirmed(key)
        return state

    async def generated(self, key: str) -> KeyState:
        """A key with version 1 in pre-activation, as the distributor sees it."""
        state = await self.registered(key)
        await append(self.generator, _generated(state))
        return await KeyLog(self.distributor).confirmed(key)

    async def race(self, tally: Tally, *, check_subject: str | None = None) -> None:
        """One round: deliveries of version 1 by the distributor's code against its suspension by revocation's code.

        ``check_subject``: for the control, another subject that means the same; with {key}.
        """
        key = f"key-{uuid.uuid4().hex[:12]}"
        state = await self.generated(key)
        check = check_subject.format(key=key) if check_subject else None
        work = [self._late(self._deliver(state, check)) for _ in range(RACERS)]
        stored = await asyncio.gather(self._late(self._suspend(key)), *work)
        tally.refused += stored.count(False)
        await self._count(key, tally)

    async def _deliver(self, state: KeyState, check_subject: str | None) -> bool:
        delivery = Delivery(
            delivery=uuid.uuid4().hex,
            dependent="orders",
            instance=uuid.uuid4().hex,
            installed="a" * 64,
            switched="b" * 64,
        )
        try:
            if check_subject is None:
                await Deliveries(self.distributor).record(state, 1, delivery)
            else:
                await self._deliver_checking(state, check_subject, delivery)
        except ConflictError:
            return False
        return True

    async def _deliver_checking(self, state: KeyState, check_subject: str, delivery: Delivery) -> None:
        batch = Delivered(
            id=uuid.uuid4(),
            env=ENV,
            key=state.key,
            version=1,
            checked=state.last_sequence,
            at=datetime.now(UTC),
            deliveries=(delivery,),
        )
        await self.distributor.publish(
            Stream.LIFECYCLE,
            self.distributor.subjects.delivered(state.key, 1, batch.id.hex),
            self.distributor.pack(batch),
            expected_last=state.last_sequence,
            check_subject=check_subject,
        )

    async def _suspend(self, key: str) -> bool:
        signed = self.command(Suspend, "rita", key, version=1)
        command = _parsed(signed, Suspend)
        await KeyLog(self.revocation).decide(
            key, lambda state: stop_fact(state, command, signed, datetime.now(UTC))
        )
        return True

    async def _late(self, work: Awaitable[bool]) -> bool:
        await asyncio.sleep(self.dice.uniform(0, SPREAD_S))
        return await work

    async def _count(self, key: str, tally: Tally) -> None:
        suspended = await self.revocation.last(Stream.LIFECYCLE, f"evt.{ENV}.{key}.1.revocation.suspended.*")
        assert suspended is not None
        async for message in self.distributor.read_all(Stream.LIFECYCLE, f"dlv.{ENV}.{key}.1.*"):
            if message.sequence > suspended.sequence:
                tally.behind += 1
            else:
                tally.before += 1

    async def outcomes(self, reads: Reads) -> None:
        """Register a key; after each acknowledged fact everybody on the other nodes decides something without a fact."""
        key = f"key-{uuid.uuid4().hex[:12]}"

        async def decide_everywhere(sequence: int) -> None:
            await asyncio.gather(*(self._outcome(*reader, key, sequence, reads) for reader in self.readers))

        await self.registered(key, decide_everywhere)

    async def _outcome(self, bus: Bus, keylog: KeyLog, key: str, sequence: int, reads: Reads) -> None:
        plain = await bus.read_many(Stream.LIFECYCLE, [bus.subjects.check(key)])
        reads.plain += 1
        reads.plain_stale += max((m.sequence for m in plain), default=0) < sequence
        state = await confirmed(keylog, key)
        reads.outcomes += 1
        reads.stale += state.last_sequence < sequence


async def append(bus: Bus, fact: Fact) -> int:
    """The append alone, acknowledged; ``KeyLog.append`` reads it back, which gives the other replicas time.

    Nobody else writes to the key yet. The leader may show a message before it stops to count it as on its way, and
    refuses what comes in between (10164); services decide again then, and this asks again.
    """
    subject = bus.subjects.fact(fact.key, fact.version, fact.author, fact.EVENT, fact.id.hex)
    check = bus.subjects.check(fact.key)
    for _ in range(AGAIN):
        with suppress(ConflictError):
            return await bus.publish(
                Stream.LIFECYCLE, subject, bus.pack(fact), expected_last=fact.checked, check_subject=check
            )
        await asyncio.sleep(0.05)
    raise AssertionError(f"{subject}: refused {AGAIN} times")


async def confirmed(keylog: KeyLog, key: str) -> KeyState:
    """The outcome's state; a reader that stays behind is asked again, as its message would be delivered again."""
    for _ in range(AGAIN):
        try:
            return await keylog.confirmed(key)
        except StaleReadError:
            await asyncio.sleep(0.05)
    raise AssertionError(f"{key}: reads stayed behind {AGAIN} times")


async def in_lanes(lanes: int, rounds: Iterable[Callable[[], Awaitable[None]]]) -> None:
    """Run the rounds, so many at the same time."""
    waiting = iter(rounds)

    async def lane() -> None:
        for one in waiting:
            await one()

    await asyncio.gather(*(lane() for _ in range(lanes)))


@asynccontextmanager
async def logged_in(bus: RunningBus, seed: int) -> AsyncIterator[Cluster]:
    """Writers and readers on different nodes: the scheduler on the first, the others on the second and third."""
    async with AsyncExitStack() as stack:

        async def on(node: int, service: Service) -> Bus:
            return await stack.enter_async_context(bus.service_bus(service, node=node))

        cluster = Cluster(
            bus,
            scheduler=await on(0, Service.ROTATION_SCHEDULER),
            generator=await on(1, Service.GENERATOR),
            distributor=await on(2, Service.DISTRIBUTOR),
            revocation=await on(1, Service.REVOCATION),
            dice=random.Random(seed),
        )
        cluster.readers = [
            (b, KeyLog(b)) for b in (cluster.generator, cluster.distributor, cluster.revocation)
        ]
        yield cluster


def _parsed(signed: SignedCommand, kind: type[C]) -> C:
    command = read_command(signed)
    assert isinstance(command, kind)
    return command


def _generated(state: KeyState) -> Generated:
    assert state.algorithm is not None
    assert state.release is not None
    cause = str(state.versions[1].requested.model.id)
    return Generated(
        **next_fact(state, Generated, cause, 1, datetime.now(UTC)),
        algorithm=state.algorithm,
        release=state.release,
        epoch=1,
        key_id=7,
        blob_digest="a" * 64,
        commitment="b" * 64,
    )
