"""Instances of dependents: their leases, what was delivered to them, and what their receipts say, true or not."""

from __future__ import annotations

import hashlib
import os
import uuid
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final

from rekey_core.adoption import Adoption, InstanceProof, adoption
from rekey_core.confirmation import Phase, VersionContext, commit, confirmation_input
from rekey_core.contracts import (
    Confirmation,
    Delivered,
    Delivery,
    Endorsement,
    KeyReceipt,
    Lease,
    LeasedKey,
    Message,
    Probe,
    Receipt,
)
from rekey_core.envelope import Stored, sign
from rekey_core.names import Algorithm, Release
from rekey_core.secret import Secret
from rekey_core.signing import SigningKey
from tests.unit.world import ENV, NOW, World

KEY: Final = "orders-db"
ANYBODY: Final = SigningKey.generate()  # signatures were verified before: here nobody looks at them
ONE, TWO, OTHER = ("1" * 32, "2" * 32, "3" * 32)  # instances
DELIVERY: Final = "d" * 32


def stored(model: Any) -> Stored[Any]:
    message: Message = model
    return Stored(message, 1, NOW, "subject", sign(message, ANYBODY))


def endorsement(dependent: str, instance: str) -> Endorsement:
    return Endorsement(
        env=ENV, dependent=dependent, instance=instance, instance_key="", issued_at=NOW, signature=""
    )


@dataclass
class Fleet:
    """A key with versions 1 (current) and 2 (in motion), and what its instances hold and say."""

    world: World
    secrets: dict[int, Secret] = field(default_factory=lambda: {n: Secret(os.urandom(64)) for n in (1, 2)})
    leases: list[Lease] = field(default_factory=list)
    receipts: list[Receipt] = field(default_factory=list)
    batches: list[Delivered] = field(default_factory=list)

    def context(self, version: int) -> VersionContext:
        return VersionContext(ENV, KEY, version, Algorithm.AES_256_GCM, Release.TRUSTED_RECIPIENT, 1)

    def value(self, version: int, phase: Phase, instance: str, delivery: str = DELIVERY) -> bytes:
        """What a holder of the version can compute."""
        return commit(
            self.secrets[version], confirmation_input(self.context(version), phase, instance, delivery)
        )

    def deliver(self, dependent: str, instance: str, version: int = 2, delivery: str = DELIVERY) -> None:
        """The distributor's record of one delivery."""
        phases: tuple[Phase, ...] = ("installed", "switched")
        digests: dict[str, Any] = {
            p: hashlib.sha256(self.value(version, p, instance)).hexdigest() for p in phases
        }
        given = Delivery(delivery=delivery, dependent=dependent, instance=instance, **digests)
        self.batches.append(
            Delivered(
                id=uuid.uuid4(), env=ENV, key=KEY, version=version, checked=1, at=NOW, deliveries=(given,)
            )
        )

    def confirmation(self, instance: str, version: int = 2, *, switched: bool = False) -> Confirmation:
        """An honest proof."""
        return Confirmation(
            delivery=DELIVERY,
            installed=self.value(version, "installed", instance).hex(),
            switched=self.value(version, "switched", instance).hex() if switched else None,
        )

    def live(
        self,
        dependent: str,
        instance: str,
        *,
        at: datetime = NOW,
        lease_s: int = 30,
        leased: tuple[int, ...] = (1,),
        key: str = KEY,
        ended: bool = False,
    ) -> None:
        """The instance has a lease, or had one until it said that it leaves."""
        self.leases.append(
            Lease(
                env=ENV,
                dependent=dependent,
                instance=instance,
                endorsement=endorsement(dependent, instance),
                nonce="0" * 32,
                at=at,
                keys={key: LeasedKey(versions=leased, as_of=1, lease_s=lease_s)},
                ended=ended,
            )
        )

    def says(
        self,
        dependent: str,
        instance: str,
        proof: Confirmation | Probe | None,
        *,
        version: int = 2,
        protects: int | None = 1,
        stopped: tuple[int, ...] = (),
        refused: tuple[int, ...] = (),
        key: str = KEY,
    ) -> Receipt:
        """The instance's receipt."""
        receipt = Receipt(
            env=ENV,
            dependent=dependent,
            instance=instance,
            endorsement=endorsement(dependent, instance),
            n=1,
            at=NOW,
            keys={
                key: KeyReceipt(
                    proofs={version: proof} if proof else {},
                    protects=protects,
                    stopped=stopped,
                    refused=refused,
                    as_of=1,
                )
            },
        )
        self.receipts.append(receipt)
        return receipt

    def adoption(self, version: int = 2, now: datetime = NOW) -> Adoption:
        leases, receipts = map(stored, self.leases), map(stored, self.receipts)
        return adoption(self.world.state(), version, leases, receipts, iter(self.batches), now)

    def proof(self, version: int = 2) -> InstanceProof:
        """Of the only instance there is."""
        [found] = [p for proofs in self.adoption(version).dependents.values() for p in proofs]
        return found
