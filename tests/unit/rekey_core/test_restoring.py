"""A restore moves a version to another KEK by a quorum's order, and never brings back what was destroyed."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta

import pytest

from rekey_core.contracts import DrillOrder, RestoreOffer
from rekey_core.errors import ForeignEnvironmentError, RekeyError, ReplayedError, SchemaError
from rekey_core.lifecycle import VersionState
from rekey_core.restoring import open_offer
from tests.unit.facts import states, world
from tests.unit.orders import EPOCH, HOUR, restore_order, restored, signed
from tests.unit.world import ENV, NOW, World

LATER = NOW + timedelta(days=365)


def two_versions() -> World:
    """Version 1 deactivated, 2 current, both backed up."""
    w = world(versions=2)
    w.deactivated(1)
    return w


def test_a_restored_version_lies_elsewhere_and_is_what_it_was() -> None:
    w = two_versions()
    before = w.state()
    restored(w, 1)
    after = w.state()
    assert (after.voids, states(w), after.current) == ((), before.states(), 2)
    lies, made = after.versions[1].wrapped, before.versions[1].generated
    assert lies is not None
    assert made is not None
    assert (lies.epoch, lies.blob_digest, lies.made) == (EPOCH, "12" * 32, made.model)
    assert after.versions[1].generated == made
    assert after.versions[2] == before.versions[2]


@pytest.mark.parametrize("stop", [World.suspended, World.compromised])
def test_a_stop_stays_and_keeps_no_restore_away(stop: Callable[[World, int], object]) -> None:
    w = two_versions()
    stop(w, 1)
    before = states(w)
    restored(w, 1)
    assert (w.state().voids, states(w)) == ((), before)


def test_what_is_destroyed_after_a_restore_names_the_blob_of_then() -> None:
    w = two_versions()
    restored(w, 1)
    w.scheduled(1)
    w.destroyed(1, at=LATER, blob_digest="ab" * 32, epoch=1)
    assert ["another wrapped blob" in str(void.error) for void in w.state().voids] == [True]
    w.destroyed(1, at=LATER, blob_digest="12" * 32, epoch=EPOCH, ordinal=1)
    assert states(w)[1] is VersionState.DESTROYED


def test_a_second_loss_is_restored_into_a_later_epoch() -> None:
    w = two_versions()
    restored(w, 1)
    restored(w, 1, restore_order(w, epoch=EPOCH + 2), epoch=EPOCH + 2, blob_digest="34" * 32)
    lies = w.state().versions[1].wrapped
    assert lies is not None
    assert (w.state().voids, lies.epoch) == ((), EPOCH + 2)


def destroyed(w: World) -> None:
    w.scheduled(1)
    w.destroyed(1, at=LATER)
    restored(w, 1, restore_order(w, issued_at=LATER, expires_at=LATER + HOUR), stored_at=LATER)


def not_backed_up(w: World) -> None:
    w.generated(3, w.requested(3), backed_up=False)
    restored(w, 3)


def never_requested(w: World) -> None:
    restored(w, 9)


def again(w: World) -> None:
    restored(w, 1)
    restored(w, 1, ordinal=1, blob_digest="34" * 32)


def back_to_an_older_epoch(w: World) -> None:
    restored(w, 1)
    restored(w, 1, restore_order(w, epoch=EPOCH - 1), epoch=EPOCH - 1)


def by_drill(w: World) -> None:
    body = {"env": ENV, "nonce": "0" * 32, "reason": "quarterly", "issued_at": NOW, "expires_at": NOW + HOUR}
    restored(w, 1, signed(w, DrillOrder.model_validate(body), "oliver", "olga"))


@pytest.mark.parametrize(
    ("say", "why"),
    [
        pytest.param(destroyed, "never restored", id="a destroyed version"),
        pytest.param(not_backed_up, "not backed up", id="one without a backup"),
        pytest.param(never_requested, "never requested", id="one that does not exist"),
        pytest.param(again, "expected a KEK epoch after 7", id="the same order a second time"),
        pytest.param(back_to_an_older_epoch, "expected a KEK epoch after 7", id="into an older epoch"),
        pytest.param(
            lambda w: restored(w, 1, restore_order(w, "olga")), "expected 2 officers", id="one officer"
        ),
        pytest.param(
            lambda w: restored(w, 1, restore_order(w, "olga", "olga")),
            "expected 2 officers",
            id="one officer twice",
        ),
        pytest.param(
            lambda w: restored(w, 1, restore_order(w, "olga", "alice")),
            "not a trust officer",
            id="an owner as officer",
        ),
        pytest.param(by_drill, "authority", id="an order for a drill"),
        pytest.param(
            lambda w: restored(w, 1, restore_order(w, env="prod")),
            "environment prod",
            id="of another environment",
        ),
        pytest.param(
            lambda w: restored(w, 1, stored_at=NOW + HOUR),
            "the order is from",
            id="after the order has run out",
        ),
        pytest.param(
            lambda w: restored(w, 1, restore_order(w, expires_at=NOW + 5 * HOUR)),
            "the order is from",
            id="an order that is to live too long",
        ),
        pytest.param(
            lambda w: restored(w, 1, epoch=EPOCH + 1), "expected epoch 7", id="another epoch than ordered"
        ),
        pytest.param(lambda w: restored(w, 1, cause="another"), "expected epoch 7 by", id="another cause"),
    ],
)
def test_a_restored_that_is_void(say: Callable[[World], None], why: str) -> None:
    w = two_versions()
    say(w)
    assert [why in str(void.error) for void in w.state().voids] == [True], w.state().voids


def offer(**changes: object) -> bytes:
    body = {"env": ENV, "key": "orders-db", "version": 1, "epoch": EPOCH, "blob": "AAAA", "mac": "AAAA"}
    order = restore_order(two_versions())
    return RestoreOffer.model_validate(body | {"order": order} | changes).model_dump_json().encode()


@pytest.mark.parametrize(
    ("subject", "data", "error"),
    [
        pytest.param("rst.dev.orders-db.1", b"{}", SchemaError, id="nothing"),
        pytest.param("rst.dev.orders-db.1", b"not JSON", SchemaError, id="no JSON"),
        pytest.param("rst.dev.orders-db.2", offer(), ReplayedError, id="the offer of another version"),
        pytest.param("rst.dev.other-db.1", offer(), ReplayedError, id="the offer of another key"),
        pytest.param(
            "rst.dev.orders-db.1", offer(env="prod"), ForeignEnvironmentError, id="another environment"
        ),
    ],
)
def test_what_is_no_offer(subject: str, data: bytes, error: type[RekeyError]) -> None:
    assert open_offer("rst.dev.orders-db.1", offer(), ENV).epoch == EPOCH
    with pytest.raises(error):
        open_offer(subject, data, ENV)
