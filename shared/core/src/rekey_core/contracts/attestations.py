"""What trust officers sign about backups: the order for a drill, and that they saw it end well."""

from __future__ import annotations

from datetime import timedelta
from typing import Annotated, Final, Literal

from pydantic import Field, StringConstraints

from rekey_core.contracts.base import Base64Url, Model, Nonce, Sequence, Time
from rekey_core.contracts.trust import OfficerSignature
from rekey_core.names import Digest, Environment

DRILL_NAMESPACE: Final = "rekey-drill@v1"  # SSHSIG namespace of both
ATTESTATION_LIFETIME: Final = timedelta(days=90)  # a restore that nobody has tried for longer is a hope
MAX_ORDER_LIFETIME: Final = timedelta(hours=4)  # as of other words that wait for a second person

Count = Annotated[int, Field(ge=0)]


class DrillOrder(Model):
    """The officers' word that every backup may be opened now, to try a restore into fresh tokens."""

    type: Literal["rekey.drill.order.v1"] = "rekey.drill.order.v1"
    env: Environment
    nonce: Nonce
    reason: Annotated[str, StringConstraints(min_length=1, max_length=500)]
    issued_at: Time
    expires_at: Time


class DrillAttestation(Model):
    """A restore was tried: every version that has a backup came out of fresh tokens as the one that was committed to."""

    type: Literal["rekey.drill.attestation.v1"] = "rekey.drill.attestation.v1"
    env: Environment
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
