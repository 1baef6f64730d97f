"""Facts: what happened to a key, past tense, one message each, never changed.

A fact of the key itself has version 0. ``checked`` is the sequence of the last fact of the key that the author had
folded; the server stored the fact only because that was still the last one (DESIGN §3). ``cause`` is the id of
the command (SHA-256 of its signed bytes) or of the fact that made the author decide.
"""

from __future__ import annotations

import uuid
from typing import Annotated, ClassVar, Final, Literal

from pydantic import Field, StringConstraints

from rekey_core.contracts.attestations import OfficersSigned
from rekey_core.contracts.base import Base64Url, Message, Model, Sequence, Time, Version, VersionOrKey
from rekey_core.contracts.commands import SignedCommand
from rekey_core.names import (
    Algorithm,
    DependentName,
    Digest,
    Environment,
    InstanceId,
    KeyName,
    PersonName,
    Release,
    Service,
)

EVENT_NAMESPACE: Final = uuid.UUID(
    "6f9f4a0e-5f0c-5a55-9a52-0f6d1f1f7a11"
)  # ours, fixed for ever: event ids derive from it

MAX_WAIVED: Final = 400  # in one fact; some 90 bytes each, below MAX_MESSAGE_BYTES

TinkKeyId = Annotated[int, Field(ge=1, le=2**32 - 1)]
Cause = Annotated[str, StringConstraints(min_length=1, max_length=64)]


class Fact(Message):
    """What every fact says."""

    EVENT: ClassVar[str]
    AUTHOR: ClassVar[Service]
    id: uuid.UUID
    env: Environment
    key: KeyName
    version: VersionOrKey
    author: Service
    checked: Sequence
    cause: Cause
    policy: Digest
    at: Time


class Registered(Fact):
    """The key exists: name, owner, class. Valid only with the owner's command inside."""

    TYPE: ClassVar[str] = "rekey.key.registered.v1"
    EVENT: ClassVar[str] = "registered"
    AUTHOR: ClassVar[Service] = Service.ROTATION_SCHEDULER
    type: Literal["rekey.key.registered.v1"] = "rekey.key.registered.v1"
    owner: PersonName
    key_class: str
    algorithm: Algorithm
    release: Release
    purpose: str
    cryptoperiod_s: Annotated[int, Field(ge=1)]
    command: SignedCommand


class Granted(Fact):
    """A dependent may have the key. Valid only with the owner's command inside."""

    TYPE: ClassVar[str] = "rekey.key.granted.v1"
    EVENT: ClassVar[str] = "granted"
    AUTHOR: ClassVar[Service] = Service.ROTATION_SCHEDULER
    type: Literal["rekey.key.granted.v1"] = "rekey.key.granted.v1"
    dependent: DependentName
    command: SignedCommand


class RotationRequested(Fact):
    """A new version shall be made; ``version`` is its number. The generator's command."""

    TYPE: ClassVar[str] = "rekey.key.rotation-requested.v1"
    EVENT: ClassVar[str] = "rotation-requested"
    AUTHOR: ClassVar[Service] = Service.ROTATION_SCHEDULER
    type: Literal["rekey.key.rotation-requested.v1"] = "rekey.key.rotation-requested.v1"
    reason: Literal["initial", "time", "volume", "person"]
    deadline: Time  # until when every live instance should have proved that it holds the version
    command: SignedCommand | None = None


class Generated(Fact):
    """A version exists, in pre-activation: what it is and how to know it again; never the key."""

    TYPE: ClassVar[str] = "rekey.key.generated.v1"
    EVENT: ClassVar[str] = "generated"
    AUTHOR: ClassVar[Service] = Service.GENERATOR
    type: Literal["rekey.key.generated.v1"] = "rekey.key.generated.v1"
    algorithm: Algorithm
    release: Release
    epoch: Annotated[int, Field(ge=1)]
    key_id: TinkKeyId
    blob_digest: Digest  # SHA-256 of the wrapped blob in MATERIAL
    commitment: Digest  # HMAC-SHA256 under the key, SHA-256 of its check value, or of the SPKI (DESIGN §5)
    spki: Base64Url | None = None  # DER SubjectPublicKeyInfo of an asymmetric version


class Whom(Model):
    """A dependent, or one instance of it, that a rotation need not wait for."""

    dependent: DependentName
    instance: InstanceId | None = None  # none: every instance of the dependent


class Waived(Fact):
    """The rotation to the version waits for these no longer. Valid only with the command inside that says so.

    With an owner's ``waive`` it is exactly whom that names; with two people's ``force`` those who were missing then.
    """

    TYPE: ClassVar[str] = "rekey.key.waived.v1"
    EVENT: ClassVar[str] = "waived"
    AUTHOR: ClassVar[Service] = Service.ROTATION_SCHEDULER
    type: Literal["rekey.key.waived.v1"] = "rekey.key.waived.v1"
    whom: Annotated[tuple[Whom, ...], Field(min_length=1, max_length=MAX_WAIVED)]
    command: SignedCommand


class BackedUp(Fact):
    """The version also lies under a backup KEK: it can be activated. Its cause is the version's ``generated``."""

    TYPE: ClassVar[str] = "rekey.key.backed-up.v1"
    EVENT: ClassVar[str] = "backed-up"
    AUTHOR: ClassVar[Service] = Service.GENERATOR
    type: Literal["rekey.key.backed-up.v1"] = "rekey.key.backed-up.v1"
    backup_epoch: Annotated[int, Field(ge=1)]
    blob_digest: Digest  # SHA-256 of the blob under the backup KEK


class Restored(Fact):
    """The version came back from its backup and lies under another KEK. Valid only with the officers' order inside.

    Its cause is the SHA-256 of the order's payload. What the version is, is still what ``generated`` says.
    """

    TYPE: ClassVar[str] = "rekey.key.restored.v1"
    EVENT: ClassVar[str] = "restored"
    AUTHOR: ClassVar[Service] = Service.GENERATOR
    type: Literal["rekey.key.restored.v1"] = "rekey.key.restored.v1"
    epoch: Annotated[int, Field(ge=1)]  # of the KEK under which it lies from here on
    blob_digest: Digest  # SHA-256 of the wrapped blob in MATERIAL
    order: OfficersSigned


class Count(Model):
    """The live instances of a dependent when the step was decided: those that had proved it, those not waited for."""

    dependent: DependentName
    instances: tuple[InstanceId, ...]
    waived: tuple[InstanceId, ...] = ()


class Activated(Fact):
    """The version is current from here on: dependents protect with it."""

    TYPE: ClassVar[str] = "rekey.key.activated.v1"
    EVENT: ClassVar[str] = "activated"
    AUTHOR: ClassVar[Service] = Service.ROTATION_SCHEDULER
    type: Literal["rekey.key.activated.v1"] = "rekey.key.activated.v1"
    proved: tuple[Count, ...]


class Deactivated(Fact):
    """Nobody protects with the version any more; it still processes."""

    TYPE: ClassVar[str] = "rekey.key.deactivated.v1"
    EVENT: ClassVar[str] = "deactivated"
    AUTHOR: ClassVar[Service] = Service.ROTATION_SCHEDULER
    type: Literal["rekey.key.deactivated.v1"] = "rekey.key.deactivated.v1"
    proved: tuple[Count, ...]


class Suspended(Fact):
    """A responder stopped the version (0: every version)."""

    TYPE: ClassVar[str] = "rekey.key.suspended.v1"
    EVENT: ClassVar[str] = "suspended"
    AUTHOR: ClassVar[Service] = Service.REVOCATION
    type: Literal["rekey.key.suspended.v1"] = "rekey.key.suspended.v1"
    command: SignedCommand


class Resumed(Fact):
    """The version lives again, in the state that the log gives it. Valid only with two people's command inside.

    It lifts the suspensions that the command names, and no other one.
    """

    TYPE: ClassVar[str] = "rekey.key.resumed.v1"
    EVENT: ClassVar[str] = "resumed"
    AUTHOR: ClassVar[Service] = Service.REVOCATION
    type: Literal["rekey.key.resumed.v1"] = "rekey.key.resumed.v1"
    command: SignedCommand


class Compromised(Fact):
    """A responder declared the version (0: every version) compromised."""

    TYPE: ClassVar[str] = "rekey.key.compromised.v1"
    EVENT: ClassVar[str] = "compromised"
    AUTHOR: ClassVar[Service] = Service.REVOCATION
    type: Literal["rekey.key.compromised.v1"] = "rekey.key.compromised.v1"
    command: SignedCommand


class DestructionScheduled(Fact):
    """The version will be destroyed unless that is cancelled. Valid only with two people's command inside."""

    TYPE: ClassVar[str] = "rekey.key.destruction-scheduled.v1"
    EVENT: ClassVar[str] = "destruction-scheduled"
    AUTHOR: ClassVar[Service] = Service.ROTATION_SCHEDULER
    type: Literal["rekey.key.destruction-scheduled.v1"] = "rekey.key.destruction-scheduled.v1"
    not_before: (
        Time  # never earlier than the class's delay after the log took this fact, whatever stands here
    )
    command: SignedCommand


class DestructionCancelled(Fact):
    """The version will not be destroyed. Valid only with an owner's command inside, before the delay is over."""

    TYPE: ClassVar[str] = "rekey.key.destruction-cancelled.v1"
    EVENT: ClassVar[str] = "destruction-cancelled"
    AUTHOR: ClassVar[Service] = Service.ROTATION_SCHEDULER
    type: Literal["rekey.key.destruction-cancelled.v1"] = "rekey.key.destruction-cancelled.v1"
    command: SignedCommand


class Destroyed(Fact):
    """The version is gone as far as ``claimed`` says. Erasure is certain when its KEK ``epoch`` dies (DESIGN §5).

    Its cause is the ``destruction-scheduled`` that it carries out.
    """

    TYPE: ClassVar[str] = "rekey.key.destroyed.v1"
    EVENT: ClassVar[str] = "destroyed"
    AUTHOR: ClassVar[Service] = Service.GENERATOR
    type: Literal["rekey.key.destroyed.v1"] = "rekey.key.destroyed.v1"
    blob_digest: (
        Digest | None
    )  # SHA-256 of the wrapped blob that is overwritten, the newest one; none: it was never generated
    epoch: Annotated[int, Field(ge=1)] | None
    tombstone: Annotated[int, Field(ge=1)]  # where in MATERIAL the tombstone stands
    claimed: tuple[Literal["wrapped-blob-overwritten", "backup-blob-overwritten"], ...]
    not_claimed: tuple[Literal["copies-in-bus-storage-and-backups", "memory-of-instances"], ...]


FACTS: Final[tuple[type[Fact], ...]] = (
    Registered,
    Granted,
    RotationRequested,
    Generated,
    BackedUp,
    Restored,
    Waived,
    Activated,
    Deactivated,
    Suspended,
    Resumed,
    Compromised,
    DestructionScheduled,
    DestructionCancelled,
    Destroyed,
)


class Delivery(Model):
    """One version given to one instance for the first time; the hashes of what only a holder can compute."""

    delivery: Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{32}$")]
    dependent: DependentName
    instance: InstanceId
    installed: Digest
    switched: Digest


class Delivered(Message):
    """A batch of deliveries of one version, stored before the first answer of the batch."""

    TYPE: ClassVar[str] = "rekey.key.delivered.v1"
    type: Literal["rekey.key.delivered.v1"] = "rekey.key.delivered.v1"
    id: uuid.UUID
    env: Environment
    key: KeyName
    version: Version
    author: Literal[Service.DISTRIBUTOR] = Service.DISTRIBUTOR
    checked: Sequence
    at: Time
    deliveries: Annotated[tuple[Delivery, ...], Field(min_length=1, max_length=100)]


def event_id(cause: str, event_type: str, env: str, key: str, version: int, ordinal: int = 0) -> uuid.UUID:
    """The id that every retry of the same decision gets (RFC 9562 §5.5)."""
    return uuid.uuid5(EVENT_NAMESPACE, f"{cause}|{event_type}|{env}|{key}|{version}|{ordinal}")
