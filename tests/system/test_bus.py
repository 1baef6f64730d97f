"""The bus as a service uses it, on a real server with the service's own certificate and rights."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from rekey_core.authority import Identity, Stream
from rekey_core.commands import command_id, sign_command
from rekey_core.contracts import (
    Alert,
    Fact,
    Register,
    Registered,
    SignedCommand,
    TrustDocument,
)
from rekey_core.encoding import canonical_json, sha256_hex
from rekey_core.errors import (
    AlreadyDoneError,
    ConflictError,
    NotFoundError,
    OversizedError,
    TrustError,
    UnavailableError,
)
from rekey_core.fold import KeyState
from rekey_core.names import Service
from rekey_core.next_fact import next_fact
from rekey_core.policy import class_named
from rekey_runtime.bus import Bus
from rekey_runtime.keylog import KeyLog
from rekey_runtime.waves import BatchItem
from tests.system.bus import RunningBus, next_trust, ssh_key, ssh_public
from tests.system.certificates import ENV

KEY_CLASS = "application-data"


@pytest.fixture
async def scheduler(environment: RunningBus) -> AsyncIterator[Bus]:
    """The rotation-scheduler's bus."""
    async with environment.service_bus(Service.ROTATION_SCHEDULER) as bus:
        yield bus


def a_key() -> str:
    """A key name that no other test has."""
    return f"key-{uuid.uuid4().hex[:12]}"


def a_register(bus: RunningBus, key: str) -> tuple[Register, SignedCommand]:
    """Alice registers a key for orders."""
    now = datetime.now(UTC)
    command = Register(
        env=ENV,
        key=key,
        author="alice",
        nonce=uuid.uuid4().hex,
        author_seq=1,
        issued_at=now,
        expires_at=now + timedelta(minutes=5),
        reason="a test",
        key_class=KEY_CLASS,
        purpose="rows of orders",
        dependents=("orders",),
    )
    return command, sign_command(command, bus.people["alice"])


def registered(state: KeyState, command: Register, signed: SignedCommand) -> Registered:
    """The fact that the command asks for, as the scheduler would say it."""
    key_class = class_named(command.key_class)
    return Registered(
        **next_fact(state, Registered, command_id(signed), 0, datetime.now(UTC)),
        owner=command.author,
        key_class=command.key_class,
        algorithm=key_class.algorithm,
        release=key_class.release,
        purpose=command.purpose,
        cryptoperiod_s=key_class.cryptoperiod_s,
        command=signed,
    )


def an_alert(bus: Bus, message: str = "seen") -> Any:
    """A small signed message of the bus's own service."""
    return bus.pack(
        Alert(
            env=ENV,
            author=bus.settings.service,
            subject="evt.seen",
            stream="LIFECYCLE",
            sequence=1,
            code="schema",
            message=message,
            at=datetime.now(UTC),
        )
    )


def alert_subject(bus: Bus, number: str) -> str:
    """Where the scheduler's alerts stand."""
    return bus.subjects.report(bus.settings.service, "alert", number)


async def test_what_is_published_is_read_back_exactly(scheduler: Bus, environment: RunningBus) -> None:
    packed = an_alert(scheduler)
    subject = alert_subject(scheduler, "a1")
    sequence = await scheduler.publish(Stream.REPORTS, subject, packed)
    async with environment.service_bus(Service.AUDIT) as audit:
        by_leader = await audit.last(Stream.REPORTS, subject)
        [by_many] = await audit.read_many(Stream.REPORTS, [subject])
        at = await audit.at(Stream.REPORTS, sequence)
        [by_all] = [m async for m in audit.read_all(Stream.REPORTS, subject)]
    assert by_leader is not None
    assert (by_leader.sequence, by_leader.data, dict(by_leader.headers)) == (
        sequence,
        packed.data,
        packed.headers,
    )
    assert by_leader == by_many == by_all == at
    assert abs((datetime.now(UTC) - by_leader.stored_at).total_seconds()) < 10


async def test_a_stale_expected_sequence_is_a_conflict(environment: RunningBus) -> None:
    async with environment.service_bus(Service.DISTRIBUTOR) as bus:
        subject = bus.subjects.notice("orders", a_key())
        first = await bus.replace(Stream.NOTICES, subject, an_alert(bus), 0)
        with pytest.raises(ConflictError):
            await bus.replace(Stream.NOTICES, subject, an_alert(bus), 0)
        assert await bus.replace(Stream.NOTICES, subject, an_alert(bus), first) > first


async def test_a_second_message_on_a_write_once_subject_is_a_conflict(scheduler: Bus) -> None:
    subject = scheduler.subjects.fact(a_key(), 0, scheduler.settings.service, "registered", uuid.uuid4().hex)
    await scheduler.publish(Stream.LIFECYCLE, subject, an_alert(scheduler))
    with pytest.raises(ConflictError, match="per subject"):
        await scheduler.publish(Stream.LIFECYCLE, subject, an_alert(scheduler))


async def test_more_than_the_stream_takes_is_oversized(scheduler: Bus) -> None:
    packed = an_alert(scheduler)
    large = type(packed)(packed.headers, b"x" * 80_000, packed.signed)
    with pytest.raises(OversizedError):
        await scheduler.publish(Stream.REPORTS, alert_subject(scheduler, "large"), large)


async def test_a_batch_is_stored_as_a_whole_or_not_at_all(scheduler: Bus) -> None:
    def item(key: str, check: int) -> BatchItem:
        subject = scheduler.subjects.fact(key, 0, scheduler.settings.service, "registered", uuid.uuid4().hex)
        return BatchItem(subject, an_alert(scheduler), check, scheduler.subjects.check(key))

    keys = [a_key() for _ in range(5)]
    await scheduler.publish_batch(Stream.LIFECYCLE, [item(key, 0) for key in keys])
    for key in keys:
        assert await scheduler.last(Stream.LIFECYCLE, scheduler.subjects.check(key)) is not None
    others = [a_key() for _ in range(3)]
    with pytest.raises(ConflictError):
        await scheduler.publish_batch(Stream.LIFECYCLE, [*(item(key, 0) for key in others), item(keys[0], 0)])
    for key in others:
        assert await scheduler.last(Stream.LIFECYCLE, scheduler.subjects.check(key)) is None


async def test_nothing_there_is_empty_and_none(scheduler: Bus) -> None:
    check = scheduler.subjects.check(a_key())
    assert await scheduler.read_many(Stream.LIFECYCLE, [check]) == []
    assert await scheduler.last(Stream.LIFECYCLE, check) is None
    assert [m async for m in scheduler.read_all(Stream.LIFECYCLE, check)] == []
    assert await scheduler.get(Stream.TRUST, scheduler.subjects.trust(99)) is None


async def test_no_status_that_an_author_writes_hides_a_message(
    environment: RunningBus, scheduler: Bus
) -> None:
    """The client's own request makes "nobody is there" of a stored message with status 503."""
    distributor, generator = Service.DISTRIBUTOR, Service.GENERATOR
    async with environment.service_bus(generator) as author, environment.service_bus(distributor) as reader:
        for status in ("204", "404", "503"):
            packed, key = an_alert(author), a_key()
            poisoned = replace(packed, headers=packed.headers | {"Status": status})
            record, check = author.subjects.material(key, 1), author.subjects.check(key)
            fact = author.subjects.fact(key, 1, generator, "generated", uuid.uuid4().hex)
            places = [(Stream.MATERIAL, record), (Stream.LIFECYCLE, fact)]
            stored = [await author.publish(stream, subject, poisoned) for stream, subject in places]
            found = [await reader.get(*places[0]), await scheduler.newest(Stream.LIFECYCLE, check)]
            assert [m and m.sequence for m in found] == stored, status


async def test_more_subjects_than_one_answer_holds_are_read_in_pages(environment: RunningBus) -> None:
    async with environment.service_bus(Service.DISTRIBUTOR) as bus:
        key = a_key()
        packed = an_alert(bus)
        items = [BatchItem(bus.subjects.delivered(key, 1, uuid.uuid4().hex), packed) for _ in range(1100)]
        for start in (0, 550):
            await bus.publish_batch(Stream.LIFECYCLE, items[start : start + 550])
        found = await bus.read_many(Stream.LIFECYCLE, [f"dlv.{ENV}.{key}.1.*"])
        newer = await bus.read_many(Stream.LIFECYCLE, [f"dlv.{ENV}.{key}.1.*"], start=found[-10].sequence)
    assert [m.sequence for m in found] == sorted(m.sequence for m in found)
    assert {m.subject for m in found} == {item.subject for item in items}
    assert newer == found[-10:]


async def test_a_read_without_the_right_is_unavailable_and_counted(environment: RunningBus) -> None:
    async with environment.service_bus(Service.GENERATOR) as bus:
        bus.settings = bus.settings.model_copy(update={"request_timeout_s": 0.3})
        with pytest.raises(UnavailableError):
            await bus.last(Stream.LEASES, "lse.>")
        assert bus.violations == 1


async def test_a_fact_is_appended_folded_and_found_again(scheduler: Bus, environment: RunningBus) -> None:
    keylog, key = KeyLog(scheduler), a_key()
    command, signed = a_register(environment, key)
    empty = await keylog.confirmed(key)
    fact = registered(empty, command, signed)
    stored = await keylog.append(empty, fact)
    assert stored.model == fact
    state = await keylog.confirmed(key)
    assert (state.owner, state.last_sequence, state.voids) == ("alice", stored.sequence, ())
    assert state == await KeyLog(scheduler).state(key), "the kept fold and a fold from nothing differ"


async def test_a_kept_fold_goes_on_with_what_others_write(scheduler: Bus, environment: RunningBus) -> None:
    keylog, key = KeyLog(scheduler), a_key()
    empty = await keylog.state(key)
    stored = await KeyLog(scheduler).append(empty, registered(empty, *a_register(environment, key)))
    state = await keylog.state(key)
    assert (state.last_sequence, state.voids) == (stored.sequence, ())
    assert state == await KeyLog(scheduler).state(key), "the kept fold and a fold from nothing differ"
    assert await keylog.state(key) is state, "nothing is newer, nothing is read"


async def test_many_who_ask_for_a_key_at_once_get_one_fold(scheduler: Bus, environment: RunningBus) -> None:
    key = a_key()
    empty = await KeyLog(scheduler).state(key)
    await KeyLog(scheduler).append(empty, registered(empty, *a_register(environment, key)))
    keylog = KeyLog(scheduler)
    first, *others = await asyncio.gather(*(keylog.state(key) for _ in range(10)))
    assert first.is_registered
    assert all(other is first for other in others)


async def test_appending_the_same_decision_again_is_done_not_a_conflict(
    scheduler: Bus, environment: RunningBus
) -> None:
    keylog, key = KeyLog(scheduler), a_key()
    empty = await keylog.state(key)
    fact = registered(empty, *a_register(environment, key))
    first = await keylog.append(empty, fact)
    again = await KeyLog(scheduler).append(empty, fact)
    assert again == first


async def test_another_decision_on_an_old_state_is_a_conflict(
    scheduler: Bus, environment: RunningBus
) -> None:
    keylog, key = KeyLog(scheduler), a_key()
    empty = await keylog.state(key)
    await keylog.append(empty, registered(empty, *a_register(environment, key)))
    with pytest.raises(ConflictError):
        await keylog.append(empty, registered(empty, *a_register(environment, key)))


async def test_only_one_of_many_at_once_decides(scheduler: Bus, environment: RunningBus) -> None:
    key = a_key()

    async def compete() -> str:
        command, signed = a_register(environment, key)

        def decide(state: KeyState) -> Fact | None:
            if state.is_registered:
                raise AlreadyDoneError("somebody else did")
            return registered(state, command, signed)

        try:
            await KeyLog(scheduler).decide(key, decide)
        except AlreadyDoneError:
            return "late"
        return "first"

    outcomes = await asyncio.gather(*(compete() for _ in range(10)))
    assert sorted(outcomes) == ["first"] + ["late"] * 9
    assert len(await scheduler.read_many(Stream.LIFECYCLE, [scheduler.subjects.check(key)])) == 1


async def test_a_refusal_from_an_old_read_is_not_believed(scheduler: Bus, environment: RunningBus) -> None:
    keylog, key = KeyLog(scheduler), a_key()
    looked: list[int] = []

    def decide(state: KeyState) -> Fact | None:
        looked.append(state.last_sequence)
        raise NotFoundError("no such key")

    with pytest.raises(NotFoundError):
        await keylog.decide(key, decide)
    empty = await keylog.state(key)
    await keylog.append(empty, registered(empty, *a_register(environment, key)))
    assert await keylog.decide(key, lambda state: looked.append(state.last_sequence)) is None
    assert looked[-1] > 0


async def test_somebody_new_makes_a_fact_valid_after_a_refresh(environment: RunningBus) -> None:
    async with (
        environment.service_bus(Service.ROTATION_SCHEDULER) as writer,
        environment.service_bus(Service.AUDIT) as reader,
    ):
        before = writer.trust.current.document
        newcomer = ssh_key()
        await admit(environment, before, "zoe", newcomer)
        await writer.trust.refresh()
        key = a_key()
        command, _ = a_register(environment, key)
        by_zoe = command.model_copy(update={"author": "zoe"})
        signed = sign_command(by_zoe, newcomer)
        keylog = KeyLog(writer)
        empty = await keylog.state(key)
        await keylog.append(empty, registered(empty, by_zoe, signed))
        assert reader.trust.current.n == before.n
        state = await KeyLog(reader).state(key)
        assert (state.owner, reader.trust.current.n) == ("zoe", before.n + 1)


async def admit(environment: RunningBus, before: TrustDocument, name: str, key: bytes) -> None:
    """The next trust document, with one more owner, published by enrolment."""
    newcomer = before.people["alice"].model_copy(update={"ssh_keys": (ssh_public(key),)})
    people = dict(before.people) | {name: newcomer}
    previous = sha256_hex(canonical_json(before.model_dump(mode="json")))
    document = before.model_copy(update={"n": before.n + 1, "previous": previous, "people": people})
    async with environment.client(Identity.ENROLMENT) as client:
        signed = next_trust(environment, document)
        answer = await client.request(f"trust.{ENV}.{document.n}", signed, timeout=5)
    assert b"error" not in answer.data


async def test_a_bus_that_was_set_back_is_refused(environment: RunningBus) -> None:
    async with environment.service_bus(Service.AUDIT) as bus:
        seen = bus.settings.state_dir / "trust-seen.json"
        seen.write_text('{"n": 99, "digest": "00"}', encoding="utf-8")
        with pytest.raises(TrustError, match="expected at least 99"):
            await bus.trust.load()
        seen.unlink()


async def test_another_genesis_is_refused(environment: RunningBus) -> None:
    async with environment.service_bus(Service.AUDIT) as bus:
        bus.settings = bus.settings.model_copy(update={"trust_genesis": "0" * 64})
        with pytest.raises(TrustError, match="genesis"):
            await bus.trust.load()
