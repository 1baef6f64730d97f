"""What revocation says of stops that were told: who has not stopped, and after how long everybody had."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from rekey_core.authority import Stream, Subjects
from rekey_core.commands import command_id
from rekey_core.contracts import KeyReceipt, Lease, LeasedKey, SignedCommand
from rekey_core.envelope import pack
from rekey_core.errors import UnavailableError
from rekey_core.names import Service
from rekey_core.readers import endorse
from rekey_core.suspension import stops
from rekey_revocation.handlers import Revocation
from rekey_runtime.keylog import KeyLog
from tests.fakes.scene import KEY, Asker, Scene
from tests.unit.facts import resumed, stop
from tests.unit.world import ENV, NOW


class Stopping:
    """Version 1 is suspended; one instance of orders has a lease for it."""

    def __init__(self, scene: Scene, revocation: Revocation, said: pytest.LogCaptureFixture) -> None:
        self.scene, self.revocation, self.said = scene, revocation, said
        self.asker: Asker = scene.asker()
        self.lease()

    def lease(self) -> None:
        """Of now."""
        asker = self.asker
        lease = Lease(
            env=ENV,
            dependent=asker.dependent,
            instance=asker.instance,
            endorsement=endorse(asker.dependent, ENV, asker.key.public_raw, asker.dependent_key, at=NOW),
            nonce="0" * 32,
            at=datetime.now(UTC),
            keys={KEY: LeasedKey(versions=(1,), as_of=1, lease_s=30)},
        )
        subject = Subjects(ENV).lease(asker.dependent, asker.instance)
        self.scene.put(subject, lease, Service.DISTRIBUTOR)

    def stopped(self) -> None:
        """The instance signs that it uses the version for nothing any more."""
        asker = self.asker
        held = KeyReceipt(proofs={}, protects=None, stopped=(), refused=(1,), as_of=1)
        receipt = asker.receipt({}).model_copy(update={"keys": {KEY: held}})
        packed = pack(receipt, asker.key, source="an instance")
        subject = Subjects(ENV).receipt(asker.dependent, asker.instance)
        self.scene.server.store(subject, packed.data, packed.headers)

    async def commanded(self, signed: SignedCommand, at: datetime = NOW) -> None:
        """A suspension comes."""
        subject = Subjects(ENV).command("suspend", KEY, command_id(signed))
        self.scene.server.store(subject, signed.model_dump_json().encode(), {}, at=at)
        [message] = self.scene.server.messages(Stream.COMMANDS, subject)
        await self.revocation.on_command(message)

    async def comes_again(self) -> None:
        """The suspension that the log has."""
        [entry] = stops(self.scene.state().versions)
        await self.commanded(entry.command)

    async def repeated(self) -> list[str]:
        """What one more round says."""
        self.said.clear()
        await self.revocation.repeat()
        return [getattr(record, "event", "") for record in self.said.records]


@pytest.fixture
async def stopping(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> Stopping:
    """As a revocation that has just started finds it."""
    scene = Scene(home=tmp_path, transport="ab" * 32)
    scene.registered()
    scene.version(1)
    scene.suspended(1)
    bus = await scene.bus(Service.REVOCATION)
    revocation = Revocation(bus, KeyLog(bus))
    await revocation.recall()
    return Stopping(scene, revocation, caplog)


async def test_that_everybody_stopped_is_said_once_and_not_before(stopping: Stopping) -> None:
    assert await stopping.repeated() == ["not-stopped"]
    stopping.stopped()
    assert await stopping.repeated() == ["reached"]
    assert await stopping.repeated() == []


async def test_what_everybody_had_stopped_before_a_start_has_no_reach_from_then(stopping: Stopping) -> None:
    """When they did, nobody knows any more: it may be years ago."""
    stopping.stopped()
    assert await stopping.repeated() == []
    await stopping.commanded(stopping.scene.suspend(1))
    assert await stopping.repeated() == ["reached"]


async def test_a_stop_that_comes_again_after_a_start_has_no_reach_from_then(stopping: Stopping) -> None:
    """Its acknowledgement was outstanding when the service ended, and everybody stopped while it was down."""
    stopping.stopped()
    await stopping.comes_again()
    assert await stopping.repeated() == []


async def test_a_reach_is_said_once_also_when_the_acknowledgement_is_lost(stopping: Stopping) -> None:
    assert await stopping.repeated() == ["not-stopped"]
    stopping.stopped()
    assert await stopping.repeated() == ["reached"]
    await stopping.comes_again()
    assert await stopping.repeated() == []


async def test_a_stop_that_comes_while_one_is_looked_at_that_is_over_leaves_that_without_a_reach(
    stopping: Stopping,
) -> None:
    stopping.stopped()
    command, later = stopping.scene.suspend(1), NOW + timedelta(minutes=5)
    stopping.scene.server.once("read", f"rcpt.{ENV}.orders.*", lambda: stopping.commanded(command, later))
    assert "reached" not in await stopping.repeated()
    assert await stopping.repeated() == ["reached"], "the new one"


async def test_a_stop_that_could_not_be_told_is_repeated_and_has_a_reach(stopping: Stopping) -> None:
    assert await stopping.repeated() == ["not-stopped"]
    stopping.stopped()
    assert await stopping.repeated() == ["reached"]
    command = stopping.scene.suspend(1)
    stopping.scene.server.full.add(Stream.NOTICES)
    for _ in range(2):  # it comes again
        with pytest.raises(UnavailableError):
            await stopping.commanded(command)
    stopping.scene.server.full.clear()
    assert await stopping.repeated() == ["reached"]


async def test_a_reach_counts_from_the_newest_stop_of_the_key(stopping: Stopping) -> None:
    resumed(stopping.scene, 1)
    later = NOW + timedelta(minutes=5)
    stopping.scene.add(stop(stopping.scene, stopping.scene.suspend(1), 1), at=later)
    await stopping.revocation.recall()
    assert await stopping.repeated() == ["not-stopped"]
    stopping.stopped()
    assert await stopping.repeated() == ["reached"]
    [seconds] = [float(record.__dict__["text"].removesuffix(" s")) for record in stopping.said.records]
    assert seconds < (datetime.now(UTC) - NOW).total_seconds() - 200


async def test_of_a_stop_that_was_lifted_before_everybody_stopped_no_reach_is_said(
    stopping: Stopping,
) -> None:
    """Nobody need stop any more: that is no time after which everybody had (DESIGN, 2)."""
    assert await stopping.repeated() == ["not-stopped"]
    resumed(stopping.scene, 1)
    assert await stopping.repeated() == []
    await stopping.revocation.recall()
    assert await stopping.repeated() == []
