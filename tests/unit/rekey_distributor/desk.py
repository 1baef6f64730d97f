"""The distributor's parts on a bus in memory, with versions that a real generator's token made."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Self

from rekey.errors import refusal_error
from rekey_core.authority import Stream, Subjects
from rekey_core.commands import read_command
from rekey_core.confirmation import VersionContext
from rekey_core.contracts import (
    LeaseAnswer,
    LeaseRequest,
    MaterialRecord,
    Receipt,
    ReleasedVersion,
    Suspend,
)
from rekey_core.encoding import b64u_decode, b64u_encode
from rekey_core.names import Service
from rekey_core.versions import Wrapped
from rekey_distributor.deliveries import Deliveries
from rekey_distributor.delivering import Delivering
from rekey_distributor.emergencies import Emergencies
from rekey_distributor.leasing import Leasing
from rekey_distributor.permits import Permits
from rekey_distributor.quotas import Quotas
from rekey_distributor.records import Records, context_of
from rekey_distributor.releasing import Releasing
from rekey_distributor.requests import Requests
from rekey_distributor.sealing_keys import SealingKeys
from rekey_distributor.using import Using
from rekey_generator.handlers import Generator
from rekey_hsm import DistributorHsm, GeneratorHsm
from rekey_runtime.clock import BusClock
from rekey_runtime.keylog import KeyLog
from tests.fakes.memory_bus import MemoryBus
from tests.fakes.scene import KEY, Asker, Scene
from tests.hsm_tokens import Tokens
from tests.unit.world import ENV, NOW


@dataclass
class Desk:
    """One replica, as ``rekey_distributor.app`` composes it."""

    scene: Scene
    bus: MemoryBus
    tokens: Tokens
    generator: GeneratorHsm
    hsm: DistributorHsm
    emergencies: Emergencies = field(default_factory=Emergencies)

    @classmethod
    async def open(cls, scene: Scene, tokens: Tokens, generator: GeneratorHsm, hsm: DistributorHsm) -> Self:
        """Connected."""
        return cls(scene, await scene.bus(Service.DISTRIBUTOR), tokens, generator, hsm)

    def __post_init__(self) -> None:
        bus, emergencies, hsm = self.bus, self.emergencies, self.hsm
        self.keylog = KeyLog(bus)
        self.records = Records(bus, hsm)
        deliveries, quotas = Deliveries(bus), Quotas(bus)
        self.deliveries = deliveries
        delivering = self.delivering = Delivering(self.keylog, deliveries)
        self.clock = BusClock(bus, Stream.LEASES)
        self.releasing = Releasing(bus, hsm, self.records, delivering, emergencies, self.clock)
        self.using = Using(self.keylog, hsm, self.records, delivering, emergencies, Permits(quotas.allot))
        self.leasing = Leasing(bus, self.keylog, deliveries, emergencies, quotas, self.clock)
        sealing = SealingKeys(bus)
        self.requests = Requests(bus, self.releasing, self.using, self.leasing, self.clock, sealing)

    async def made(self, version: int, *, activated: bool = True) -> Wrapped:
        """The version, made by the generator."""
        request = self.scene.requested(version)
        bus = await self.scene.bus(Service.GENERATOR)
        handler = Generator(bus, KeyLog(bus), self.generator, backup_epoch=1)
        await handler.on_rotation_requested(self.scene.message(request))
        self.scene.catch_up()
        if activated:
            self.scene.activated(version)
        return self.lies(version)

    def lies(self, version: int) -> Wrapped:
        """The version, and where the log says that it lies."""
        found = self.scene.state().versions[version].wrapped
        assert found is not None
        return found

    def record(self, version: int = 1) -> MaterialRecord:
        """What lies in MATERIAL."""
        [message] = self.scene.server.messages(Stream.MATERIAL, Subjects(ENV).material(KEY, version))
        return MaterialRecord.model_validate_json(message.data)

    def put(self, record: MaterialRecord, version: int = 1, by: Service = Service.GENERATOR) -> None:
        """Something else in its place."""
        self.scene.put(Subjects(ENV).material(KEY, version), record, by)

    def responder_speaks(self, version: int = 1) -> None:
        """The emergency lane has heard of a suspension that no fact says yet."""
        signed = self.scene.suspend(version)
        command = read_command(signed)
        assert isinstance(command, Suspend)
        self.emergencies.add(command, signed, NOW)

    def while_the_record_is_read(self, happens: Callable[[], object], version: int = 1) -> None:
        """After the decision and before the HSM is used."""
        self.records.forget(self.scene_digest(version))
        subject = Subjects(ENV).material(KEY, version)
        self.scene.server.once("read", subject, happens)

    def scene_digest(self, version: int) -> str:
        """The digest that the log names."""
        return self.lies(version).blob_digest

    def delivered(self, version: int = 1) -> int:
        """How many batches of deliveries of a version there are."""
        return len(self.scene.server.messages(Stream.LIFECYCLE, f"dlv.{ENV}.{KEY}.{version}.*"))

    async def lease(self, request: LeaseRequest) -> LeaseAnswer:
        """What is given, if nothing is refused; raises what is said of the first key that is."""
        answer = await self.leasing.lease(request)
        for refusal in answer.refused.values():
            raise refusal_error(refusal.code, refusal.message, refusal.hint, retry=refusal.retry)
        return answer

    async def receipt(self, asker: Asker, *versions: int) -> Receipt:
        """Of an instance that has got the versions and installed them."""
        answer = await self.releasing.material(asker.material(*versions))
        proofs = {
            one.version: asker.confirmation(self._context(one), one.delivery, self.opened(one))
            for one in answer.releases
        }
        return asker.receipt(proofs)

    def opened(self, released: ReleasedVersion) -> bytes:
        """The 64 bytes, as the dependent has them."""
        return self.tokens.open_released(b64u_decode(released.wrapped))

    def _context(self, released: ReleasedVersion) -> VersionContext:
        found = self.scene.state().versions[released.version].generated
        assert found is not None
        return context_of(found.model)


def flipped(record: MaterialRecord, field_name: str) -> MaterialRecord:
    """One bit of a field of bytes is another one."""
    raw = bytearray(b64u_decode(getattr(record, field_name)))
    raw[-1] ^= 1
    return record.model_copy(update={field_name: b64u_encode(bytes(raw))})
