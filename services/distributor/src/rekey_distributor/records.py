"""Wrapped versions as the generator stored them, believed only when the log, the signature and the record MAC agree."""

from __future__ import annotations

import dataclasses
from collections import OrderedDict
from typing import Final

from rekey_core.authority import Stream
from rekey_core.confirmation import VersionContext, record_mac_input
from rekey_core.contracts import Generated, MaterialRecord, Tombstone
from rekey_core.encoding import b64u_decode, sha256_hex
from rekey_core.errors import RecordError, StateRefusedError, UnavailableError
from rekey_core.readers import open_material
from rekey_core.versions import Wrapped
from rekey_hsm import DistributorHsm, kek_label, record_mac_label
from rekey_runtime.bus import Bus

CACHED_RECORDS: Final = 4096  # records kept in memory, some 600 bytes each; wrapped, so no secret


class Records:
    """Reads MATERIAL. A record is immutable as long as the log names its digest, so it is kept."""

    def __init__(self, bus: Bus, hsm: DistributorHsm) -> None:
        self._bus = bus
        self._hsm = hsm
        self._kept: OrderedDict[str, bytes] = OrderedDict()

    async def blob(self, version: Wrapped) -> bytes:
        """The wrapped blob of a version.

        Raises:
            UnavailableError: there is no record (yet, or any more).
            RecordError: the record is not the one that the log names.
            StateRefusedError: there is a tombstone, and the log will say so in a moment.
        """
        digest = version.blob_digest
        if digest in self._kept:
            self._kept.move_to_end(digest)
            return self._kept[digest]
        blob = await self._verified(version)
        self._kept[digest] = blob
        if len(self._kept) > CACHED_RECORDS:
            self._kept.popitem(last=False)
        return blob

    def forget(self, digest: str) -> None:
        """Keep the blob of a version that nobody may use any more no longer."""
        self._kept.pop(digest, None)

    async def _verified(self, version: Wrapped) -> bytes:
        fact = version.made
        message = await self._bus.get(Stream.MATERIAL, self._bus.subjects.material(fact.key, fact.version))
        if message is None:
            text = f"{fact.key}@{fact.version} has no record in {Stream.MATERIAL}"
            raise UnavailableError(text)
        record = (await self._bus.trust.fresh(lambda trust: open_material(message, trust))).model
        if isinstance(record, Tombstone):
            text = f"{fact.key}@{fact.version} is being destroyed: its wrapped blob is gone"
            raise StateRefusedError(text, hint=f"rekey key history {fact.key}")
        blob = b64u_decode(record.blob)
        _same(record, blob, version)
        context = dataclasses.replace(context_of(fact), epoch=version.epoch)
        data = record_mac_input(context, record.key_id, version.blob_digest, record.commitment, record.cause)
        await self._hsm.verify_record_mac(
            record_mac_label(fact.env, version.epoch), data, b64u_decode(record.mac)
        )
        return blob


def _same(record: MaterialRecord, blob: bytes, version: Wrapped) -> None:
    fact = version.made
    found = (sha256_hex(blob), record.commitment, record.key_id, record.cause, record.epoch, record.spki)
    expected = (version.blob_digest, fact.commitment, fact.key_id, fact.cause, version.epoch, fact.spki)
    if found != expected:
        digests = f"expected the record with digest {version.blob_digest[:16]}, found {found[0][:16]}"
        text = f"{fact.key}@{fact.version}: {digests}"
        raise RecordError(text)


def kek_of(version: Wrapped) -> str:
    """The label of the KEK under which the version lies."""
    fact = version.made
    return kek_label(fact.env, fact.release, fact.algorithm, version.epoch)


def context_of(fact: Generated) -> VersionContext:
    """What commitment and confirmations of the version are bound to, wherever it lies."""
    return VersionContext(fact.env, fact.key, fact.version, fact.algorithm, fact.release, fact.epoch)
