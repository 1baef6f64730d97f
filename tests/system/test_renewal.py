"""A service's certificate is replaced while it works: real server, real TLS, nothing asked of it or by it is lost."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import timedelta
from functools import partial
from pathlib import Path

import pytest

from rekey.connection import Connection
from rekey.credentials import Login
from rekey_core.authority import Identity, Stream, Subjects
from rekey_core.envelope import BusMessage
from rekey_core.errors import ConfigurationError, UnavailableError
from rekey_core.fold import KeyState
from rekey_core.names import Service as Name
from rekey_core.signing import SigningKey
from rekey_runtime import renewal
from rekey_runtime.health import Remark
from rekey_runtime.identity import tls
from rekey_runtime.keylog import KeyLog
from rekey_runtime.link import Link
from rekey_runtime.service import Service
from tests.system.bus import RunningBus
from tests.system.certificates import ENV, Authority, Certificate
from tests.system.one_service import command, running, settled
from tests.system.test_bus import a_register, alert_subject, an_alert, registered

Files = Callable[[RunningBus, Path], tuple[bytes, bytes]]
LIMIT_S = 20


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(renewal, "LOOK_S", 0.05)


def replaced(service: Service, cert: bytes, key: bytes) -> None:
    """Put files in place as a program should: each whole, by renaming."""
    for path, data in ((service.settings.tls_key, key), (service.settings.tls_cert, cert)):
        new = path.with_suffix(".new")
        new.write_bytes(data)
        new.replace(path)


def pair(files: Certificate) -> tuple[bytes, bytes]:
    return files.cert.read_bytes(), files.key.read_bytes()


@contextlib.asynccontextmanager
async def with_files_of_its_own(
    bus: RunningBus, name: Name, directory: Path, compose: Callable[[Service], Awaitable[None]]
) -> AsyncIterator[Service]:
    """A service whose certificate files nobody else reads."""
    cert, key = pair(bus.authority.identity(Identity(name.value)))
    files = Certificate(directory / "tls.crt", directory / "tls.key", bus.authority.ca)
    files.cert.write_bytes(cert)
    files.key.write_bytes(key)
    place = (Identity(name.value), "")
    before = bus.certificate(*place)
    bus._certificates[place] = files  # noqa: SLF001 - what its settings name
    try:
        async with running(bus, name, compose) as service:
            yield service
    finally:
        bus._certificates[place] = before  # noqa: SLF001


async def nothing(_: Service) -> None:
    """What a service does of which only the connection matters."""


def renewed(service: Service, before: str) -> Callable[[], bool]:
    """Whether another certificate is in use than the one before."""
    return lambda: service.health.identity["certificate"] != before


def cut(link: Link) -> None:
    """End the connection, as a server does that ends."""
    transport = link.client._transport  # noqa: SLF001 - nothing else of the client ends it so
    assert transport is not None
    transport.close()  # type: ignore[no-untyped-call]


async def until(is_true: Callable[[], bool], what: str) -> None:
    """Wait for what must come."""
    end = asyncio.get_running_loop().time() + LIMIT_S
    while not is_true():
        assert asyncio.get_running_loop().time() < end, f"not within {LIMIT_S} s: {what}"
        await asyncio.sleep(0.02)


@pytest.mark.parametrize(
    ("askers", "takes_s"),
    [
        pytest.param(8, 0.02, id="some are being answered"),
        pytest.param(48, 0.0, id="many are on their way to the connection that ends"),
    ],
)
async def test_every_question_is_answered_while_the_certificate_is_replaced(
    environment: RunningBus, tmp_path: Path, askers: int, takes_s: float
) -> None:
    async def answer(_: str, data: bytes) -> tuple[bytes, dict[str, str]]:
        await asyncio.sleep(takes_s)
        return data, {}

    async def compose(service: Service) -> None:
        service.answer(f"req.{ENV}.>", answer)

    async with with_files_of_its_own(environment, Name.DISTRIBUTOR, tmp_path, compose) as service:
        await until(lambda: not service.health.findings, "readiness")
        client = await environment.connect(Identity.APPLICATION, "orders")
        over, answered = asyncio.Event(), 0

        async def asking(number: int) -> None:
            nonlocal answered
            while not over.is_set():
                data = f"{number} {answered}".encode()
                found = await client.request(f"req.{ENV}.orders.i{number}.lease", data, timeout=LIMIT_S)
                assert found.data == data, "one that is lost would end in a time-out"
                answered += 1

        async with asyncio.TaskGroup() as group:
            for number in range(askers):
                group.create_task(asking(number))
            for _ in range(3):
                before, link = service.health.identity["certificate"], service.bus.link
                replaced(service, *pair(environment.authority.identity(Identity.DISTRIBUTOR)))
                await until(renewed(service, before), "the new one")
                assert link.client.is_closed, "the connection before has ended"
                assert service.bus.client.is_connected
            await until(lambda: answered > 50, "answers")
            over.set()
        assert service.bus.violations == 0
        assert service.bus.dropped == 0
        await client.close()


@pytest.mark.parametrize("ends", ["its certificate is replaced", "it is told to end"])
async def test_a_question_that_the_bus_hands_over_after_the_last_word_is_answered(
    environment: RunningBus, tmp_path: Path, ends: str
) -> None:
    """A server under load does that: it has chosen this subscription, and confirms its end before it sends."""
    asked: list[bytes] = []

    async def answer(_: str, data: bytes) -> tuple[bytes, dict[str, str]]:
        asked.append(data)
        return data, {}

    async def compose(service: Service) -> None:
        service.answer(f"req.{ENV}.>", answer)

    async with with_files_of_its_own(environment, Name.DISTRIBUTOR, tmp_path, compose) as service:
        await until(lambda: not service.health.findings, "readiness")
        client, before = service.bus.client, service.health.identity["certificate"]
        unsubscribe, subject = client._send_unsubscribe, f"req.{ENV}.orders.i1.lease".encode()  # noqa: SLF001
        late: list[asyncio.Task[None]] = []

        async def and_then(sid: int, limit: int = 0) -> None:
            await unsubscribe(sid, limit)
            if not late:
                late.append(asyncio.create_task(one_more(sid)))

        async def one_more(sid: int) -> None:
            await asyncio.sleep(0.05)
            await client._process_msg(sid, subject, b"", b"late", b"")  # noqa: SLF001 - as if the server sent it

        client._send_unsubscribe = and_then  # type: ignore[method-assign]  # noqa: SLF001
        if ends == "its certificate is replaced":
            replaced(service, *pair(environment.authority.identity(Identity.DISTRIBUTOR)))
            await until(renewed(service, before), "the new one")
    await asyncio.gather(*late)
    assert asked == [b"late"]


async def test_commands_and_appends_go_on_while_the_certificate_is_replaced(
    environment: RunningBus, tmp_path: Path
) -> None:
    prefix = f"key-{uuid.uuid4().hex[:8]}"
    seen: list[str] = []

    async def handler(message: BusMessage) -> None:
        if (key := message.subject.split(".")[3]).startswith(prefix):
            await asyncio.sleep(0.05)
            seen.append(key)

    async def compose(service: Service) -> None:
        service.consume("rotation-scheduler", handler)

    async with with_files_of_its_own(environment, Name.ROTATION_SCHEDULER, tmp_path, compose) as service:
        await until(lambda: not service.health.findings, "readiness")
        over, stored, keylog = asyncio.Event(), 0, KeyLog(service.bus)

        async def append(key: str) -> None:
            said, signed = a_register(environment, key)
            await keylog.append(await keylog.state(key), registered(KeyState(ENV, key), said, signed))

        async def appending() -> None:
            nonlocal stored
            while not over.is_set():
                bus, keys = service.bus, [f"{prefix}-{stored}-{number}" for number in range(4)]
                place = alert_subject(bus, f"{prefix}-{stored}")
                assert await bus.write_once(Stream.REPORTS, place, an_alert(bus)), "its outcome is known"
                await asyncio.gather(*(append(key) for key in keys))  # in batches, as services do
                found = await bus.read_many(Stream.LIFECYCLE, [bus.subjects.check(key) for key in keys])
                assert len(found) == len(keys)
                stored += 1

        async with asyncio.TaskGroup() as group:
            group.create_task(appending())
            for number in range(3):
                before = service.health.identity["certificate"]
                await command(environment, f"{prefix}-{number}")
                replaced(service, *pair(environment.authority.identity(Identity.ROTATION_SCHEDULER)))
                await command(environment, f"{prefix}-{number}-too")
                await until(renewed(service, before), "the new one")
            await until(lambda: stored > 10, "appends")
            over.set()
        await settled(environment, "rotation-scheduler")
        assert len(seen) == len(set(seen)) == 6


def mismatched(bus: RunningBus, _: Path) -> tuple[bytes, bytes]:
    cert, _key = pair(bus.authority.identity(Identity.AUDIT))
    return cert, pair(bus.authority.identity(Identity.AUDIT))[1]


def of_another_ca(_: RunningBus, directory: Path) -> tuple[bytes, bytes]:
    return pair(Authority(directory).identity(Identity.AUDIT))


def of_another_service(bus: RunningBus, _: Path) -> tuple[bytes, bytes]:
    return pair(bus.authority.identity(Identity.GENERATOR))


def half_written(bus: RunningBus, _: Path) -> tuple[bytes, bytes]:
    cert, key = pair(bus.authority.identity(Identity.AUDIT))
    return cert[: len(cert) // 2], key


BAD: list[tuple[str, Files, str]] = [
    ("mismatched", mismatched, "tls_key: expected the key of the certificate"),
    ("another CA's", of_another_ca, "issued by a CA of tls_ca"),
    ("another service's", of_another_service, "expected identity spiffe://rekey.dev/service/audit"),
    ("half written", half_written, "expected certificates in PEM"),
]


async def test_bad_files_leave_the_certificate_before_in_use_and_are_named_once(
    environment: RunningBus, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    def is_said(expected: str) -> bool:
        return expected in "".join(said()[-1:])

    def said() -> list[str]:
        return [r.getMessage() for r in caplog.records if getattr(r, "event", "") == "identity-refused"]

    async with with_files_of_its_own(environment, Name.AUDIT, tmp_path, nothing) as service:
        await until(lambda: not service.health.findings, "readiness")
        before, link = dict(service.health.identity), service.bus.link
        with caplog.at_level(logging.ERROR):
            for number, (name, files, expected) in enumerate(BAD):
                directory = tmp_path / str(number)
                directory.mkdir()
                replaced(service, *files(environment, directory))
                await until(partial(is_said, expected), name)
                assert str(service.settings.tls_cert) in said()[-1]
                assert Remark.IDENTITY_REFUSED in service.health.remarks
            service.settings.tls_key.unlink()
            await until(lambda: "No such file" in said()[-1], "a file that is gone")
            count = len(said())
            await asyncio.sleep(0.3)
            assert len(said()) == count, "a problem is said once"
        assert service.health.identity == before
        assert service.bus.link is link
        assert not service.health.findings, "it works on"
        assert b"rekey_identity_refused 1.0" in service.bus.metrics.text(service.health)
        replaced(service, *pair(environment.authority.identity(Identity.AUDIT)))
        await until(lambda: service.health.identity["certificate"] != before["certificate"], "a good one")
        assert Remark.IDENTITY_REFUSED not in service.health.remarks


async def test_a_certificate_that_the_server_does_not_let_in_is_not_moved_to(
    environment: RunningBus, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Good in our eyes: our list of CAs names one that the server does not know."""
    theirs = tmp_path / "theirs"
    theirs.mkdir()
    other = Authority(theirs)
    async with with_files_of_its_own(environment, Name.AUDIT, tmp_path, nothing) as service:
        await until(lambda: not service.health.findings, "readiness")
        link = service.bus.link
        both = tmp_path / "both.crt"
        both.write_bytes(environment.authority.ca.read_bytes() + other.ca.read_bytes())
        service.bus.settings = service.settings.model_copy(update={"tls_ca": both})
        with caplog.at_level(logging.ERROR):
            replaced(service, *pair(other.identity(Identity.AUDIT)))
            await until(lambda: any("stays in use: bus tls" in r.getMessage() for r in caplog.records), "no")
        assert service.bus.link is link
        subject = service.bus.subjects.trust(1)
        assert await service.bus.get(Stream.TRUST, subject) is not None, "the connection before works"


async def test_a_certificate_that_expired_while_it_was_in_use_is_replaced_all_the_same(
    environment: RunningBus, tmp_path: Path
) -> None:
    """The bus lets nobody come back with it, and the new one is taken although the bus tells us nothing over the old."""
    expired = environment.authority.identity(Identity.AUDIT, valid_for=timedelta(minutes=-1))
    async with with_files_of_its_own(environment, Name.AUDIT, tmp_path, nothing) as service:
        await until(lambda: not service.health.findings, "readiness")
        before, link = service.health.identity["certificate"], service.bus.link
        link._tls.load_cert_chain(expired.cert, expired.key)  # noqa: SLF001 - what it comes back with
        cut(link)
        await until(lambda: not link.client.is_connected, "the end of the connection")
        await link.client.publish("a.backlog", b"that it would keep until it is back")
        with pytest.raises(UnavailableError):
            await service.bus.trust.refresh()
        replaced(service, *pair(environment.authority.identity(Identity.AUDIT)))
        await until(renewed(service, before), "the new one")
        await until(lambda: link.client.is_closed, "the connection before does not come back for ever")
        await service.bus.trust.refresh()


async def test_a_new_connection_that_fails_before_it_works_is_not_left_behind(
    environment: RunningBus, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else each look would leave one more that tries to come back, with subscriptions of its own."""
    monkeypatch.setattr("rekey_runtime.link.FLUSH_S", 0.2)
    expired = environment.authority.identity(Identity.AUDIT, valid_for=timedelta(minutes=-1))
    async with environment.service_bus(Name.AUDIT) as bus:
        before, made = bus.link, []

        def ends() -> None:
            made.append(bus.link)
            bus.link._tls.load_cert_chain(expired.cert, expired.key)  # noqa: SLF001 - what it comes back with
            cut(bus.link)

        with pytest.raises(UnavailableError):
            await bus.move(tls(bus.credentials, bus.settings), ends)
        assert bus.link is before
        await bus.trust.refresh()  # it works on
        [new] = made
        assert new is not before
        assert new.client.is_closed


async def test_a_dependent_does_not_notice_that_its_certificate_is_replaced(
    environment: RunningBus, tmp_path: Path
) -> None:
    def put(cert: bytes, key: bytes) -> None:
        login.tls_key.write_bytes(key)
        login.tls_cert.write_bytes(cert)

    def fresh() -> tuple[bytes, bytes]:
        return pair(environment.authority.identity(Identity.APPLICATION, "orders"))

    ca = environment.authority.ca
    login = Login(environment.url, "localhost", tmp_path / "crt", tmp_path / "key", ca, "orders")
    put(*fresh())
    connection, heard, trust = Connection(login), asyncio.Event(), Subjects(ENV).trust(1)
    await connection.open(LIMIT_S)
    await connection.hear(f"poke.ntc.{ENV}.orders.>", lambda _: heard.set())
    over = asyncio.Event()

    async def asking() -> None:
        while not over.is_set():
            assert await connection.get(Stream.TRUST, trust, LIMIT_S) is not None

    async with asyncio.TaskGroup() as group:
        for _ in range(4):
            group.create_task(asking())
        for _ in range(2):
            assert await connection.renew(LIMIT_S) is None, "nothing is new"
            put(*fresh())
            assert await connection.renew(LIMIT_S) is not None
        billing = pair(environment.authority.identity(Identity.APPLICATION, "billing"))
        for bad in (billing, (fresh()[0], fresh()[1])):
            put(*bad)
            with pytest.raises(ConfigurationError):
                await connection.renew(LIMIT_S)
        over.set()
    async with environment.service_bus(Name.DISTRIBUTOR) as bus:
        await bus.write_once(Stream.NOTICES, f"ntc.{ENV}.orders.key-{uuid.uuid4().hex[:8]}", an_alert(bus))
        await asyncio.wait_for(heard.wait(), LIMIT_S)
    await connection.close()


async def test_a_service_that_the_trust_document_does_not_name_does_not_start(
    environment: RunningBus, tmp_path: Path
) -> None:
    key = tmp_path / "signing.key"
    key.write_bytes(SigningKey.generate().to_pem())
    settings = environment.settings(Name.AUDIT).model_copy(update={"signing_key": key})
    assert await asyncio.wait_for(Service(settings).run(nothing), LIMIT_S) == 70
