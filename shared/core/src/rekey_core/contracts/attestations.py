"""What trust officers sign: the order for a drill or a restore, how a drill ended, and that a KEK epoch has."""

from __future__ import annotations

from datetime import timedelta
from typing import Annotated, ClassVar, Final, Literal

from pydantic import Field, StringConstraints

from rekey_core.contracts.base import Base64Url, Message, Model, Nonce, Sequence, Time
from rekey_core.contracts.trust import OfficerSignature
from rekey_core.names import Digest, Environment, Service

ATTESTATION_LIFETIME: Final = timedelta(
    days=90
)  # a restore that nobody has tried for longer is a hope (issue 3, item 6)
MAX_ORDER_LIFETIME: Final = timedelta(hours=4)  # as of other words that wait for a second person

MAX_FAILURES: Final = 100  # named; with MAX_FAILURE each, an attestation stays within a message
MAX_FAILURE: Final = 300  # characters of a line

Count = Annotated[int, Field(ge=0)]
Epoch = Annotated[int, Field(ge=1)]


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
    epoch: Epoch  # of the KEKs between the offline token and the fresh distributor's


class DrillAttestation(OfficersDocument):
    """A restore was tried: which versions came out of fresh tokens as the ones that were committed to, and which did not.

    ``checked`` counts what the log says is backed up and not destroyed, as of the newest fact that was folded.
    """

    NAMESPACE: ClassVar[str] = "rekey-drill@v1"
    type: Literal["rekey.drill.attestation.v1"] = "rekey.drill.attestation.v1"
    order: Digest  # SHA-256 of the order's payload
    at: Time
    expires_at: Time
    as_of: Sequence  # of the newest fact that was folded
    backup_epochs: tuple[Epoch, ...]  # of the backup KEKs that the versions lay under, ascending
    checked: Count
    restored: Count
    opened: Count  # old ciphertexts, by what came back
    failures: Annotated[
        tuple[Annotated[str, StringConstraints(max_length=MAX_FAILURE)], ...], Field(max_length=MAX_FAILURES)
    ]  # one line each, the first ones
    more_failures: Count  # that are not named
    destroyed: Count  # their backups are gone
    without_backup: Count  # generated, and their class or their state says that there is none

    @property
    def is_passed(self) -> bool:
        """Whether everything came back, and it was something, and nothing was wrong."""
        is_whole = 0 < self.checked == self.restored
        return is_whole and not self.failures and not self.more_failures


class EpochEnd(OfficersDocument):
    """A KEK epoch ended: no token has a half of it, after a log that was read when it was closed showed nothing under it."""

    NAMESPACE: ClassVar[str] = "rekey-kek@v1"
    type: Literal["rekey.kek.end.v1"] = "rekey.kek.end.v1"
    epoch: Epoch
    challenge: Nonce  # the word that the log was asked for with
    as_of: Sequence  # of the newest fact in that log
    reason: Annotated[str, StringConstraints(min_length=1, max_length=500)]
    at: Time


class OfficersSigned(Model):
    """One of these as signed: canonical JSON, and the signatures of trust officers."""

    payload: Base64Url
    signatures: tuple[OfficerSignature, ...]


About = Literal["attestation", "kek-end"]  # which document it is; the kind of report that keeps it


class AttestationOffer(Message):
    """What officers attest, given to audit by the backup identity; the officers' signatures are its authority."""

    TYPE: ClassVar[str] = "rekey.attestation.offer.v1"
    type: Literal["rekey.attestation.offer.v1"] = "rekey.attestation.offer.v1"
    env: Environment
    about: About = "attestation"
    signed: OfficersSigned


class AttestationAnswer(Message):
    """What became of an offer; signed by audit. ``code``: none, if it is recorded, now or before. ``retry``: not decided."""

    TYPE: ClassVar[str] = "rekey.answer.attestation.v1"
    type: Literal["rekey.answer.attestation.v1"] = "rekey.answer.attestation.v1"
    env: Environment
    attestation: Digest  # SHA-256 of the payload that was offered
    code: str | None = None
    message: str | None = None
    hint: str | None = None
    retry: bool = False


class Attested(Message):
    """Audit's record of a drill, or of the end of a KEK epoch: it has verified the quorum, and its own log agrees."""

    TYPE: ClassVar[str] = "rekey.report.attestation.v1"
    type: Literal["rekey.report.attestation.v1"] = "rekey.report.attestation.v1"
    env: Environment
    author: Service
    signed: OfficersSigned
    at: Time
