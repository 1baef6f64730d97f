"""A world whose log lies on a bus in memory and whose versions come out of real tokens.

    scene = Scene(home=tmp_path, transport=tokens.spki_sha256)
    bus = await scene.bus(Service.DISTRIBUTOR)
    scene.registered()
    request = scene.requested(1)

What services add to the log is taken in by ``catch_up``; after that the world goes on from there.
"""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeVar

from rekey_core.authority import Stream, Subjects
from rekey_core.confirmation import Phase, VersionContext, commit, confirmation_input
from rekey_core.contracts import (
    Confirmation,
    Dependent,
    Fact,
    KeyReceipt,
    LeaseRequest,
    MaterialRequest,
    Message,
    Receipt,
    Request,
    RotationRequested,
    TrustDocument,
)
from rekey_core.encoding import b64u_encode
from rekey_core.envelope import BusMessage, Stored, pack, sign
from rekey_core.names import Service
from rekey_core.readers import endorse, open_fact
from rekey_core.sealing import SealingKey
from rekey_core.secret import Secret
from rekey_core.signing import SigningKey
from tests.fakes.memory_bus import MemoryBus, MemoryServer, memory_bus
from tests.fakes.resigned import resigned
from tests.unit.world import ENV, NOW, World

KEY = "orders-db"
R = TypeVar("R", bound=Request)


@dataclass
class Asker:
    """An instance of orders, with a key of its own that the dependent endorses."""

    dependent_key: SigningKey
    dependent: str = "orders"
    key: SigningKey = field(default_factory=SigningKey.generate)
    env: str = ENV
    asks_for: str = KEY

    @property
    def instance(self) -> str:
        """Its id."""
        return self.key.key_id

    def request(self, kind: type[R], **said: Any) -> R:
        """A request of now, not signed yet."""
        moment = {"nonce": uuid.uuid4().hex, "sent_at": datetime.now(UTC)}
        return kind.model_validate(self._common() | moment | said)

    def material(self, *versions: int, **said: Any) -> MaterialRequest:
        """Asks for versions of the key."""
        seal_to = b64u_encode(SealingKey.generate().public_bytes())
        return self.request(MaterialRequest, key=self.asks_for, versions=versions, seal_to=seal_to, **said)

    def lease(self, receipt: Receipt, by: SigningKey | None = None, **said: Any) -> LeaseRequest:
        """Asks for a lease with what a receipt proves, signed by whoever says it; for one of the key, if it says nothing."""
        return self.request(LeaseRequest, receipt=sign(receipt, by or self.key), **({"keys": (KEY,)} | said))

    def receipt(self, proofs: Mapping[int, Confirmation]) -> Receipt:
        """What it holds."""
        held = KeyReceipt(proofs=dict(proofs), protects=None, stopped=(), refused=(), as_of=0)
        return Receipt.model_validate(self._common() | {"n": 1, "at": datetime.now(UTC), "keys": {KEY: held}})

    def confirmation(self, context: VersionContext, delivery: str, secret: bytes) -> Confirmation:
        """The proof of a version that it installed."""

        def value(phase: Phase) -> str:
            return commit(Secret(secret), confirmation_input(context, phase, self.instance, delivery)).hex()

        return Confirmation(delivery=delivery, installed=value("installed"), switched=None)

    def bytes_of(self, request: Request, by: SigningKey | None = None) -> tuple[str, bytes]:
        """Subject and body as they are sent."""
        subject = Subjects(self.env).request(request.dependent, request.instance, request.OP)
        return subject, sign(request, by or self.key).model_dump_json().encode()

    def _common(self) -> dict[str, object]:
        endorsement = endorse(self.dependent, self.env, self.key.public_raw, self.dependent_key, at=NOW)
        return {
            "env": self.env,
            "dependent": self.dependent,
            "instance": self.instance,
            "endorsement": endorsement,
        }


@dataclass(kw_only=True)
class Scene(World):
    """The world of one key on a bus in memory; ``transport``: SHA-256 of the dependents' trusted transport key."""

    home: Path
    transport: str
    server: MemoryServer = field(default_factory=lambda: MemoryServer(ENV))

    def __post_init__(self) -> None:
        self.dependents["shipping"] = SigningKey.generate()  # enrolled, with no grant
        self.server.store(Subjects(ENV).trust(1), self.genesis.model_dump_json().encode(), {}, at=NOW)

    def document(self, **changes: Any) -> TrustDocument:
        """The first trust document, with a transport key that the token knows."""
        plain = super().document()
        enrolled: dict[str, Dependent] = {
            name: entry.model_copy(update={"transport_key": self.transport})
            for name, entry in plain.dependents.items()
        }
        return super().document(**({"dependents": enrolled} | changes))

    async def bus(self, service: Service) -> MemoryBus:
        """A service's bus, as a fresh process has it."""
        bus = memory_bus(self.server, service, self.services[service], self.trust.digest, self.home)
        await bus.trust.load()
        await bus.room.look()
        return bus

    def asker(self, dependent: str = "orders") -> Asker:
        """A fresh instance."""
        return Asker(self.dependents[dependent], dependent)

    def stored(self, fact: Fact, *, at: datetime = NOW, gap: int = 0) -> Stored[Fact]:
        """The fact, stored where it belongs."""
        del gap  # here the server numbers the messages
        subject = Subjects(ENV).fact(fact.key, fact.version, fact.author, fact.EVENT, fact.id.hex)
        packed = pack(fact, self.services[fact.AUTHOR], source="a world")
        sequence = self.put(subject, fact, fact.AUTHOR, at=at)
        return Stored(fact, sequence, at, subject, packed.signed)

    def another(self, key: str) -> None:
        """One more key of the same dependents, which has no version yet."""
        log, self.log = self.log, []
        self.registered(key=key)
        self.log = log

    def unheard_of(self, key: str = KEY) -> None:
        """The next fact of the key is of a type that no program knows yet, rightly signed."""
        fact = self.fact(RotationRequested, 9, key=key, reason="time", deadline=NOW)
        author = self.services[fact.AUTHOR]
        packed = pack(fact, author, source="a world")
        headers = resigned(packed, packed.data, "rekey.key.blessed.v1", author)
        self.server.store(
            Subjects(ENV).fact(fact.key, 9, fact.author, "blessed", fact.id.hex), packed.data, headers, at=NOW
        )

    def put(self, subject: str, model: Message, service: Service, *, at: datetime = NOW) -> int:
        """Store a message that a service signed, whoever may; its sequence."""
        packed = pack(model, self.services[service], source="a world")
        said = self.server.store(subject, packed.data, packed.headers, at=at)
        assert isinstance(said, int), said
        return said

    def catch_up(self) -> list[Stored[Fact]]:
        """Take in what services have added."""
        self.log[:] = [
            open_fact(message, self.trust)
            for message in self.server.messages(Stream.LIFECYCLE, f"evt.{ENV}.{KEY}.>")
        ]
        return self.log

    def message(self, stored: Stored[Fact]) -> BusMessage:
        """The fact as a consumer gets it."""
        [found] = self.server.messages(Stream.LIFECYCLE, stored.subject)
        return found

    def events(self, version: int) -> list[str]:
        """What the log says about a version."""
        return [item.model.EVENT for item in self.catch_up() if item.model.version == version]
