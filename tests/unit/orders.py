"""What officers sign about backups, and what comes of it in a log: right unless the changes say otherwise."""

from __future__ import annotations

from datetime import timedelta
from typing import Any, Final

from rekey_core.contracts import (
    ATTESTATION_LIFETIME,
    DrillAttestation,
    OfficersDocument,
    OfficerSignature,
    OfficersSigned,
    Restored,
    RestoreOrder,
)
from rekey_core.encoding import b64u_encode
from rekey_core.officers import payload_of
from rekey_core.restoring import order_id
from tests.unit.world import ENV, NOW, World

EPOCH: Final = 7  # that the order names
HOUR: Final = timedelta(hours=1)


def signed(
    w: World, document: OfficersDocument, *officers: str, namespace: str | None = None
) -> OfficersSigned:
    """A document with these people's signatures."""
    payload = payload_of(document)
    signatures = tuple(
        OfficerSignature(person=name, sshsig=w.officer(name, payload, namespace or document.NAMESPACE))
        for name in officers
    )
    return OfficersSigned(payload=b64u_encode(payload), signatures=signatures)


def restore_order(w: World, *officers: str, **changes: Any) -> OfficersSigned:
    """An order of an hour, by oliver and olga."""
    body = {"env": ENV, "nonce": "0" * 32, "reason": "both tokens are lost", "epoch": EPOCH}
    body |= {"issued_at": NOW, "expires_at": NOW + HOUR}
    return signed(w, RestoreOrder.model_validate(body | changes), *(officers or ("oliver", "olga")))


def attestation(**changes: Any) -> DrillAttestation:
    """A drill of now that saw three versions come back."""
    body: dict[str, Any] = {
        "env": ENV,
        "order": "0" * 64,
        "at": NOW,
        "expires_at": NOW + ATTESTATION_LIFETIME,
    }
    body |= {
        "as_of": 100,
        "backup_epochs": (1,),
        "checked": 3,
        "restored": 3,
        "opened": 1,
        "failures": (),
        "more_failures": 0,
    }
    return DrillAttestation.model_validate(body | {"destroyed": 0, "without_backup": 0} | changes)


def restored(w: World, version: int, order: OfficersSigned | None = None, **changes: Any) -> None:
    """The version is back from its backup, as the next fact."""
    order = order or restore_order(w)
    at, cause = changes.pop("stored_at", NOW), changes.pop("cause", order_id(order))
    body: dict[str, Any] = {"epoch": EPOCH, "blob_digest": "12" * 32, "order": order}
    w.add(w.fact(Restored, version, cause, **(body | changes)), at=at)
