"""Whether a version is to be destroyed now, and what says that it is. Pure: the key, and the clock of the bus, in.

Authority is the fold's: a schedule without two people's command, or by another than the owner, is void and so is not here.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Final

from rekey_core.contracts import BackupRecord, Destroyed, MaterialRecord, Tombstone
from rekey_core.errors import (
    AlreadyDoneError,
    RetryableError,
    StateRefusedError,
)
from rekey_core.fold import KeyState
from rekey_core.lifecycle import Trigger, VersionState, is_legal
from rekey_core.next_fact import check_decidable, next_fact
from rekey_core.versions import Destruction

CLOCK_MARGIN_S: Final = 2  # how far the clock of another node of the bus may be behind when it becomes leader


class HeldUpError(RetryableError):
    """The destruction stands, and its time has not come: the delay runs, or the version is suspended."""


def due(state: KeyState, number: int, bus_time: datetime) -> Destruction:
    """The destruction to carry out now. ``bus_time`` must have been asked before the state was confirmed.

    Raises:
        UndecidableKeyError: the key has a fact that this program does not know.
        AlreadyDoneError: it is carried out.
        StateRefusedError: none is scheduled (any more), or the version is in use.
        HeldUpError: the delay is not over, or the version is suspended.
    """
    where = f"{state.key}@{number}"
    check_decidable(state)
    version = state.versions.get(number)
    if version is None or version.destruction is None:
        message = f"{where}: no destruction is scheduled"
        raise StateRefusedError(message, hint=f"rekey key history {state.key}")
    if version.destroyed is not None:
        message = f"{where} is {version.state}"
        raise AlreadyDoneError(message)
    if version.state is VersionState.SUSPENDED:
        message = f"{where} is suspended: it is destroyed after it is resumed or compromised, or not at all"
        raise HeldUpError(message, hint=f"rekey key history {state.key}")
    if not is_legal(version.state, Trigger.DESTROY):
        message = f"{where} is {version.state} and cannot be destroyed"
        raise StateRefusedError(message, hint=f"rekey key history {state.key}")
    if not version.destruction.is_due(bus_time - timedelta(seconds=CLOCK_MARGIN_S)):
        message = f"{where} is destroyed not before {version.destruction.not_before}"
        raise HeldUpError(message, hint=f"rekey key destroy-cancel {where}")
    return version.destruction


def tombstone(state: KeyState, number: int, destruction: Destruction, now: datetime) -> Tombstone:
    """What takes the place of the version's record."""
    cause = str(destruction.scheduled.model.id)
    return Tombstone(env=state.env, key=state.key, version=number, cause=cause, at=now)


def is_tombstone_of(found: MaterialRecord | BackupRecord | Tombstone, destruction: Destruction) -> bool:
    """Whether an earlier try, or another replica, has carried out this destruction."""
    return isinstance(found, Tombstone) and found.cause == str(destruction.scheduled.model.id)


def destroyed(state: KeyState, number: int, destruction: Destruction, place: int, now: datetime) -> Destroyed:
    """The fact that says it, as the next fact of the key. ``place``: sequence of the tombstone in MATERIAL."""
    cause = str(destruction.scheduled.model.id)
    lies = state.versions[number].wrapped
    return Destroyed(
        **next_fact(state, Destroyed, cause, number, now),
        blob_digest=lies.blob_digest if lies else None,
        epoch=lies.epoch if lies else None,
        tombstone=place,
        claimed=(
            ("wrapped-blob-overwritten", "backup-blob-overwritten")
            if state.versions[number].backed_up
            else ("wrapped-blob-overwritten",)
        ),
        not_claimed=("copies-in-bus-storage-and-backups", "memory-of-instances"),
    )
