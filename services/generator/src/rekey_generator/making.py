"""Whether a version is to be made, as what, and whether a record found is the one that would have been made.

Pure: the state of the key and the request in, an order or a refusal out.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection
from dataclasses import dataclass, replace
from datetime import datetime

from rekey_core.backups import lacks_backup
from rekey_core.confirmation import VersionContext
from rekey_core.contracts import (
    BackedUp,
    BackupRecord,
    Generated,
    MaterialRecord,
    RotationRequested,
)
from rekey_core.encoding import b64u_decode, b64u_encode, lp
from rekey_core.envelope import Stored
from rekey_core.errors import (
    AlreadyDoneError,
    RecordError,
    StaleReadError,
    StateRefusedError,
)
from rekey_core.fold import KeyState
from rekey_core.lifecycle import VersionState
from rekey_core.next_fact import check_decidable, next_fact
from rekey_core.policy import needs_backup


@dataclass(frozen=True)
class Epochs:
    """Of the KEKs and of the backup KEKs under which new versions are wrapped."""

    kek: int
    backup: int


@dataclass(frozen=True)
class Order:
    """One version to be made: what it is, which request asked for it, its Tink key id, and how it is backed up.

    ``backup_epoch``: of the backup KEK; none where the class says that there are no backups.
    """

    context: VersionContext
    cause: str
    key_id: int
    backup_epoch: int | None


def order(state: KeyState, request: Stored[RotationRequested], epochs: Epochs) -> Order:
    """What to make for a request that stands in the folded log of its key.

    Raises:
        StaleReadError: the fold has not reached the request.
        UndecidableKeyError: the key has a fact that this program does not know.
        AlreadyDoneError: the version was generated; that it is backed up may still have to be said.
        StateRefusedError: the request has no effect in the fold, or the version was stopped meanwhile.
    """
    asked = request.model
    if state.last_sequence < request.sequence:
        message = f"{asked.key}: folded up to {state.last_sequence}, the request stands at {request.sequence}"
        raise StaleReadError(message)
    check_decidable(state)
    version = state.versions.get(asked.version)
    if version is None or version.requested.model.id != asked.id:
        message = f"{asked.key}@{asked.version}: the request at {request.sequence} has no effect in the log"
        raise StateRefusedError(message, hint=f"rekey key history {asked.key}")
    if version.generated is not None:
        message = f"{asked.key}@{asked.version} is generated"
        raise AlreadyDoneError(message)
    if version.state is not VersionState.PRE_ACTIVATION:
        message = f"{asked.key}@{asked.version}: expected state pre-activation, found {version.state}"
        raise StateRefusedError(message, hint=f"rekey key rotate {asked.key}")
    if state.algorithm is None or state.release is None:
        message = f"{asked.key} is not registered"
        raise StateRefusedError(message)
    context = VersionContext(state.env, state.key, asked.version, state.algorithm, state.release, epochs.kek)
    backup = epochs.backup if needs_backup(state.key_class or "") else None
    return Order(context, str(asked.id), tink_key_id(context, state.versions.key_ids), backup)


def tink_key_id(context: VersionContext, used: Collection[int]) -> int:
    """A key id that is never 0 and unique within the key; the same for every retry (DESIGN §7)."""
    for counter in range(len(used) + 2):
        digest = hashlib.sha256(
            lp("rekey-key-id@v1", context.env, context.key, context.version, counter)
        ).digest()
        candidate = int.from_bytes(digest[:4], "big")
        if candidate and candidate not in used:
            return candidate
    message = "more candidates than used ids, one is free"
    raise AssertionError(message)


def context_of(record: MaterialRecord) -> VersionContext:
    """What the record says that it is, its own KEK epoch included."""
    return VersionContext(
        record.env, record.key, record.version, record.algorithm, record.release, record.epoch
    )


def check_record(record: MaterialRecord, wanted: Order) -> None:
    """Adopt a record only if it is what the order would have made, under whichever KEK epoch was the newest then.

    An earlier try may have died before the roll-over to this epoch, and another replica may be ahead of it. Which epoch it
    is decides the record MAC, which is made with that epoch's key and binds it.

    Raises:
        RecordError: it was made for something else.
    """
    made = replace(context_of(record), epoch=wanted.context.epoch)
    if (made, record.cause, record.key_id) != (wanted.context, wanted.cause, wanted.key_id):
        causes = f"made for {record.cause}, expected {wanted.cause}"
        message = f"{record.key}@{record.version}: the record in MATERIAL was {causes}"
        raise RecordError(message)


def generated(record: MaterialRecord, state: KeyState, now: datetime) -> Generated:
    """The fact that says what a record holds, as the next fact of the key."""
    return Generated(
        **next_fact(state, Generated, record.cause, record.version, now),
        algorithm=record.algorithm,
        release=record.release,
        epoch=record.epoch,
        key_id=record.key_id,
        blob_digest=hashlib.sha256(b64u_decode(record.blob)).hexdigest(),
        commitment=record.commitment,
        spki=record.spki,
    )


def backup_of(record: MaterialRecord, blob: bytes, epoch: int) -> BackupRecord:
    """What is stored beside a record, in one step with it."""
    return BackupRecord(
        env=record.env,
        key=record.key,
        version=record.version,
        backup_epoch=epoch,
        blob=b64u_encode(blob),
        commitment=record.commitment,
        cause=record.cause,
        at=record.at,
    )


def awaits_backup(state: KeyState, request: Stored[RotationRequested]) -> Generated | None:
    """What was generated for the request, if the log does not say yet that it is backed up, and should."""
    version = state.versions.get(request.model.version)
    if version is None or version.requested.model.id != request.model.id or state.undecidable:
        return None
    if (
        version.generated is None
        or version.destroyed is not None
        or not lacks_backup(version, state.key_class)
    ):
        return None
    return version.generated.model


def check_backup(found: BackupRecord, made: Generated) -> None:
    """Say that a version is backed up only if that lies there which was made with it.

    Raises:
        RecordError: it was made for something else.
    """
    if (found.cause, found.commitment) != (made.cause, made.commitment):
        causes = f"made for {found.cause} with commitment {found.commitment[:16]}"
        message = f"{made.key}@{made.version}: the backup in MATERIAL was {causes}, expected {made.cause}"
        raise RecordError(f"{message} with {made.commitment[:16]}")


def backed_up(found: BackupRecord, made: Generated, state: KeyState, now: datetime) -> BackedUp:
    """The fact that says where the version lies a second time, as the next fact of the key."""
    return BackedUp(
        **next_fact(state, BackedUp, str(made.id), made.version, now),
        backup_epoch=found.backup_epoch,
        blob_digest=hashlib.sha256(b64u_decode(found.blob)).hexdigest(),
    )
