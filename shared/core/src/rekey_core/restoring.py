"""From "its tokens are lost" to "it lies under another KEK": a quorum's order, a backup, a fresh epoch. Pure.

A restore gives nobody anything new and takes nothing away: the version stays what ``generated`` says, in the state that it
has. What it must never do is bring back what was destroyed, or lead the log back to a blob of before. The fold, which every
reader shares, is where both are judged; the order's time is held against the moment at which the log took the fact.
"""

from __future__ import annotations

from datetime import datetime

from rekey_core.authority import Subjects
from rekey_core.contracts import OfficersSigned, Restored, RestoreOffer, RestoreOrder
from rekey_core.encoding import b64u_decode, sha256_hex
from rekey_core.envelope import Stored, expect, parse
from rekey_core.errors import AuthorityError, ForeignEnvironmentError, IllegalTransitionError
from rekey_core.officers import check_order, open_by_quorum
from rekey_core.persistent import replace
from rekey_core.trust import Trust
from rekey_core.versions import VersionFacts


def open_offer(subject: str, data: bytes, env: str) -> RestoreOffer:
    """An offer on its own subject; what it says is judged by its order and the log.

    Raises:
        SchemaError: it is none.
        ForeignEnvironmentError: made for another environment.
        ReplayedError: made for another version.
    """
    offer = parse(data, RestoreOffer.TYPE, (RestoreOffer,), where=subject)
    if offer.env != env:
        raise ForeignEnvironmentError(f"{subject}: made for environment {offer.env}, expected {env}")
    expect(subject, Subjects(env).offer(offer.key, offer.version), what="offer")
    return offer


def ordered(signed: OfficersSigned, at: datetime, trust: Trust) -> RestoreOrder:
    """The order to restore, if a quorum of the officers of that moment has signed it and it is of that moment.

    Raises:
        AuthorityError, SchemaError, ForeignEnvironmentError: as ``open_by_quorum``.
        ExpiredError: it is not of then.
    """
    order = open_by_quorum(signed, RestoreOrder, trust.at(at))
    check_order(order, at)
    return order


def order_id(signed: OfficersSigned) -> str:
    """What facts name as their cause: SHA-256 of what the officers signed."""
    return sha256_hex(b64u_decode(signed.payload))


def check_restorable(version: VersionFacts, key: str, epoch: int) -> None:
    """Return if a version may come back from its backup under the KEK of an epoch.

    Raises:
        IllegalTransitionError: it is destroyed, was never backed up, or lies under that epoch or a later one.
    """
    where, lies = f"{key}@{version.number}", version.wrapped
    if version.destroyed is not None:
        raise IllegalTransitionError(f"{where} is {version.state} and is never restored")
    if lies is None or version.backed_up is None:
        raise IllegalTransitionError(f"{where} is not backed up and cannot be restored")
    if epoch <= lies.epoch:
        raise IllegalTransitionError(f"{where}: expected a KEK epoch after {lies.epoch}, found {epoch}")


def restored(version: VersionFacts, item: Stored[Restored], trust: Trust) -> VersionFacts:
    """The version where it lies now, in the state that it has.

    Raises:
        IllegalTransitionError: as ``check_restorable``.
        AuthorityError: no quorum's order, or another epoch or cause than the order's.
        SchemaError, ForeignEnvironmentError, ExpiredError: as ``ordered``.
    """
    fact = item.model
    order = ordered(fact.order, item.stored_at, trust)
    if (fact.cause, fact.epoch) != (order_id(fact.order), order.epoch):
        raise AuthorityError(
            f"restored of {fact.key}@{fact.version}: expected epoch {order.epoch} by {order_id(fact.order)[:16]}, "
            f"found epoch {fact.epoch} by {fact.cause[:16]}"
        )
    check_restorable(version, fact.key, fact.epoch)
    return replace(version, restored=item)
