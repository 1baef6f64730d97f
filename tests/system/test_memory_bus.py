"""The contract that the services rely on, on a real nats-server and on the bus in memory that unit tests use."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from rekey_core.authority import Stream
from rekey_core.contracts import Alert
from rekey_core.encoding import sha256_hex
from rekey_core.envelope import Packed
from rekey_core.errors import ConfigurationError, ConflictError, OversizedError, UnavailableError
from rekey_core.names import Service
from rekey_runtime import wire
from rekey_runtime.bus import Bus
from rekey_runtime.waves import BatchItem
from tests.fakes.memory_bus import MemoryServer, memory_bus
from tests.system.bus import RunningBus
from tests.system.certificates import ENV

MEMORY, REAL = "in memory", "nats-server"


@pytest.fixture(params=[MEMORY, REAL])
async def bus(request: pytest.FixtureRequest, environment: RunningBus, tmp_path: Path) -> AsyncIterator[Bus]:
    """The distributor's, which may do most."""
    if request.param == REAL:
        async with environment.service_bus(Service.DISTRIBUTOR) as real:
            yield real
        return
    server = MemoryServer(ENV)
    signer = environment.services[Service.DISTRIBUTOR]
    genesis = sha256_hex(environment.genesis_payload)
    memory = memory_bus(server, Service.DISTRIBUTOR, signer, genesis, tmp_path)
    server.store(memory.subjects.trust(1), environment.genesis, {})
    await memory.trust.load()
    yield memory


def packed(bus: Bus, text: str = "a test") -> Packed:
    return bus.pack(
        Alert(
            env=ENV,
            author=Service.DISTRIBUTOR,
            subject="a subject",
            stream="A",
            sequence=1,
            code="a-code",
            message=text,
            at=datetime.now(UTC),
        )
    )


def a_key() -> str:
    return f"key-{uuid.uuid4().hex[:12]}"


def delivered(bus: Bus, key: str) -> str:
    return bus.subjects.delivered(key, 1, uuid.uuid4().hex)


async def test_trust_is_loaded(bus: Bus) -> None:
    assert bus.trust.current.n == 1
    assert (await bus.trust.refresh()).n == 1
    assert await bus.get(Stream.TRUST, bus.subjects.trust(2)) is None


async def test_what_is_stored_is_read_back_as_it_was(bus: Bus) -> None:
    one, subject = packed(bus), delivered(bus, key := a_key())
    sequence = await bus.publish(Stream.LIFECYCLE, subject, one)
    by_leader, at = await bus.last(Stream.LIFECYCLE, subject), await bus.at(Stream.LIFECYCLE, sequence)
    [by_many] = await bus.read_many(Stream.LIFECYCLE, [f"dlv.{ENV}.{key}.>"])
    [by_all] = [m async for m in bus.read_all(Stream.LIFECYCLE, subject)]
    assert by_leader == at == by_many == by_all
    assert by_leader is not None
    assert (by_leader.stream, by_leader.subject, by_leader.sequence) == ("LIFECYCLE", subject, sequence)
    assert (by_leader.data, dict(by_leader.headers)) == (one.data, one.headers)
    assert abs((await bus.time(Stream.LIFECYCLE) - by_leader.stored_at).total_seconds()) < 10


async def test_nothing_is_none_and_empty(bus: Bus) -> None:
    subject = delivered(bus, a_key())
    assert await bus.last(Stream.LIFECYCLE, subject) is None
    assert await bus.at(Stream.LIFECYCLE, 10**9) is None
    assert await bus.read_many(Stream.LIFECYCLE, [subject]) == []
    assert [m async for m in bus.read_all(Stream.LIFECYCLE, subject)] == []


async def test_a_subject_is_written_once(bus: Bus) -> None:
    subject = delivered(bus, a_key())
    await bus.publish(Stream.LIFECYCLE, subject, packed(bus))
    with pytest.raises(ConflictError, match="per subject"):
        await bus.publish(Stream.LIFECYCLE, subject, packed(bus, "again"))


async def test_the_first_message_of_a_subject_is_the_only_one(bus: Bus) -> None:
    subject = bus.subjects.notice("orders", a_key())
    await bus.write_once(Stream.NOTICES, subject, packed(bus))
    with pytest.raises(ConflictError, match="10071"):
        await bus.write_once(Stream.NOTICES, subject, packed(bus, "again"))


async def test_a_newer_message_takes_the_place_of_the_one_that_was_seen(bus: Bus) -> None:
    subject = bus.subjects.notice("orders", a_key())
    first = await bus.replace(Stream.NOTICES, subject, packed(bus), 0)
    second = await bus.replace(Stream.NOTICES, subject, newer := packed(bus, "newer"), first)
    with pytest.raises(ConflictError):
        await bus.replace(Stream.NOTICES, subject, packed(bus, "late"), first)
    found = await bus.last(Stream.NOTICES, subject)
    assert found is not None
    assert (found.sequence, found.data) == (second, newer.data)
    assert await bus.last(Stream.NOTICES, f"ntc.{ENV}.*.{a_key()}") is None


def first_of(bus: Bus, key: str, expected: int = 0) -> BatchItem:
    """A message that says what was there before."""
    return BatchItem(delivered(bus, key), packed(bus), expected, f"dlv.{ENV}.{key}.>")


async def test_a_batch_is_stored_without_gaps_or_not_at_all(bus: Bus) -> None:
    items = [first_of(bus, a_key()) for _ in range(3)]
    last = await bus.publish_batch(Stream.LIFECYCLE, items)
    found = await bus.read_many(Stream.LIFECYCLE, [item.subject for item in items])
    assert [(m.sequence, m.subject) for m in found] == [
        (last - 2 + n, item.subject) for n, item in enumerate(items)
    ]
    refused = [first_of(bus, a_key()), first_of(bus, items[0].subject.split(".")[2])]
    with pytest.raises(ConflictError, match="10071"):
        await bus.publish_batch(Stream.LIFECYCLE, refused)
    assert await bus.read_many(Stream.LIFECYCLE, [item.subject for item in refused]) == []


async def test_one_that_is_late_holds_up_none_of_those_it_goes_with(bus: Bus) -> None:
    taken = a_key()
    await bus.publish(Stream.LIFECYCLE, delivered(bus, taken), packed(bus))
    items = [*(first_of(bus, a_key()) for _ in range(20)), first_of(bus, taken), first_of(bus, a_key())]
    said = await asyncio.gather(
        *(bus.publish_together(Stream.LIFECYCLE, item) for item in items), return_exceptions=True
    )
    late = said.pop(20)
    del items[20]
    assert isinstance(late, ConflictError)
    assert taken in str(late)
    found = await bus.read_many(Stream.LIFECYCLE, [item.subject for item in items])
    assert {m.subject: m.sequence for m in found} == {i.subject: n for i, n in zip(items, said, strict=True)}


async def test_of_two_with_the_same_check_one_is_first(bus: Bus) -> None:
    key = a_key()
    items = [first_of(bus, key), first_of(bus, key), first_of(bus, a_key())]
    first, second, other = await asyncio.gather(
        *(bus.publish_together(Stream.LIFECYCLE, item) for item in items), return_exceptions=True
    )
    assert isinstance(first, int)
    assert isinstance(second, ConflictError)
    assert isinstance(other, int)


@pytest.mark.parametrize("rest", [">", "1.*"])
async def test_an_append_states_the_last_sequence_of_its_check_subject(bus: Bus, rest: str) -> None:
    key = a_key()
    check = f"dlv.{ENV}.{key}.{rest}"

    async def append(expected: int) -> int:
        return await bus.publish(
            Stream.LIFECYCLE,
            delivered(bus, key),
            packed(bus),
            expected_last=expected,
            check_subject=check,
        )

    first = await append(0)
    other = await bus.publish(Stream.LIFECYCLE, delivered(bus, a_key()), packed(bus))
    second = await append(first)
    assert first < other < second
    for stale in (0, first, other):
        with pytest.raises(ConflictError, match="10071"):
            await append(stale)
    found = await bus.read_many(Stream.LIFECYCLE, [check])
    assert [message.sequence for message in found] == [first, second]


async def test_the_newest_of_many_is_found(bus: Bus) -> None:
    key = a_key()
    for _ in range(2):
        await bus.publish(Stream.LIFECYCLE, delivered(bus, key), packed(bus))
    check = f"dlv.{ENV}.{key}.>"
    found = await bus.newest(Stream.LIFECYCLE, check)
    assert found is not None
    assert found == await bus.last(Stream.LIFECYCLE, check)
    assert await bus.newest(Stream.LIFECYCLE, f"dlv.{ENV}.{a_key()}.>") is None


async def test_many_are_read_once_each_oldest_first(bus: Bus) -> None:
    keys = [a_key(), a_key()]
    stored = [await bus.publish(Stream.LIFECYCLE, delivered(bus, key), packed(bus)) for key in (*keys, *keys)]
    filters = [*(f"dlv.{ENV}.{key}.>" for key in keys), f"dlv.{ENV}.{keys[0]}.1.*"]
    assert [m.sequence for m in await bus.read_many(Stream.LIFECYCLE, filters)] == stored


async def test_all_are_read_page_by_page_from_a_sequence_on(bus: Bus) -> None:
    key = a_key()
    stored = [await bus.publish(Stream.LIFECYCLE, delivered(bus, key), packed(bus)) for _ in range(5)]
    everything = bus.read_all(Stream.LIFECYCLE, f"dlv.{ENV}.{key}.>", start=stored[1], batch=2)
    assert [m.sequence async for m in everything] == stored[1:]


@pytest.mark.parametrize("batch", [2, 500])
async def test_all_are_read_up_to_a_sequence_and_no_further(bus: Bus, batch: int) -> None:
    """Also where messages that nobody asked for lie between."""
    key, other = a_key(), a_key()
    keys = (key, other, other, key, key, other, key)
    stored = [await bus.publish(Stream.LIFECYCLE, delivered(bus, k), packed(bus)) for k in keys]

    async def read(until: int) -> list[int]:
        subject, start = f"dlv.{ENV}.{key}.>", stored[0]
        everything = bus.read_all(Stream.LIFECYCLE, subject, start=start, until=until, batch=batch)
        return [m.sequence async for m in everything]

    assert await read(stored[4]) == [stored[0], stored[3], stored[4]]
    assert await read(stored[5]) == [stored[0], stored[3], stored[4]]
    assert await read(stored[0] - 1) == []
    assert await read(stored[6] + 10) == [stored[0], stored[3], stored[4], stored[6]]


async def test_a_page_has_what_was_stored_from_a_sequence_on(bus: Bus) -> None:
    items = [first_of(bus, a_key()) for _ in range(4)]
    last = await bus.publish_batch(Stream.LIFECYCLE, items)
    page = await bus.read_page(Stream.LIFECYCLE, last - 2, 2)
    assert [(m.sequence, m.subject) for m in page] == [
        (last - 2, items[1].subject),
        (last - 1, items[2].subject),
    ]
    assert [m.subject for m in await bus.read_page(Stream.LIFECYCLE, last, 9)] == [items[3].subject]
    assert await bus.read_page(Stream.LIFECYCLE, last + 10**6, 9) == []


async def test_more_subjects_than_one_answer_holds_are_no_answer(bus: Bus) -> None:
    key = a_key()
    items = [BatchItem(delivered(bus, key), packed(bus)) for _ in range(1025)]
    for start in (0, 500):
        await bus.publish_batch(Stream.LIFECYCLE, items[start : start + 500 + (start // 20)])
    with pytest.raises(wire.TooManySubjectsError):
        await bus.read_last(Stream.LIFECYCLE, [f"dlv.{ENV}.{key}.>", f"dlv.{ENV}.{a_key()}.>"])


async def test_what_is_too_large_is_not_stored(bus: Bus) -> None:
    subject, one = delivered(bus, a_key()), packed(bus)
    with pytest.raises(OversizedError):
        await bus.publish(Stream.LIFECYCLE, subject, Packed(one.headers, b"x" * 80_000, one.signed))
    assert await bus.last(Stream.LIFECYCLE, subject) is None


async def test_a_message_for_another_stream_is_not_stored(bus: Bus) -> None:
    with pytest.raises(ConfigurationError, match="expected stream"):
        await bus.publish(Stream.NOTICES, delivered(bus, a_key()), packed(bus))


async def test_a_consumer_that_is_not_there_is_no_answer_that_counts(bus: Bus) -> None:
    with pytest.raises((ConfigurationError, UnavailableError)):
        await bus.info("CONSUMER.INFO.LIFECYCLE.nobody")
