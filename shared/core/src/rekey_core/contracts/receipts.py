"""What an instance states (receipts) and what it was allowed (leases)."""

from __future__ import annotations

from typing import Annotated, ClassVar, Final, Literal

from pydantic import Field, StringConstraints

from rekey_core.contracts.base import (
    Base64Url,
    Endorsement,
    Message,
    Model,
    Nonce,
    Sequence,
    Time,
    Version,
    VersionOrKey,
    is_empty,
)
from rekey_core.names import DependentName, Environment, InstanceId, KeyName, Service
from rekey_core.quotas import BUDGET

MAX_LEASE_S: Final = 3600  # far shorter than leases are kept: who is live is never forgotten
Messages = Annotated[int, Field(ge=0, le=BUDGET)]
HexValue = Annotated[
    str, StringConstraints(pattern=r"^([0-9a-f]{32}|[0-9a-f]{64})$")
]  # a CMAC under an AES key that never leaves the HSM, else an HMAC-SHA256


class Confirmation(Model):
    """The values that only a holder of the key can compute; their SHA-256 stands in ``delivered``.

    Of a secret that never leaves the HSM the distributor has the HSM compute them, for the instance that asks.
    """

    kind: Literal["confirmation"] = "confirmation"
    delivery: Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{32}$")]
    installed: HexValue
    switched: HexValue | None = None


class ProbeSignature(Model):
    """A signature that the HSM made for this instance over rekey-probe@v1."""

    nonce: Nonce
    signature: Base64Url


class Probe(Model):
    """Proof for a version that signs inside the HSM."""

    kind: Literal["probe"] = "probe"
    installed: ProbeSignature
    switched: ProbeSignature | None = None


class KeyReceipt(Model):
    """What the instance holds of one key.

    ``stopped``: versions it does not protect with any more (0: all). ``refused``: those of them that a responder stopped and
    that it does not use for anything any more; a version that it had left before a stop is in ``stopped`` all along.
    ``destroyed``: versions that it heard are destroyed and has not in its memory (any more), the newest of them.
    """

    proofs: dict[Version, Annotated[Confirmation | Probe, Field(discriminator="kind")]]
    protects: Version | None
    stopped: tuple[VersionOrKey, ...]
    refused: tuple[VersionOrKey, ...]
    destroyed: tuple[Version, ...] = ()
    as_of: Sequence


class Receipt(Message):
    """Signed by the instance, cumulative; ``n`` rises."""

    TYPE: ClassVar[str] = "rekey.receipt.v1"
    type: Literal["rekey.receipt.v1"] = "rekey.receipt.v1"
    env: Environment
    dependent: DependentName
    instance: InstanceId
    endorsement: Endorsement
    n: Annotated[int, Field(ge=1)]
    at: Time
    keys: dict[KeyName, KeyReceipt]


class Quota(Model):
    """How many messages an instance may protect with a version in all: it was given so many, used or not."""

    version: Version
    messages: Messages


class QuotaLedger(Message):
    """How much of a version's budget is given away, to whomever; only rises. Stored before anybody is told of it."""

    TYPE: ClassVar[str] = "rekey.quota-ledger.v1"
    type: Literal["rekey.quota-ledger.v1"] = "rekey.quota-ledger.v1"
    env: Environment
    key: KeyName
    version: Version
    author: Literal[Service.DISTRIBUTOR] = Service.DISTRIBUTOR
    allotted: Messages
    at: Time


class LeasedKey(Model):
    """What the instance had proved of one key when the lease was decided, at which state of the key, and for how long.

    ``quota``: of the version that is current; only where messages are counted.
    """

    versions: tuple[Version, ...]
    as_of: Sequence
    lease_s: Annotated[int, Field(ge=1, le=MAX_LEASE_S)]  # by the key's class
    quota: Quota | None = None


class Lease(Message):
    """One instance may go on with each of the keys for as long as its class says; so long it is *live* for the key.

    ``nonce``: of the request that it answers; an instance that names it later was told. ``ended``: the instance itself said
    that it uses nothing any more; nobody waits for it, and it gets no other lease. ``until``: the end, by the clock of the
    bus, of each part that was not given with this lease: what stands there of a key that was refused (decision 0089). It is
    no longer than it was when it was given, however often the others are renewed, and stays known when it is over.
    """

    TYPE: ClassVar[str] = "rekey.lease.v1"
    type: Literal["rekey.lease.v1"] = "rekey.lease.v1"
    env: Environment
    dependent: DependentName
    instance: InstanceId
    author: Literal[Service.DISTRIBUTOR] = Service.DISTRIBUTOR
    endorsement: Endorsement
    nonce: Nonce
    at: Time
    keys: dict[KeyName, LeasedKey]
    ended: bool = False
    until: dict[KeyName, Time] = Field(default_factory=dict, exclude_if=is_empty)
