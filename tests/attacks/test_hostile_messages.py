"""Every kind of hostile message is placed before every consumer that could meet it, on the bus of a whole running stack.

Each is answered with a typed error that is stored in REPORTS, signed by the service that met it; then the next valid message
is handled by all of them: a key is registered, made, noticed and stopped, and no durable is left waiting.
"""

from __future__ import annotations

import asyncio
import json
import uuid
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import pytest

from rekey_core.authority import Stream
from rekey_core.commands import command_id
from rekey_core.contracts import (
    MAX_MESSAGE_BYTES,
    Message,
    Notice,
    Receipt,
    Rotate,
    RotationRequested,
    SignedCommand,
    Stop,
    Suspend,
)
from rekey_core.encoding import b64u_decode, b64u_encode
from rekey_core.envelope import TYPE_HEADER, BusMessage, Packed, pack
from rekey_core.errors import OversizedError
from rekey_core.fold import KeyState
from rekey_core.jetstream import HEADER_BYTES
from rekey_core.names import Service
from rekey_core.readers import endorse, open_command, open_fact, open_receipt
from rekey_core.signing import SigningKey
from rekey_rotation_scheduler.planner import rotation
from tests.attacks.intruder import Intruder, a_key, intruder
from tests.fakes.resigned import resigned
from tests.system.stack import RunningStack, running_stack

SCHEDULER: Final = Service.ROTATION_SCHEDULER
KEY: Final = "orders-db"


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningStack]:
    with running_stack(tmp_path_factory.mktemp("hostile"), instances=False) as running:
        yield running


@pytest.fixture
async def attacker(stack: RunningStack) -> AsyncIterator[Intruder]:
    async with intruder(stack) as one:
        yield one


@dataclass(frozen=True)
class Hostile:
    """One message as the attacker stores it."""

    subject: str
    data: bytes
    headers: dict[str, str]


def altered(data: bytes, number: int = 7) -> bytes:
    """One character inside a string of the JSON is another one."""
    at = data.index(b'"at":"') + number
    return data[:at] + (b"3" if data[at : at + 1] != b"3" else b"2") + data[at + 1 :]


def spoilt(kind: str, subject: str, packed: Packed, own: SigningKey, foreign: SigningKey) -> Hostile:
    """A good message of a stream, spoilt in one way."""
    data, message_type = packed.data, packed.headers[TYPE_HEADER]
    headers = packed.headers
    match kind:
        case "garbage":
            data, headers = b"\xff{", {}
        case "malformed":
            data = b'{"type":'
            headers = resigned(packed, data, message_type, own)
        case "oversized":
            data = data + b" " * MAX_MESSAGE_BYTES
            headers = resigned(packed, data, message_type, own)
        case "unsigned":
            headers = {TYPE_HEADER: message_type}
        case "wrongly signed":
            data = altered(data)
        case "wrong author":
            headers = resigned(packed, data, message_type, foreign)
        case "replayed":
            subject = f"{subject[:-4]}0000"
        case "unknown major version":
            headers = resigned(packed, data, message_type.replace(".v1", ".v9"), own)
    return Hostile(subject, data, headers)


def request(attacker: Intruder, state: KeyState, **changed: Any) -> RotationRequested:
    """The request for the next version, as the scheduler would say it for alice's command."""
    signed = attacker.signed(attacker.command(Rotate, "alice", state.key))
    fact = rotation(state, signed, datetime.now(UTC))
    assert isinstance(fact, RotationRequested)
    return fact.model_copy(update=changed)


FACTS = [
    pytest.param("garbage", {}, "signature", "signature", id="bytes that are no message"),
    pytest.param("malformed", {}, "schema", "schema", id="malformed JSON, rightly signed"),
    pytest.param("oversized", {}, "oversized", "oversized", id="one larger than 64 KiB, rightly signed"),
    pytest.param("unsigned", {}, "signature", "signature", id="an unsigned request"),
    pytest.param("wrongly signed", {}, "signature", "signature", id="a request changed after it was signed"),
    pytest.param(
        "wrong author", {}, "wrong-author", "wrong-author", id="a request signed by another service"
    ),
    pytest.param("replayed", {}, "replayed", "replayed", id="a valid request on another subject"),
    pytest.param(
        "", {"env": "prod"}, "foreign-environment", "foreign-environment", id="one of another environment"
    ),
    pytest.param(
        "", {"checked": 1}, "state-refused", "check-sequence", id="one that did not see the fact before"
    ),
    pytest.param(
        "", {"version": 9}, "state-refused", "illegal-transition", id="one for a version out of turn"
    ),
    pytest.param(
        "unknown major version",
        {},
        "unknown-type",
        "unknown-type",
        id="a newer major version, rightly signed",
    ),
]


@pytest.mark.parametrize(("kind", "changed", "generator_says", "audit_says"), FACTS)
async def test_a_hostile_request_has_no_effect_and_is_reported_by_generator_and_audit(
    attacker: Intruder, kind: str, changed: dict[str, Any], generator_says: str, audit_says: str
) -> None:
    state = await attacker.registered(a_key())
    fact = request(attacker, state, **changed)
    subject = attacker.subjects.fact(fact.key, fact.version, SCHEDULER, fact.EVENT, fact.id.hex)
    own, foreign = attacker.key_of(SCHEDULER), attacker.key_of(Service.GENERATOR)
    hostile = spoilt(kind, subject, attacker.pack(fact, SCHEDULER), own, foreign)
    await attacker.store(hostile.subject, hostile.data, hostile.headers)
    generator = await attacker.report(Service.GENERATOR, hostile.subject)
    audit = await attacker.report(Service.AUDIT, hostile.subject)
    assert (generator.code, audit.code) == (generator_says, audit_says)
    after = await attacker.state(state.key)
    assert [void.subject for void in after.voids] == [hostile.subject]
    assert set(after.versions) == {1}
    if kind == "unknown major version":
        assert after.undecidable
        await suspended(attacker, state.key)  # nobody can keep a stop away
    else:
        await attacker.give(attacker.command(Rotate, "alice", state.key))
        await attacker.until(state.key, lambda s: s.current == 2)
    await alive(attacker)


COMMANDS = [
    pytest.param("garbage", "schema", id="bytes that are no message"),
    pytest.param("unsigned", "schema", id="a command without a signature"),
    pytest.param("wrongly signed", "signature", id="a command changed after it was signed"),
    pytest.param("wrong author", "signature", id="a command signed by somebody else"),
    pytest.param("no role", "authority", id="a command by a person without the role"),
    pytest.param("replayed", "replayed", id="a valid command on another subject"),
    pytest.param("foreign", "foreign-environment", id="a command for another environment"),
    pytest.param("unknown", "schema", id="a newer major version, rightly signed"),
    pytest.param("expired", "expired", id="a command whose time is over"),
]
VERBS = [
    pytest.param(Suspend, "rita", "adam", (Service.DISTRIBUTOR, Service.REVOCATION), id="suspend"),
    pytest.param(Rotate, "alice", "rita", (SCHEDULER,), id="rotate"),
]


def command(attacker: Intruder, what: type[Suspend | Rotate], author: str, other: str, kind: str) -> Hostile:
    """A good command, spoilt in one way."""
    said: dict[str, Any] = {"version": 1} if what is Suspend else {}
    if kind == "foreign":
        said["env"] = "prod"
    if kind == "expired":
        now = datetime.now(UTC)
        said |= {"issued_at": now - timedelta(minutes=9), "expires_at": now - timedelta(minutes=5)}
    good = attacker.command(what, other if kind == "no role" else author, KEY, **said)
    signed = attacker.signed(good, by=other if kind == "wrong author" else None)
    data = signed.model_dump_json().encode()
    subject = attacker.subjects.command(what.VERB, KEY, command_id(signed))
    payload = b64u_decode(signed.payload)
    match kind:
        case "garbage":
            data = b"\xff{"
        case "unsigned":
            data = json.dumps({"payload": signed.payload}).encode()
        case "wrongly signed":
            data = _with(signed, payload.replace(b"a test", b"a tesT"))
        case "unknown":
            data = _with(signed, payload.replace(b".v1", b".v9"))
        case "replayed":
            subject = f"{subject[:-4]}0000"
    return Hostile(subject, data, {})


def _with(signed: SignedCommand, payload: bytes) -> bytes:
    return signed.model_copy(update={"payload": b64u_encode(payload)}).model_dump_json().encode()


@pytest.mark.parametrize(("what", "author", "other", "services"), VERBS)
@pytest.mark.parametrize(("kind", "code"), COMMANDS)
async def test_a_hostile_command_is_reported_by_everybody_who_consumes_it(
    attacker: Intruder,
    what: type[Suspend | Rotate],
    author: str,
    other: str,
    services: tuple[Service, ...],
    kind: str,
    code: str,
) -> None:
    before = await attacker.state(KEY)
    hostile = command(attacker, what, author, other, kind)
    await attacker.store(hostile.subject, hostile.data)
    for service in services:
        assert (await attacker.report(service, hostile.subject)).code == code, service
    assert (await attacker.state(KEY)).last_sequence == before.last_sequence
    await alive(attacker)


RECEIPTS = [
    pytest.param("garbage", "signature", id="bytes that are no message"),
    pytest.param("malformed", "schema", id="malformed JSON, rightly signed"),
    pytest.param("oversized", "oversized", id="a receipt larger than 64 KiB, rightly signed"),
    pytest.param("unsigned", "signature", id="an unsigned receipt"),
    pytest.param("wrongly signed", "signature", id="a receipt changed after it was signed"),
    pytest.param("wrong author", "wrong-author", id="a receipt signed by another instance"),
    pytest.param("another dependent", "wrong-author", id="a receipt endorsed by another dependent"),
    pytest.param("replayed", "replayed", id="a valid receipt on another subject"),
    pytest.param("foreign", "foreign-environment", id="a receipt of another environment"),
    pytest.param("unknown major version", "unknown-type", id="a newer major version, rightly signed"),
]


def receipt(attacker: Intruder, kind: str) -> Hostile:
    """A receipt of an instance of orders that holds nothing, good but for one thing."""
    own = SigningKey.generate()
    dependent = "billing" if kind == "another dependent" else "orders"
    env = "prod" if kind == "foreign" else attacker.env
    endorsement = endorse(dependent, env, own.public_raw, attacker.dependent_key(dependent))
    good = Receipt(
        env=env,
        dependent="orders",
        instance=own.key_id,
        endorsement=endorsement,
        n=1,
        at=datetime.now(UTC),
        keys={},
    )
    packed = pack(good, own, source="an attacker")
    return spoilt(kind, attacker.subjects.receipt("orders", own.key_id), packed, own, SigningKey.generate())


@pytest.mark.parametrize(("kind", "code"), RECEIPTS)
async def test_a_hostile_receipt_is_reported_by_the_scheduler(
    attacker: Intruder, kind: str, code: str
) -> None:
    hostile = receipt(attacker, kind)
    await attacker.store(hostile.subject, hostile.data, hostile.headers)
    assert (await attacker.report(SCHEDULER, hostile.subject)).code == code
    good = receipt(attacker, "good")
    await attacker.store(good.subject, good.data, good.headers)
    await attacker.settled()
    assert not [m for m in attacker.heard if good.subject.encode() in m.data]


async def test_a_hostile_report_is_an_alarm_of_audit(attacker: Intruder) -> None:
    subject = attacker.subjects.report(Service.GENERATOR, "alert", uuid.uuid4().hex[:16])
    await attacker.store(subject, b"not a report")
    assert (await attacker.report(Service.AUDIT, subject)).code == "signature"
    await alive(attacker)


async def test_a_subject_that_names_no_key_is_reported_and_wedges_nobody(attacker: Intruder) -> None:
    """The bus lets a service put anything where the key stands: as many of these as a durable may have unacknowledged."""
    subjects = [
        f"evt.{attacker.env}.NO_KEY.1.{SCHEDULER}.rotation-requested.{uuid.uuid4().hex[:16]}"
        for _ in range(70)
    ]
    await asyncio.gather(*(attacker.store(subject, b"{}") for subject in subjects))
    for service in (Service.GENERATOR, Service.DISTRIBUTOR, SCHEDULER, Service.AUDIT):
        for subject in subjects:
            assert isinstance((await attacker.report(service, subject)).code, str)
    await alive(attacker)


async def test_a_delivery_that_does_not_verify_proves_nothing_and_keeps_no_rotation(
    attacker: Intruder,
) -> None:
    key = a_key()
    await attacker.registered(key)
    await attacker.store(attacker.subjects.delivered(key, 2, uuid.uuid4().hex), b"\xff{")
    await attacker.give(attacker.command(Rotate, "alice", key))
    await attacker.until(key, lambda state: state.current == 2 and state.versions[1].state == "deactivated")


async def test_a_refused_second_stop_does_not_stop_the_version_that_comes_next(attacker: Intruder) -> None:
    key = a_key()
    await attacker.registered(key)
    await suspended(attacker, key)
    refused = await attacker.give(attacker.command(Suspend, "rita", key, version=2))
    await attacker.report(Service.REVOCATION, attacker.subjects.command("suspend", key, command_id(refused)))
    await attacker.give(attacker.command(Rotate, "alice", key))
    notice = attacker.subjects.notice("orders", key)
    await attacker.message(Stream.NOTICES, notice, lambda m: Notice.model_validate_json(m.data).current == 2)


@pytest.mark.parametrize("stream", [Stream.LIFECYCLE, Stream.COMMANDS, Stream.RECEIPTS, Stream.REPORTS])
async def test_the_server_takes_nothing_larger_than_its_stream_allows(
    attacker: Intruder, stream: Stream
) -> None:
    key, size = a_key(), MAX_MESSAGE_BYTES + HEADER_BYTES + 1
    subject = {
        Stream.LIFECYCLE: attacker.subjects.fact(key, 1, "generator", "generated", uuid.uuid4().hex),
        Stream.COMMANDS: attacker.subjects.command("suspend", key, uuid.uuid4().hex),
        Stream.RECEIPTS: attacker.subjects.receipt("orders", "0" * 32),
        Stream.REPORTS: attacker.subjects.report(Service.GENERATOR, "alert", "large"),
    }[stream]
    with pytest.raises(OversizedError):
        await attacker.store(subject, b"x" * size)
    assert await attacker.last(stream, subject) is None


READERS: list[Callable[[BusMessage, Any], object]] = [open_fact, open_receipt, open_command]


@pytest.mark.parametrize("reader", READERS, ids=["of facts", "of receipts", "of commands"])
async def test_a_reader_refuses_what_a_server_should_not_have_taken(
    attacker: Intruder, reader: Callable[[BusMessage, Any], object]
) -> None:
    subject = attacker.subjects.fact(KEY, 1, "generator", "generated", uuid.uuid4().hex)
    message = BusMessage("", subject, {}, b"x" * (MAX_MESSAGE_BYTES * 8), 1, datetime.now(UTC))
    with pytest.raises(OversizedError):
        reader(message, attacker.trust)


async def suspended(attacker: Intruder, key: str) -> None:
    """A responder stops version 1: the fact, the distributor's notice and the stop say so."""
    signed = await attacker.give(attacker.command(Suspend, "rita", key, version=1))
    said = signed.payload.encode()
    await attacker.message(
        Stream.LIFECYCLE, f"evt.{attacker.env}.{key}.1.revocation.suspended.*", lambda _: True
    )
    for subject, kind in (
        (attacker.subjects.notice("orders", key), Notice),
        (attacker.subjects.stop("orders", key), Stop),
    ):
        found = await attacker.message(Stream.NOTICES, subject, lambda m: said in m.data)
        assert stopped(kind.model_validate_json(found.data)) == {1}


def stopped(message: Message) -> set[int]:
    """The versions that a notice or stop names as stopped."""
    assert isinstance(message, Notice | Stop)
    return {entry.version for entry in message.stopped}


async def alive(attacker: Intruder) -> None:
    """The next valid messages are handled by everybody, and nobody is left with one in hand."""
    key = a_key()
    await attacker.registered(key)
    await suspended(attacker, key)
    await attacker.settled()
