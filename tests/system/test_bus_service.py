"""What becomes of a message, and how a service starts, answers, watches and ends: real server, real consumers."""

from __future__ import annotations

import asyncio
import json
import re
import signal
import subprocess
import sys
import uuid
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from rekey_core.authority import Identity, Stream
from rekey_core.commands import command_id
from rekey_core.contracts import Alert, Refusal
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
from tests.system.one_service import LIMIT_S, ask_http, command, running, settled, told


async def report(bus: RunningBus, subject: str) -> Refusal | Alert:
    """A report, as audit reads and verifies it."""
    async with bus.service_bus(Name.AUDIT) as audit:
        until = asyncio.get_running_loop().time() + LIMIT_S
        while (message := await audit.last(Stream.REPORTS, subject)) is None:
            assert asyncio.get_running_loop().time() < until, f"no report on {subject}"
            await asyncio.sleep(0.05)
        return open_report(message, audit.trust.current).model


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
    together = asyncio.Barrier(8)  # nobody is answered before so many are being handled

    async def answer(subject: str, data: bytes) -> tuple[bytes, dict[str, str]]:
        if data == b"break":
            raise ZeroDivisionError
        if data != b"again":
            await together.wait()
        return b"answer to " + data, {"On": subject}

    async def compose(service: Service) -> None:
        service.answer(f"req.{ENV}.>", answer)

    subject = f"req.{ENV}.orders.i1.lease"
    async with running(environment, Name.DISTRIBUTOR, compose) as service:
        assert await told(service, 200) == []
        async with environment.client(Identity.APPLICATION, "orders") as client:
            answers = await asyncio.gather(
                *(client.request(subject, str(n).encode(), timeout=LIMIT_S) for n in range(40))
            )
            assert {a.data for a in answers} == {f"answer to {n}".encode() for n in range(40)}
            assert answers[0].headers == {"On": subject}
            with pytest.raises(TimeoutError):
                await client.request(subject, b"break", timeout=0.3)
            again = await client.request(subject, b"again", timeout=LIMIT_S)
            assert again.data == b"answer to again"


async def test_readiness_says_what_is_wrong_and_when_it_is_over(
    environment: RunningBus, capsys: pytest.CaptureFixture[str]
) -> None:
    broken = True
    lines: list[dict[str, str]] = []

    async def prove() -> None:
        if broken:
            raise UnavailableError("token does not answer")

    async def said(count: int) -> None:
        async with asyncio.timeout(LIMIT_S):
            while len(lines) < count:
                await asyncio.sleep(0.02)
                lines.extend(json.loads(line) for line in capsys.readouterr().out.splitlines())

    async def compose(service: Service) -> None:
        service.ready_when(Check.HSM, prove)

    async with running(environment, Name.AUDIT, compose):
        await said(1)
        broken = False
        await said(2)
    assert lines == [
        {"event": "not-ready", "service": "audit", "why": "unavailable"},
        {"event": "ready", "service": "audit"},
    ]


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

    async with environment.client(Identity.GENERATOR) as client:
        for number in range(2):  # one is tried again and again, so the other waits
            subject = f"evt.{ENV}.key-{uuid.uuid4().hex[:12]}.1.generator.generated.{number:016x}"
            assert b'"seq"' in (await client.request(subject, b"x", timeout=LIMIT_S)).data
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

    async def series(service: Service, least: int) -> tuple[list[str], int]:
        """As soon as so many messages are counted: each is a moment after the bus has its acknowledgement."""
        async with asyncio.timeout(LIMIT_S):
            while True:
                status, text = await asyncio.to_thread(ask_http, service, "/metrics")
                assert status == 200
                lines = [line.rpartition(" ") for line in text.splitlines() if not line.startswith("#")]
                counted = [
                    float(value) for name, _, value in lines if name.startswith("rekey_messages_total")
                ]
                if sum(counted) >= least:
                    return sorted(name for name, _, _ in lines), round(sum(counted))
                await asyncio.sleep(0.02)

    async with running(environment, Name.ROTATION_SCHEDULER, compose) as service:
        for kind in ("taken", "refused"):
            await command(environment, f"key-{kind}-{uuid.uuid4().hex[:12]}")
        await settled(environment, "rotation-scheduler")
        assert await told(service, 200) == []  # the watchdog's own series are there
        before, messages = await series(service, least=2)
        for number in range(20):
            kind = "refused" if number % 2 else "taken"
            await command(environment, f"key-{kind}-{uuid.uuid4().hex[:12]}")
        await settled(environment, "rotation-scheduler")
        after, _ = await series(service, least=messages + 20)
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
    assert await asyncio.wait_for(task, LIMIT_S) == 70
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
        print("took", message.subject, flush=True)
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
    key = f"key-{uuid.uuid4().hex[:12]}"
    try:
        async with asyncio.timeout(LIMIT_S):
            ready = await process.stdout.readline()
            assert json.loads(ready) == {"event": "ready", "service": "rotation-scheduler"}
            await command(environment, key)
            while not re.match(rf"took .*\.{key}\.", (await process.stdout.readline()).decode()):
                pass
            process.send_signal(signal.SIGTERM)
            out, log = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
            await process.communicate()
    handled = re.search(rf"handled .*\.{key}\.", out.decode())
    assert (process.returncode, bool(handled)) == (0, True), log.decode()
    await settled(environment, "rotation-scheduler")


async def test_settings_that_are_not_ours_end_the_process_with_a_line(tmp_path: Path) -> None:
    file = tmp_path / "settings.toml"
    file.write_text('env = "dev"\npin = "hunter-two"\n', encoding="utf-8")
    program = [sys.executable, "-c", PROGRAM, "--settings", str(file)]
    done = await asyncio.to_thread(subprocess.run, program, capture_output=True, text=True, check=False)
    line = json.loads(done.stderr.splitlines()[-1])
    assert (done.returncode, line["code"]) == (70, "configuration")
    assert "hunter-two" not in done.stderr
