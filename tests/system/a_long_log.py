"""A log made by hand on a real bus: every fact signed by its author and published with its author's certificate."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Sequence

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import load_ssh_private_key

from rekey_audit.ledger import Ledger
from rekey_audit.recalling import inventory_row
from rekey_core.authority import Identity, Stream
from rekey_core.envelope import BusMessage, Packed, signed_of
from rekey_core.names import Service
from rekey_core.trust import Trust
from rekey_rotation_scheduler.rows import adoption_row
from rekey_runtime.bus import Bus
from rekey_runtime.database import Row
from tests.system.bus import RunningBus
from tests.unit.rekey_audit.a_log import Log

AUTHORS = (Service.GENERATOR, Service.DISTRIBUTOR, Service.ROTATION_SCHEDULER)


class Written:
    """The log as it is on the bus."""

    def __init__(self, bus: RunningBus) -> None:
        self.log = Log(services=bus.services, people={n: _key(pem) for n, pem in bus.people.items()})
        self._bus = bus
        self._sent = 0

    def a_key(self, name: str, versions: int = 1) -> None:
        """Registered, and its versions made, one after the other."""
        self.log.registered(name)
        for version in range(1, versions + 1):
            if version > 1:
                self.log.requested(version, name)
            self.log.generated(version, name)
            self.log.activated(version, name)

    async def publish(self) -> int:
        """What is new, in its order; the last sequence."""
        async with self._authors() as authors:
            for message in self.log.messages[self._sent :]:
                author = Service(message.subject.split(".")[4])
                packed = Packed(dict(message.headers), message.data, signed_of(message))
                sequence = await authors[author].publish(Stream.LIFECYCLE, message.subject, packed)
                assert sequence == message.sequence
        self._sent = len(self.log.messages)
        return self._sent

    @contextlib.asynccontextmanager
    async def _authors(self) -> AsyncIterator[dict[Service, Bus]]:
        async with contextlib.AsyncExitStack() as stack:
            yield {a: await stack.enter_async_context(self._bus.service_bus(a)) for a in AUTHORS}


def folded(messages: Sequence[BusMessage], trust: Trust) -> dict[Identity, bytes]:
    """The rows of both services as one fold of the whole log says them, in canonical form."""
    ledger = Ledger(trust.env)
    for message in messages:
        ledger.keep(ledger.judge(message, trust))
    states = [record.state for _, record in sorted(ledger.keys.items()) if record.state.last_sequence]
    made = {Identity.AUDIT: inventory_row, Identity.ROTATION_SCHEDULER: adoption_row}
    return {identity: canonical([make(state) for state in states]) for identity, make in made.items()}


def canonical(rows: Sequence[Row]) -> bytes:
    """One line each, by key."""
    ordered = sorted(rows, key=lambda row: row.key)
    return b"".join(f"{row.key} {row.sequence} {row.body}\n".encode() for row in ordered)


async def whole(bus: Bus) -> list[BusMessage]:
    """Every message of the log."""
    return [message async for message in bus.read_all(Stream.LIFECYCLE, ">")]


def _key(pem: bytes) -> Ed25519PrivateKey:
    key = load_ssh_private_key(pem, None)
    assert isinstance(key, Ed25519PrivateKey)
    return key
