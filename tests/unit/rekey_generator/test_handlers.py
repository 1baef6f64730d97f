"""A version is made once: whatever an earlier try left is adopted if it is ours, and refused if it is not."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from rekey_core.authority import Stream
from rekey_core.contracts import BackupRecord, Fact, Generated, MaterialRecord, Tombstone
from rekey_core.encoding import b64u_decode, b64u_encode, sha256_hex
from rekey_core.envelope import Stored
from rekey_core.errors import (
    ConflictError,
    RecordError,
    RekeyError,
    ReplayedError,
    StateRefusedError,
    UnavailableError,
    UnknownOutcomeError,
    WrongAuthorError,
)
from rekey_core.names import Service
from rekey_generator.handlers import Generator
from rekey_hsm import GeneratorHsm
from rekey_runtime.keylog import KeyLog
from tests.fakes.endings import KilledError, raises
from tests.fakes.scene import KEY, Scene
from tests.hsm_tokens import ENV, Tokens

GENERATED = "evt.*.*.*.generator.generated.*"
BACKED_UP = "evt.*.*.*.generator.backed-up.*"
RECORD, BACKUP = f"mat.dev.{KEY}.1", f"bak.dev.{KEY}.1"
GENERATOR = Service.GENERATOR


@pytest.fixture
def scene(tmp_path: Path, tokens: Tokens) -> Scene:
    made = Scene(home=tmp_path, transport=tokens.spki_sha256)
    made.registered()
    return made


async def handled(scene: Scene, hsm: GeneratorHsm, request: Stored[Fact], deliveries: int = 1) -> None:
    """One delivery of the request to a generator that has just started."""
    bus = await scene.bus(Service.GENERATOR)
    message = replace(scene.message(request), deliveries=deliveries)
    await Generator(bus, KeyLog(bus), hsm, backup_epoch=1).on_rotation_requested(message)


async def killed(scene: Scene, hsm: GeneratorHsm, before: str = GENERATED) -> Stored[Fact]:
    """A request whose first delivery dies before a message is stored."""
    request = scene.requested(1)
    scene.server.once("before", before, raises(KilledError()))
    with pytest.raises(KilledError):
        await handled(scene, hsm, request)
    return request


def record_of(scene: Scene) -> MaterialRecord:
    [message] = scene.server.messages(Stream.MATERIAL, RECORD)
    return MaterialRecord.model_validate_json(message.data)


def backup_of(scene: Scene) -> BackupRecord:
    [message] = scene.server.messages(Stream.MATERIAL, BACKUP)
    return BackupRecord.model_validate_json(message.data)


def generated_of(scene: Scene) -> Generated:
    [found] = [item.model for item in scene.catch_up() if isinstance(item.model, Generated)]
    return found


async def test_the_record_is_stored_before_generated_names_it(
    scene: Scene, generator_hsm: GeneratorHsm
) -> None:
    scene.server.once("before", GENERATED, lambda: order.append(len(scene.server.messages(Stream.MATERIAL))))
    order: list[int] = []
    await handled(scene, generator_hsm, scene.requested(1))
    record, fact = record_of(scene), generated_of(scene)
    assert order == [2], "the record and its backup"
    assert (fact.blob_digest, fact.commitment) == (sha256_hex(b64u_decode(record.blob)), record.commitment)


@pytest.mark.parametrize(
    "end",
    [
        pytest.param(KilledError(), id="the process is killed"),
        pytest.param(UnknownOutcomeError("no answer"), id="the bus does not answer"),
        pytest.param(UnavailableError("full"), id="the stream is full"),
        pytest.param(ConflictError("10071"), id="others are first until it gives up"),
    ],
)
@pytest.mark.parametrize("deliveries", [2, 1], ids=["that says so", "that seems to be the first"])
async def test_a_second_delivery_adopts_the_record_that_a_dead_try_left(
    scene: Scene, generator_hsm: GeneratorHsm, end: BaseException, deliveries: int
) -> None:
    request = scene.requested(1)
    for _ in range(8 if isinstance(end, ConflictError) else 1):  # keylog.TRIES
        scene.server.once("before", GENERATED, raises(end))
    with pytest.raises(type(end)):
        await handled(scene, generator_hsm, request)
    left = record_of(scene)
    assert scene.events(1) == ["rotation-requested"]
    await handled(scene, generator_hsm, request, deliveries=deliveries)
    fact = generated_of(scene)
    assert record_of(scene) == left, "nothing was written again"
    assert (fact.blob_digest, fact.key_id) == (sha256_hex(b64u_decode(left.blob)), left.key_id)
    assert (fact.commitment, fact.cause) == (left.commitment, left.cause)


async def test_a_record_that_was_left_under_the_epoch_before_is_adopted_as_it_is(
    scene: Scene, generator_hsm: GeneratorHsm
) -> None:
    request = await killed(scene, generator_hsm)
    left = record_of(scene)
    generator_hsm._epochs[ENV] = 2  # noqa: SLF001 - a roll-over, as far as the generator knows
    await handled(scene, generator_hsm, request, deliveries=2)
    fact = generated_of(scene)
    assert record_of(scene) == left, "nothing was written again"
    assert (fact.epoch, fact.commitment, left.epoch) == (1, left.commitment, 1)
    assert scene.events(1) == ["rotation-requested", "generated", "backed-up"]


async def test_a_record_that_only_says_another_epoch_is_not_adopted(
    scene: Scene, generator_hsm: GeneratorHsm
) -> None:
    request = await killed(scene, generator_hsm)
    _put(scene, record_of(scene).model_copy(update={"epoch": 2}))
    with pytest.raises(UnavailableError, match="has no key labelled rec-mac-dev-2"):
        await handled(scene, generator_hsm, request)
    assert scene.events(1) == ["rotation-requested"]


async def test_a_record_that_another_replica_stored_meanwhile_is_adopted(
    scene: Scene, generator_hsm: GeneratorHsm
) -> None:
    request = await killed(scene, generator_hsm)
    theirs, backup = record_of(scene), backup_of(scene)
    scene.server.forget(Stream.MATERIAL)

    def they_store_theirs() -> None:
        _put(scene, theirs)
        scene.put(BACKUP, backup, GENERATOR)

    scene.server.once("before", RECORD, they_store_theirs)
    await handled(scene, generator_hsm, request)
    assert (record_of(scene), backup_of(scene)) == (theirs, backup)
    assert generated_of(scene).blob_digest == sha256_hex(b64u_decode(theirs.blob))


async def test_a_try_that_died_between_generated_and_backed_up_is_gone_on_with(
    scene: Scene, generator_hsm: GeneratorHsm
) -> None:
    request = await killed(scene, generator_hsm, BACKED_UP)
    left = scene.server.messages(Stream.MATERIAL)
    assert scene.events(1) == ["rotation-requested", "generated"]
    await handled(scene, generator_hsm, request)
    assert scene.events(1) == ["rotation-requested", "generated", "backed-up"]
    assert scene.server.messages(Stream.MATERIAL) == left, "nothing was written again"


@pytest.mark.parametrize("lost", [True, False], ids=["gone", "of another secret"])
async def test_no_backup_is_said_of_what_is_none(
    scene: Scene, generator_hsm: GeneratorHsm, *, lost: bool
) -> None:
    request = await killed(scene, generator_hsm, BACKED_UP)
    another = backup_of(scene).model_copy(update={"commitment": "0" * 64})
    if lost:
        scene.server.forget(Stream.MATERIAL)
    else:
        scene.put(BACKUP, another, GENERATOR)
    with pytest.raises(RecordError, match="it is gone" if lost else "with commitment 0000"):
        await handled(scene, generator_hsm, request)
    assert scene.events(1) == ["rotation-requested", "generated"]


def _put(scene: Scene, model: MaterialRecord | Tombstone, by: Service = Service.GENERATOR) -> None:
    scene.put(RECORD, model, by)


def flipped(record: MaterialRecord, field: str) -> MaterialRecord:
    """One bit of a field of bytes is another one."""
    raw = bytearray(b64u_decode(getattr(record, field)))
    raw[-1] ^= 1
    return record.model_copy(update={field: b64u_encode(bytes(raw))})


def tombstone(record: MaterialRecord) -> Tombstone:
    return Tombstone(env=record.env, key=record.key, version=1, cause=record.cause, at=datetime.now(UTC))


NOT_OURS = [
    pytest.param(
        lambda r: flipped(r, "blob"), Service.GENERATOR, RecordError, "MAC is not ours", id="an altered blob"
    ),
    pytest.param(
        lambda r: flipped(r, "mac"), Service.GENERATOR, RecordError, "MAC is not ours", id="an altered MAC"
    ),
    pytest.param(
        lambda r: r.model_copy(update={"blob": b64u_encode(b64u_decode(r.blob)[:-8])}),
        Service.GENERATOR,
        RecordError,
        "MAC is not ours",
        id="a truncated blob",
    ),
    pytest.param(
        lambda r: r.model_copy(update={"commitment": "0" * 64}),
        Service.GENERATOR,
        RecordError,
        "MAC is not ours",
        id="another commitment",
    ),
    pytest.param(
        lambda r: r.model_copy(update={"cause": "another"}),
        Service.GENERATOR,
        RecordError,
        "made for another, expected",
        id="one that was made for another request",
    ),
    pytest.param(
        lambda r: r.model_copy(update={"version": 2}),
        Service.GENERATOR,
        ReplayedError,
        "belongs to mat.dev.orders-db.2",
        id="the record of another version",
    ),
    pytest.param(
        lambda r: r,
        Service.DISTRIBUTOR,
        WrongAuthorError,
        "distributor|author|sign",
        id="one signed by another service",
    ),
    pytest.param(tombstone, Service.GENERATOR, StateRefusedError, "never made again", id="a tombstone"),
]


@pytest.mark.parametrize("deliveries", [2, 1], ids=["it is looked for", "it is in the way"])
@pytest.mark.parametrize(("change", "by", "error", "words"), NOT_OURS)
async def test_a_record_that_is_not_ours_is_never_adopted_nor_written_over(
    scene: Scene,
    generator_hsm: GeneratorHsm,
    change: Callable[[MaterialRecord], MaterialRecord | Tombstone],
    by: Service,
    error: type[RekeyError],
    words: str,
    deliveries: int,
) -> None:
    request = await killed(scene, generator_hsm)
    _put(scene, change(record_of(scene)), by)
    before = scene.server.messages(Stream.MATERIAL)
    with pytest.raises(error, match=words):
        await handled(scene, generator_hsm, request, deliveries=deliveries)
    assert scene.server.messages(Stream.MATERIAL) == before
    assert scene.events(1) == ["rotation-requested"]
