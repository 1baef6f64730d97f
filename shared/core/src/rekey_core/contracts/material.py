"""The record of a wrapped version, its tombstone, and what instances ask the distributor for; use inside the HSM: ``inhsm``.

Requests are signed by the instance and carry its endorsement; answers are signed by the distributor and repeat the
nonce. Whatever holds material is sealed as a whole (HPKE) to the key that the request brought.
"""

from __future__ import annotations

from typing import Annotated, ClassVar, Final, Literal

from pydantic import ConfigDict, Field, StringConstraints

from rekey_core.contracts.base import (
    Base64Url,
    Endorsement,
    Message,
    Model,
    Nonce,
    Sequence,
    Signed,
    Time,
    Version,
    is_empty,
)
from rekey_core.contracts.facts import Cause, TinkKeyId
from rekey_core.contracts.receipts import MAX_LEASE_S, LeasedKey, Quota
from rekey_core.names import (
    Algorithm,
    DependentName,
    Digest,
    Environment,
    InstanceId,
    KeyName,
    Release,
    Service,
)

PROTOCOL: Final = (
    3  # of requests and their answers (decision 0037); 1: before requests said which one they speak
)
REFUSED_BY_KEY: Final = 3  # from this one on a lease may be refused for some of the keys (decision 0089)
OLDEST_PROTOCOL: Final = PROTOCOL - 1  # what applications may speak that were not brought up to date yet
MAX_REQUEST_AGE_S: Final = 60  # clock difference and delay that a request may have
MAX_VERSIONS_PER_REQUEST: Final = 16  # so that an answer stays far below the bus's largest message


class MaterialRecord(Message):
    """One wrapped version as it lies in MATERIAL, written once, before ``generated``."""

    TYPE: ClassVar[str] = "rekey.material.record.v1"
    type: Literal["rekey.material.record.v1"] = "rekey.material.record.v1"
    env: Environment
    key: KeyName
    version: Version
    author: Literal[Service.GENERATOR] = Service.GENERATOR
    algorithm: Algorithm
    release: Release
    epoch: Annotated[int, Field(ge=1)]
    key_id: TinkKeyId
    blob: Base64Url  # wrapped under the epoch's KEK
    commitment: Digest
    spki: Base64Url | None = None
    mac: Base64Url  # record MAC under the epoch's MAC key (AES-KW has no AAD)
    cause: Cause
    at: Time


class BackupRecord(Message):
    """One version under a backup KEK, stored in one step with its record. Only the offline backup token can open it.

    It needs no record MAC: whoever opens it computes the commitment inside the HSM and holds it against ``generated``.
    """

    TYPE: ClassVar[str] = "rekey.material.backup.v1"
    type: Literal["rekey.material.backup.v1"] = "rekey.material.backup.v1"
    env: Environment
    key: KeyName
    version: Version
    author: Literal[Service.GENERATOR] = Service.GENERATOR
    backup_epoch: Annotated[int, Field(ge=1)]
    blob: Base64Url  # wrapped under the epoch's backup KEK
    commitment: Digest  # as in the record beside it
    cause: Cause
    at: Time


class Tombstone(Message):
    """What stands in the place of a record for good; ``cause``: the ``destruction-scheduled`` that it carries out."""

    TYPE: ClassVar[str] = "rekey.material.tombstone.v1"
    type: Literal["rekey.material.tombstone.v1"] = "rekey.material.tombstone.v1"
    env: Environment
    key: KeyName
    version: Version
    author: Literal[Service.GENERATOR] = Service.GENERATOR
    cause: Cause
    at: Time


class RequestHead(Model):
    """What requests of every protocol say, older and newer ones included: who asks, and which protocol it speaks.

    The one model that leaves out what it does not know: the rest is read once the protocol is known.
    """

    model_config = ConfigDict(frozen=True, extra="ignore")
    protocol: Annotated[int, Field(ge=0)]
    env: Environment
    dependent: DependentName
    instance: InstanceId
    endorsement: Endorsement
    nonce: Nonce
    sent_at: Time


class Request(Message):
    """What every request of an instance says; signed by the instance's key."""

    OP: ClassVar[str]
    protocol: Annotated[int, Field(ge=0)] = PROTOCOL  # judged in the head, before anything else is read
    env: Environment
    dependent: DependentName
    instance: InstanceId
    endorsement: Endorsement
    nonce: Nonce
    sent_at: Time


class MaterialRequest(Request):
    """Give me these versions, sealed to this key."""

    OP: ClassVar[str] = "material"
    TYPE: ClassVar[str] = "rekey.request.material.v1"
    type: Literal["rekey.request.material.v1"] = "rekey.request.material.v1"
    key: KeyName
    versions: Annotated[tuple[Version, ...], Field(min_length=1, max_length=MAX_VERSIONS_PER_REQUEST)]
    seal_to: Base64Url  # HPKE public key, fresh for this request


class LeaseRequest(Request):
    """Let me go on; here is the proof of what I hold. ``leaving``: I use nothing any more; end the lease that I have.

    ``wanted``: how many messages the instance would have for a version in all, by key. The same question asked again
    takes nothing more out of the budget. ``after``: the nonce of the request that the lease answered which the instance has;
    the keys of that one are *renewed* if it still runs. ``at_most_s``: whoever may be cut off asks for shorter leases.
    """

    OP: ClassVar[str] = "lease"
    TYPE: ClassVar[str] = "rekey.request.lease.v1"
    type: Literal["rekey.request.lease.v1"] = "rekey.request.lease.v1"
    keys: Annotated[tuple[KeyName, ...], Field(min_length=1, max_length=1000)]
    receipt: Signed
    wanted: dict[KeyName, Quota] = Field(default_factory=dict)
    after: Nonce | None = None
    at_most_s: Annotated[int, Field(ge=1, le=MAX_LEASE_S)] | None = None
    leaving: bool = False


class Answer(Message):
    """What every answer says: for whom, to which request, at which state of the key; signed by the distributor."""

    env: Environment
    dependent: DependentName
    instance: InstanceId
    nonce: Nonce


class ReleasedVersion(Model):
    """One version, wrapped for the dependent, with the signed facts that say what it is.

    Of release ``trusted-recipient``: ``wrapped`` to the dependent's transport key (RSA-OAEP). Of release ``transport-key``:
    ``wrapped`` under an AES key (RFC 5649), and ``transport`` is that key, wrapped to the dependent's transport key.
    """

    version: Version
    delivery: Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{32}$")]
    wrapped: Base64Url
    transport: Base64Url | None = None
    generated: Signed
    activated: Signed | None


class MaterialAnswer(Answer):
    """The versions that were asked for."""

    TYPE: ClassVar[str] = "rekey.answer.material.v1"
    type: Literal["rekey.answer.material.v1"] = "rekey.answer.material.v1"
    key: KeyName
    as_of: Sequence
    releases: tuple[ReleasedVersion, ...]


class KeyRefusal(Model):
    """No, or not now, about one key: the error's stable code, its line, what to do; ``retry`` when nothing was decided."""

    code: str
    message: str
    hint: str | None
    retry: bool


class LeaseAnswer(Answer):
    """Go on with these keys, each counted by the instance from the moment it sent the request.

    ``refused``: the other keys that were asked for; what the instance has of them ends when it would have ended. Where both
    are empty, the lease is ended, as was asked. The field is not there when it is empty, and never in an answer to protocol
    2: there one refused key is a ``RefusalAnswer`` for all of them.
    """

    TYPE: ClassVar[str] = "rekey.answer.lease.v1"
    type: Literal["rekey.answer.lease.v1"] = "rekey.answer.lease.v1"
    keys: dict[KeyName, LeasedKey]
    refused: dict[KeyName, KeyRefusal] = Field(default_factory=dict, exclude_if=is_empty)


class RefusalAnswer(Answer):
    """No, or not now, to all of it: the error's stable code, its line, what to do; ``retry`` when nothing was decided."""

    TYPE: ClassVar[str] = "rekey.answer.refusal.v1"
    type: Literal["rekey.answer.refusal.v1"] = "rekey.answer.refusal.v1"
    code: str
    message: str
    hint: str | None
    retry: bool
