"""What the next fact of a key is, if any. Pure: state, adoption and time in; one fact or nothing out.

A rotation is a walk along the log: requested, generated (by the generator), activated, deactivated. Each call names one
step at most, so that every step is decided on the state that the step before has made.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Literal

from rekey_core import preconditions
from rekey_core.adoption import Adoption, awaited, older_active
from rekey_core.backups import lacks_backup
from rekey_core.commands import command_id
from rekey_core.confirmation import Phase
from rekey_core.contracts import (
    Activated,
    Count,
    Deactivated,
    Fact,
    Granted,
    Register,
    Registered,
    RotationRequested,
    SignedCommand,
)
from rekey_core.errors import AlreadyExistsError, NotFoundError
from rekey_core.fold import KeyState, rotation_due
from rekey_core.lifecycle import VersionState
from rekey_core.next_fact import new_cause, next_fact
from rekey_core.policy import check_registration, class_named, deadline_s
from rekey_core.preconditions import check_rotate
from rekey_core.quotas import ROTATE_AT, has_budget
from rekey_core.trust import Trust


def registration(
    state: KeyState, command: Register, signed: SignedCommand, trust: Trust, now: datetime
) -> Fact | None:
    """The next fact of a registration: ``registered``, then each ``granted``, then the first ``rotation-requested``.

    Raises:
        AlreadyExistsError: another command registered the name.
        NotFoundError: a dependent is not enrolled.
        RefusedError: the class is unknown, or the policy does not allow what is asked.
    """
    cause = command_id(signed)
    if state.registered is not None and state.registered.model.cause != cause:
        message = f"key {state.key} is registered, by {state.owner}"
        raise AlreadyExistsError(message, hint=f"rekey key show {state.key}")
    if state.registered is None:
        _check_enrolled(command, trust)
        return _registered(state, command, signed, now)
    ungranted = [name for name in sorted(set(command.dependents)) if name not in state.grants]
    if ungranted:
        ordinal = sorted(set(command.dependents)).index(ungranted[0])
        said = next_fact(state, Granted, cause, 0, now, ordinal=ordinal)
        return Granted(**said, dependent=ungranted[0], command=signed)
    if not state.versions:
        return _requested(state, cause, "initial", None, now)
    return None


def rotation(state: KeyState, signed: SignedCommand, now: datetime, asked_s: int | None = None) -> Fact:
    """The ``rotation-requested`` of a person's command; ``asked_s``: the deadline in seconds, if it is to be sooner.

    Raises:
        AlreadyDoneError: the log names this command.
        NotFoundError: no such key.
        StateRefusedError: a rotation is under way.
        PolicyError: a later deadline than the class allows.
    """
    cause = new_cause(state, signed)
    check_rotate(state.key, state.unsettled(), state.current)
    return _requested(state, cause, "person", signed, now, asked_s)


def step(state: KeyState, adopted: Adoption | None, now: datetime, allotted: int = 0) -> Fact | None:
    """The next fact that time, receipts and the budget allow.

    ``adopted`` is about the version of ``adoption.awaited``, ``allotted`` counts messages of ``counted_version(state)``.
    """
    if state.registered is None or state.undecidable:
        return None
    target = awaited(state)
    if target is not None:
        if adopted is None or adopted.version != target:
            return None
        return _activation(state, adopted, now) or _deactivation(state, adopted, now)
    if not unfinished(state) and rotation_due(state, now):
        return _asked(state, "time", state.registered.sequence, now)
    if counted_version(state) is not None and allotted >= ROTATE_AT:
        return _asked(state, "volume", state.registered.sequence, now)
    return None


def counted_version(state: KeyState) -> int | None:
    """The version whose budget of messages may make it time for another one: the current one, if nothing moves."""
    return state.current if has_budget(state.algorithm) and not unfinished(state) else None


def unfinished(state: KeyState) -> list[int]:
    """Versions that a rotation still has to bring somewhere."""
    return preconditions.unfinished(state.unsettled(), state.current)


def _activation(state: KeyState, adopted: Adoption, now: datetime) -> Fact | None:
    version = state.versions[adopted.version]
    if (
        version.state is not VersionState.PRE_ACTIVATION
        or version.generated is None
        or lacks_backup(version, state.key_class)
        or version.destruction is not None
        or not adopted.all_installed
    ):
        return None
    cause = str(version.generated.model.id)
    said = next_fact(state, Activated, cause, adopted.version, now)
    return Activated(**said, proved=_counts(adopted, "installed"))


def _deactivation(state: KeyState, adopted: Adoption, now: datetime) -> Fact | None:
    current = state.versions[adopted.version]
    older = older_active(state)
    if state.current != adopted.version or current.activated is None or not older or not adopted.all_switched:
        return None
    cause = str(current.activated.model.id)
    said = next_fact(state, Deactivated, cause, older[0], now)
    return Deactivated(**said, proved=_counts(adopted, "switched"))


def _asked(
    state: KeyState, reason: Literal["time", "volume"], registered: int, now: datetime
) -> RotationRequested:
    return _requested(state, f"{reason}-{state.next_version()}-{registered}", reason, None, now)


def _counts(adopted: Adoption, phase: Phase) -> tuple[Count, ...]:
    return tuple(
        Count(
            dependent=name,
            instances=tuple(sorted(proof.instance for proof in proofs if proof.has(phase))),
            waived=tuple(sorted(proof.instance for proof in proofs if not proof.has(phase))),
        )
        for name, proofs in sorted(adopted.dependents.items())
    )


def _check_enrolled(command: Register, trust: Trust) -> None:
    unknown = [name for name in command.dependents if name not in trust.document.dependents]
    if unknown:
        message = f"key {command.key}: dependent {', '.join(unknown)} is not enrolled"
        raise NotFoundError(
            message, hint="enrol it first; enrolled: " + ", ".join(sorted(trust.document.dependents))
        )


def _registered(state: KeyState, command: Register, signed: SignedCommand, now: datetime) -> Registered:
    key_class = class_named(command.key_class)
    return Registered(
        **next_fact(state, Registered, command_id(signed), 0, now),
        owner=command.author,
        key_class=key_class.name,
        algorithm=key_class.algorithm,
        release=key_class.release,
        purpose=command.purpose,
        cryptoperiod_s=check_registration(command),
        command=signed,
    )


def _requested(
    state: KeyState,
    cause: str,
    reason: Literal["initial", "time", "volume", "person"],
    signed: SignedCommand | None,
    now: datetime,
    asked_s: int | None = None,
) -> RotationRequested:
    deadline = now + timedelta(seconds=deadline_s(state.key_class or "", asked_s))
    said = next_fact(state, RotationRequested, cause, state.next_version(), now)
    return RotationRequested(**said, reason=reason, deadline=deadline, command=signed)
