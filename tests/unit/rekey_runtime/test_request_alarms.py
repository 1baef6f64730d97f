"""An asker who floods is told of, within bounds, and takes nobody else's alarms away."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest

from rekey_core.authority import Stream
from rekey_core.contracts import Alert
from rekey_core.envelope import BusMessage
from rekey_core.errors import SignatureError, UnavailableError
from rekey_core.names import Service
from rekey_runtime.request_alarms import ALARMS_EACH, WINDOW_S, RequestAlarms
from tests.fakes.scene import Scene


class Clock:
    """Boot time that a test moves."""

    def __init__(self) -> None:
        self.seconds = 1000.0

    def __call__(self) -> float:
        return self.seconds


@pytest.fixture
def scene(tmp_path: Path) -> Scene:
    return Scene(home=tmp_path, transport="0" * 64)


async def alarms_of(scene: Scene, clock: Clock) -> RequestAlarms:
    return RequestAlarms(await scene.bus(Service.DISTRIBUTOR), clock)


def request(dependent: str, number: int) -> BusMessage:
    subject = f"req.dev.{dependent}.{number:032x}.material"
    return BusMessage("", subject, {}, b"", 0, datetime.now(UTC))


def said(scene: Scene) -> list[Alert]:
    return [Alert.model_validate_json(m.data) for m in scene.server.messages(Stream.REPORTS)]


def about(scene: Scene, dependent: str) -> list[Alert]:
    return [alert for alert in said(scene) if f".{dependent}." in alert.subject]


async def test_an_alarm_says_what_was_wrong_with_which_request(scene: Scene) -> None:
    alarms, message = await alarms_of(scene, Clock()), request("orders", 1)
    await alarms.say(message, SignatureError("no signature of ours"))
    [alert] = said(scene)
    assert (alert.subject, alert.code, alert.author) == (message.subject, "signature", "distributor")


async def test_a_flood_has_a_bounded_number_of_places_and_takes_nobodys_alarm_away(scene: Scene) -> None:
    clock = Clock()
    alarms = await alarms_of(scene, clock)
    await alarms.say(request("billing", 1), SignatureError("billing's"))
    for minute in range(3):
        clock.seconds = 1000.0 + minute * WINDOW_S
        for number in range(10 * ALARMS_EACH):
            await alarms.say(request("orders", number), SignatureError(f"in minute {minute}"))
    assert len(about(scene, "orders")) == ALARMS_EACH
    assert len(about(scene, "billing")) == 1
    written = scene.server.messages(Stream.REPORTS)[-1].sequence
    assert written == 3 * ALARMS_EACH + 1, "so often was the stream written to"
    first = about(scene, "orders")[0]
    assert first.message == f"in minute 2; {9 * ALARMS_EACH} more since the last alarm"


async def test_a_full_stream_is_an_error_of_the_alarm_alone(scene: Scene) -> None:
    alarms = await alarms_of(scene, Clock())
    scene.server.full.add(Stream.REPORTS)
    with pytest.raises(UnavailableError):
        await alarms.say(request("orders", 1), SignatureError("no"))
