"""One instance of the dependent: what this process is for some of its keys, with one receipt and one lease for them.

A receipt is one message and therefore has room for so many keys only. A process with more keys is several instances; each
key belongs to one of them for good, and nobody else needs to know (decision 0053).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from rekey.connection import Connection
from rekey.events import Events
from rekey.identity import Identity
from rekey.keystate import KeyState
from rekey.leaving import leave
from rekey.receipts import Receipts
from rekey.renewing import Renewing
from rekey.requests import Requests
from rekey.sealed import Sealed
from rekey.settings import Settings
from rekey.trust_cache import Seen, TrustCache
from rekey.worker import KeyWorker, Ports
from rekey_core.contracts import MAX_MESSAGE_BYTES, KeyReceipt, Notice
from rekey_core.signatures import SCHEMES

ROOM_BYTES: Final = MAX_MESSAGE_BYTES * 3 // 4  # of keys in one receipt; the rest is who says it
KEY_BYTES: Final = 256  # what a receipt says of a key besides its proofs
CONFIRMATION_BYTES: Final = 256  # one delivery and two values of 32 bytes in hexadecimal
PROBE_BYTES: Final = 1280  # two nonces and two signatures, of RSA-3072 at most
MOVING: Final = 3  # versions of a key that are proved in every receipt: the one before, the current, the next


@dataclass(frozen=True)
class Shared:
    """What all instances of one process have in common."""

    settings: Settings
    connection: Connection
    trust: TrustCache
    seen: Seen
    events: Events


class Member:
    """An instance and the workers of its keys."""

    def __init__(self, identity: Identity, shared: Shared) -> None:
        settings = shared.settings
        self.identity = identity
        self.requests = Requests(shared.connection, identity, shared.trust, settings.try_s)
        self.sealed = Sealed(self.requests)
        self.receipts = Receipts(shared.connection, identity, settings.try_s, self._content)
        self.renewing = Renewing(self.requests, self.receipts, self.poke, settings.longest_lease_s)
        self.workers: dict[str, KeyWorker] = {}
        self._taken: dict[str, int] = {}  # bytes of the receipt, by key
        self._ports = Ports(
            connection=shared.connection,
            identity=identity,
            trust=shared.trust,
            seen=shared.seen,
            requests=self.requests,
            receipts=self.receipts,
            within_s=settings.try_s,
            renew=self.renewing.of,
            stated=self.renewing.stated,
            events=shared.events,
        )

    def has_room(self, size: int) -> bool:
        """Whether a key of this size fits into the receipt; into an empty one every key does."""
        return not self._taken or sum(self._taken.values()) + size <= ROOM_BYTES

    def add(self, name: str, size: int) -> KeyWorker:
        """A worker for a key that is in no other instance."""
        key = KeyState(name)
        self.renewing.watch(key)
        self._taken[name] = size
        worker = self.workers[name] = KeyWorker(key, self._ports)
        return worker

    def forget(self, name: str) -> None:
        """A key that nobody was given leaves nothing behind, its lease included."""
        self.renewing.forget(name)
        self.workers.pop(name, None)
        self._taken.pop(name, None)

    def poke(self) -> None:
        """Look at every key again, soon."""
        for worker in self.workers.values():
            worker.poke()

    async def leave(self) -> None:
        """End the lease, if bus and distributor are there; all keys must be closed."""
        admitted = [self.workers[name] for name in self.renewing.admitted]
        await leave(admitted, self.requests, self.receipts, self.renewing.asking)

    def _content(self) -> Mapping[str, KeyReceipt]:
        return {name: worker.key.receipt() for name, worker in sorted(self.workers.items())}


def size_of(notice: Notice | None) -> int:
    """How many bytes of a receipt a key may need, with all its versions proved; without a notice, of a key that signs."""
    signs = notice is None or notice.algorithm in SCHEMES
    versions = len(notice.versions) if notice is not None else 0
    return KEY_BYTES + max(MOVING, versions + 1) * (PROBE_BYTES if signs else CONFIRMATION_BYTES)
