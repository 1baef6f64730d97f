"""At 85 % of LIFECYCLE nothing begins any more; what was begun goes on, and a stop always gets through."""

from __future__ import annotations

from pathlib import Path

import pytest

from rekey_core.authority import Stream, Subjects
from rekey_core.commands import command_id
from rekey_core.contracts import SignedCommand
from rekey_core.envelope import BusMessage
from rekey_core.errors import NoRoomError
from rekey_core.lifecycle import VersionState
from rekey_core.names import Service
from rekey_revocation.handlers import Revocation
from rekey_rotation_scheduler.handlers import Scheduler
from rekey_runtime.keylog import KeyLog
from tests.fakes.scene import KEY, Scene
from tests.unit.world import ENV, NOW


@pytest.fixture
def scene(tmp_path: Path) -> Scene:
    made = Scene(home=tmp_path, transport="0" * 64)
    made.server.clock = lambda: NOW
    return made


def given(scene: Scene, verb: str, signed: SignedCommand) -> BusMessage:
    """The command as the log has it."""
    subject = Subjects(ENV).command(verb, KEY, command_id(signed))
    scene.server.store(subject, signed.model_dump_json().encode(), {}, at=NOW)
    [message] = scene.server.messages(Stream.COMMANDS, subject)
    return message


async def scheduler(scene: Scene, share: float) -> Scheduler:
    scene.server.shares[Stream.LIFECYCLE] = share
    bus = await scene.bus(Service.ROTATION_SCHEDULER)
    return Scheduler(bus, KeyLog(bus))


async def test_a_rotation_begins_below_85_percent(scene: Scene) -> None:
    scene.registered()
    scene.version(1)
    handler = await scheduler(scene, 0.849)
    await handler.on_command(given(scene, "rotate", scene.rotate()))
    assert scene.events(2) == ["rotation-requested"]


async def test_no_rotation_begins_at_85_percent(scene: Scene) -> None:
    scene.registered()
    scene.version(1)
    handler = await scheduler(scene, 0.851)
    with pytest.raises(NoRoomError, match="LIFECYCLE is 85% full, rotations begin below 85%"):
        await handler.on_command(given(scene, "rotate", scene.rotate()))
    assert scene.events(2) == []


async def test_no_key_is_registered_at_85_percent(scene: Scene) -> None:
    handler = await scheduler(scene, 0.851)
    with pytest.raises(NoRoomError):
        await handler.on_command(given(scene, "register", scene.register()))
    assert scene.catch_up() == []


async def test_a_registration_that_was_begun_goes_on(scene: Scene) -> None:
    signed = scene.register()
    scene.registered(signed)
    handler = await scheduler(scene, 0.851)
    await handler.on_command(given(scene, "register", signed))
    assert scene.events(1) == ["rotation-requested"]


@pytest.mark.parametrize("share", [0.8, 0.85, 0.99])
async def test_a_stop_gets_through(scene: Scene, share: float) -> None:
    scene.registered()
    scene.version(1)
    scene.server.shares |= {Stream.LIFECYCLE: share, Stream.REPORTS: share}
    bus = await scene.bus(Service.REVOCATION)
    await Revocation(bus, KeyLog(bus)).on_command(given(scene, "suspend", scene.suspend(1)))
    scene.catch_up()
    assert scene.state().versions[1].state is VersionState.SUSPENDED
