"""From "shall be destroyed" to "is destroyed": two people, a delay by the clock of the bus, and what ends it. Pure.

A destruction that is scheduled can be cancelled until its delay is over, and no later: what the log says after that cannot
want the version back. Therefore the generator may overwrite the wrapped blob before it says so (its handlers argue the
order), and the fold, which every reader shares, is where the moment is judged: by when the log took each fact, never by
what its author says of time.

What comes in between (lifecycle table): a suspension holds the destruction up, for as long as it lasts, and while it began
before the delay was over the destruction can still be cancelled, because nobody may have begun with it. A compromise
does not: the version goes on to ``destroyed-compromised``. Activation is not allowed any more: otherwise a version of which
data will depend would be destroyed on the day on which it is deactivated.
"""

from __future__ import annotations

from datetime import datetime, timedelta

from rekey_core.contracts import CancelDestruction, Destroy, Destroyed, DestructionScheduled
from rekey_core.envelope import Stored
from rekey_core.errors import CheckSequenceError, IllegalTransitionError
from rekey_core.lifecycle import Trigger, transition
from rekey_core.persistent import replace
from rekey_core.policy import destruction_delay_s
from rekey_core.trust import Trust
from rekey_core.versions import Destruction, VersionFacts


def scheduled(
    version: VersionFacts, item: Stored[DestructionScheduled], command: Destroy, key_class: str, trust: Trust
) -> VersionFacts:
    """The version with its destruction scheduled. A fact that names an earlier moment than the delay gains nothing.

    Raises:
        IllegalTransitionError: the lifecycle does not let it be destroyed (the current one is active), or it is scheduled.
        PolicyError: the command asks for a shorter delay than the class's.
    """
    transition(version.state, Trigger.DESTROY)
    if version.destruction is not None:
        raise IllegalTransitionError(f"{_where(item)}: its destruction is scheduled already")
    development = trust.at(item.stored_at).is_development
    delay = timedelta(seconds=destruction_delay_s(key_class, command.delay_s, development=development))
    moment = max(item.model.not_before, item.stored_at + delay)
    return replace(version, destruction=Destruction(item, moment))


def cancelled(
    version: VersionFacts, at: datetime, command: CancelDestruction, last_sequence: int
) -> VersionFacts:
    """The version without a destruction. Who lifts something must have seen how things are (DESIGN §3).

    Raises:
        CheckSequenceError: there is a fact that the author of the command did not know.
        IllegalTransitionError: nothing is scheduled, or it is too late.
    """
    where = f"{command.VERB} of {command.key}@{command.version}"
    if command.seen != last_sequence:
        raise CheckSequenceError(f"{where}: the author saw {command.seen}, the last fact is {last_sequence}")
    if version.pending is None:
        raise IllegalTransitionError(f"{where}: no destruction is scheduled")
    if not version.is_cancellable(at):
        raise IllegalTransitionError(f"{where}: it could be cancelled until {version.pending.not_before}")
    return replace(version, destruction=None)


def destroyed(version: VersionFacts, item: Stored[Destroyed]) -> VersionFacts:
    """The version destroyed, by a fact that carries out what is scheduled, in time, and names the blob that was its own.

    Raises:
        IllegalTransitionError: the lifecycle does not let it, nothing or another one is scheduled, the delay runs, or
            the blob is another.
    """
    after = transition(version.state, Trigger.DESTROY)
    fact, pending = item.model, version.pending
    if pending is None or fact.cause != str(pending.scheduled.model.id):
        found = str(pending.scheduled.model.id) if pending else "none"
        raise IllegalTransitionError(f"{_where(item)}: carries out {fact.cause}, scheduled is {found}")
    if not pending.is_due(item.stored_at):
        raise IllegalTransitionError(
            f"{_where(item)}: expected not before {pending.not_before}, found {item.stored_at}"
        )
    lies = version.wrapped
    if (fact.blob_digest, fact.epoch) != ((lies.blob_digest, lies.epoch) if lies else (None, None)):
        raise IllegalTransitionError(f"{_where(item)}: names another wrapped blob than the log")
    return replace(version, state=after, destroyed=item, state_since=item.stored_at)


def _where(item: Stored[Destroyed] | Stored[DestructionScheduled]) -> str:
    return f"{item.model.EVENT} of {item.model.key}@{item.model.version}"
