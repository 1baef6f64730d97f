"""One version as its facts make it: a part of the folded key. Pure values."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime

from rekey_core.contracts import (
    Activated,
    BackedUp,
    Deactivated,
    Destroyed,
    DestructionScheduled,
    Generated,
    RotationRequested,
    SignedCommand,
    Whom,
)
from rekey_core.envelope import Stored
from rekey_core.lifecycle import Trigger, VersionState, transition


@dataclass(frozen=True)
class Destruction:
    """A destruction that is scheduled, and the moment (by the clock of the bus) from which it may be carried out."""

    scheduled: Stored[DestructionScheduled]
    not_before: datetime

    def is_due(self, at: datetime) -> bool:
        """Whether the delay is over."""
        return at >= self.not_before


@dataclass(frozen=True)
class VersionFacts:
    """One version: its state, and the facts that made it so."""

    number: int
    state: VersionState
    requested: Stored[RotationRequested]
    state_since: datetime
    generated: Stored[Generated] | None = None
    backed_up: Stored[BackedUp] | None = None
    activated: Stored[Activated] | None = None
    deactivated: Stored[Deactivated] | None = None
    stopped_by: tuple[SignedCommand, ...] = ()
    waived: frozenset[Whom] = frozenset()  # whom the rotation to it does not wait for
    resume_to: VersionState | None = None
    destruction: Destruction | None = None  # scheduled and not cancelled; stays when it is carried out
    destroyed: Stored[Destroyed] | None = None

    @property
    def pending(self) -> Destruction | None:
        """The destruction that is still to be carried out."""
        return self.destruction if self.destroyed is None else None

    def is_cancellable(self, at: datetime) -> bool:
        """Whether nobody may have begun to destroy it: the delay runs, or a suspension that began in it outlasts it."""
        pending = self.pending
        if pending is None:
            return False
        held_up = self.state is VersionState.SUSPENDED and self.state_since < pending.not_before
        return held_up or not pending.is_due(at)


def stopped(version: VersionFacts, trigger: Trigger, command: SignedCommand, at: datetime) -> VersionFacts:
    """The version suspended or compromised. Raises IllegalTransitionError where the table does not allow it."""
    return replace(
        version,
        state=transition(version.state, trigger),
        resume_to=version.state if trigger is Trigger.SUSPEND else None,
        state_since=at,
        stopped_by=(*version.stopped_by, command),
    )
