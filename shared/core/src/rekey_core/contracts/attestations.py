"""What trust officers sign about backups: the order for a drill or a restore, and that they saw it end well."""

from __future__ import annotations

from datetime import timedelta
from typing import Annotated, ClassVar, Final, Literal

from pydantic import Field, StringConstraints

from rekey_core.contracts.base import Base64Url, Model, Nonce, Sequence, Time
from rekey_core.contracts.trust import OfficerSignature
from rekey_core.names import Digest, Environment

ATTESTATION_LIFETIME: Final = timedelta(days=90)  # a restore that nobody has tried for longer is a hope
MAX_ORDER_LIFETIME: Final = timedelta(hours=4)  # as of other words that wait for a second person

Count = Annotated[int, Field(ge=0)]


class OfficersDocument(Model):
    """What a quorum of officers signs as canonical JSON; each kind under an SSHSIG namespace of its own."""

    NAMESPACE: ClassVar[str]
    env: Environment


class BackupOrder(OfficersDocument):
    """The officers' word that every backup may be opened now; once, and why."""

    nonce: Nonce
    reason: Annotated[str, StringConstraints(min_length=1, max_length=500)]
    issued_at: Time
    expires_at: Time


class DrillOrder(BackupOrder):
    """To try a restore into fresh tokens of a sandbox."""

    NAMESPACE: ClassVar[str] = "rekey-drill@v1"
    type: Literal["rekey.drill.order.v1"] = "rekey.drill.order.v1"


class RestoreOrder(BackupOrder):
    """To restore into fresh tokens of the environment, under the KEKs of a fresh epoch."""

    NAMESPACE: ClassVar[str] = "rekey-restore@v1"
    type: Literal["rekey.restore.order.v1"] = "rekey.restore.order.v1"
    epoch: Annotated[int, Field(ge=1)]  # of the KEKs between the offline token and the fresh distributor's


class DrillAttestation(OfficersDocument):
    """A restore was tried: every version that has a backup came out of fresh tokens as the one that was committed to."""

    NAMESPACE: ClassVar[str] = "rekey-drill@v1"
    type: Literal["rekey.drill.attestation.v1"] = "rekey.drill.attestation.v1"
    order: Digest  # SHA-256 of the order's payload
    at: Time
    expires_at: Time
    as_of: Sequence  # of the newest fact that was folded
    restored: Count
    destroyed: Count  # their backups are gone
    without_backup: Count  # generated, and their class or their state says that there is none


class OfficersSigned(Model):
    """One of these as signed: canonical JSON, and the signatures of trust officers."""

    payload: Base64Url
    signatures: tuple[OfficerSignature, ...]
