"""What lies under which KEK, from what audit knows. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Final

from rekey_core.census import Hanging, hanging
from rekey_core.contracts import EndedEpoch, HangingVersion, KekUse
from rekey_core.ended import Ended
from rekey_core.fold import KeyState

MAX_ENDED: Final = 50  # epochs in an answer, with a reason of 500 characters each
MAX_NAMES: Final = 500  # of versions that hang somewhere; one has at most some 300 bytes


def uses(states: Iterable[KeyState]) -> tuple[KekUse, ...]:
    """How many versions lie where: by class, algorithm and release, the oldest epoch first."""
    registered = ((state, state.registered.model) for state in states if state.registered is not None)
    found = Counter(
        (said.key_class, said.algorithm, said.release, lies.epoch)
        for state, said in registered
        for lies in hanging(state)
    )
    rows = (
        KekUse(key_class=name, algorithm=algorithm, release=release, epoch=epoch, versions=count)
        for (name, algorithm, release, epoch), count in found.items()
    )
    return tuple(sorted(rows, key=lambda use: (use.key_class, use.algorithm, use.epoch or 0)))


def newest(found: Iterable[KekUse]) -> int | None:
    """The newest epoch under which a version lies."""
    return max((use.epoch for use in found if use.epoch is not None), default=None)


def left(states: Iterable[KeyState], epoch: int | None, newest_epoch: int | None) -> list[Hanging]:
    """What hangs under the epoch, or may; without one, what lies under an epoch before the newest."""
    versions = (lies for state in states for lies in hanging(state))
    if epoch is not None:
        return [lies for lies in versions if lies.is_under(epoch)]
    return [lies for lies in versions if lies.epoch is not None and lies.epoch < (newest_epoch or 0)]


def on_record(ended: Mapping[int, Ended]) -> tuple[EndedEpoch, ...]:
    """The epochs that have ended, the newest first."""
    return tuple(
        EndedEpoch(
            epoch=n, at=end.found.at, log=end.found.as_of, officers=end.officers, reason=end.found.reason
        )
        for n, end in sorted(ended.items(), reverse=True)[:MAX_ENDED]
    )


def named(lies: Hanging) -> HangingVersion:
    """As the answer says it."""
    return HangingVersion(
        key=lies.key, version=lies.version, epoch=lies.epoch, state=lies.state.value, command=lies.command
    )
