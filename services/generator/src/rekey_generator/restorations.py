"""Versions that come back from their backups: store each under its fresh KEK, then say so.

The generator opens nothing and decides nothing here: officers have ordered it, the offline token has proved the version and
wrapped it for the fresh distributor's token. It is asked because it alone writes records. Order: record, then ``restored``
(the atomic point). A crash between the two leaves a record that the log does not name yet, of a version that nobody can
open otherwise; the next offer of it finds the record and says it. A tombstone is never written over: the log says
``destroyed``, or will in a moment, and a record is replaced only with the sequence at which it was looked at.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import UTC, datetime

from rekey_core.authority import Stream
from rekey_core.contracts import (
    Generated,
    MaterialRecord,
    RestoreAnswer,
    Restored,
    RestoreOffer,
    Tombstone,
)
from rekey_core.encoding import b64u_decode, sha256_hex
from rekey_core.envelope import BusMessage, sign
from rekey_core.errors import (
    AlreadyDoneError,
    AuthorityError,
    FatalError,
    MalformedError,
    NotFoundError,
    RekeyError,
    RetryableError,
    StateRefusedError,
)
from rekey_core.fold import KeyState
from rekey_core.next_fact import check_decidable, next_fact
from rekey_core.readers import open_material
from rekey_core.restoring import check_restorable, open_offer, order_id, ordered
from rekey_runtime.about import note_code
from rekey_runtime.bus import Bus
from rekey_runtime.keylog import KeyLog

_log = logging.getLogger(__name__)


def wanted(state: KeyState, offer: RestoreOffer) -> Generated:
    """What the version of an offer was made as, if it is to come back now. Pure.

    Raises:
        UndecidableKeyError: the key has a fact that this program does not know.
        NotFoundError: there is no such version.
        AlreadyDoneError: it lies where the offer would put it.
        IllegalTransitionError: it is destroyed, not backed up, or lies under a KEK as new as that.
    """
    where, version = f"{offer.key}@{offer.version}", state.versions.get(offer.version)
    check_decidable(state)
    if version is None or version.generated is None or version.wrapped is None:
        message = f"{where} is not generated"
        raise NotFoundError(message, hint=f"rekey key show {offer.key}")
    lies = version.wrapped
    if version.destroyed is None and (lies.epoch, lies.blob_digest) == (offer.epoch, _digest(offer)):
        message = f"{where} lies under KEK epoch {lies.epoch}"
        raise AlreadyDoneError(message)
    check_restorable(version, offer.key, offer.epoch)
    return version.generated.model


@dataclass(frozen=True)
class Restorations:
    """Answers offers. ``is_closed``: whether the token says that the end of a KEK epoch has begun."""

    bus: Bus
    keylog: KeyLog
    is_closed: Callable[[int], Awaitable[bool]]

    async def on_offer(self, subject: str, data: bytes) -> tuple[bytes, dict[str, str]]:
        """Restore one version and say so, or say why not. Raises MalformedError leaves for what is no offer."""
        offer = open_offer(subject, data, self.bus.settings.env)
        try:
            await self._restore(offer)
            answer = _answer(offer, None)
        except FatalError:
            raise
        except AlreadyDoneError:
            answer = _answer(offer, None)
        except RekeyError as error:
            answer = _answer(offer, error)
        return sign(answer, self.bus.signer).model_dump_json().encode(), {}

    async def _restore(self, offer: RestoreOffer) -> None:
        now = await self.bus.time(Stream.LIFECYCLE)
        order = await self.bus.trust.fresh(lambda trust: ordered(offer.order, now, trust))
        if order.epoch != offer.epoch:
            message = (
                f"{offer.key}@{offer.version}: the order is for KEK epoch {order.epoch}, found {offer.epoch}"
            )
            raise AuthorityError(message)
        await self._require_open(offer)
        made = wanted(await self.keylog.confirmed(offer.key), offer)
        await self._store(offer, made)
        await self._require_open(offer)  # the log is read after the closing: what it must show is said before
        await self.keylog.decide(
            offer.key, lambda state: (wanted(state, offer), _restored(offer, state, now))[1]
        )
        names = {"key": offer.key, "version": offer.version, "epoch": offer.epoch}
        _log.warning("restored", extra={"event": "restored", **names})

    async def _require_open(self, offer: RestoreOffer) -> None:
        if await self.is_closed(offer.epoch):
            message = (
                f"{offer.key}@{offer.version}: KEK epoch {offer.epoch} is being retired, or is: what came "
                "under it would be lost with it"
            )
            raise StateRefusedError(message, hint="found a fresh epoch, and order a restore into that one")

    async def _store(self, offer: RestoreOffer, made: Generated) -> None:
        subject = self.bus.subjects.material(offer.key, offer.version)
        found = await self.bus.last(Stream.MATERIAL, subject)
        if found is not None and await self._holds(found, offer):
            return
        packed = self.bus.pack(_record(offer, made))
        await self.bus.replace(Stream.MATERIAL, subject, packed, found.sequence if found else 0)

    async def _holds(self, found: BusMessage, offer: RestoreOffer) -> bool:
        """Whether an earlier try stored what is offered. Raises StateRefusedError for a tombstone."""
        try:
            record = (await self.bus.trust.fresh(lambda trust: open_material(found, trust))).model
        except MalformedError as error:  # nothing of ours, so nothing that anybody could open
            _log.warning("record: %s", error, extra={"event": "record-not-ours", "subject": found.subject})
            return False
        if isinstance(record, Tombstone):
            message = f"{offer.key}@{offer.version} has a tombstone and is never restored"
            raise StateRefusedError(message, hint=f"rekey key history {offer.key}")
        return (record.epoch, record.blob, record.mac) == (offer.epoch, offer.blob, offer.mac)


def _record(offer: RestoreOffer, made: Generated) -> MaterialRecord:
    """What takes the place of the record whose KEK is lost: the same version, another wrapping."""
    return MaterialRecord(
        env=made.env,
        key=made.key,
        version=made.version,
        algorithm=made.algorithm,
        release=made.release,
        epoch=offer.epoch,
        key_id=made.key_id,
        blob=offer.blob,
        commitment=made.commitment,
        spki=made.spki,
        mac=offer.mac,
        cause=made.cause,
        at=datetime.now(UTC),
    )


def _restored(offer: RestoreOffer, state: KeyState, now: datetime) -> Restored:
    return Restored(
        **next_fact(state, Restored, order_id(offer.order), offer.version, now),
        epoch=offer.epoch,
        blob_digest=_digest(offer),
        order=offer.order,
    )


def _digest(offer: RestoreOffer) -> str:
    return sha256_hex(b64u_decode(offer.blob))


def _answer(offer: RestoreOffer, error: RekeyError | None) -> RestoreAnswer:
    place = {"env": offer.env, "key": offer.key, "version": offer.version}
    if error is None:
        return RestoreAnswer.model_validate(place)
    note_code(error.code)
    _log.warning("not restored: %s", error, extra={"event": "not-restored", "code": error.code})
    said = {"code": error.code, "message": str(error), "hint": error.hint}
    return RestoreAnswer.model_validate(place | said | {"retry": isinstance(error, RetryableError)})
