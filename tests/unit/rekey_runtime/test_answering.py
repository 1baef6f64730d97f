"""What becomes of a request whose handler says no: who hears of it, and what ends with it."""

from __future__ import annotations

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

    answering = Answering(bus, SUBJECT, no, RequestAlarms(bus), failed.append, concurrency=1)
    await answering._on_request(request(), Client())  # noqa: SLF001 - what the bus's client calls
    said = [Alert.model_validate_json(message.data) for message in scene.server.messages(Stream.REPORTS)]
    assert [(alert.code, alert.subject) for alert in said] == [(code, SUBJECT) for code in alarms]
    assert [fatal.code for fatal in failed] == ends


def request() -> NatsMessage:
    raw = Msg(_client=Client(), subject=SUBJECT, data=b"{}")
    return NatsMessage(raw_message=raw, body=raw.data)
