"""One request, one version: make it or adopt what an earlier try left, store the record, then say so.

The atomic point is the append of ``generated``. Before it a crash leaves at most a record that the next try adopts;
the key in the HSM was a session object and is gone. Record and backup are stored as one atomic batch: nothing could make a
backup of a key that is gone, or tell which of two belongs to a record. ``backed-up`` follows; a crash before it leaves the
request unsettled, and the next try says it from what it finds.
"""

from __future__ import annotations

import hmac
from dataclasses import dataclass
from datetime import UTC, datetime

from rekey_core.authority import Stream
from rekey_core.confirmation import (
    commitment_input,
    record_mac_input,
    secret_commitment,
    spki_commitment,
)
from rekey_core.contracts import BackupRecord, Generated, MaterialRecord, RotationRequested, Tombstone
from rekey_core.encoding import b64u_decode, b64u_encode, sha256_hex
from rekey_core.envelope import BusMessage, Stored
from rekey_core.errors import ConflictError, RecordError, StateRefusedError, UnknownTypeError
from rekey_core.readers import open_backup, open_fact, open_material
from rekey_core.signatures import SCHEMES
from rekey_generator import making
from rekey_hsm import GeneratorHsm, backup_label, kek_label, record_mac_label
from rekey_runtime.bus import Bus
from rekey_runtime.keylog import KeyLog
from rekey_runtime.waves import BatchItem


@dataclass(frozen=True)
class Generator:
    """The handler and what it needs. ``backup_epoch``: of the backup KEKs; which KEKs are the newest, the token says."""

    bus: Bus
    keylog: KeyLog
    hsm: GeneratorHsm
    backup_epoch: int

    async def on_rotation_requested(self, message: BusMessage) -> None:
        """Make the version that the fact asks for. Raises what becomes the message's verdict."""
        request = await self.bus.trust.fresh(lambda trust: open_fact(message, trust))
        asked = request.model
        if not isinstance(asked, RotationRequested):
            text = f"{message.subject}: expected rotation-requested, found {asked.EVENT}"
            raise UnknownTypeError(text)
        stored = Stored(asked, request.sequence, request.stored_at, request.subject, request.signed)
        state = await self.keylog.state(asked.key, reached=stored.sequence)
        backup: BackupRecord | None = None
        if making.awaits_backup(state, stored) is None:
            epochs = making.Epochs(await self.hsm.newest_epoch(state.env), self.backup_epoch)
            left = await self._left(asked.key, asked.version) if message.deliveries > 1 else None
            backup = await self._generate(making.order(state, stored, epochs), stored, epochs, left)
        await self._say_backed_up(stored, backup)

    async def _left(self, key: str, version: int) -> BusMessage | None:
        """What an earlier try left in the version's place."""
        return await self.bus.last(Stream.MATERIAL, self.bus.subjects.material(key, version))

    async def _generate(
        self,
        wanted: making.Order,
        request: Stored[RotationRequested],
        epochs: making.Epochs,
        left: BusMessage | None,
    ) -> BackupRecord | None:
        """Say that the version is there; the backup, if it was stored just now."""
        record, backup = (await self._adopted(left, wanted), None) if left else await self._made(wanted)
        await self.keylog.decide(
            record.key,
            lambda state: (
                making.order(state, request, epochs),
                making.generated(record, state, datetime.now(UTC)),
            )[1],
        )
        return backup

    async def _say_backed_up(self, request: Stored[RotationRequested], written: BackupRecord | None) -> None:
        key = request.model.key
        made = making.awaits_backup(await self.keylog.state(key, reached=request.sequence + 1), request)
        if made is None:
            return
        found = written or await self._backup(made)
        making.check_backup(found, made)
        await self.keylog.settle(
            key,
            lambda state: (
                making.backed_up(found, made, state, datetime.now(UTC))
                if making.awaits_backup(state, request)
                else None
            ),
        )

    async def _backup(self, made: Generated) -> BackupRecord:
        where = f"{made.key}@{made.version}"
        message = await self.bus.last(Stream.MATERIAL, self.bus.subjects.backup(made.key, made.version))
        if message is None:
            text = f"{where} was stored with a backup, and it is gone"
            raise RecordError(text, hint=f"rekey key destroy {where}, then rekey key rotate {made.key}")
        found = open_backup(message, self.bus.trust.current).model
        if isinstance(found, Tombstone):
            text = f"{where} is being destroyed: its backup is gone"
            raise StateRefusedError(text, hint=f"rekey key history {made.key}")
        return found

    async def _adopted(self, message: BusMessage, wanted: making.Order) -> MaterialRecord:
        context = wanted.context
        record = open_material(message, self.bus.trust.current).model
        if isinstance(record, Tombstone):
            text = f"{context.key}@{context.version} has a tombstone and is never made again"
            raise StateRefusedError(text, hint=f"rekey key history {context.key}")
        making.check_record(record, wanted)
        if not hmac.compare_digest(b64u_decode(record.mac), await self._mac(record)):
            text = f"{context.key}@{context.version}: the record's MAC is not ours"
            raise RecordError(text)
        return record

    async def _made(self, wanted: making.Order) -> tuple[MaterialRecord, BackupRecord | None]:
        record, backup = await self._in_hsm(wanted)
        place = record.key, record.version
        items = [BatchItem(self.bus.subjects.material(*place), self.bus.pack(record), expected_last=0)]
        if backup is not None:
            items.append(BatchItem(self.bus.subjects.backup(*place), self.bus.pack(backup), expected_last=0))
        try:
            await self.bus.publish_together(Stream.MATERIAL, *items)
        except ConflictError:
            left = await self._left(*place)  # another replica, or our own lost answer
            if left is None:
                raise
            return await self._adopted(left, wanted), None
        return record, backup

    async def _in_hsm(self, wanted: making.Order) -> tuple[MaterialRecord, BackupRecord | None]:
        context = wanted.context
        kind = context.env, context.release, context.algorithm
        kek = kek_label(*kind, context.epoch)
        backup_kek = None if wanted.backup_epoch is None else backup_label(*kind, wanted.backup_epoch)
        spki: bytes | None = None
        if context.algorithm in SCHEMES:
            pair = await self.hsm.make_key_pair(kek, context.algorithm, backup=backup_kek)
            blob, spki, commitment = pair.blob, pair.spki, spki_commitment(pair.spki)
            second = pair.backup
        else:
            secret = await self.hsm.make_secret(
                kek, context.algorithm, commitment_input(context), backup=backup_kek
            )
            blob, commitment = secret.blob, secret_commitment(context, secret.commitment)
            second = secret.backup
        draft = MaterialRecord(
            env=context.env,
            key=context.key,
            version=context.version,
            algorithm=context.algorithm,
            release=context.release,
            epoch=context.epoch,
            key_id=wanted.key_id,
            blob=b64u_encode(blob),
            commitment=commitment,
            spki=b64u_encode(spki) if spki else None,
            mac="",
            cause=wanted.cause,
            at=datetime.now(UTC),
        )
        record = draft.model_copy(update={"mac": b64u_encode(await self._mac(draft))})
        if wanted.backup_epoch is None or second is None:
            return record, None
        return record, making.backup_of(record, second, wanted.backup_epoch)

    async def _mac(self, record: MaterialRecord) -> bytes:
        context, digest = making.context_of(record), sha256_hex(b64u_decode(record.blob))
        data = record_mac_input(context, record.key_id, digest, record.commitment, record.cause)
        return await self.hsm.record_mac(record_mac_label(context.env, context.epoch), data)
