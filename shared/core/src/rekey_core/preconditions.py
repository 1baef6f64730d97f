"""What a command needs of the states of a key's versions: one rule for the service that acts and for a plan. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from rekey_core.contracts import Revoke, Suspend
from rekey_core.errors import NotFoundError, StateRefusedError
from rekey_core.lifecycle import Trigger, VersionState, is_legal

States = Mapping[int, VersionState]  # of every version, by number
STOPS: Final = {Suspend.VERB: Trigger.SUSPEND, Revoke.VERB: Trigger.COMPROMISE}


def check_stop(key: str, verb: str, version: int, states: States) -> tuple[int, ...]:
    """The versions that ``suspend`` or ``revoke`` stops; ``version`` 0 is every one.

    Raises:
        NotFoundError: there is no such version.
        StateRefusedError: none of them can be stopped so.
    """
    targets = sorted(states) if version == 0 else [version]
    if not targets or any(number not in states for number in targets):
        known = ", ".join(map(str, sorted(states))) or "none"
        message = f"{key}@{version} does not exist; versions: {known}"
        raise NotFoundError(message, hint=f"rekey key show {key}")
    stopped = tuple(number for number in targets if is_legal(states[number], STOPS[verb]))
    if not stopped:
        found = ", ".join(f"{number} is {states[number]}" for number in targets)
        message = f"{key}: nothing to {verb}, version {found}"
        raise StateRefusedError(message, hint=f"rekey key show {key}")
    return stopped


def check_rotate(key: str, states: States, current: int | None) -> None:
    """Return if a person may rotate the key now.

    Raises:
        StateRefusedError: a rotation is under way.
    """
    under_way = unfinished(states, current)
    if under_way:
        found = ", ".join(f"version {number} is {states[number]}" for number in under_way)
        message = f"{key}: a rotation is under way, {found}"
        raise StateRefusedError(message, hint=f"rekey adoption {key}")


def unfinished(states: States, current: int | None) -> list[int]:
    """Versions that a rotation still has to bring somewhere: in pre-activation, or active without being current.

    Where the current version was stopped, nothing can bring older ones anywhere but the next rotation: it is not kept off.
    """
    moving = {number for number, state in states.items() if state is VersionState.PRE_ACTIVATION}
    active = {number for number, state in states.items() if state is VersionState.ACTIVE}
    return sorted(moving | (active - {current} if current is not None else set()))
