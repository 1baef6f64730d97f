"""What becomes of a request whose handler says no: who hears of it, and what ends with it."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from faststream.nats.message import NatsMessage
from nats.aio.client import Client
from nats.aio.msg import Msg

from rekey_core.authority import Stream
from rekey_core.contracts import Alert
from rekey_core.errors import (
    ConfigurationError,
    FatalError,
    NotGrantedError,
    SignatureError,
    UnavailableError,
)
from rekey_core.names import Service
from rekey_runtime.request_alarms import RequestAlarms
from rekey_runtime.subscriptions import Answering
from tests.fakes.scene import Scene

SUBJECT = "req.dev.orders.00000000000000000000000000000001.material"

NO = [
    pytest.param(SignatureError("none of ours"), ["signature"], [], id="malformed: an alarm"),
    pytest.param(NotGrantedError("no grant"), ["not-granted"], [], id="refused without an answer: an alarm"),
    pytest.param(UnavailableError("the HSM is away"), [], [], id="can be tried again: who asked asks again"),
    pytest.param(ConfigurationError("no PIN"), [], ["configuration"], id="fatal: the service ends"),
    pytest.param(
        ValueError("a mistake of ours"), [], [], id="a mistake of ours: this request alone has no answer"
    ),
]


@pytest.mark.parametrize(("error", "alarms", "ends"), NO)
async def test_who_hears_of_a_request_that_has_no_answer(
    tmp_path: Path, error: Exception, alarms: list[str], ends: list[str]
) -> None:
    scene = Scene(home=tmp_path, transport="0" * 64)
    bus = await scene.bus(Service.DISTRIBUTOR)
    failed: list[FatalError] = []

    async def no(_: str, __: bytes) -> tuple[bytes, dict[str, str]]:
        raise error

    answering = Answering(bus, SUBJECT, no, RequestAlarms(bus), failed.append, 1, 60.0)
    await answering._on_request(request(), Client())  # noqa: SLF001 - what the bus's client calls
    said = [Alert.model_validate_json(message.data) for message in scene.server.messages(Stream.REPORTS)]
    assert [(alert.code, alert.subject) for alert in said] == [(code, SUBJECT) for code in alarms]
    assert [fatal.code for fatal in failed] == ends


async def test_who_is_about_to_ask_again_is_not_answered_and_holds_up_nobody(
    tmp_path: Path,
) -> None:
    """Else a service that was late once stays late: each answer goes to a question that was already asked again."""
    bus = await Scene(home=tmp_path, transport="0" * 64).bus(Service.DISTRIBUTOR)
    free, begun = asyncio.Event(), 0

    async def slow(_: str, data: bytes) -> tuple[bytes, dict[str, str]]:
        nonlocal begun
        begun += 1
        await free.wait()
        return data, {}

    answering = Answering(bus, SUBJECT, slow, RequestAlarms(bus), _never, 1, patience_s=0.05)

    def asked() -> asyncio.Task[None]:
        return asyncio.create_task(answering._in_turn(request(), Client()))  # noqa: SLF001 - as bound

    waiting = [asked() for _ in range(4)]
    await asyncio.sleep(0.1)
    free.set()
    await asyncio.gather(*waiting)
    assert (begun, bus.dropped) == (1, 3)
    await asked()
    assert (begun, bus.dropped) == (2, 3)


async def test_more_than_may_wait_are_dropped_at_once(tmp_path: Path) -> None:
    bus = await Scene(home=tmp_path, transport="0" * 64).bus(Service.DISTRIBUTOR)
    free, most, begun = asyncio.Event(), bus.settings.max_waiting_requests, 0

    async def slow(_: str, data: bytes) -> tuple[bytes, dict[str, str]]:
        nonlocal begun
        begun += 1
        await free.wait()
        return data, {}

    answering = Answering(bus, SUBJECT, slow, RequestAlarms(bus), _never, 2, patience_s=60.0)
    waiting = [
        asyncio.create_task(answering._in_turn(request(), Client()))  # noqa: SLF001 - as bound
        for _ in range(most + 5)
    ]
    await asyncio.sleep(0)
    assert (begun, bus.dropped) == (2, 3)
    free.set()
    await asyncio.gather(*waiting)
    assert (begun, bus.dropped) == (2 + most, 3)


def _never(error: FatalError) -> None:
    raise error


def request() -> NatsMessage:
    raw = Msg(_client=Client(), subject=SUBJECT, data=b"{}")
    return NatsMessage(raw_message=raw, body=raw.data)
