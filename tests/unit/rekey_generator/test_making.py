"""When a version is made, as what, and when a record that lies there already is the one."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Final

import pytest

from rekey_core.contracts import BackupRecord, Generated, MaterialRecord, RotationRequested
from rekey_core.encoding import b64u_encode
from rekey_core.envelope import Stored
from rekey_core.errors import (
    AlreadyDoneError,
    RecordError,
    RekeyError,
    StaleReadError,
    StateRefusedError,
    UndecidableKeyError,
)
from rekey_generator import making
from tests.unit.facts import world
from tests.unit.world import NOW, World

EPOCHS: Final = making.Epochs(kek=1, backup=3)


def requested(w: World, version: int = 1) -> Stored[RotationRequested]:
    item = w.requested(version)
    assert isinstance(item.model, RotationRequested)
    return Stored(item.model, item.sequence, item.stored_at, item.subject, item.signed)


def record(order: making.Order, **changes: object) -> MaterialRecord:
    context = order.context
    body = {
        "env": context.env,
        "key": context.key,
        "version": context.version,
        "algorithm": context.algorithm,
        "release": context.release,
        "epoch": context.epoch,
        "key_id": order.key_id,
        "blob": b64u_encode(b"wrapped"),
        "commitment": "ab" * 32,
        "mac": "",
        "cause": order.cause,
        "at": NOW,
    }
    return MaterialRecord.model_validate(body | changes)


def test_an_order_says_what_the_class_says() -> None:
    w = world()
    request = requested(w)
    order = making.order(w.state(), request, EPOCHS)
    assert order.cause == str(request.model.id)
    assert (order.context.version, order.context.algorithm, order.context.epoch) == (1, "AES-256-GCM", 1)
    assert 0 < order.key_id < 2**32


def test_every_retry_orders_the_same() -> None:
    w = world()
    request = requested(w)
    assert making.order(w.state(), request, EPOCHS) == making.order(w.state(), request, EPOCHS)


def behind(_: World, request: Stored[RotationRequested]) -> Stored[RotationRequested]:
    return replace(request, sequence=request.sequence + 1)


def made(w: World, request: Stored[RotationRequested]) -> Stored[RotationRequested]:
    w.generated(1, request)
    return request


def suspended(w: World, request: Stored[RotationRequested]) -> Stored[RotationRequested]:
    w.suspended(1)
    return request


def void(w: World, request: Stored[RotationRequested]) -> Stored[RotationRequested]:
    other = request.model.model_copy(update={"id": w.log[0].model.id})
    return replace(request, model=other)


@pytest.mark.parametrize(
    ("change", "error"),
    [
        pytest.param(behind, StaleReadError, id="the fold is behind the request"),
        pytest.param(made, AlreadyDoneError, id="the version is there"),
        pytest.param(suspended, StateRefusedError, id="a responder stopped the version before it was made"),
        pytest.param(void, StateRefusedError, id="the request has no effect in the log"),
    ],
)
def test_when_nothing_is_made(
    change: Callable[[World, Stored[RotationRequested]], Stored[RotationRequested]], error: type[RekeyError]
) -> None:
    w = world()
    request = change(w, requested(w))
    with pytest.raises(error):
        making.order(w.state(), request, EPOCHS)


def test_nothing_is_made_of_a_key_that_this_program_does_not_understand() -> None:
    w = world()
    request = requested(w)
    with pytest.raises(UndecidableKeyError, match="orders-db: type v2"):
        making.order(replace(w.state(), undecidable="type v2"), request, EPOCHS)


def test_key_ids_are_never_used_twice() -> None:
    w = world()
    request = requested(w)
    order = making.order(w.state(), request, EPOCHS)
    used: list[int] = []
    for _ in range(200):
        used.append(making.tink_key_id(order.context, used))
    assert len(set(used)) == 200
    assert 0 not in used


def test_generated_repeats_the_record_and_folds() -> None:
    w = world()
    request = requested(w)
    order = making.order(w.state(), request, EPOCHS)
    w.add(making.generated(record(order), w.state(), NOW))
    state = w.state()
    assert state.voids == ()
    generated = state.versions[1].generated
    assert generated is not None
    assert generated.model.key_id == order.key_id


OTHERS: dict[str, dict[str, object]] = {
    "another request": {"cause": "somebody else's"},
    "another version": {"version": 2},
    "another key": {"key": "orders-other"},
    "another environment": {"env": "prod"},
    "another key id": {"key_id": 1},
    "another algorithm": {"algorithm": "EC-P256"},
}


@pytest.mark.parametrize("changes", [pytest.param(c, id=name) for name, c in OTHERS.items()])
def test_a_record_for_something_else_is_not_adopted(changes: dict[str, object]) -> None:
    w = world()
    request = requested(w)
    order = making.order(w.state(), request, EPOCHS)
    making.check_record(record(order), order)
    with pytest.raises(RecordError, match="was made for"):
        making.check_record(record(order, **changes), order)


@pytest.mark.parametrize("epoch", [pytest.param(1, id="left before"), pytest.param(3, id="of who is ahead")])
def test_a_record_of_another_epoch_is_adopted_and_stays_under_its_own(epoch: int) -> None:
    w = world()
    request = requested(w)
    order = making.order(w.state(), request, making.Epochs(kek=2, backup=3))
    left = record(order, epoch=epoch)
    making.check_record(left, order)
    assert making.generated(left, w.state(), NOW).epoch == epoch


def test_a_version_is_backed_up_once_if_its_class_wants_that() -> None:
    w = world()
    request = requested(w)
    assert making.awaits_backup(w.state(), request) is None, "not generated"
    w.generated(1, request, backed_up=False)
    made = making.awaits_backup(w.state(), request)
    assert made is not None
    w.add(making.backed_up(backup(made), made, w.state(), NOW))
    state = w.state()
    assert (state.voids, making.awaits_backup(state, request)) == ((), None)
    assert state.versions[1].backed_up is not None
    with pytest.raises(AlreadyDoneError):
        making.order(state, request, EPOCHS)


def backup(made: Generated, **changes: object) -> BackupRecord:
    """What lies beside the record of a version."""
    body = {
        "env": made.env,
        "key": made.key,
        "version": made.version,
        "backup_epoch": 3,
        "blob": "",
        "at": NOW,
    }
    body |= {"commitment": made.commitment, "cause": made.cause}
    return BackupRecord.model_validate(body | changes)


@pytest.mark.parametrize(
    "changes",
    [
        pytest.param({"cause": "another"}, id="made for another request"),
        pytest.param({"commitment": "ef" * 32}, id="of another secret than the record"),
    ],
)
def test_a_backup_of_something_else_is_never_said_to_be_one(changes: dict[str, object]) -> None:
    w = world()
    request = requested(w)
    w.generated(1, request, backed_up=False)
    made = making.awaits_backup(w.state(), request)
    assert made is not None
    making.check_backup(backup(made), made)
    with pytest.raises(RecordError, match="the backup in MATERIAL was made for"):
        making.check_backup(backup(made, **changes), made)


@pytest.mark.parametrize(
    ("release", "epoch"),
    [pytest.param("trusted-recipient", 3, id="data"), pytest.param("never", None, id="signatures")],
)
def test_an_order_says_under_which_backup_kek_if_the_class_wants_one(release: str, epoch: int | None) -> None:
    w = world(release=release)
    request = requested(w)
    assert making.order(w.state(), request, EPOCHS).backup_epoch == epoch
