"""What a full stream does to reports: they are in the log alone, and no message is kept for them."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest

from rekey_core.authority import Stream
from rekey_core.envelope import BusMessage
from rekey_core.errors import SignatureError, UnavailableError
from rekey_core.names import Service
from rekey_runtime.reports import publish_alert, publish_refusal
from rekey_runtime.room import Room
from tests.fakes.scene import Scene

MESSAGE = BusMessage("COMMANDS", "cmd.suspend.dev.orders-db.0", {}, b"{}", 7, datetime.now(UTC))


@pytest.fixture
def scene(tmp_path: Path) -> Scene:
    return Scene(home=tmp_path, transport="0" * 64)


async def test_how_full_a_stream_is_is_looked_at_again(scene: Scene) -> None:
    bus = await scene.bus(Service.DISTRIBUTOR)
    assert bus.room.share(Stream.LIFECYCLE) == 0
    scene.server.shares[Stream.LIFECYCLE] = 0.5
    assert bus.room.share(Stream.LIFECYCLE) == 0
    await bus.room.look()
    assert bus.room.share(Stream.LIFECYCLE) == pytest.approx(0.5)


async def test_what_was_never_looked_at_is_not_taken_for_empty(scene: Scene) -> None:
    room = Room(await scene.bus(Service.DISTRIBUTOR))
    with pytest.raises(UnavailableError, match="not known yet"):
        room.share(Stream.LIFECYCLE)


@pytest.mark.parametrize(
    ("service", "share", "stored"),
    [
        pytest.param(Service.DISTRIBUTOR, 0.79, 2, id="below 80 %"),
        pytest.param(Service.DISTRIBUTOR, 0.81, 0, id="above 80 %, of a service like others"),
        pytest.param(Service.REVOCATION, 0.81, 2, id="above 80 %, of revocation"),
    ],
)
async def test_reports_leave_room(
    scene: Scene, service: Service, share: float, stored: int, caplog: pytest.LogCaptureFixture
) -> None:
    scene.server.shares[Stream.REPORTS] = share
    bus = await scene.bus(service)
    await publish_refusal(bus, MESSAGE, SignatureError("not signed"))
    await publish_alert(bus, MESSAGE, SignatureError("not signed"))
    assert len(scene.server.messages(Stream.REPORTS)) == stored
    assert len([r for r in caplog.records if "no room for a report: not signed" in r.message]) == 2 - stored
