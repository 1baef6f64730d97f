"""Which versions must come out of the offline token: the log decides, whatever lies in the place of a backup."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from datetime import timedelta

import pytest

from rekey_backup.catalogue import judged
from rekey_core.contracts import BackupRecord, Tombstone
from rekey_core.encoding import b64u_encode
from rekey_core.errors import RecordError
from tests.unit.facts import world
from tests.unit.world import ENV, NOW, World

BLOB = b"wrapped"


def backed_up(blob: bytes = BLOB) -> World:
    """Version 1 is generated, and its backup is named by the log."""
    w = world()
    w.generated(1, w.requested(1), backed_up=False)
    w.backed_up(1, blob_digest=hashlib.sha256(blob).hexdigest())
    return w


def destroyed() -> World:
    w = backed_up()
    w.scheduled(1)
    w.destroyed(1, at=NOW + timedelta(days=365))
    assert w.state().voids == ()
    return w


def only_generated() -> World:
    w = world()
    w.generated(1, w.requested(1), backed_up=False)
    return w


def record(**changes: object) -> BackupRecord:
    body = {"env": ENV, "key": "orders-db", "version": 1, "backup_epoch": 1, "blob": b64u_encode(BLOB)}
    body |= {"commitment": "cd" * 32, "cause": "the request", "at": NOW}
    return BackupRecord.model_validate(body | changes)


TOMBSTONE = Tombstone(env=ENV, key="orders-db", version=1, cause="the schedule", at=NOW)


def test_a_backup_that_the_log_names_must_come_out() -> None:
    state = backed_up().state()
    found = judged(state, state.versions[1], record())
    assert found is not None
    assert (found.name, found.blob, found.backup_epoch) == ("orders-db@1", BLOB, 1)
    assert found.context.parts() == (ENV, "orders-db", 1, "AES-256-GCM", "trusted-recipient", 1)


@pytest.mark.parametrize(
    ("make", "found"),
    [
        pytest.param(destroyed, TOMBSTONE, id="destroyed, and its backup too"),
        pytest.param(destroyed, None, id="destroyed, and there never was a backup"),
        pytest.param(only_generated, record(), id="not said to be backed up yet"),
    ],
)
def test_nothing_comes_out_and_that_is_right(
    make: Callable[[], World], found: BackupRecord | Tombstone | None
) -> None:
    state = make().state()
    assert judged(state, state.versions[1], found) is None


@pytest.mark.parametrize(
    ("make", "found", "why"),
    [
        pytest.param(
            destroyed, record(), "destroyed, and its backup still stands", id="a destroyed one is back"
        ),
        pytest.param(backed_up, None, "found nothing", id="it is gone"),
        pytest.param(backed_up, TOMBSTONE, "found a tombstone", id="a tombstone that nobody scheduled"),
        pytest.param(backed_up, record(blob=b64u_encode(b"x")), "another one", id="another blob"),
        pytest.param(backed_up, record(backup_epoch=2), "another one", id="another epoch"),
    ],
)
def test_what_lies_there_is_not_what_the_log_says(
    make: Callable[[], World], found: BackupRecord | Tombstone | None, why: str
) -> None:
    state = make().state()
    with pytest.raises(RecordError, match=why):
        judged(state, state.versions[1], found)
