"""What a responder's verified command does to a key, and whom it must reach. Pure.

Stopping never needs a decidable fold: a key with a fact that this program does not know can still be stopped (DESIGN §3).
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime

from rekey_core.adoption import is_live
from rekey_core.commands import command_id
from rekey_core.contracts import (
    Compromised,
    Fact,
    Lease,
    Receipt,
    Resume,
    Resumed,
    Revoke,
    SignedCommand,
    Stop,
    Suspend,
    Suspended,
)
from rekey_core.errors import AlreadyDoneError, NotFoundError
from rekey_core.fold import KeyState
from rekey_core.next_fact import check_decidable, new_cause, next_fact
from rekey_core.preconditions import check_stop
from rekey_core.suspension import check_resume, stops


def stop_fact(state: KeyState, command: Suspend | Revoke, signed: SignedCommand, now: datetime) -> Fact:
    """``suspended`` or ``compromised`` as the next fact of the key.

    Raises:
        AlreadyDoneError: the log names this command.
        NotFoundError: no such key or version.
        StateRefusedError: there is nothing that the command could stop.
    """
    cause = command_id(signed)
    if state.has_stopped(cause):
        message = f"{state.key}: command {cause[:16]} is done"
        raise AlreadyDoneError(message)
    if state.registered is None:
        message = f"key {state.key} is not registered"
        raise NotFoundError(message, hint="rekey key ls")
    if not state.undecidable:
        check_stop(state.key, command.VERB, command.version, state.states())
    fact = Suspended if isinstance(command, Suspend) else Compromised
    return fact(**next_fact(state, fact, cause, command.version, now), command=signed)


def resume_fact(state: KeyState, command: Resume, signed: SignedCommand, now: datetime) -> Fact:
    """``resumed`` as the next fact of the key. Lifting needs a decidable key, and the state that its author saw.

    Raises:
        AlreadyDoneError: the log names this command.
        NotFoundError: no such key or version.
        UndecidableKeyError: the log has a fact that this program does not know.
        StateRefusedError: the version is not suspended, or its author has not seen the key as it is now.
    """
    cause = new_cause(state, signed)
    check_decidable(state)
    check_resume(state.versions, command, state.last_sequence)
    return Resumed(**next_fact(state, Resumed, cause, command.version, now), command=signed)


def stop_for(state: KeyState, dependent: str, now: datetime) -> Stop:
    """The message that tells one dependent."""
    return Stop(env=state.env, dependent=dependent, key=state.key, at=now, stopped=stops(state.versions))


def not_stopped(
    state: KeyState, leases: Iterable[Lease], receipts: Iterable[Receipt], now: datetime
) -> tuple[tuple[str, str], ...]:
    """Live instances with a lease for the key that have not signed that they stopped everything: (dependent, instance)."""
    wanted = {entry.version for entry in stops(state.versions)}
    said = {
        (r.dependent, r.instance): set(r.keys[state.key].refused) for r in receipts if state.key in r.keys
    }
    live = [(lease.dependent, lease.instance) for lease in leases if is_live(lease, state.key, now)]
    return tuple(sorted(who for who in live if not wanted <= said.get(who, set())))
