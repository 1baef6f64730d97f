"""What an owner's words about the destruction of a version become. Pure; the generator verifies all of it again."""

from __future__ import annotations

from datetime import datetime, timedelta

from rekey_core.commands import command_id
from rekey_core.contracts import (
    CancelDestruction,
    Destroy,
    DestructionCancelled,
    DestructionScheduled,
    SignedCommand,
)
from rekey_core.errors import NotFoundError, StateRefusedError
from rekey_core.fold import KeyState
from rekey_core.lifecycle import Trigger, is_legal
from rekey_core.next_fact import new_cause, next_fact
from rekey_core.policy import destruction_delay_s
from rekey_core.trust import Trust
from rekey_core.versions import VersionFacts


def schedule(
    state: KeyState, command: Destroy, signed: SignedCommand, trust: Trust, now: datetime
) -> DestructionScheduled:
    """``destruction-scheduled`` of two people's command.

    Raises:
        AlreadyDoneError: the log names this command.
        NotFoundError: no such key or version.
        StateRefusedError: the version is in use or stopped, or its destruction is scheduled or done.
        PolicyError: a shorter delay than the class's.
    """
    version = _version(state, command, signed)
    where = f"{state.key}@{version.number}"
    if version.pending is not None:
        message = f"{where} is destroyed not before {version.pending.not_before} already"
        raise StateRefusedError(message, hint=f"rekey key show {state.key}")
    if not is_legal(version.state, Trigger.DESTROY):
        current = ", and current" if state.current == version.number else ""
        message = f"{where} is {version.state}{current}, expected pre-activation, deactivated or compromised"
        raise StateRefusedError(message, hint=f"rekey key show {state.key}")
    delay = destruction_delay_s(state.key_class or "", command.delay_s, development=trust.is_development)
    said = next_fact(state, DestructionScheduled, command_id(signed), version.number, now)
    return DestructionScheduled(**said, not_before=now + timedelta(seconds=delay), command=signed)


def cancel(
    state: KeyState, command: CancelDestruction, signed: SignedCommand, now: datetime
) -> DestructionCancelled:
    """``destruction-cancelled`` of an owner's command.

    Raises:
        AlreadyDoneError: the log names this command.
        NotFoundError: no such key or version.
        StateRefusedError: nothing is scheduled, its time is over, or the author has not seen the key as it is now.
    """
    version = _version(state, command, signed)
    where = f"{state.key}@{version.number}"
    if version.pending is None:
        message = f"{where} is {version.state}, and no destruction is scheduled"
        raise StateRefusedError(message, hint=f"rekey key show {state.key}")
    if not version.is_cancellable(now):
        message = f"{where}: its destruction could be cancelled until {version.pending.not_before}"
        raise StateRefusedError(message, hint=f"rekey key show {state.key}")
    if command.seen != state.last_sequence:
        message = f"{where}: {command.author} saw {state.key} as of {command.seen}, it is as of {state.last_sequence}"
        raise StateRefusedError(message, hint=f"look again: rekey key history {state.key}")
    return DestructionCancelled(
        **next_fact(state, DestructionCancelled, command_id(signed), version.number, now), command=signed
    )


def _version(state: KeyState, command: Destroy | CancelDestruction, signed: SignedCommand) -> VersionFacts:
    new_cause(state, signed)
    version = state.versions.get(command.version)
    if version is None:
        known = ", ".join(map(str, sorted(state.versions))) or "none"
        message = f"{state.key}@{command.version} does not exist; versions: {known}"
        raise NotFoundError(message, hint=f"rekey key show {state.key}")
    return version
