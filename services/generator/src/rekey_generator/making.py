"""Whether a version is to be made, as what, and whether a record found is the one that would have been made.

Pure: the state of the key and the request in, an order or a refusal out.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime

from rekey_core.confirmation import VersionContext
from rekey_core.contracts import Generated, MaterialRecord, RotationRequested, event_id
from rekey_core.encoding import b64u_decode, lp
from rekey_core.envelope import Stored
from rekey_core.errors import (
    AlreadyDoneError,
    RecordError,
    StaleReadError,
    StateRefusedError,
    UndecidableKeyError,
)
from rekey_core.fold import KeyState
from rekey_core.lifecycle import VersionState
from rekey_core.names import Service
from rekey_core.policy import POLICY_DIGEST


@dataclass(frozen=True)
class Order:
    """One version to be made: what it is, which request asked for it, and its Tink key id."""

    context: VersionContext
    cause: str
    key_id: int


def order(state: KeyState, request: Stored[RotationRequested], epoch: int) -> Order:
    """What to make for a request that stands in the folded log of its key.

    Raises:
        StaleReadError: the fold has not reached the request.
        UndecidableKeyError: the key has a fact that this program does not know.
        AlreadyDoneError: the version was generated.
        StateRefusedError: the request has no effect in the fold, or the version was stopped meanwhile.
    """
    asked = request.model
    if state.last_sequence < request.sequence:
        message = f"{asked.key}: folded up to {state.last_sequence}, the request stands at {request.sequence}"
        raise StaleReadError(message)
    if state.undecidable:
        message = f"{asked.key}: {state.undecidable}"
        raise UndecidableKeyError(message)
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
    context = VersionContext(state.env, state.key, asked.version, state.algorithm, state.release, epoch)
    used = [v.generated.model.key_id for v in state.versions.values() if v.generated]
    return Order(context, str(asked.id), tink_key_id(context, used))


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


def check_record(record: MaterialRecord, wanted: Order) -> None:
    """Adopt a record only if it is exactly what the order would have made.

    Raises:
        RecordError: it was made for something else.
    """
    made = VersionContext(
        record.env, record.key, record.version, record.algorithm, record.release, record.epoch
    )
    if (made, record.cause, record.key_id) != (wanted.context, wanted.cause, wanted.key_id):
        causes = f"made for {record.cause}, expected {wanted.cause}"
        message = f"{record.key}@{record.version}: the record in MATERIAL was {causes}"
        raise RecordError(message)


def generated(record: MaterialRecord, state: KeyState, now: datetime) -> Generated:
    """The fact that says what a record holds, as the next fact of the key."""
    return Generated(
        id=event_id(record.cause, Generated.TYPE, record.env, record.key, record.version),
        env=record.env,
        key=record.key,
        version=record.version,
        author=Service.GENERATOR,
        checked=state.last_sequence,
        cause=record.cause,
        policy=POLICY_DIGEST,
        at=now,
        algorithm=record.algorithm,
        release=record.release,
        epoch=record.epoch,
        key_id=record.key_id,
        blob_digest=hashlib.sha256(b64u_decode(record.blob)).hexdigest(),
        commitment=record.commitment,
        spki=record.spki,
    )
