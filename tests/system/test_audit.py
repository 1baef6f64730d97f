"""Audit as the process that it is, on a real log: hostile messages, restarts, advisories."""

from __future__ import annotations

import asyncio
import json
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from typing import TypeVar

import pytest
from nats.aio.client import Client

from rekey.cli.commanding import Order, Registration, register
from rekey.cli.context import load_context
from rekey.cli.errors import AnsweredError
from rekey.cli.session import connected
from rekey.cli.target import Target
from rekey_core.authority import Identity, Stream, Subjects
from rekey_core.contracts import Alert, Generated, HistoryAnswer, HistoryEntry
from rekey_core.envelope import pack
from rekey_core.errors import RetryableError, UnavailableError
from rekey_core.names import Algorithm, Release, Service
from rekey_core.policy import POLICY_DIGEST
from rekey_core.readers import open_report
from rekey_core.signing import SigningKey
from tests.system.audit_stack import REGISTERED, People, running_people
from tests.system.certificates import ENV

T = TypeVar("T")


@pytest.fixture(scope="module")
def people(tmp_path_factory: pytest.TempPathFactory) -> Iterator[People]:
    """Audit and the scheduler."""
    with running_people(
        tmp_path_factory.mktemp("audit"), [Service.AUDIT, Service.ROTATION_SCHEDULER]
    ) as running:
        yield running


async def ordered(people: People) -> str:
    """A key whose registration the log has taken."""
    key = f"orders-{uuid.uuid4().hex[:8]}"
    order = Order(Target(key), "a test", plan=False, wait_s=None)
    async with connected(load_context(people.context("alice"))) as session:
        await register(session, order, Registration("application-data", ("orders",), "a test", None))
    return key


async def a_key(people: People) -> str:
    """A key that is registered, and its version 1 requested: one fact after the other, and audit knows them all."""
    key = await ordered(people)
    await settled(people, key)
    return key


async def settled(people: People, key: str) -> tuple[HistoryEntry, ...]:
    """The key's history once the scheduler has said all."""

    async def so_far() -> tuple[HistoryEntry, ...]:
        try:
            return await history(people, key)
        except AnsweredError as error:
            if error.code != "not-found":  # audit has not heard of it
                raise
            return ()

    return await again(so_far, lambda entries: REGISTERED in {entry.event for entry in entries})


async def history(people: People, key: str) -> tuple[HistoryEntry, ...]:
    """What audit says happened."""
    async with connected(load_context(people.context("adam"))) as session:
        return (await session.ask(HistoryAnswer, key)).entries


async def again(
    question: Callable[[], Awaitable[T]], wanted: Callable[[T], bool], within_s: float = 30.0
) -> T:
    """The first wanted answer."""
    loop = asyncio.get_running_loop()
    until, found = loop.time() + within_s, None
    while True:
        with suppress(RetryableError):  # no answer now
            if wanted(found := await question()):
                return found
        assert loop.time() < until, f"not within {within_s} s, found {found}"
        await asyncio.sleep(0.05)


@asynccontextmanager
async def taken_over(people: People, service: Service) -> AsyncIterator[Client]:
    """Somebody with the certificate of a service."""
    async with people.bus.client(Identity(service.value)) as client:
        yield client


async def alarms(people: People, subject: str) -> list[tuple[int, Alert]]:
    """Audit's stored alarms about a subject: sequence and alarm."""
    async with people.bus.service_bus(Service.AUDIT) as bus:
        found = []
        for message in await bus.read_many(Stream.REPORTS, [f"rpt.{ENV}.audit.alert.*"]):
            report = open_report(message, bus.trust.current).model
            assert isinstance(report, Alert)
            if report.subject == subject:
                found.append((message.sequence, report))
        return found


async def an_alarm(people: People, subject: str) -> tuple[int, Alert]:
    """The one alarm about a subject, as soon as it is stored."""
    found = await again(lambda: alarms(people, subject), bool)
    assert len(found) == 1
    return found[0]


@dataclass(frozen=True)
class Hostile:
    """What a taken-over generator puts on a subject of its own."""

    headers: dict[str, str]
    data: bytes


def a_fact(key: str, signer: SigningKey, **changed: object) -> tuple[str, Hostile]:
    """``generated`` of version 1, signed, but with a wrong check unless that is given; and where it stands."""
    identity = uuid.uuid4()
    fields: dict[str, object] = {
        "id": identity,
        "env": ENV,
        "key": key,
        "version": 1,
        "author": Service.GENERATOR,
        "checked": 1,
        "cause": "a test",
        "policy": POLICY_DIGEST,
        "at": "2026-11-24T00:00:00Z",
        "algorithm": Algorithm.AES_256_GCM,
        "release": Release.TRUSTED_RECIPIENT,
        "epoch": 1,
        "key_id": 7,
        "blob_digest": "a" * 64,
        "commitment": "b" * 64,
    }
    packed = pack(Generated.model_validate(fields | changed), signer, source=f"/rekey/{ENV}/generator")
    return Subjects(ENV).fact(key, 1, "generator", "generated", identity.hex), Hostile(
        packed.headers, packed.data
    )


HOSTILE = [
    pytest.param("malformed", "signature", id="malformed bytes"),
    pytest.param("oversized", "oversized", id="larger than 64 KiB"),
    pytest.param("unsigned", "signature", id="a fact without a signature"),
    pytest.param("wrongly signed", "signature", id="a fact that was changed after it was signed"),
    pytest.param("wrong author", "wrong-author", id="a fact signed by somebody else"),
    pytest.param("replayed", "replayed", id="a valid fact on another subject"),
    pytest.param("foreign", "foreign-environment", id="a fact of another environment"),
    pytest.param("unchecked", "check-sequence", id="a fact that did not see the one before"),
]


def hostile(kind: str, key: str, own: SigningKey) -> tuple[str, Hostile]:
    """Subject, headers and body of one kind."""
    subject, good = a_fact(key, own)
    match kind:
        case "malformed":
            made = Hostile({}, b"\xff{")
        case "oversized":
            made = Hostile({}, b"x" * (65 * 1024))
        case "unsigned":
            made = Hostile({"ce-type": good.headers["ce-type"]}, good.data)
        case "wrongly signed":
            made = Hostile(good.headers, good.data.replace(b'"epoch":1', b'"epoch":2'))
        case "wrong author":
            subject, made = a_fact(key, SigningKey.generate())
        case "replayed":
            made = good
            subject = subject[:-16] + "0123456789abcdef"
        case "foreign":
            subject, made = a_fact(key, own, env="prod")
        case _:
            made = good
    return subject, made


@pytest.mark.parametrize(("kind", "code"), HOSTILE)
async def test_a_hostile_fact_is_an_alarm_and_the_next_message_is_handled(
    people: People, kind: str, code: str
) -> None:
    key = await a_key(people)
    subject, message = hostile(kind, key, people.bus.services[Service.GENERATOR])
    async with taken_over(people, Service.GENERATOR) as client:
        answer = json.loads(
            (await client.request(subject, message.data, headers=message.headers, timeout=5)).data
        )
    assert "error" not in answer
    _, alarm = await an_alarm(people, subject)
    assert (alarm.code, alarm.stream, alarm.sequence) == (code, "LIFECYCLE", answer["seq"])
    voids = [entry for entry in await history(people, key) if entry.void]
    assert [entry.sequence for entry in voids] == [answer["seq"]]
    assert await history(people, await a_key(people))  # the next facts are taken


async def test_a_new_start_gives_the_same_answers_and_says_no_alarm_twice(people: People) -> None:
    key = await a_key(people)
    subject, message = hostile("unsigned", key, people.bus.services[Service.GENERATOR])
    async with taken_over(people, Service.GENERATOR) as client:
        await client.request(subject, message.data, headers=message.headers, timeout=5)
    said = await an_alarm(people, subject)
    before = await history(people, key)
    assert people.services[Service.AUDIT].stop() == 0
    people.restart(Service.AUDIT)
    assert await history(people, key) == before
    people.services[Service.AUDIT].kill()
    people.restart(Service.AUDIT)
    assert await history(people, key) == before
    assert await an_alarm(people, subject) == said


async def test_what_was_appended_while_audit_was_down_is_known_after(people: People) -> None:
    people.services[Service.AUDIT].kill()
    key = await ordered(people)  # accepted, and nobody says so
    people.restart(Service.AUDIT)
    assert [entry.event for entry in await settled(people, key)] == [
        "registered",
        "granted",
        "rotation-requested",
    ]


async def shown(people: People, key: str) -> bool:
    """Whether audit answers."""
    try:
        return bool(await history(people, key))
    except UnavailableError:
        return False


async def test_audit_answers_again_after_the_bus_was_killed(people: People) -> None:
    key = await a_key(people)
    people.bus.nodes[0].kill()
    assert not await shown(people, key)
    people.bus.nodes[0].start()
    assert await again(lambda: shown(people, key), bool)
    assert await history(people, await a_key(people))


async def test_a_message_that_a_service_gave_up_is_an_alarm(people: People) -> None:
    async with taken_over(people, Service.GENERATOR) as client:
        await client.request(f"rpt.{ENV}.generator.refusal.0123456789abcdef", b"not a report", timeout=5)
    _, alarm = await an_alarm(people, "$JS.EVENT.ADVISORY.CONSUMER.MSG_TERMINATED.REPORTS.audit-reports")
    assert (alarm.code, alarm.stream) == ("terminated", "REPORTS")


async def test_a_question_that_is_none_stays_unanswered_and_the_next_one_is_answered(people: People) -> None:
    async with people.bus.client(Identity.PERSON, "adam") as client:
        with pytest.raises(TimeoutError):
            await client.request(f"ask.{ENV}.adam.ls", b"not a question", timeout=0.5)
    assert people.rekey("adam", "key", "ls").returncode == 0
