"""A wrapped version is believed only when log, signature and record MAC agree; nothing else reaches the HSM."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime

import pytest

from rekey_core.authority import Stream, Subjects
from rekey_core.contracts import MaterialRecord, Tombstone
from rekey_core.encoding import b64u_decode, b64u_encode, sha256_hex
from rekey_core.errors import (
    RecordError,
    RekeyError,
    ReplayedError,
    StateRefusedError,
    UnavailableError,
    WrongAuthorError,
)
from rekey_core.names import Service
from tests.fakes.scene import KEY
from tests.unit.orders import EPOCH, HOUR, restore_order, restored
from tests.unit.rekey_distributor.desk import Desk, flipped
from tests.unit.world import ENV

GENERATOR = Service.GENERATOR
Change = Callable[[MaterialRecord, MaterialRecord], MaterialRecord]


def changed(**fields: object) -> Change:
    return lambda record, _: record.model_copy(update=fields)


SPOILT = [
    pytest.param(
        lambda r, _: flipped(r, "blob"), RecordError, "expected the record with digest", id="altered"
    ),
    pytest.param(
        lambda r, _: r.model_copy(update={"blob": b64u_encode(b64u_decode(r.blob)[:-8])}),
        RecordError,
        "expected the record with digest",
        id="truncated",
    ),
    pytest.param(
        lambda r, other: r.model_copy(update={"blob": other.blob}),
        RecordError,
        "expected the record with digest",
        id="with the blob of another version",
    ),
    pytest.param(lambda _, other: other, ReplayedError, "belongs to", id="swapped for another version's"),
    pytest.param(changed(commitment="0" * 64), RecordError, "expected the record", id="another commitment"),
    pytest.param(changed(key_id=7), RecordError, "expected the record", id="another key id"),
    pytest.param(changed(cause="another"), RecordError, "expected the record", id="made for another request"),
    pytest.param(changed(epoch=2), RecordError, "expected the record", id="of another KEK epoch"),
    pytest.param(lambda r, _: flipped(r, "mac"), RecordError, "does not verify", id="with an altered MAC"),
    pytest.param(
        lambda r, other: r.model_copy(update={"mac": other.mac}),
        RecordError,
        "does not verify",
        id="with the MAC of another version",
    ),
]


@pytest.mark.parametrize(("change", "error", "words"), SPOILT)
async def test_a_record_that_is_not_the_one_is_refused(
    desk: Desk, change: Change, error: type[RekeyError], words: str
) -> None:
    version = await desk.made(1)
    await desk.made(2)
    desk.put(change(desk.record(1), desk.record(2)))
    with pytest.raises(error, match=words):
        await desk.records.blob(version)


async def test_a_record_that_another_service_signed_is_refused(desk: Desk) -> None:
    version = await desk.made(1)
    desk.put(desk.record(), by=Service.AUDIT)
    with pytest.raises(WrongAuthorError):
        await desk.records.blob(version)


async def test_the_one_that_generated_names_is_given_and_kept(desk: Desk) -> None:
    version = await desk.made(1)
    blob = await desk.records.blob(version)
    assert blob == b64u_decode(desk.record().blob)
    desk.scene.server.forget(Stream.MATERIAL)
    assert await desk.records.blob(version) == blob
    desk.records.forget(version.blob_digest)
    with pytest.raises(UnavailableError, match="has no record"):
        await desk.records.blob(version)


async def test_after_a_restore_the_record_of_birth_counts_no_longer(desk: Desk) -> None:
    """And the one that ``restored`` names is looked for under the fresh epoch, whose MAC key this token does not have."""
    await desk.made(1)
    now, blob = datetime.now(UTC), b64u_encode(b"wrapped for the fresh token")
    order = restore_order(desk.scene, issued_at=now - HOUR / 2, expires_at=now + HOUR / 2)
    restored(desk.scene, 1, order, blob_digest=sha256_hex(b64u_decode(blob)), stored_at=now)
    with pytest.raises(RecordError, match="expected the record with digest"):
        await desk.records.blob(desk.lies(1))
    desk.put(desk.record().model_copy(update={"blob": blob, "epoch": EPOCH}))
    with pytest.raises(UnavailableError, match=f"no key labelled rec-mac-{ENV}-{EPOCH}"):
        await desk.records.blob(desk.lies(1))


async def test_a_tombstone_says_that_it_is_being_destroyed(desk: Desk) -> None:
    version = await desk.made(1)
    stone = Tombstone(env=ENV, key=KEY, version=1, cause="a schedule", at=datetime.now(UTC))
    desk.scene.put(Subjects(ENV).material(KEY, 1), stone, GENERATOR)
    with pytest.raises(StateRefusedError, match="is being destroyed"):
        await desk.records.blob(version)
