"""A version that came back from its backup is stored and said once, and never in the place of a tombstone."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final

import pytest

from rekey_core.authority import Stream, Subjects
from rekey_core.contracts import (
    MaterialRecord,
    RestoreAnswer,
    RestoreOffer,
    RestoreOrder,
    Signed,
    Tombstone,
)
from rekey_core.encoding import b64u_decode, b64u_encode, sha256_hex
from rekey_core.envelope import open_signed
from rekey_core.errors import (
    ConflictError,
    ReplayedError,
    UnavailableError,
    UndecidableKeyError,
    UnknownOutcomeError,
)
from rekey_core.names import Service
from rekey_generator.restorations import Restorations, wanted
from rekey_runtime.keylog import KeyLog
from tests.fakes.endings import KilledError, raises
from tests.fakes.scene import KEY, Scene
from tests.unit.orders import EPOCH, HOUR, signed
from tests.unit.world import ENV

RECORD: Final = Subjects(ENV).material(KEY, 1)
OFFER: Final = Subjects(ENV).offer(KEY, 1)
RESTORED: Final = "evt.*.*.*.generator.restored.*"
BLOB: Final = b64u_encode(b"wrapped for the fresh token")
BORN: Final = b64u_encode(b"wrapped at birth")


@pytest.fixture
def scene(tmp_path: Path) -> Scene:
    """Version 1 is current, and its record lies in MATERIAL; what is in it matters to nobody here."""
    made = Scene(home=tmp_path, transport="0" * 64)
    made.registered()
    made.version(1)
    made.put(RECORD, record(made), Service.GENERATOR)
    return made


def record(scene: Scene) -> MaterialRecord:
    generated = scene.state().versions[1].generated
    assert generated is not None
    fields = {
        "env",
        "key",
        "version",
        "algorithm",
        "release",
        "epoch",
        "key_id",
        "commitment",
        "spki",
        "cause",
    }
    said = generated.model.model_dump(include=fields)
    return MaterialRecord.model_validate(said | {"blob": BORN, "mac": "AAAA", "at": generated.model.at})


def an_offer(scene: Scene, *officers: str, **changes: Any) -> RestoreOffer:
    now = datetime.now(UTC)
    said = {"env": ENV, "nonce": "0" * 32, "reason": "lost", "epoch": EPOCH, "issued_at": now - HOUR / 2}
    order = RestoreOrder.model_validate(said | {"expires_at": now + HOUR / 2} | changes.pop("order", {}))
    body = {"env": ENV, "key": KEY, "version": 1, "epoch": EPOCH, "blob": BLOB, "mac": "BBBB"}
    body |= {"order": signed(scene, order, *(officers or ("oliver", "olga")))}
    return RestoreOffer.model_validate(body | changes)


async def offered(
    scene: Scene, offer: RestoreOffer, subject: str = OFFER, *, closed: Callable[[], bool] = lambda: False
) -> RestoreAnswer:
    """What a generator that has just started answers. ``closed``: what its token says of the epoch of the offers."""

    async def is_closed(epoch: int) -> bool:
        return epoch == EPOCH and closed()

    bus = await scene.bus(Service.GENERATOR)
    restorations = Restorations(bus, KeyLog(bus), is_closed)
    data, _ = await restorations.on_offer(subject, offer.model_dump_json().encode())
    keys = scene.trust.service_keys(Service.GENERATOR)
    return open_signed(Signed.model_validate_json(data), (RestoreAnswer,), keys, where="answer")


def stored(scene: Scene) -> MaterialRecord | Tombstone:
    [message] = scene.server.messages(Stream.MATERIAL, RECORD)
    kind = Tombstone if Tombstone.TYPE.encode() in message.data else MaterialRecord
    return kind.model_validate_json(message.data)


def is_back(scene: Scene) -> bool:
    """Whether record and log agree that the version lies under the fresh KEK."""
    scene.catch_up()
    lies, found = scene.state().versions[1].wrapped, stored(scene)
    assert scene.state().voids == ()
    assert lies is not None
    assert isinstance(found, MaterialRecord)
    assert found.model_copy(update={"at": NOW}) == record(scene).model_copy(
        update={"blob": BLOB, "mac": "BBBB", "epoch": EPOCH, "at": NOW}
    )
    return (lies.epoch, lies.blob_digest) == (EPOCH, sha256_hex(b64u_decode(BLOB)))


NOW: Final = datetime.now(UTC)


@pytest.mark.parametrize(
    "answers",
    [
        pytest.param((True,), id="before anything is stored"),
        pytest.param((False, True), id="while the record was stored"),
    ],
)
async def test_nothing_is_restored_into_an_epoch_whose_end_has_begun(
    scene: Scene, answers: tuple[bool, ...]
) -> None:
    told = iter(answers)
    answer = await offered(scene, an_offer(scene), closed=lambda: next(told))
    assert (answer.code, answer.retry) == ("state-refused", False)
    assert answer.hint
    assert "restored" not in scene.events(1)


async def test_a_version_is_restored_once(scene: Scene) -> None:
    offer = an_offer(scene)
    scene.server.once("before", RESTORED, lambda: seen.append(stored(scene)))
    seen: list[MaterialRecord | Tombstone] = []
    assert (await offered(scene, offer)).code is None
    assert is_back(scene)
    assert seen == [stored(scene)], "the record comes before the fact"
    before = scene.server.messages(Stream.MATERIAL)
    assert (await offered(scene, offer)).code is None
    assert scene.server.messages(Stream.MATERIAL) == before
    assert scene.events(1).count("restored") == 1


@pytest.mark.parametrize(
    ("moment", "subject"),
    [
        pytest.param("before", RECORD, id="before the record"),
        pytest.param("after", RECORD, id="after the record"),
        pytest.param("before", RESTORED, id="before the fact"),
        pytest.param("after", RESTORED, id="after the fact"),
    ],
)
@pytest.mark.parametrize(
    "end", [pytest.param(KilledError(), id="killed"), pytest.param(UnknownOutcomeError("?"), id="no answer")]
)
async def test_what_a_try_that_ended_anywhere_left_is_gone_on_with(
    scene: Scene, moment: str, subject: str, end: BaseException
) -> None:
    offer = an_offer(scene)
    scene.server.once(moment, subject, raises(end))
    if isinstance(end, KilledError):
        with pytest.raises(KilledError):
            await offered(scene, offer)
    else:
        await offered(scene, offer)
    assert (await offered(scene, offer)).code is None
    assert is_back(scene)
    assert scene.events(1).count("restored") == 1


def a_tombstone(scene: Scene) -> None:
    stone = Tombstone(env=ENV, key=KEY, version=1, cause="a schedule", at=NOW)
    scene.put(RECORD, stone, Service.GENERATOR)


async def test_a_tombstone_is_never_written_over(scene: Scene) -> None:
    a_tombstone(scene)
    before = scene.server.messages(Stream.MATERIAL)
    answer = await offered(scene, an_offer(scene))
    assert (answer.code, answer.retry) == ("state-refused", False)
    assert "never restored" in (answer.message or "")
    assert scene.server.messages(Stream.MATERIAL) == before
    assert "restored" not in scene.events(1)


async def test_a_tombstone_that_comes_meanwhile_is_not_written_over_either(scene: Scene) -> None:
    scene.server.once("before", RECORD, lambda: a_tombstone(scene))
    answer = await offered(scene, an_offer(scene))
    assert (answer.code, answer.retry) == ("conflict", True)
    assert isinstance(stored(scene), Tombstone)
    assert (await offered(scene, an_offer(scene))).code == "state-refused"
    assert "restored" not in scene.events(1)


async def test_what_somebody_else_put_there_keeps_nothing_away(scene: Scene) -> None:
    scene.put(RECORD, record(scene), Service.AUDIT)
    assert (await offered(scene, an_offer(scene))).code is None
    assert is_back(scene)


@pytest.mark.parametrize(
    ("make", "code"),
    [
        pytest.param(lambda s: an_offer(s, "oliver"), "authority", id="one officer"),
        pytest.param(lambda s: an_offer(s, "oliver", "rita"), "authority", id="somebody who is none"),
        pytest.param(lambda s: an_offer(s, epoch=EPOCH + 1), "authority", id="another epoch than ordered"),
        pytest.param(
            lambda s: an_offer(s, order={"env": "prod"}), "foreign-environment", id="for another place"
        ),
        pytest.param(
            lambda s: an_offer(s, order={"expires_at": datetime.now(UTC)}),
            "expired",
            id="an order of yesterday",
        ),
        pytest.param(
            lambda s: an_offer(s, epoch=1, order={"epoch": 1}),
            "illegal-transition",
            id="an epoch that is not fresh",
        ),
    ],
)
async def test_an_offer_without_authority_changes_nothing(
    scene: Scene, make: Callable[[Scene], RestoreOffer], code: str
) -> None:
    before = scene.server.messages(Stream.MATERIAL)
    answer = await offered(scene, make(scene))
    assert (answer.code, answer.retry) == (code, False)
    assert scene.server.messages(Stream.MATERIAL) == before
    assert "restored" not in scene.events(1)


async def test_an_offer_of_no_version_or_for_another_place(scene: Scene) -> None:
    subjects = Subjects(ENV)
    assert (await offered(scene, an_offer(scene, version=9), subjects.offer(KEY, 9))).code == "not-found"
    with pytest.raises(ReplayedError):
        await offered(scene, an_offer(scene), subjects.offer(KEY, 2))


async def test_a_destroyed_version_is_refused_whatever_lies_in_its_place(scene: Scene) -> None:
    scene.version(2)
    scene.deactivated(1)
    scene.scheduled(1)
    scene.destroyed(1, at=datetime.now(UTC) + timedelta(days=365))
    assert (await offered(scene, an_offer(scene))).code == "illegal-transition"
    assert stored(scene) == record(scene)


async def test_a_bus_that_cannot_take_it_is_asked_again(scene: Scene) -> None:
    offer = an_offer(scene)
    for error in (UnavailableError("full"), ConflictError("10071")):
        scene.server.once("before", RECORD, raises(error))
        answer = await offered(scene, offer)
        assert (answer.code is not None, answer.retry) == (True, True)
    assert (await offered(scene, offer)).code is None
    assert is_back(scene)


def test_nothing_comes_back_of_a_key_that_this_program_does_not_understand(scene: Scene) -> None:
    with pytest.raises(UndecidableKeyError, match="orders-db: type v2"):
        wanted(replace(scene.state(), undecidable="type v2"), an_offer(scene))
