"""From a responder's stop to its lifting: what a stop takes, and when and where to a version comes back. Pure.

Lifting gives something back, so it needs two people and that its author saw how things are (DESIGN §3): the key's last fact,
and every suspension of the version by its id. A suspension that is stored first makes the resume void; one that is stored
after it stops the version again.

A version comes back to where it was, but never beside a newer one: active only if none was activated since, pre-activation
only if none was requested since. What was overtaken is deactivated: it processes, and nobody protects with it again.
"""

from __future__ import annotations

from datetime import datetime

from rekey_core.contracts import Compromised, Resume, Resumed, Revoke, StoppedVersion, Suspend, Suspended
from rekey_core.embedded import commanded
from rekey_core.envelope import Stored
from rekey_core.errors import AuthorityError, IllegalTransitionError, NotFoundError, StateRefusedError
from rekey_core.lifecycle import Trigger, VersionState, transition
from rekey_core.persistent import replace
from rekey_core.preconditions import STOPS, check_stop
from rekey_core.trust import Trust
from rekey_core.versions import Versions, stopped


def stop(versions: Versions, fact: Suspended | Compromised, at: datetime) -> tuple[Versions, frozenset[int]]:
    """The versions with one, or (0) all that the table lets, suspended or compromised, and which these are.

    Raises:
        IllegalTransitionError: there is no such version, or nothing to stop.
    """
    verb = Suspend.VERB if isinstance(fact, Suspended) else Revoke.VERB
    try:
        numbers = check_stop(fact.key, verb, fact.version, {n: one.state for n, one in versions.items()})
    except (NotFoundError, StateRefusedError) as error:
        raise IllegalTransitionError(str(error)) from error
    for number in numbers:
        versions = versions.put(stopped(versions[number], STOPS[verb], fact.command, at))
    return versions, frozenset(numbers)


def stops(versions: Versions) -> tuple[StoppedVersion, ...]:
    """What is stopped now and by whose word, as dependents are told of it."""
    return tuple(
        StoppedVersion(version=number, command=command)
        for number, version in sorted(versions.items())
        for command in version.stops_to_tell
    )


def resume(versions: Versions, item: Stored[Resumed], trust: Trust, last_sequence: int) -> Versions:
    """The versions with one of them back.

    Raises:
        AuthorityError: the command is of another version. And what ``commanded`` and ``check_resume`` raise.
    """
    fact = item.model
    command = commanded(item, fact.command, Resume, trust)
    if command.version != fact.version:
        text = f"{fact.EVENT} of {fact.key}@{fact.version}: the command says version {command.version}"
        raise AuthorityError(text)
    state = check_resume(versions, command, last_sequence)
    version = versions[fact.version]
    return versions.put(
        replace(
            version,
            state=state,
            state_since=item.stored_at,
            stopped_by=(),
            lifted=frozenset(version.lifts),
            resume_to=None,
            resumed=item,
        )
    )


def check_resume(versions: Versions, command: Resume, last_sequence: int) -> VersionState:
    """The state that the version comes back to, if its author saw how things are.

    Raises:
        StateRefusedError: the author did not. And what ``resumes_to`` raises.
    """
    where, hint = f"{command.key}@{command.version}", f"look again: rekey key history {command.key}"
    state = resumes_to(versions, command.key, command.version)
    if command.seen != last_sequence:
        found = f"{command.author} saw {command.key} as of {command.seen}, it is as of {last_sequence}"
        raise StateRefusedError(f"{where}: {found}", hint=hint)
    if command.lifts != versions[command.version].lifts:
        raise StateRefusedError(f"{where}: the command does not name its suspensions, all of them", hint=hint)
    return state


def resumes_to(versions: Versions, key: str, number: int) -> VersionState:
    """The state that a suspended version would come back to.

    Raises:
        NotFoundError: there is no such version.
        StateRefusedError: it is not suspended, or was before it was made.
    """
    where, version = f"{key}@{number}", versions.get(number)
    if version is None:
        known = ", ".join(map(str, sorted(versions))) or "none"
        raise NotFoundError(f"{where} does not exist; versions: {known}", hint=f"rekey key show {key}")
    if version.state is not VersionState.SUSPENDED:
        raise StateRefusedError(
            f"{where} is {version.state}, expected suspended", hint=f"rekey key history {key}"
        )
    if version.generated is None:
        text = f"{where} was suspended before it was made, there is nothing to resume"
        raise StateRefusedError(text, hint=f"rekey key rotate {key}")
    before = transition(version.state, Trigger.RESUME, resume_to=version.resume_to)
    return VersionState.DEACTIVATED if _overtaken(versions, number, before) else before


def _overtaken(versions: Versions, number: int, before: VersionState) -> bool:
    newer = [version for other, version in versions.items() if other > number]
    if before is VersionState.ACTIVE:
        return any(version.activated is not None for version in newer)
    return before is VersionState.PRE_ACTIVATION and bool(newer)
