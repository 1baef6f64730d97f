"""What becomes of a message, and how a service starts, answers, watches and ends: real server, real consumers."""

from __future__ import annotations

import asyncio
import contextlib
import http.client
import json
import re
import signal
import subprocess
import sys
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from rekey_core.authority import Identity, Stream
from rekey_core.commands import command_id
from rekey_core.contracts import Alert, Refusal, SignedCommand
from rekey_core.envelope import BusMessage
from rekey_core.errors import (
    AlreadyDoneError,
    HsmError,
    NotInScopeError,
    RekeyError,
    SchemaError,
    UnavailableError,
)
from rekey_core.names import Service as Name
from rekey_core.readers import open_report
from rekey_runtime.health import Check
from rekey_runtime.service import Service
from tests.system.bus import RunningBus
from tests.system.certificates import ENV
from tests.system.test_bus import a_register

Handler = Callable[[BusMessage], Awaitable[None]]


@contextlib.asynccontextmanager
async def running(
    bus: RunningBus, name: Name, compose: Callable[[Service], Awaitable[None]]
) -> AsyncIterator[Service]:
    """A service in this process, from before its consumers are bound until it has drained."""
    quick = {"fetch_wait_s": 0.2, "watchdog_s": 0.2, "stuck_s": 1.0, "http_port": 0}
    settings = bus.settings(name).model_copy(update=quick)
    service = Service(settings)
    bound = asyncio.Event()

    async def composed(composing: Service) -> None:
        await compose(composing)
        bound.set()

    task = asyncio.create_task(service.run(composed))
    waiting = asyncio.create_task(bound.wait())
    await asyncio.wait({task, waiting}, return_when=asyncio.FIRST_COMPLETED, timeout=10)
    try:
        yield service
    finally:
        waiting.cancel()
        service.stop()
        await asyncio.wait_for(task, 15)


async def command(bus: RunningBus, key: str) -> SignedCommand:
    """Alice's command, stored under her own right."""
    _, signed = a_register(bus, key)
    client = await bus.connect(Identity.PERSON, "alice")
    subject = f"cmd.register.{ENV}.{key}.{command_id(signed)[:16]}"
    answer = json.loads((await client.request(subject, signed.model_dump_json().encode(), timeout=5)).data)
    assert "seq" in answer, answer
    await client.close()
    return signed


async def report(bus: RunningBus, subject: str, *, within_s: float = 5) -> Refusal | Alert:
    """A report, as audit reads and verifies it."""
    async with bus.service_bus(Name.AUDIT) as audit:
        until = asyncio.get_running_loop().time() + within_s
        while (message := await audit.last(Stream.REPORTS, subject)) is None:
            assert asyncio.get_running_loop().time() < until, f"no report on {subject}"
            await asyncio.sleep(0.05)
        return open_report(message, audit.trust.current).model


async def settled(bus: RunningBus, consumer: str) -> None:
    """Nothing of a consumer is waiting or unacknowledged any more."""
    client = await bus.connect(Identity.PROVISIONER)
    until = asyncio.get_running_loop().time() + 8
    while True:
        info = json.loads((await client.request(f"JSC.API.CONSUMER.INFO.COMMANDS.{consumer}", b"")).data)
        if info["num_pending"] == info["num_ack_pending"] == 0:
            break
        assert asyncio.get_running_loop().time() < until, info
        await asyncio.sleep(0.05)
    await client.close()


@pytest.mark.parametrize(
    ("raised", "times"),
    [
        pytest.param([], 1, id="an effect that is stored is acknowledged"),
        pytest.param([AlreadyDoneError("done before")], 1, id="what is done already is acknowledged"),
        pytest.param(
            [UnavailableError("not now"), UnavailableError("nor now")],
            3,
            id="not now comes back until it works",
        ),
        pytest.param([ZeroDivisionError()], 2, id="a mistake of ours comes back, it is never lost"),
        pytest.param([NotInScopeError("not yours")], 1, id="a refusal is reported and ends"),
        pytest.param([SchemaError("not a message")], 1, id="what is malformed is reported and ends"),
    ],
)
async def test_the_error_decides_what_becomes_of_a_message(
    environment: RunningBus, raised: list[Exception], times: int
) -> None:
    key = f"key-{uuid.uuid4().hex[:12]}"
    errors = list(raised)
    seen: list[BusMessage] = []

    async def handler(message: BusMessage) -> None:
        if message.subject.split(".")[3] == key:
            seen.append(message)
            if errors:
                raise errors.pop(0)

    async def compose(service: Service) -> None:
        service.consume("rotation-scheduler", handler)

    async with running(environment, Name.ROTATION_SCHEDULER, compose):
        await command(environment, key)
        await settled(environment, "rotation-scheduler")
    assert len(seen) == times


@pytest.mark.parametrize(
    ("error", "kind", "hint"),
    [
        pytest.param(
            NotInScopeError("key belongs to otto", hint="ask otto"), "refusal", "ask otto", id="a refusal"
        ),
        pytest.param(SchemaError("body: field required"), "alert", None, id="an alert"),
    ],
)
async def test_what_is_refused_or_set_aside_is_reported_first(
    environment: RunningBus, error: RekeyError, kind: str, hint: str | None
) -> None:
    key = f"key-{uuid.uuid4().hex[:12]}"
    places: list[BusMessage] = []

    async def handler(message: BusMessage) -> None:
        if message.subject.split(".")[3] == key:
            places.append(message)
            raise error

    async def compose(service: Service) -> None:
        service.consume("rotation-scheduler", handler)

    async with running(environment, Name.ROTATION_SCHEDULER, compose):
        signed = await command(environment, key)
        number = command_id(signed)[:16] if kind == "refusal" else "*"
        found = await report(environment, f"rpt.{ENV}.rotation-scheduler.{kind}.{number}")
        await settled(environment, "rotation-scheduler")
    assert (found.code, found.message, found.subject) == (error.code, str(error), places[0].subject)
    assert getattr(found, "hint", None) == hint
    if isinstance(found, Refusal):
        assert found.cause == command_id(signed)


async def test_a_request_is_answered_to_its_asker_alone(environment: RunningBus) -> None:
    async def answer(subject: str, data: bytes) -> tuple[bytes, dict[str, str]]:
        if data == b"break":
            raise ZeroDivisionError
        await asyncio.sleep(0.05)
        return b"answer to " + data, {"On": subject}

    async def compose(service: Service) -> None:
        service.answer(f"req.{ENV}.>", answer)

    async with running(environment, Name.DISTRIBUTOR, compose):
        await asyncio.sleep(0.3)
        client = await environment.connect(Identity.APPLICATION, "orders")
        subject = f"req.{ENV}.orders.i1.lease"
        began = asyncio.get_running_loop().time()
        answers = await asyncio.gather(
            *(client.request(subject, str(n).encode(), timeout=3) for n in range(40))
        )
        assert {a.data for a in answers} == {f"answer to {n}".encode() for n in range(40)}
        assert asyncio.get_running_loop().time() - began < 1.5, "requests wait for each other"
        assert answers[0].headers == {"On": subject}
        with pytest.raises(TimeoutError):
            await client.request(subject, b"break", timeout=0.3)
        assert (await client.request(subject, b"again", timeout=3)).data == b"answer to again"
        await client.close()


async def test_readiness_says_what_is_wrong_and_when_it_is_over(
    environment: RunningBus, capsys: pytest.CaptureFixture[str]
) -> None:
    broken = True

    async def prove() -> None:
        if broken:
            raise UnavailableError("token does not answer")

    async def compose(service: Service) -> None:
        service.ready_when(Check.HSM, prove)

    async with running(environment, Name.AUDIT, compose):
        await asyncio.sleep(0.5)
        broken = False
        await asyncio.sleep(0.5)
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert lines == [
        {"event": "not-ready", "service": "audit", "why": "unavailable"},
        {"event": "ready", "service": "audit"},
    ]


def ask_http(service: Service, path: str) -> tuple[int, str]:
    """What the service's own HTTP server answers."""
    assert service.http is not None
    connection = http.client.HTTPConnection("127.0.0.1", service.http.port, timeout=5)
    try:
        connection.request("GET", path)
        answer = connection.getresponse()
        return answer.status, answer.read().decode()
    finally:
        connection.close()


async def told(service: Service, status: int) -> list[dict[str, str]]:
    """What ``/readyz`` says failed, as soon as it has this status."""
    until = asyncio.get_running_loop().time() + 20
    while (found := await asyncio.to_thread(ask_http, service, "/readyz"))[0] != status:
        assert asyncio.get_running_loop().time() < until, found
        await asyncio.sleep(0.05)
    failed: list[dict[str, str]] = json.loads(found[1])["failed"]
    return failed


async def test_a_handler_that_never_comes_back_is_not_ready_and_named(environment: RunningBus) -> None:
    key, end = f"key-{uuid.uuid4().hex[:12]}", asyncio.Event()

    async def stuck(message: BusMessage) -> None:
        if message.subject.split(".")[3] == key:
            await end.wait()

    async def compose(service: Service) -> None:
        service.consume("rotation-scheduler", stuck)

    async with running(environment, Name.ROTATION_SCHEDULER, compose) as service:
        assert await told(service, 200) == []
        await command(environment, key)
        (failed,) = await told(service, 503)
        assert failed["check"] == "work"
        assert f".{key}." in failed["message"]
        assert datetime.fromisoformat(failed["since"]) < datetime.now(UTC) - timedelta(seconds=0.9)
        assert (await asyncio.to_thread(ask_http, service, "/livez"))[0] == 200
        end.set()
        assert await told(service, 200) == []


async def test_a_consumer_that_does_not_get_on_is_not_ready_although_it_is_there(
    environment: RunningBus,
) -> None:
    broken = True

    async def handler(message: BusMessage) -> None:
        del message
        if broken:
            raise UnavailableError("not now")

    async def compose(service: Service) -> None:
        service.consume("audit", handler)

    client = await environment.connect(Identity.GENERATOR)
    for number in range(2):  # one is tried again and again, so the other waits
        subject = f"evt.{ENV}.key-{uuid.uuid4().hex[:12]}.1.generator.generated.{number:016x}"
        assert b'"seq"' in (await client.request(subject, b"x", timeout=5)).data
    await client.close()
    async with running(environment, Name.AUDIT, compose) as service:
        (failed,) = await told(service, 503)
        while failed["check"] == "start":
            (failed,) = await told(service, 503)
        assert failed["check"] == "consumers"
        assert re.search(r"audit: \d+ messages wait, none was delivered or acknowledged", failed["message"])
        broken = False
        assert await told(service, 200) == []


async def test_many_keys_make_no_more_series(environment: RunningBus) -> None:
    async def handler(message: BusMessage) -> None:
        if "-refused-" in message.subject:
            raise NotInScopeError("not yours")

    async def compose(service: Service) -> None:
        service.consume("rotation-scheduler", handler)

    async def series(service: Service) -> tuple[list[str], int]:
        status, text = await asyncio.to_thread(ask_http, service, "/metrics")
        assert status == 200
        lines = [line.rpartition(" ") for line in text.splitlines() if not line.startswith("#")]
        counted = [value for name, _, value in lines if name.startswith("rekey_messages_total")]
        return sorted(name for name, _, _ in lines), round(sum(map(float, counted)))

    async with running(environment, Name.ROTATION_SCHEDULER, compose) as service:
        for kind in ("taken", "refused"):
            await command(environment, f"key-{kind}-{uuid.uuid4().hex[:12]}")
        await settled(environment, "rotation-scheduler")
        await asyncio.sleep(0.5)  # the watchdog's own series
        before, messages = await series(service)
        for number in range(20):
            kind = "refused" if number % 2 else "taken"
            await command(environment, f"key-{kind}-{uuid.uuid4().hex[:12]}")
        await settled(environment, "rotation-scheduler")
        after, more = await series(service)
    assert more >= messages + 20
    assert after == before


async def test_what_cannot_go_on_ends_the_process_and_loses_nothing(environment: RunningBus) -> None:
    key = f"key-{uuid.uuid4().hex[:12]}"

    async def gone(message: BusMessage) -> None:
        if message.subject.split(".")[3] == key:
            raise HsmError("the token is gone")

    async def compose(service: Service) -> None:
        service.consume("rotation-scheduler", gone)

    settings = environment.settings(Name.ROTATION_SCHEDULER).model_copy(update={"fetch_wait_s": 0.2})
    task = asyncio.create_task(Service(settings).run(compose))
    await command(environment, key)
    assert await asyncio.wait_for(task, 10) == 70
    seen: list[str] = []

    async def handler(message: BusMessage) -> None:
        seen.append(message.subject.split(".")[3])

    async def works(service: Service) -> None:
        service.consume("rotation-scheduler", handler)

    async with running(environment, Name.ROTATION_SCHEDULER, works):
        await settled(environment, "rotation-scheduler")
    assert key in seen


PROGRAM = """
import asyncio
from rekey_runtime.service import Service, main
from rekey_runtime.settings import ServiceSettings

async def compose(service: Service, settings: ServiceSettings) -> None:
    async def handler(message):
        await asyncio.sleep(1)
        print("handled", message.subject, flush=True)
    service.consume("rotation-scheduler", handler)

main(ServiceSettings, compose)
"""


async def test_a_process_says_ready_and_finishes_what_it_began(
    environment: RunningBus, tmp_path: Path
) -> None:
    fields = environment.fields(Name.ROTATION_SCHEDULER)
    file = tmp_path / "settings.toml"
    file.write_text(
        "\n".join(f"{name} = {json.dumps(str(value))}" for name, value in fields.items()), encoding="utf-8"
    )
    pipe = asyncio.subprocess.PIPE
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", PROGRAM, "--settings", str(file), stdout=pipe, stderr=pipe
    )
    assert process.stdout is not None
    ready = await process.stdout.readline()
    assert json.loads(ready) == {"event": "ready", "service": "rotation-scheduler"}
    key = f"key-{uuid.uuid4().hex[:12]}"
    await command(environment, key)
    await asyncio.sleep(0.3)
    process.send_signal(signal.SIGTERM)
    out, log = await asyncio.wait_for(process.communicate(), 15)
    assert (process.returncode, f".{key}." in out.decode()) == (0, True), log.decode()
    await settled(environment, "rotation-scheduler")


async def test_settings_that_are_not_ours_end_the_process_with_a_line(tmp_path: Path) -> None:
    file = tmp_path / "settings.toml"
    file.write_text('env = "dev"\npin = "hunter-two"\n', encoding="utf-8")
    program = [sys.executable, "-c", PROGRAM, "--settings", str(file)]
    done = await asyncio.to_thread(subprocess.run, program, capture_output=True, text=True, check=False)
    line = json.loads(done.stderr.splitlines()[-1])
    assert (done.returncode, line["code"]) == (70, "configuration")
    assert "hunter-two" not in done.stderr
