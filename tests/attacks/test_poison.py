"""Messages that cannot be taken away again: whoever gets one onto the bus stops no key and no service with it.

Leases, deliveries, notices and stops are state that services read again and again; one that does not verify must not be the
end of that. An instance with such a lease is waited for as long as any lease lasts, so nothing is activated too early.
Requests are not stored at all: a hostile one is told of and not answered, and the next good one is.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import nats
import pytest

from rekey.connection import Connection
from rekey.credentials import Login
from rekey_core.authority import Stream
from rekey_core.contracts import Notice, RefusalAnswer, Rotate, Stop, Suspend
from rekey_core.envelope import BusMessage
from rekey_core.errors import SignatureError
from rekey_core.names import Service
from rekey_core.readers import open_answer, open_notice, open_stop
from rekey_core.signing import SigningKey
from rekey_local.plan import SERVER_NAME
from rekey_rotation_scheduler.proofs import LONGEST
from tests.attacks.intruder import Intruder, a_key, intruder
from tests.fakes.hostile_requests import SPOILT
from tests.fakes.scene import Asker
from tests.system.asking import an_instance
from tests.system.bus import ANSWER_S
from tests.system.stack import RunningStack, running_stack

WITHIN_S = 60.0
SERVICES = tuple(service.value for service in Service)


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningStack]:
    with running_stack(tmp_path_factory.mktemp("poison"), registered=False, instances=False) as running:
        yield running


@pytest.fixture
async def attacker(stack: RunningStack) -> AsyncIterator[Intruder]:
    async with intruder(stack) as one:
        before = {name: stack.pid(name) for name in SERVICES}
        yield one
        assert {name: stack.pid(name) for name in SERVICES} == before, "a service had to start again"


@pytest.mark.matrix  # the longest lease lasts a minute; the rule itself is judged in rotation-scheduler's ``test_proofs.py``
async def test_a_lease_that_does_not_verify_holds_a_rotation_back_for_one_lease_only(
    attacker: Intruder,
) -> None:
    key = a_key()
    await attacker.registered(key, dependents=("billing",))
    at = await attacker.store(f"lse.{attacker.env}.billing.{uuid.uuid4().hex}", b"garbage")
    await attacker.give(attacker.command(Rotate, "alice", key))
    state = await attacker.until(key, lambda s: s.current == 2, within_s=LONGEST.total_seconds() + WITHIN_S)
    lease = await attacker.last(Stream.LEASES, f"lse.{attacker.env}.billing.*")
    activated = state.versions[2].activated
    assert lease is not None
    assert lease.sequence == at
    assert activated is not None
    assert activated.stored_at - lease.stored_at > LONGEST


async def test_a_delivery_that_does_not_verify_is_left_out(attacker: Intruder) -> None:
    key = a_key()
    for version in (1, 2):
        await attacker.store(f"dlv.{attacker.env}.{key}.{version}.{uuid.uuid4().hex[:16]}", b"{}")
    await attacker.registered(key, dependents=("orders",))
    await attacker.give(attacker.command(Rotate, "alice", key))
    await attacker.until(key, lambda s: s.current == 2 and s.versions[1].deactivated is not None)


async def test_a_notice_that_does_not_verify_is_written_again(attacker: Intruder) -> None:
    key = a_key()
    await attacker.registered(key, dependents=("orders",))
    subject = attacker.subjects.notice("orders", key)
    at = await attacker.store(subject, b"garbage")
    await attacker.give(attacker.command(Rotate, "alice", key))
    message = await attacker.message(Stream.NOTICES, subject, lambda m: is_notice(m, attacker))
    assert message.sequence > at


async def test_a_stop_that_does_not_verify_is_written_again(attacker: Intruder) -> None:
    key = a_key()
    await attacker.registered(key, dependents=("orders",))
    subject = attacker.subjects.stop("orders", key)
    at = await attacker.store(subject, b"garbage")
    await attacker.give(attacker.command(Suspend, "rita", key, version=1))
    message = await attacker.message(Stream.NOTICES, subject, lambda m: is_stop(m, attacker, 1))
    assert message.sequence > at


async def test_no_status_in_a_stored_message_hides_what_comes_after_it(attacker: Intruder) -> None:
    """Headers are outside of every signature; this one is how the bus says "that was all", "nothing", "nobody"."""
    key, env = a_key(), attacker.env
    await attacker.registered(key, dependents=("orders",))
    notice, stop = attacker.subjects.notice("orders", key), attacker.subjects.stop("orders", key)

    async def poison(status: str) -> str:
        headers, name = {"Status": status, "Nats-Num-Pending": "0"}, uuid.uuid4().hex
        async with sdk_connection(attacker) as sdk:
            for place in (notice, stop):
                at = await attacker.store(place, b"{}", headers)
                found = await sdk.get(Stream.NOTICES, place, WITHIN_S)
                assert found is not None, (place, status)
                assert found.sequence >= at
        await attacker.store(f"cmd.suspend.{env}.{key}.{name[:16]}", b"{}", headers)
        await attacker.store(f"rcpt.{env}.orders.{name}", b"{}", headers)
        subject = f"evt.{env}.{key}.1.generator.generated.{name[:16]}"
        await attacker.store(subject, b"{}", headers)
        return subject

    subjects = [await poison(status) for status in ("204", "404", "503")]
    await attacker.give(attacker.command(Rotate, "alice", key))
    await attacker.until(key, lambda s: s.current == 2 and s.versions[1].deactivated is not None)
    subjects += [await poison(status) for status in ("408", "204", "503")]
    await attacker.give(attacker.command(Suspend, "rita", key, version=2))
    await attacker.until(key, lambda s: s.current is None)
    await attacker.message(Stream.NOTICES, notice, lambda m: is_notice(m, attacker))
    await attacker.message(Stream.NOTICES, stop, lambda m: is_stop(m, attacker, 2))
    for subject in subjects:
        assert (await attacker.report(Service.AUDIT, subject)).code == "signature"


async def test_a_flood_of_receipts_keeps_no_rotation_waiting(attacker: Intruder) -> None:
    key = a_key()
    await attacker.registered(key, dependents=("orders",))
    body = json.dumps({"type": "rekey.receipt.v1", "fill": "x" * 1000}).encode()
    for _ in range(3000):
        await attacker.client.publish(f"rcpt.{attacker.env}.orders.{uuid.uuid4().hex}", body)
    await attacker.client.flush()
    await attacker.give(attacker.command(Rotate, "alice", key))
    await attacker.until(key, lambda s: s.current == 2)


@dataclass(frozen=True)
class Enrolled:
    """Fresh instances of orders, whose dependent's key the attacker has."""

    attacker: Intruder
    key: str

    @property
    def dependents(self) -> Mapping[str, SigningKey]:
        return {name: self.attacker.dependent_key(name) for name in ("billing", "orders")}

    def asker(self) -> Asker:
        own = self.attacker.dependent_key("orders")
        return Asker(own, env=self.attacker.env, asks_for=self.key)


async def test_a_hostile_request_is_an_alarm_and_the_next_good_one_is_answered(attacker: Intruder) -> None:
    key = a_key()
    await attacker.registered(key, dependents=("orders",))
    orders = Enrolled(attacker, key)
    async with an_instance(attacker) as instance:
        for row in SPOILT:
            subject, data = row.spoil(orders, orders.asker())
            with pytest.raises(nats.errors.TimeoutError):
                await instance.client.request(subject, data, timeout=0.05)
            alarm = await attacker.report(Service.DISTRIBUTOR, subject)
            assert alarm.code == row.error("").code, row.name
        assert await instance.material(key) is None, "sealed, so given"


async def test_a_stale_or_replayed_request_is_refused_by_name(attacker: Intruder) -> None:
    key = a_key()
    await attacker.registered(key, dependents=("orders",))
    orders = Enrolled(attacker, key)
    asker = orders.asker()
    hour_ago = datetime.now(UTC) - timedelta(hours=1)
    async with an_instance(attacker) as instance:
        good, stale = asker.material(1), asker.material(1, sent_at=hour_ago)
        for request, code in ((good, None), (good, "replayed"), (stale, "expired")):
            answer = await instance.client.request(*asker.bytes_of(request), timeout=ANSWER_S)
            if code is None:
                assert answer.headers, "sealed, so given"
            else:
                said = open_answer(answer.data, attacker.trust, request, ())
                assert isinstance(said, RefusalAnswer)
                assert said.code == code


@asynccontextmanager
async def sdk_connection(attacker: Intruder) -> AsyncIterator[Connection]:
    """How the SDK of orders reads."""
    place = attacker.stack.layout.dependent("orders")
    files = (place / "tls.crt", place / "tls.key", place / "ca.crt")
    connection = Connection(Login(attacker.stack.plan.bus_url, SERVER_NAME, *files, "orders"))
    await connection.open(WITHIN_S)
    try:
        yield connection
    finally:
        await connection.close()


def is_notice(message: BusMessage, attacker: Intruder) -> bool:
    """Whether it is a notice that verifies; what does not is still there, until the services write again."""
    try:
        found: Notice = open_notice(message, attacker.trust).model
    except SignatureError:
        return False
    return len(found.versions) > 0


def is_stop(message: BusMessage, attacker: Intruder, version: int) -> bool:
    """Whether it is a stop of that version alone that verifies."""
    try:
        found: Stop = open_stop(message, attacker.trust).model
    except SignatureError:
        return False
    return [entry.version for entry in found.stopped] == [version]
